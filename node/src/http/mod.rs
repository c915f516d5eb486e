//! The HTTP edges: metrics and health on one port, files for browsers on another, since content
//! must not share an origin with what the node says of itself.

pub mod gateway;
mod host;
mod observe;
mod range;

use axum::Router;
use tokio::net::TcpListener;
use tracing::warn;

pub use observe::{Observed, router as observe_router};

use crate::task::Tasks;

/// Serves a router until the node stops.
pub async fn serve(listener: TcpListener, router: Router, tasks: Tasks) {
    let stop = tasks.stopping();
    let guarded = router.layer(axum::middleware::from_fn(host::only_local_names));
    let served = axum::serve(listener, guarded).with_graceful_shutdown(async move { stop.cancelled().await }).await;
    if let Err(error) = served {
        warn!(%error, "an http edge ended");
    }
}
