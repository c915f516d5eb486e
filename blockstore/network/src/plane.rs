//! Planes: byte streams between members, for gRPC and for reconciling records.
//!
//! Always: a stream comes from a proved member or not at all. What is spoken on it is not our matter.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_util::compat::{Compat, FuturesAsyncReadCompatExt};

use crate::limits::PLANE_BACKLOG;
use crate::peer::PeerId;

/// What a stream between members is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Plane {
    Grpc,
    Reconcile,
}

impl Plane {
    pub(crate) const ALL: [Plane; 2] = [Plane::Grpc, Plane::Reconcile];

    pub(crate) fn protocol(self) -> &'static str {
        match self {
            Plane::Grpc => "/artdag/grpc/1",
            Plane::Reconcile => "/artdag/reconcile/1",
        }
    }

    pub(crate) fn from_protocol(protocol: &str) -> Option<Plane> {
        Self::ALL.into_iter().find(|it| it.protocol() == protocol)
    }
}

/// A byte stream to a member. Dropping it without `shutdown` resets it.
#[derive(Debug)]
pub struct Stream {
    inner: Compat<libp2p::Stream>,
    /// The place it takes among the streams of its peer.
    _place: Option<OwnedSemaphorePermit>,
}

impl Stream {
    pub(crate) fn new(stream: libp2p::Stream, place: Option<OwnedSemaphorePermit>) -> Self {
        Stream { inner: stream.compat(), _place: place }
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// Streams that members open to us on one plane; ends at shutdown, or when the plane is accepted anew.
#[derive(Debug)]
pub struct Incoming {
    streams: mpsc::Receiver<(PeerId, Stream)>,
}

impl Incoming {
    /// The next stream. Safe to drop.
    pub async fn next(&mut self) -> Option<(PeerId, Stream)> {
        self.streams.recv().await
    }
}

impl futures::Stream for Incoming {
    type Item = (PeerId, Stream);

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.streams.poll_recv(cx)
    }
}

type Queue = mpsc::Sender<(PeerId, Stream)>;

/// Who accepts which plane.
#[derive(Clone, Default)]
pub(crate) struct Acceptors {
    queues: Arc<Mutex<HashMap<Plane, Queue>>>,
}

impl Acceptors {
    pub fn accept(&self, plane: Plane) -> Incoming {
        let (queue, streams) = mpsc::channel(PLANE_BACKLOG);
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        queues.insert(plane, queue);
        Incoming { streams }
    }

    /// Hands a stream to whoever accepts the plane; with nobody there, or no room, it is reset.
    pub fn hand_over(&self, plane: Plane, peer: PeerId, stream: Stream) -> Result<(), NotTaken> {
        let queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        let queue = queues.get(&plane).ok_or(NotTaken)?;
        queue.try_send((peer, stream)).map_err(|_| NotTaken)
    }

    pub fn close(&self) {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// Nobody took the stream.
pub(crate) struct NotTaken;
