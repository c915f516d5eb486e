//! The only place that reads a clock. Everything that decides is given the time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Unix time in milliseconds; 0 when the machine's clock lies before 1970.
#[must_use]
pub fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Milliseconds on a clock that never goes back; comparable within this process only.
#[must_use]
pub fn steady_ms() -> u64 {
    static START: std::sync::LazyLock<Stopwatch> = std::sync::LazyLock::new(Stopwatch::start);
    // Not from 0, so that a time before the start can be told from none.
    START.elapsed_ms() + 1
}

/// A point on the monotonic clock, for durations.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(std::time::Instant);

impl Stopwatch {
    /// Starts now.
    #[must_use]
    pub fn start() -> Self {
        Self(std::time::Instant::now())
    }

    /// Whole milliseconds since the start.
    #[must_use]
    pub fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// Waits. Dropping it is safe.
pub async fn sleep_ms(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

/// Gives up on a future after `ms`; the future is dropped then.
pub async fn within_ms<F: Future>(ms: u64, future: F) -> Option<F::Output> {
    tokio::time::timeout(Duration::from_millis(ms), future).await.ok()
}
