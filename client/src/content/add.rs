//! Adds a file or folder: a thread walks it, the call sends it, answers come back meanwhile.
//!
//! Nothing is half added. The stream ends only after a complete walk; if the walk fails or the
//! caller goes away, a part that says nothing is sent, which a node refuses, and the stream is
//! never ended. The walk is at most [`QUEUE`] chunks ahead of the network.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::Poll,
    time::Duration,
};

use artdag_proto::v1;
use cid::Cid;
use futures::Stream;
use serde::Serialize;
use tokio::sync::mpsc;

use super::walk;
use crate::{
    Client, Digest, Error,
    names::{answered_cid, cid_text},
    task::blocking,
};

/// Chunks read ahead: with 256 KiB each, 4 MiB.
const QUEUE: usize = 16;
/// How often a progress line is worth repainting.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pinning {
    /// The root is pinned with all it links to.
    Pin,
    Leave,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Folders {
    Walk,
    /// A folder is an error that says to use `-r`.
    Refuse,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hidden {
    /// Names that begin with a dot are left out.
    Skip,
    Include,
}

/// How to add.
#[derive(Clone, Copy, Debug)]
pub struct AddOptions {
    pub pinning: Pinning,
    pub folders: Folders,
    pub hidden: Hidden,
}

impl Default for AddOptions {
    fn default() -> Self {
        Self { pinning: Pinning::Pin, folders: Folders::Walk, hidden: Hidden::Skip }
    }
}

impl AddOptions {
    /// Refuses what cannot be added so, before a node is asked.
    pub fn check(&self, path: &Path) -> Result<(), Error> {
        walk::check(path, self.folders)
    }
}

/// One entry that the node has.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Added {
    /// From the root's own name on.
    pub path: String,
    #[serde(serialize_with = "cid_text")]
    pub cid: Cid,
    pub size: u64,
    pub content_hash: Option<Digest>,
    pub blake3: Option<Digest>,
    /// The last one: durable, and pinned if asked.
    pub root: bool,
}

/// What there is to show while adding.
#[derive(Debug)]
pub enum AddEvent<'a> {
    /// So many bytes were handed to the network.
    Sent {
        bytes: u64,
    },
    Added(&'a Added),
}

/// Tells the caller; its error ends the add.
type OnEvent<'a> = &'a mut (dyn FnMut(AddEvent<'_>) -> Result<(), Error> + Send);

impl Client {
    /// Adds `path` and returns its root. Dropping the future adds nothing.
    pub async fn add_path(&self, path: &Path, options: &AddOptions, on_event: OnEvent<'_>) -> Result<Added, Error> {
        options.check(path)?;
        let root_name = walk::root_name(path)?;
        let sent = Arc::new(AtomicU64::new(0));
        let abandoned = Abandoned::default();
        let (parts, requests) = mpsc::channel(QUEUE);
        let reading = read_ahead(path.to_owned(), *options, parts, abandoned.flag(), sent.clone());
        let walked = blocking(reading);

        let mut service = self.content_service();
        let call = receive(self, &mut service, requests, &root_name, &sent, on_event);
        tokio::pin!(walked, call);
        tokio::select! {
            answer = &mut call => answer,
            outcome = &mut walked => {
                outcome?;
                call.await
            }
        }
    }
}

async fn receive(
    client: &Client,
    service: &mut v1::content_client::ContentClient<crate::connection::Service>,
    requests: mpsc::Receiver<Outgoing>,
    root_name: &str,
    sent: &AtomicU64,
    on_event: OnEvent<'_>,
) -> Result<Added, Error> {
    let failed = |status| client.failed(&status);
    let mut answers = service.add(outgoing(requests)).await.map_err(failed)?.into_inner();
    let mut repaint = tokio::time::interval(PROGRESS_INTERVAL);
    loop {
        let answer = tokio::select! {
            answer = answers.message() => answer.map_err(failed)?,
            _ = repaint.tick() => {
                on_event(AddEvent::Sent { bytes: sent.load(Ordering::Relaxed) })?;
                continue;
            }
        };
        let Some(answer) = answer else {
            return Err(Error::Answer("the add ended without a root".to_owned()));
        };
        // The root's own line comes last; a single file is told of before that too.
        if answer.path.is_empty() && !answer.root {
            continue;
        }
        let added = parse(answer, root_name)?;
        on_event(AddEvent::Added(&added))?;
        if added.root {
            return Ok(added);
        }
    }
}

fn parse(answer: v1::AddResponse, root_name: &str) -> Result<Added, Error> {
    let path = match answer.path.as_str() {
        "" => root_name.to_owned(),
        below => format!("{root_name}/{below}"),
    };
    Ok(Added {
        path,
        cid: answered_cid(&answer.cid)?,
        size: answer.size,
        content_hash: Digest::parse(&answer.content_hash)?,
        blake3: Digest::parse(&answer.blake3)?,
        root: answer.root,
    })
}

/// What the walking thread hands over.
enum Outgoing {
    Part(v1::AddRequest),
    /// The walk is complete; only this ends the stream.
    End,
}

/// The requests in order. Without [`Outgoing::End`] the stream stays open for ever: its call is
/// dropped by the caller or refused by the node, and never taken for complete.
fn outgoing(mut parts: mpsc::Receiver<Outgoing>) -> impl Stream<Item = v1::AddRequest> {
    futures::stream::poll_fn(move |context| match parts.poll_recv(context) {
        Poll::Ready(Some(Outgoing::Part(request))) => Poll::Ready(Some(request)),
        Poll::Ready(Some(Outgoing::End)) => Poll::Ready(None),
        Poll::Ready(None) | Poll::Pending => Poll::Pending,
    })
}

/// The work of the walking thread.
fn read_ahead(
    path: PathBuf,
    options: AddOptions,
    parts: mpsc::Sender<Outgoing>,
    abandoned: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
) -> impl FnOnce() -> Result<(), Error> {
    move || {
        let mut send = |part: v1::add_request::Part| {
            let bytes = if let v1::add_request::Part::Data(data) = &part { data.len() } else { 0 };
            if abandoned.load(Ordering::Relaxed) {
                return Err(Error::TryLater("the add was given up".to_owned()));
            }
            hand_over(&parts, Outgoing::Part(v1::AddRequest { part: Some(part) }))?;
            sent.fetch_add(bytes as u64, Ordering::Relaxed);
            Ok(())
        };
        let pin = options.pinning == Pinning::Pin;
        let opening = v1::add_request::Part::Options(v1::AddOptions { pin, wrap: false });
        let walked = send(opening).and_then(|()| walk::walk(&path, options.hidden, &mut send));
        match walked {
            Ok(()) if !abandoned.load(Ordering::Relaxed) => {
                // If nobody takes it any more, the call has failed and tells why itself.
                let _ = hand_over(&parts, Outgoing::End);
                Ok(())
            }
            walked => {
                let nothing = v1::AddRequest { part: None };
                let closed = hand_over(&parts, Outgoing::Part(nothing)).is_err();
                // A closed queue means that the call ended first; its own error is the cause.
                if closed { Ok(()) } else { walked }
            }
        }
    }
}

fn hand_over(parts: &mpsc::Sender<Outgoing>, part: Outgoing) -> Result<(), Error> {
    parts.blocking_send(part).map_err(|_| Error::TryLater("the call has ended".to_owned()))
}

/// Tells the walking thread when the caller dropped the add.
#[derive(Default)]
struct Abandoned(Arc<AtomicBool>);

impl Abandoned {
    fn flag(&self) -> Arc<AtomicBool> {
        self.0.clone()
    }
}

impl Drop for Abandoned {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walked(path: &Path, abandoned: bool) -> (Vec<Outgoing>, Result<(), Error>) {
        let (parts, mut received) = mpsc::channel(QUEUE);
        let flag = Arc::new(AtomicBool::new(abandoned));
        let reading = read_ahead(path.to_owned(), AddOptions::default(), parts, flag, Arc::default());
        let outcome = std::thread::spawn(reading);
        let all: Vec<_> = std::iter::from_fn(|| received.blocking_recv()).collect();
        (all, outcome.join().expect("no panic"))
    }

    #[test]
    fn a_complete_walk_ends_the_stream() {
        let file = tempfile::NamedTempFile::new().expect("a scratch file");
        std::fs::write(file.path(), "abc").expect("written");
        let (parts, outcome) = walked(file.path(), false);
        outcome.expect("walked");
        assert_eq!(parts.len(), 4, "options, entry, data, end");
        assert!(matches!(parts[3], Outgoing::End));
    }

    #[test]
    fn a_failed_or_abandoned_walk_never_ends_the_stream_but_spoils_it() {
        let file = tempfile::NamedTempFile::new().expect("a scratch file");
        for (path, abandoned) in [(Path::new("/nonexistent/file"), false), (file.path(), true)] {
            let (parts, outcome) = walked(path, abandoned);
            outcome.expect_err("says why");
            assert!(!parts.iter().any(|part| matches!(part, Outgoing::End)));
            let Some(Outgoing::Part(last)) = parts.last() else { panic!("nothing was sent") };
            assert_eq!(last.part, None);
        }
    }

    #[test]
    fn an_added_entry_has_the_documented_json() {
        let answer = v1::AddResponse {
            path: "a/b.txt".to_owned(),
            cid: "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku".to_owned(),
            size: 3,
            content_hash: vec![0xab; 32],
            blake3: vec![0; 32],
            root: false,
        };
        let added = parse(answer, "folder").expect("parses");
        let (content_hash, blake3) = ("ab".repeat(32), "00".repeat(32));
        assert_eq!(
            serde_json::to_string(&added).expect("serialises"),
            format!(
                "{{\"path\":\"folder/a/b.txt\",\
                 \"cid\":\"bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku\",\
                 \"size\":3,\"content_hash\":\"{content_hash}\",\"blake3\":\"{blake3}\",\
                 \"root\":false}}"
            )
        );
    }
}
