//! The hybrid logical clock that stamps batches: wall milliseconds and a counter (Kulkarni et al.,
//! "Logical Physical Clocks", 2014).
//!
//! What always holds: the stamps one clock gives only grow, and a stamp that was observed is
//! below every stamp given after it. A remote stamp moves the clock by at most [`MAX_DRIFT_MS`]
//! past the local time, so one wrong clock cannot drag the cluster along.
//! What this file does not do: decide anything. Stamps are for people and for news; no rule of
//! `state` asks them.

use serde::{Deserialize, Serialize};

/// How far ahead of ours another clock may be. Machines without NTP are minutes off; a stamp
/// further ahead is refused until our clock gets there.
pub const MAX_DRIFT_MS: u64 = 10 * 60 * 1000;

/// One moment of a hybrid clock; ordered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stamp {
    /// Unix milliseconds.
    pub wall_ms: u64,
    /// Orders events of one millisecond.
    pub counter: u32,
}

/// A remote stamp is more than [`MAX_DRIFT_MS`] ahead of the local time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a clock is {ahead_ms} ms ahead of ours")]
pub struct TooFarAhead {
    /// How far, in milliseconds.
    pub ahead_ms: u64,
}

/// The clock of one node.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    last: Stamp,
}

impl Clock {
    /// The next stamp; larger than every one before, whatever the local clock does.
    pub fn tick(&mut self, now_ms: u64) -> Stamp {
        self.last =
            if now_ms > self.last.wall_ms { Stamp { wall_ms: now_ms, counter: 0 } } else { self.last.successor() };
        self.last
    }

    /// Takes a remote stamp into account.
    ///
    /// # Errors
    /// [`TooFarAhead`]; the clock is as before.
    pub fn observe(&mut self, remote: Stamp, now_ms: u64) -> Result<(), TooFarAhead> {
        check_drift(remote, now_ms)?;
        // Taken over only within half of what is accepted: a node that took over all of it would be
        // refused by whoever's clock is a little behind.
        if remote.wall_ms <= now_ms.saturating_add(MAX_DRIFT_MS / 2) {
            self.last = self.last.max(remote);
        }
        Ok(())
    }

    /// Continues after a stamp of our own that was read back from disk, however far ahead it is:
    /// our own log must go on growing.
    pub fn resume(&mut self, own: Stamp) {
        self.last = self.last.max(own);
    }

    /// The last stamp given or observed.
    pub fn last(&self) -> Stamp {
        self.last
    }
}

/// Whether a stamp may be believed at this time.
///
/// # Errors
/// [`TooFarAhead`].
pub fn check_drift(remote: Stamp, now_ms: u64) -> Result<(), TooFarAhead> {
    let ahead_ms = remote.wall_ms.saturating_sub(now_ms);
    if ahead_ms > MAX_DRIFT_MS {
        return Err(TooFarAhead { ahead_ms });
    }
    Ok(())
}

impl Stamp {
    fn successor(self) -> Stamp {
        match self.counter.checked_add(1) {
            Some(counter) => Stamp { counter, ..self },
            None => Stamp { wall_ms: self.wall_ms.saturating_add(1), counter: 0 },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_grow_when_the_wall_clock_goes_back() {
        let mut clock = Clock::default();
        let first = clock.tick(1_000);
        let second = clock.tick(10);
        assert!(second > first);
        assert_eq!(clock.tick(2_000), Stamp { wall_ms: 2_000, counter: 0 });
    }

    #[test]
    fn an_observed_stamp_is_below_the_next_one() {
        let mut clock = Clock::default();
        let remote = Stamp { wall_ms: 5_000, counter: u32::MAX };
        clock.observe(remote, 1_000).expect("within the drift");
        assert!(clock.tick(1_000) > remote);
    }

    /// Or its own batches would be refused by whoever is a little behind.
    #[test]
    fn a_fast_clock_is_accepted_but_not_taken_over() {
        let (mut clock, now_ms) = (Clock::default(), 1_000);
        let fast = Stamp { wall_ms: now_ms + MAX_DRIFT_MS, counter: 0 };
        clock.observe(fast, now_ms).expect("within the drift");
        check_drift(clock.tick(now_ms), now_ms - 1).expect("a slower neighbour takes what we stamp");
    }

    #[test]
    fn a_stamp_from_the_far_future_changes_nothing() {
        let mut clock = Clock::default();
        let remote = Stamp { wall_ms: 1_000 + MAX_DRIFT_MS + 1, counter: 0 };
        assert_eq!(clock.observe(remote, 1_000), Err(TooFarAhead { ahead_ms: MAX_DRIFT_MS + 1 }));
        assert_eq!(clock.last(), Stamp::default());
    }
}
