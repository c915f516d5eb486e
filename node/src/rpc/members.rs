//! The edge for proved members: gRPC over streams of the peer connection. The network hands over
//! only streams of members, each with the PeerId that the connection proved.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use artdag_network::{Incoming, PeerId, Stream};
use artdag_proto::v1::{leases_server::LeasesServer, steps_server::StepsServer};
use futures::StreamExt;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::{Server, server::Connected};
use tracing::warn;

use super::{leases::LeasesService, steps::StepsService};
use crate::{lease::Leases, scheduler::worker::Worker, task::Tasks};

/// Calls one member may have open at once.
const CALLS_MAX: u32 = 1024;

/// The services of the member edge.
pub struct Services {
    steps: StepsService,
    leases: LeasesService,
}

impl Services {
    /// Over the worker and the arbiter of this node.
    #[must_use]
    pub fn new(worker: Arc<Worker>, leases: Arc<Leases>, tasks: Tasks) -> Self {
        Self { steps: StepsService::new(worker, tasks), leases: LeasesService::new(leases) }
    }
}

/// Serves until the node stops.
pub async fn serve(incoming: Incoming, services: Services, tasks: Tasks) {
    let accepted = incoming.map(|(peer, stream)| Ok::<_, io::Error>(MemberStream { peer, stream }));
    let stop = tasks.stopping();
    let served = Server::builder()
        .concurrency_limit_per_connection(CALLS_MAX as usize)
        .max_concurrent_streams(Some(CALLS_MAX))
        .add_service(StepsServer::new(services.steps))
        .add_service(LeasesServer::new(services.leases))
        .serve_with_incoming_shutdown(accepted, async move { stop.cancelled().await })
        .await;
    if let Err(error) = served {
        warn!(%error, "the member edge ended");
    }
}

/// Who calls; found in the extensions of each request.
#[derive(Clone, Debug)]
pub struct Caller(pub PeerId);

struct MemberStream {
    peer: PeerId,
    stream: Stream,
}

impl Connected for MemberStream {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Caller {
        Caller(self.peer)
    }
}

impl AsyncRead for MemberStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for MemberStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
