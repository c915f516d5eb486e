//! Bytes of bitswap: one task reads each inbound stream, one task per peer writes its messages.
//!
//! The writer keeps one outbound stream, opens it when there is something to say and closes it after
//! `STREAM_IDLE`. Always: memory for what is being received comes out of one budget per circle, taken
//! before the body is read and given back when the engine has the message.

use std::sync::Arc;
use std::time::Duration;

use cid::Cid;
use futures::AsyncWriteExt;
use libp2p::Stream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;
use tracing::debug;

use super::engine::Receipt;
use super::message::{Incoming, MessageError, Outgoing, Version};
use crate::frame::{self, FrameError};
use crate::limits::{MESSAGE_BYTES, MESSAGES_IN_FLIGHT, OPEN_ATTEMPTS, READ_IDLE, STREAM_IDLE, WRITE_TIMEOUT};
use crate::peer::PeerId;
use crate::stream::{OpenError, Opener};

/// A message with the memory it was given.
pub struct Received {
    pub message: Incoming,
    pub _memory: OwnedSemaphorePermit,
}

/// A peer and which of its connected times is meant: reports of an earlier one are stale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    pub peer: PeerId,
    pub session: u64,
}

/// What tasks tell the driver.
pub enum Report {
    Received(Received),
    Malformed(String),
    Sent(Receipt),
    Unreachable(Option<String>),
    Found(Vec<(Cid, Option<u32>)>),
}

/// Where tasks report to.
pub type Reports = mpsc::Sender<(Tag, Report)>;

/// Kilobytes that may be under way from all peers of one circle.
pub type Memory = Arc<Semaphore>;

/// A body must have arrived within this time: a slow sender holds memory.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Message(#[from] MessageError),
    #[error("silent for too long")]
    Idle,
}

/// Reads messages until the stream ends, fails or says something that is not bitswap.
pub async fn read(tag: Tag, mut stream: Stream, memory: Memory, reports: Reports) {
    loop {
        let report = match read_message(&mut stream, &memory).await {
            Ok(Some(received)) => Report::Received(received),
            Ok(None) => return,
            Err(ReadError::Message(error)) => Report::Malformed(error.to_string()),
            Err(ReadError::Frame(error @ (FrameError::TooLong(..) | FrameError::BadLength))) => {
                Report::Malformed(error.to_string())
            }
            Err(error) => {
                debug!(peer = %tag.peer, %error, "bitswap stream ended");
                return;
            }
        };
        let last = matches!(report, Report::Malformed(..));
        if reports.send((tag, report)).await.is_err() || last {
            return;
        }
    }
}

async fn read_message(stream: &mut Stream, memory: &Memory) -> Result<Option<Received>, ReadError> {
    let length = timeout(READ_IDLE, frame::read_length(stream, MESSAGE_BYTES));
    let Some(length) = length.await.map_err(|_| ReadError::Idle)?? else {
        return Ok(None);
    };
    let kilobytes = u32::try_from(length / 1024 + 1).expect("a message has at most 4096 KiB");
    let permit = memory.clone().acquire_many_owned(kilobytes).await;
    let permit = permit.map_err(|_| ReadError::Idle)?;
    let body = timeout(BODY_TIMEOUT, frame::read_body(stream, length));
    let body = body.await.map_err(|_| ReadError::Idle)??;
    Ok(Some(Received { message: Incoming::decode(body)?, _memory: permit }))
}

/// A message for a peer and what to hand back when it is sent.
pub struct Job {
    pub message: Outgoing,
    pub receipt: Receipt,
}

/// The queue of a writer; it never overflows, because the engine counts what is under way.
pub fn jobs() -> (mpsc::Sender<Job>, mpsc::Receiver<Job>) {
    mpsc::channel(MESSAGES_IN_FLIGHT)
}

/// Writes messages to one peer until the queue is closed or the peer cannot be reached.
pub async fn write(tag: Tag, mut jobs: mpsc::Receiver<Job>, opener: Opener, reports: Reports) {
    let mut outbound: Option<(Stream, Version)> = None;
    loop {
        let job = match timeout(STREAM_IDLE, jobs.recv()).await {
            Ok(Some(job)) => job,
            Ok(None) => return,
            Err(_) => {
                if let Some((mut stream, _)) = outbound.take() {
                    let _ = timeout(STREAM_IDLE, stream.close()).await;
                }
                continue;
            }
        };
        let receipt = job.receipt;
        let report = match send(tag.peer, &mut outbound, job.message, &opener).await {
            Ok(()) => Report::Sent(receipt),
            // It has no bitswap: a fine peer otherwise, and no source.
            Err(SendError::Open(OpenError::Unsupported)) => Report::Unreachable(None),
            Err(error) => Report::Unreachable(Some(error.to_string())),
        };
        let last = matches!(report, Report::Unreachable(_));
        if reports.send((tag, report)).await.is_err() || last {
            return;
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum SendError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Write(#[from] std::io::Error),
    #[error("a message took too long")]
    TooSlow,
}

/// Sends on the stream at hand, or on a new one if that one turns out to be gone.
async fn send(
    peer: PeerId,
    outbound: &mut Option<(Stream, Version)>,
    message: Outgoing,
    opener: &Opener,
) -> Result<(), SendError> {
    let mut attempt = 0;
    loop {
        attempt += 1;
        let (mut stream, version) = match outbound.take() {
            Some(open) => open,
            None => open(peer, opener).await?,
        };
        // Cloning shares the blocks; the bytes are made for the version at hand.
        let bytes = message.clone().encode(version);
        let written = timeout(WRITE_TIMEOUT, frame::write(&mut stream, &bytes)).await;
        match written.map_err(|_| SendError::TooSlow)? {
            Ok(()) => {
                *outbound = Some((stream, version));
                return Ok(());
            }
            Err(error) if attempt >= OPEN_ATTEMPTS => return Err(error.into()),
            Err(_) => {}
        }
    }
}

async fn open(peer: PeerId, opener: &Opener) -> Result<(Stream, Version), OpenError> {
    let protocols = Version::ALL.map(Version::protocol);
    let (stream, protocol) = opener.open(peer, &protocols).await?;
    let version = Version::from_protocol(protocol.as_ref()).unwrap_or(Version::V1_2);
    Ok((stream, version))
}
