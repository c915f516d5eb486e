//! The side that runs: which leases this node holds, when each is to be renewed, which are lost.
//!
//! What always holds: a lease counts from when it was asked for, not from when the answer came,
//! so the holder gives up before the arbiter does. What is lost was reported once by
//! [`Holder::lost`]; the caller stops the work.
//! What this file does not do: send. [`Holder::due`] says what to send now, [`Holder::next_at`]
//! when to look again.

use std::collections::BTreeMap;

use super::{Epoch, RENEWAL_MS, RENEWAL_RETRY_MS};
use crate::identity::ActionId;

/// Leases one node holds: far more than slots, and it is told when it asks for more.
pub const MAX_HELD: usize = 4096;

#[derive(Debug, Clone, Copy)]
struct Held {
    epoch: Epoch,
    expires_ms: u64,
    renew_at_ms: u64,
}

/// This node holds as many leases as it may; release some first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this node holds {MAX_HELD} leases")]
pub struct TooMany;

/// A renewal to send now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// For which action.
    pub action: ActionId,
    /// With which token.
    pub epoch: Epoch,
}

/// The leases of one node.
#[derive(Debug, Default)]
pub struct Holder {
    held: BTreeMap<ActionId, Held>,
}

impl Holder {
    /// A lease was granted to a request that was sent at `asked_ms`.
    ///
    /// # Errors
    /// [`TooMany`]: give it back.
    pub fn granted(&mut self, asked_ms: u64, action: ActionId, epoch: Epoch, ttl_ms: u64) -> Result<(), TooMany> {
        if self.held.len() >= MAX_HELD && !self.held.contains_key(&action) {
            return Err(TooMany);
        }
        let expires_ms = asked_ms.saturating_add(ttl_ms);
        let renew_at_ms = asked_ms + RENEWAL_MS.min(ttl_ms / 3);
        self.held.insert(action, Held { epoch, expires_ms, renew_at_ms });
        Ok(())
    }

    /// When to look again; none while nothing is held.
    pub fn next_at(&self) -> Option<u64> {
        self.held.values().map(|held| held.renew_at_ms.min(held.expires_ms)).min()
    }

    /// The renewals to send now. Each is due again after a retry interval, until it is answered.
    pub fn due(&mut self, now_ms: u64) -> Vec<Due> {
        let mut due = Vec::new();
        for (action, held) in &mut self.held {
            if held.renew_at_ms <= now_ms && now_ms < held.expires_ms {
                held.renew_at_ms = now_ms + RENEWAL_RETRY_MS;
                due.push(Due { action: *action, epoch: held.epoch });
            }
        }
        due
    }

    /// A renewal that was sent at `asked_ms` was granted.
    pub fn renewed(&mut self, asked_ms: u64, action: ActionId, epoch: Epoch, ttl_ms: u64) {
        let Some(held) = self.held.get_mut(&action).filter(|held| held.epoch == epoch) else {
            return;
        };
        let expires_ms = asked_ms.saturating_add(ttl_ms);
        if expires_ms > held.expires_ms {
            held.expires_ms = expires_ms;
            held.renew_at_ms = asked_ms + RENEWAL_MS.min(ttl_ms / 3);
        }
    }

    /// A renewal was refused: the lease is lost. Says whether it was held.
    pub fn refused(&mut self, action: ActionId, epoch: Epoch) -> bool {
        let held = self.held.get(&action).is_some_and(|held| held.epoch == epoch);
        if held {
            self.held.remove(&action);
        }
        held
    }

    /// Leases that ran out without an answer; each is reported once.
    pub fn lost(&mut self, now_ms: u64) -> Vec<ActionId> {
        let gone: Vec<ActionId> =
            self.held.iter().filter(|(_, held)| held.expires_ms <= now_ms).map(|(action, _)| *action).collect();
        for action in &gone {
            self.held.remove(action);
        }
        gone
    }

    /// The members changed, so another arbiter may be asked now: every lease is renewed at once,
    /// within the interval for which a new arbiter waits.
    pub fn members_changed(&mut self, now_ms: u64) {
        for held in self.held.values_mut() {
            held.renew_at_ms = held.renew_at_ms.min(now_ms);
        }
    }

    /// The work is over: the token to release with, if the lease is still held.
    pub fn finish(&mut self, action: &ActionId) -> Option<Epoch> {
        self.held.remove(action).map(|held| held.epoch)
    }

    /// The token of a held lease.
    pub fn epoch(&self, action: &ActionId) -> Option<Epoch> {
        self.held.get(action).map(|held| held.epoch)
    }

    /// How many leases are held.
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether none is held.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lease::TTL_MS;

    const ACTION: ActionId = ActionId([1; 32]);
    const EPOCH: Epoch = Epoch { incarnation: 1, counter: 1 };

    fn holding() -> Holder {
        let mut holder = Holder::default();
        holder.granted(0, ACTION, EPOCH, TTL_MS).expect("there is room");
        holder
    }

    #[test]
    fn a_renewal_is_due_at_a_third_and_again_until_it_is_answered() {
        let mut holder = holding();
        assert_eq!(holder.next_at(), Some(RENEWAL_MS));
        assert!(holder.due(RENEWAL_MS - 1).is_empty());
        assert_eq!(holder.due(RENEWAL_MS), [Due { action: ACTION, epoch: EPOCH }]);
        assert!(holder.due(RENEWAL_MS + 1).is_empty());
        assert_eq!(holder.due(RENEWAL_MS + RENEWAL_RETRY_MS).len(), 1);
        holder.renewed(RENEWAL_MS, ACTION, EPOCH, TTL_MS);
        assert_eq!(holder.next_at(), Some(2 * RENEWAL_MS));
        assert!(holder.lost(TTL_MS).is_empty());
    }

    #[test]
    fn a_lease_without_an_answer_is_lost_once() {
        let mut holder = holding();
        assert!(holder.lost(TTL_MS - 1).is_empty());
        assert_eq!(holder.lost(TTL_MS), [ACTION]);
        assert!(holder.lost(TTL_MS).is_empty());
        assert_eq!(holder.finish(&ACTION), None);
    }

    #[test]
    fn a_late_answer_does_not_shorten_a_lease_and_a_foreign_epoch_changes_nothing() {
        let mut holder = holding();
        holder.renewed(RENEWAL_MS, ACTION, EPOCH, TTL_MS);
        holder.renewed(1, ACTION, EPOCH, TTL_MS);
        assert!(holder.lost(RENEWAL_MS + TTL_MS - 1).is_empty());
        let other = Epoch { counter: 2, ..EPOCH };
        assert!(!holder.refused(ACTION, other));
        assert!(holder.refused(ACTION, EPOCH));
    }

    #[test]
    fn a_change_of_members_makes_every_renewal_due() {
        let mut holder = holding();
        holder.members_changed(10);
        assert_eq!(holder.due(10).len(), 1);
    }

    #[test]
    fn held_leases_are_bounded() {
        let mut holder = Holder::default();
        for n in 0..MAX_HELD {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&n.to_le_bytes());
            holder.granted(0, ActionId(id), EPOCH, TTL_MS).expect("there is room");
        }
        assert_eq!(holder.granted(0, ActionId([255; 32]), EPOCH, TTL_MS), Err(TooMany));
    }
}
