//! How far a step is: a share from 0 to 1 that never falls.
//!
//! A reader sees the latest value only, so a slow one costs nothing.

use tokio::sync::watch;

/// Smaller steps are not told: a reader shows whole percents.
const SMALLEST_STEP: f32 = 0.005;

/// The writing end, held by an executor.
#[derive(Debug, Clone)]
pub struct ProgressSender(watch::Sender<f32>);

/// A sender and the place to watch it.
pub fn channel() -> (ProgressSender, watch::Receiver<f32>) {
    let (sender, receiver) = watch::channel(0.0);
    (ProgressSender(sender), receiver)
}

impl ProgressSender {
    /// Tells the share done. What is smaller than before, or not a number, is ignored.
    pub fn send(&self, share: f32) {
        let share = share.clamp(0.0, 1.0);
        self.0.send_if_modified(|told| {
            let news = share >= *told + SMALLEST_STEP || (share >= 1.0 && *told < 1.0);
            if news {
                *told = share;
            }
            news
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_falls_and_stays_a_share() {
        let (sender, receiver) = channel();
        for (sent, seen) in [(0.5, 0.5), (0.2, 0.5), (f32::NAN, 0.5), (7.0, 1.0), (-1.0, 1.0)] {
            sender.send(sent);
            assert_eq!(*receiver.borrow(), seen);
        }
    }
}
