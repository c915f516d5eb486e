//! The edge for clients: one TCP port with every client service, reflection and health.

use std::{net::SocketAddr, sync::Arc};

use artdag_blockstore::Store;
use artdag_proto::{
    DESCRIPTOR,
    v1::{
        cluster_server::ClusterServer, content_server::ContentServer, pins_server::PinsServer,
        records_server::RecordsServer, runs_server::RunsServer,
    },
};
use tokio::net::TcpListener;
use tonic::{
    service::interceptor::InterceptedService,
    transport::{Server, server::TcpIncoming},
};
use tracing::warn;

use super::{
    cluster::ClusterService, content::ContentService, guard::Guard, pins::PinsService, records::RecordsService,
    runs::RunsService,
};
use crate::{
    fetch::Fetcher, members::Directory, metrics::Metrics, records::RecordsHandle, scheduler::Runs, task::Tasks,
};

/// A block has at most 2 MiB and a recipe at most 1 MiB; the rest is framing.
const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Calls one client may have open at once.
const CALLS_MAX: u32 = 1024;

/// The services of the client edge.
pub struct Services {
    content: ContentService,
    pins: PinsService,
    runs: RunsService,
    records: RecordsService,
    cluster: ClusterService,
}

/// Bytes a caller may send before it hears from us. HTTP/2's default of 64 KiB made an upload wait
/// for a round trip every quarter of a message: 65 MB/s where the hashes allow several hundred.
const STREAM_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 8 * 1024 * 1024;

/// What stands behind the services.
pub struct Behind {
    /// Blocks and files.
    pub store: Store,
    /// What can be fetched.
    pub fetcher: Fetcher,
    /// Replicated facts.
    pub records: RecordsHandle,
    /// Who is there.
    pub directory: Arc<Directory>,
    /// Runs submitted here.
    pub runs: Arc<Runs>,
    /// Owns the streams.
    pub tasks: Tasks,
}

impl Services {
    /// Over what stands behind.
    #[must_use]
    pub fn new(behind: Behind) -> Self {
        let Behind { store, fetcher, records, directory, runs, tasks } = behind;
        Self {
            content: ContentService::new(store.clone(), fetcher.clone(), tasks.clone()),
            pins: PinsService::new(store, fetcher, tasks.clone()),
            runs: RunsService::new(runs, tasks.clone()),
            records: RecordsService::new(records, tasks),
            cluster: ClusterService::new(directory),
        }
    }
}

/// What guards the edge.
pub struct EdgeArgs {
    /// The port, bound already.
    pub listener: TcpListener,
    /// What every caller must send, when set.
    pub token: Option<String>,
    /// Counts calls.
    pub metrics: Arc<Metrics>,
    /// Ends the edge.
    pub tasks: Tasks,
}

/// Binds the port.
///
/// # Errors
/// A sentence that names the port and what to do.
pub async fn bind(option: &'static str, address: SocketAddr) -> Result<TcpListener, BindError> {
    TcpListener::bind(address).await.map_err(|source| BindError { option, address, source })
}

/// A port that cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot bind {option} {address}: {source}; stop what uses it or give another port (0 picks a free one)")]
pub struct BindError {
    option: &'static str,
    address: SocketAddr,
    source: std::io::Error,
}

/// Serves until the node stops.
pub async fn serve(args: EdgeArgs, services: Services) {
    // Health alone is open: it says no more than that the port answers.
    let guard = Guard::new(args.token.as_deref(), args.metrics);
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<RunsServer<RunsService>>().await;
    health.set_serving::<ContentServer<ContentService>>().await;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTOR)
        .build_v1()
        .expect("the committed descriptor is a valid descriptor set");
    let stop = args.tasks.stopping();
    // Small answers must not wait for company.
    let incoming = TcpIncoming::from(args.listener).with_nodelay(Some(true));
    let Services { content, pins, runs, records, cluster } = services;
    let served = Server::builder()
        .max_concurrent_streams(Some(CALLS_MAX))
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .add_service(health_service)
        .add_service(InterceptedService::new(reflection, guard.clone()))
        .add_service(InterceptedService::new(
            ContentServer::new(content).max_decoding_message_size(MESSAGE_BYTES_MAX),
            guard.clone(),
        ))
        .add_service(InterceptedService::new(PinsServer::new(pins), guard.clone()))
        .add_service(InterceptedService::new(
            RunsServer::new(runs).max_decoding_message_size(MESSAGE_BYTES_MAX),
            guard.clone(),
        ))
        .add_service(InterceptedService::new(RecordsServer::new(records), guard.clone()))
        .add_service(InterceptedService::new(ClusterServer::new(cluster), guard))
        .serve_with_incoming_shutdown(incoming, async move { stop.cancelled().await })
        .await;
    if let Err(error) = served {
        warn!(%error, "the client edge ended");
    }
}
