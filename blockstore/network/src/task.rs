//! Spawning, in one place: every task of the network has an owner and an end.
//!
//! A task ends when its work does or when the network stops, whichever is first; `stop` waits for all.
//! Work that blocks (the store) is tracked too, but it is never cut off in the middle.

use std::future::Future;

use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// Owns every task of one network.
#[derive(Clone)]
pub struct Tasks {
    tracker: TaskTracker,
    stopping: CancellationToken,
}

impl Tasks {
    pub fn new() -> Self {
        Tasks { tracker: TaskTracker::new(), stopping: CancellationToken::new() }
    }

    /// Runs `work` until it ends or the network stops: it may be dropped at any await.
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let stopping = self.stopping.clone();
        self.tracker.spawn(async move {
            tokio::select! {
                () = work => {}
                () = stopping.cancelled() => {}
            }
        });
    }

    /// Runs `work` to its own end; it watches `stopping` itself and has something to put in order.
    pub fn spawn_orderly(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.tracker.spawn(work);
    }

    /// Runs disk work on a thread where waiting is allowed.
    pub fn spawn_blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        self.tracker.spawn_blocking(work)
    }

    /// Resolves when the network begins to stop.
    pub async fn stopping(&self) {
        self.stopping.cancelled().await;
    }

    /// Stops every task when the guard goes, without waiting for them.
    pub fn stop_when_dropped(&self) -> DropGuard {
        self.stopping.clone().drop_guard()
    }

    /// Stops and joins every task. Safe to call twice and to drop.
    pub async fn stop(&self) {
        self.stopping.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}
