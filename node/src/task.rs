//! The only place that spawns. Every task has a name and an owner, hears of the stop and is
//! joined before the node is gone.

use std::time::Duration;

use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{Instrument, debug_span};

/// How long a stop waits for tasks; all of it is promised within five seconds.
const JOIN_TIMEOUT: Duration = Duration::from_millis(3500);

/// The tasks of one node.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Tasks {
    /// No tasks yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancelled when the node stops.
    #[must_use]
    pub fn stopping(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Runs a task that looks at [`Tasks::stopping`] itself, since it has to clean up.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.tracker.spawn(task.instrument(debug_span!("task", name)));
    }

    /// Runs a task that may be dropped at any await once the node stops.
    pub fn spawn_until_stop(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.spawn(name, async move {
            stop.run_until_cancelled(task).await;
        });
    }

    /// Tells every task to stop and waits for them. `false`: some were still running.
    pub async fn stop(&self) -> bool {
        self.stop.cancel();
        self.tracker.close();
        tokio::time::timeout(JOIN_TIMEOUT, self.tracker.wait()).await.is_ok()
    }
}

/// Runs work that blocks (files, hashes, fsync) away from the async threads. Dropping the future
/// does not stop the work.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Only a runtime that shuts down cancels blocking work, and then nobody waits for it.
            Err(_) => std::future::pending().await,
        },
    }
}
