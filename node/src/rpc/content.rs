//! The Content service: decode, one call, encode.

use artdag_blockstore::{Block, EntryKind, Store, Visibility};
use artdag_network::Scope;
use artdag_proto::v1 as wire;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{
    add,
    answers::{self, Answer, Answers},
    status::{IntoStatus, invalid, parse_cid},
};
use crate::{
    fetch::Fetcher,
    task::{Tasks, blocking},
};

/// Bytes of one data message; large enough to be cheap, small enough to share a connection.
const DATA_BYTES: usize = 256 * 1024;
/// Messages between the call and its worker.
const QUEUE: usize = 16;
/// Folders inside folders that `Get` follows.
const DEPTH_MAX: usize = 128;

/// Serves one store and what can be fetched into it.
pub struct ContentService {
    store: Store,
    fetcher: Fetcher,
    tasks: Tasks,
}

impl ContentService {
    /// Over this store.
    #[must_use]
    pub fn new(store: Store, fetcher: Fetcher, tasks: Tasks) -> Self {
        Self { store, fetcher, tasks }
    }
}

#[tonic::async_trait]
impl wire::content_server::Content for ContentService {
    type AddStream = Answers<wire::AddResponse>;
    type GetStream = Answers<wire::GetResponse>;
    type CatStream = Answers<wire::CatResponse>;
    type LsStream = Answers<wire::LsResponse>;
    type ListPublicStream = Answers<wire::ListPublicResponse>;

    async fn add(&self, request: Request<Streaming<wire::AddRequest>>) -> Result<Response<Self::AddStream>, Status> {
        let mut incoming = request.into_inner();
        let (parts, to_worker) = mpsc::channel(QUEUE);
        let (answers, to_caller) = mpsc::channel(QUEUE);
        let store = self.store.clone();
        self.tasks.spawn_until_stop("add worker", blocking(move || add::run(&store, to_worker, &answers)));
        self.tasks.spawn_until_stop("add reader", async move {
            loop {
                let step = match incoming.message().await {
                    Ok(Some(part)) => add::Step::Part(part),
                    Ok(None) => add::Step::End,
                    // Cut off: the worker sees the closed channel and drops what was open.
                    Err(_) => return,
                };
                let last = matches!(step, add::Step::End);
                if parts.send(step).await.is_err() || last {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(to_caller)))
    }

    async fn get(&self, request: Request<wire::GetRequest>) -> Result<Response<Self::GetStream>, Status> {
        let root = self.resolve(request.into_inner().path).await?;
        let fetcher = self.fetcher.clone();
        Ok(Response::new(answers::stream(&self.tasks, "get", |answers| async move {
            let sender = Sender { fetcher, answers };
            if let Err(status) = sender.tree(root).await {
                let _ = sender.answers.send(Err(status)).await;
            }
        })))
    }

    async fn cat(&self, request: Request<wire::CatRequest>) -> Result<Response<Self::CatStream>, Status> {
        let wire::CatRequest { path, offset, length } = request.into_inner();
        let cid = self.resolve(path).await?;
        let size = self.file_size(cid).await?;
        let end = length.map_or(size, |length| offset.saturating_add(length).min(size));
        let fetcher = self.fetcher.clone();
        Ok(Response::new(answers::stream(&self.tasks, "cat", |answers| async move {
            let mut at = offset;
            while at < end {
                let data = match read_at(&fetcher, cid, at, end).await {
                    Ok(data) if data.is_empty() => Err(ends_early(&cid)),
                    other => other,
                };
                let read = data.as_ref().map_or(0, Vec::len) as u64;
                if answers.send(data.map(|data| wire::CatResponse { data })).await.is_err() || read == 0 {
                    return;
                }
                at += read;
            }
        })))
    }

    async fn ls(&self, request: Request<wire::LsRequest>) -> Result<Response<Self::LsStream>, Status> {
        let cid = self.resolve(request.into_inner().path).await?;
        let entries = self.fetcher.list(cid).await.map_err(IntoStatus::into_status)?;
        let lines = entries.into_iter().map(|entry| wire::LsResponse {
            name: entry.name,
            cid: entry.cid.to_string(),
            kind: kind(entry.kind).into(),
            size: entry.size,
        });
        Ok(Response::new(answers::lines(&self.tasks, "ls", lines.collect())))
    }

    async fn stat(&self, request: Request<wire::StatRequest>) -> Result<Response<wire::StatResponse>, Status> {
        let cid = self.resolve(request.into_inner().path).await?;
        let stat = self.fetcher.reading(Scope::Anyone, move |store| store.stat(&cid)).await;
        let stat = stat.map_err(IntoStatus::into_status)?;
        Ok(Response::new(wire::StatResponse {
            cid: stat.cid.to_string(),
            kind: kind(stat.kind).into(),
            size: stat.size,
            cumulative_size: stat.cumulative_size,
            blocks: stat.blocks,
            local: stat.local,
            content_hash: stat.content_hash.map(Vec::from).unwrap_or_default(),
        }))
    }

    async fn put_block(
        &self,
        request: Request<wire::PutBlockRequest>,
    ) -> Result<Response<wire::PutBlockResponse>, Status> {
        let wire::PutBlockRequest { data, codec, multihash } = request.into_inner();
        let size = data.len() as u64;
        let block = Block::named(&codec, &multihash, data).map_err(|error| invalid(error.to_string()))?;
        let cid = *block.cid();
        let store = self.store.clone();
        blocking(move || store.put(&[block])).await.map_err(IntoStatus::into_status)?;
        Ok(Response::new(wire::PutBlockResponse { cid: cid.to_string(), size }))
    }

    async fn get_block(
        &self,
        request: Request<wire::GetBlockRequest>,
    ) -> Result<Response<wire::GetBlockResponse>, Status> {
        let cid = parse_cid(&request.into_inner().cid)?;
        let block: Block = self.fetcher.block(&cid, Scope::Anyone).await.map_err(IntoStatus::into_status)?;
        Ok(Response::new(wire::GetBlockResponse { cid: cid.to_string(), data: block.bytes().to_vec() }))
    }

    async fn set_public(
        &self,
        request: Request<wire::SetPublicRequest>,
    ) -> Result<Response<wire::SetPublicResponse>, Status> {
        let wire::SetPublicRequest { cid, public } = request.into_inner();
        let cid = parse_cid(&cid)?;
        if public {
            self.fetcher.dag(&cid, Scope::Anyone, &[]).await.map_err(IntoStatus::into_status)?;
        }
        let wanted = if public { Visibility::Public } else { Visibility::Private };
        let store = self.store.clone();
        let blocks = blocking(move || store.set_public(&cid, wanted)).await.map_err(IntoStatus::into_status)?;
        Ok(Response::new(wire::SetPublicResponse { blocks }))
    }

    async fn list_public(
        &self,
        _: Request<wire::ListPublicRequest>,
    ) -> Result<Response<Self::ListPublicStream>, Status> {
        let store = self.store.clone();
        let roots = blocking(move || store.public_roots()).await.map_err(IntoStatus::into_status)?;
        let lines = roots.into_iter().map(|root| wire::ListPublicResponse { cid: root.cid.to_string() });
        Ok(Response::new(answers::lines(&self.tasks, "list public", lines.collect())))
    }
}

impl ContentService {
    async fn resolve(&self, path: String) -> Result<cid::Cid, Status> {
        if path.trim().is_empty() {
            return Err(invalid("give a CID or CID/name"));
        }
        let found = self.fetcher.reading(Scope::Anyone, move |store| store.resolve(&path)).await;
        found.map_err(IntoStatus::into_status)
    }

    async fn file_size(&self, cid: cid::Cid) -> Result<u64, Status> {
        let size = self.fetcher.reading(Scope::Anyone, move |store| Ok(store.open_file(&cid)?.len())).await;
        size.map_err(IntoStatus::into_status)
    }
}

/// One `Get` under way.
struct Sender {
    fetcher: Fetcher,
    answers: Answer<wire::GetResponse>,
}

impl Sender {
    /// Depth first, with a stack of what is still to send.
    async fn tree(&self, root: cid::Cid) -> Result<(), Status> {
        let mut stack = vec![(String::new(), root, 0)];
        while let Some((path, cid, depth)) = stack.pop() {
            let found = self.fetcher.reading(Scope::Anyone, move |store| store.kind(&cid)).await;
            let (found, size) = found.map_err(IntoStatus::into_status)?;
            let mut entry =
                wire::Entry { path: path.clone(), kind: kind(found).into(), size, ..wire::Entry::default() };
            match found {
                EntryKind::File => {
                    self.send(wire::get_response::Part::Entry(entry)).await?;
                    self.file(cid, size).await?;
                }
                EntryKind::Data | EntryKind::Unfetched => {
                    return Err(invalid(format!("{cid} is no file or folder; `artdag block get` reads it as it is")));
                }
                EntryKind::Symlink => {
                    let target = self.fetcher.reading(Scope::Anyone, move |store| store.symlink_target(&cid)).await;
                    entry.target = target.map_err(IntoStatus::into_status)?;
                    self.send(wire::get_response::Part::Entry(entry)).await?;
                }
                EntryKind::Directory => {
                    if depth > DEPTH_MAX {
                        return Err(invalid(format!("`{path}` is deeper than {DEPTH_MAX} folders")));
                    }
                    self.send(wire::get_response::Part::Entry(entry)).await?;
                    let entries = self.fetcher.reading(Scope::Anyone, move |store| store.list(&cid)).await;
                    for child in entries.map_err(IntoStatus::into_status)?.into_iter().rev() {
                        let below = if path.is_empty() { child.name } else { format!("{path}/{}", child.name) };
                        stack.push((below, child.cid, depth + 1));
                    }
                }
            }
        }
        Ok(())
    }

    async fn file(&self, cid: cid::Cid, size: u64) -> Result<(), Status> {
        // The whole file is wanted, so its blocks are fetched many at a time first.
        self.fetcher.dag(&cid, Scope::Anyone, &[]).await.map_err(IntoStatus::into_status)?;
        let mut at = 0;
        while at < size {
            let data = read_at(&self.fetcher, cid, at, size).await?;
            if data.is_empty() {
                return Err(ends_early(&cid));
            }
            at += data.len() as u64;
            self.send(wire::get_response::Part::Data(data)).await?;
        }
        Ok(())
    }

    async fn send(&self, part: wire::get_response::Part) -> Result<(), Status> {
        let sent = self.answers.send(Ok(wire::GetResponse { part: Some(part) })).await;
        sent.map_err(|_| Status::cancelled("the caller went away"))
    }
}

/// At most one message of bytes from `at`, before `end`.
async fn read_at(fetcher: &Fetcher, cid: cid::Cid, at: u64, end: u64) -> Result<Vec<u8>, Status> {
    let length = usize::try_from(end - at).unwrap_or(usize::MAX).min(DATA_BYTES);
    let read = fetcher.reading(Scope::Anyone, move |store| {
        let mut buffer = vec![0; length];
        let read = store.open_file(&cid)?.read_at(at, &mut buffer)?;
        buffer.truncate(read);
        Ok(buffer)
    });
    read.await.map_err(IntoStatus::into_status)
}

fn ends_early(cid: &cid::Cid) -> Status {
    Status::data_loss(format!("{cid} ends before its stated size"))
}

fn kind(kind: EntryKind) -> wire::EntryKind {
    match kind {
        EntryKind::File => wire::EntryKind::File,
        EntryKind::Directory => wire::EntryKind::Directory,
        EntryKind::Symlink => wire::EntryKind::Symlink,
        EntryKind::Data => wire::EntryKind::Data,
        EntryKind::Unfetched => wire::EntryKind::Unspecified,
    }
}
