//! What the node says of itself: `/metrics` in the Prometheus text form and `/health`.

use std::sync::Arc;

use artdag_blockstore::Store;
use artdag_network::Network;
use axum::{
    Router,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
    routing::get,
};

use crate::{metrics::Metrics, task::blocking};

/// What the answers are made from.
#[derive(Clone)]
pub struct Observed {
    /// The counters.
    pub metrics: Arc<Metrics>,
    /// For gauges of connections.
    pub network: Network,
    /// For gauges of storage.
    pub store: Store,
}

/// The routes.
pub fn router(observed: Observed) -> Router {
    Router::new().route("/metrics", get(metrics)).route("/health", get(|| async { "ok\n" })).with_state(observed)
}

async fn metrics(State(observed): State<Observed>) -> Response {
    let peers = observed.network.peers().await;
    observed.metrics.connections(peers.iter().filter(|peer| peer.member).count(), peers.len());
    let store = observed.store.clone();
    if let Ok(usage) = blocking(move || store.usage()).await {
        observed.metrics.storage(usage.bytes, usage.free_bytes);
    }
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], observed.metrics.render()).into_response()
}
