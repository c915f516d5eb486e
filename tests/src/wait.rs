//! The one deadline loop: asks again until the answer is there. The only place in tests that sleeps.

use std::time::{Duration, Instant};

/// Often enough that nobody waits for it, seldom enough that it costs nothing.
const ASK_AGAIN: Duration = Duration::from_millis(10);

/// Asks until there is an answer; panics, naming `what`, when `deadline` has passed.
pub fn until<T>(what: &str, deadline: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    match within(deadline, &mut ask) {
        Some(answer) => answer,
        None => panic!("waited {deadline:?} for {what}"),
    }
}

/// Asks until there is an answer or `deadline` has passed.
pub fn within<T>(deadline: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + deadline;
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if Instant::now() >= end {
            return None;
        }
        std::thread::sleep(ASK_AGAIN);
    }
}
