//! A small path gateway (IPFS path-gateway specification): `/ipfs/CID[/name…]` for files with
//! `Range`, `ETag` and a content type, and for folders with `index.html` or a listing.
//!
//! It reads as the node's owner does, so its port stays on loopback.

use artdag_blockstore::{EntryKind, ReadError, Store};
use artdag_network::Scope;
use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Path, State},
    http::{HeaderMap, Method, StatusCode, header},
    response::{IntoResponse, Redirect, Response},
    routing::get,
};
use cid::Cid;
use futures::stream;

use super::range::{self, Asked};
use crate::fetch::{FetchError, Fetcher};

/// Bytes read at a time.
const CHUNK_BYTES: usize = 256 * 1024;
/// Enough of a file to tell its type.
const SNIFF_BYTES: usize = 512;
/// Content never changes under a CID (path-gateway §3.2.2).
const IMMUTABLE: &str = "public, max-age=29030400, immutable";
/// Listings beyond this are cut, with a line that says so.
const LISTED_MAX: usize = 10_000;

/// The routes.
pub fn router(fetcher: Fetcher) -> Router {
    Router::new().route("/ipfs/{*path}", get(serve)).with_state(fetcher)
}

async fn serve(
    State(fetcher): State<Fetcher>,
    Path(path): Path<String>,
    method: Method,
    headers: HeaderMap,
) -> Response {
    match answer(&fetcher, &path, &method, &headers).await {
        Ok(response) => response,
        Err(error) => refuse(&error),
    }
}

async fn answer(fetcher: &Fetcher, path: &str, method: &Method, headers: &HeaderMap) -> Result<Response, FetchError> {
    if path.split('/').next().is_none_or(|root| root.parse::<Cid>().is_err()) {
        let wrong = "the path must begin with a CID: /ipfs/CID or /ipfs/CID/name\n";
        return Ok((StatusCode::BAD_REQUEST, wrong).into_response());
    }
    let named = resolve(fetcher, path.trim_end_matches('/').to_owned()).await?;
    match named.kind {
        EntryKind::File => file(fetcher, path, &named, method, headers).await,
        EntryKind::Directory if !path.ends_with('/') => {
            let names: Vec<String> = path.split('/').map(|name| name.bytes().map(percent).collect()).collect();
            Ok(Redirect::permanent(&format!("/ipfs/{}/", names.join("/"))).into_response())
        }
        EntryKind::Directory => {
            let index = format!("{path}index.html");
            match resolve(fetcher, index.clone()).await {
                Ok(index_file) if index_file.kind == EntryKind::File => {
                    file(fetcher, &index, &index_file, method, headers).await
                }
                _ => listing(fetcher, path, named.cid).await,
            }
        }
        EntryKind::Symlink | EntryKind::Data | EntryKind::Unfetched => {
            Ok((StatusCode::NOT_FOUND, "this is no file or folder\n").into_response())
        }
    }
}

/// What a path names.
struct Named {
    cid: Cid,
    kind: EntryKind,
    size: u64,
}

async fn resolve(fetcher: &Fetcher, path: String) -> Result<Named, FetchError> {
    let read = move |store: &Store| {
        let cid = store.resolve(&path)?;
        let (kind, size) = store.kind(&cid)?;
        Ok(Named { cid, kind, size })
    };
    fetcher.reading(Scope::Anyone, read).await
}

async fn file(
    fetcher: &Fetcher,
    path: &str,
    named: &Named,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Response, FetchError> {
    let etag = format!("\"{}\"", named.cid);
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    if text(header::IF_NONE_MATCH).is_some_and(|sent| sent == "*" || sent.contains(&etag)) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, etag)]).into_response());
    }
    // A range of some other version of the file would be nonsense.
    let current = text(header::IF_RANGE).is_none_or(|sent| sent == etag);
    let asked = range::parse(text(header::RANGE).filter(|_| current), named.size);
    let (status, bytes) = match asked {
        Asked::Whole => (StatusCode::OK, 0..named.size),
        Asked::Part(bytes) => (StatusCode::PARTIAL_CONTENT, bytes),
        Asked::Unsatisfiable => {
            let size = format!("bytes */{}", named.size);
            return Ok((StatusCode::RANGE_NOT_SATISFIABLE, [(header::CONTENT_RANGE, size)]).into_response());
        }
    };
    let kind = content_type(path, &read(fetcher, named.cid, 0, SNIFF_BYTES).await?);
    let mut response = Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, kind)
        .header(header::CONTENT_LENGTH, bytes.end - bytes.start)
        .header(header::ACCEPT_RANGES, "bytes")
        .header(header::ETAG, etag)
        .header(header::CACHE_CONTROL, IMMUTABLE)
        .header(header::X_CONTENT_TYPE_OPTIONS, "nosniff")
        .header("X-Ipfs-Path", format!("/ipfs/{path}"));
    if status == StatusCode::PARTIAL_CONTENT {
        response =
            response.header(header::CONTENT_RANGE, format!("bytes {}-{}/{}", bytes.start, bytes.end - 1, named.size));
    }
    let body = if *method == Method::HEAD { Body::empty() } else { body(fetcher.clone(), named.cid, bytes) };
    Ok(response.body(body).unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response()))
}

/// The bytes, read only as fast as the browser takes them.
fn body(fetcher: Fetcher, cid: Cid, bytes: std::ops::Range<u64>) -> Body {
    let chunks = stream::try_unfold(bytes, move |rest| {
        let fetcher = fetcher.clone();
        async move {
            if rest.is_empty() {
                return Ok::<_, FetchError>(None);
            }
            let length = usize::try_from(rest.end - rest.start).unwrap_or(usize::MAX).min(CHUNK_BYTES);
            let data = read(&fetcher, cid, rest.start, length).await?;
            if data.is_empty() {
                // Shorter than it says it is; the broken connection tells the browser.
                return Err(FetchError::Endless);
            }
            let next = rest.start + data.len() as u64..rest.end;
            Ok(Some((Bytes::from(data), next)))
        }
    });
    Body::from_stream(chunks)
}

async fn read(fetcher: &Fetcher, cid: Cid, at: u64, length: usize) -> Result<Vec<u8>, FetchError> {
    let read = move |store: &Store| {
        let mut buffer = vec![0; length];
        let read = store.open_file(&cid)?.read_at(at, &mut buffer)?;
        buffer.truncate(read);
        Ok(buffer)
    };
    fetcher.reading(Scope::Anyone, read).await
}

/// By name where the path has one, else by the first bytes, else by whether they are text.
fn content_type(path: &str, first: &[u8]) -> String {
    let named = path.split_once('/').and_then(|(_, name)| mime_guess::from_path(name).first());
    if let Some(mime) = named {
        let charset = if mime.type_() == "text" { "; charset=utf-8" } else { "" };
        return format!("{mime}{charset}");
    }
    if let Some(kind) = infer::get(first) {
        return kind.mime_type().to_owned();
    }
    let looks_like_text =
        !first.contains(&0) && std::str::from_utf8(&first[..first.len().min(SNIFF_BYTES - 4)]).is_ok();
    let kind = if looks_like_text { "text/plain; charset=utf-8" } else { "application/octet-stream" };
    kind.to_owned()
}

async fn listing(fetcher: &Fetcher, path: &str, cid: Cid) -> Result<Response, FetchError> {
    let entries = fetcher.reading(Scope::Anyone, move |store| store.list(&cid)).await?;
    let mut page =
        format!("<!doctype html><meta charset=utf-8><title>{0}</title><h1>/ipfs/{0}</h1><ul>\n", escape(path));
    for entry in entries.iter().take(LISTED_MAX) {
        let name = escape(&entry.name);
        let link: String = entry.name.bytes().map(percent).collect();
        page.push_str(&format!("<li><a href=\"{link}\">{name}</a> {} bytes\n", entry.size));
    }
    if entries.len() > LISTED_MAX {
        page.push_str(&format!("<li>and {} more\n", entries.len() - LISTED_MAX));
    }
    page.push_str("</ul>\n");
    let headers =
        [(header::CONTENT_TYPE, "text/html; charset=utf-8".to_owned()), (header::ETAG, format!("\"DirIndex-{cid}\""))];
    Ok((headers, page).into_response())
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn percent(byte: u8) -> String {
    if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
        char::from(byte).to_string()
    } else {
        format!("%{byte:02X}")
    }
}

fn refuse(error: &FetchError) -> Response {
    let status = match error {
        FetchError::NotFound(..) => StatusCode::NOT_FOUND,
        FetchError::Read(ReadError::Missing(_) | ReadError::NotThere(_)) => StatusCode::NOT_FOUND,
        FetchError::Read(_) | FetchError::Store(_) => StatusCode::INTERNAL_SERVER_ERROR,
        FetchError::TooWide(_) | FetchError::Endless | FetchError::Links(_) => StatusCode::BAD_REQUEST,
    };
    (status, format!("{error}\n")).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types_come_from_the_name_then_from_the_bytes() {
        assert_eq!(content_type("bafy/film.mp4", b""), "video/mp4");
        assert_eq!(content_type("bafy", b"\0\0\0\x20ftypisom\0\0\x02\0isomiso2avc1mp41"), "video/mp4");
        assert_eq!(content_type("bafy", b"hello"), "text/plain; charset=utf-8");
        assert_eq!(content_type("bafy", b"\xff\x00\x01"), "application/octet-stream");
        assert_eq!(content_type("bafy/index.html", b""), "text/html; charset=utf-8");
    }

    #[test]
    fn names_cannot_break_out_of_a_listing() {
        assert_eq!(escape("<b>\"&"), "&lt;b&gt;&quot;&amp;");
        assert_eq!("a b\"".bytes().map(percent).collect::<String>(), "a%20b%22");
    }
}
