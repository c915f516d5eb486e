//! The only place of the client that starts a thread: for disks, which block.

/// Runs work that blocks away from the async threads. Dropping the future does not stop the work;
/// what it waits for must end by itself.
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
