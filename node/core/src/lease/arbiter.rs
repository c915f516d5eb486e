//! The arbiter of some actions: who runs what.
//!
//! What always holds:
//! - At most one lease per action; a lease ends by release, by its deadline, or when its holder
//!   leaves. Every grant has a new epoch.
//! - A completion counts only with the epoch of the lease in place. After a newer grant the old
//!   epoch is stale for as long as anyone can hold it: an ended lease is remembered for
//!   [`ENDED_MS`], a holder gives up after one TTL.
//! - An arbiter that is new to an action (just started, just joined the larger part, or its
//!   predecessor just left) first waits one renewal interval, in which holders renew here and are
//!   taken over; alone it does not wait, there is nobody to come back.
//! - It answers for actions of which, as far as it sees, it is the first live member.
//!
//! What this file does not do: run, remember beyond memory, or judge a result. In a partition
//! each side has an arbiter and may run an action once.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use cid::Cid;

use super::rendezvous::first;
use super::{Epoch, RENEWAL_MS, TTL_MS};
use crate::identity::{ActionId, Origin, tagged};

/// Leases of one arbiter: what a cluster of 200 nodes with 100 slots each can hold, three times.
pub const MAX_LEASES: usize = 65_536;
/// Ended leases remembered.
pub const MAX_ENDED: usize = 65_536;
/// How long an ended lease is remembered: until its record has spread by several rounds of
/// reconcile, and twelve TTLs.
pub const ENDED_MS: u64 = 120_000;
/// When to ask again after a refusal that has no better hint.
pub const RETRY_MS: u64 = 250;
/// How long a new arbiter waits: one renewal interval, and two retries of the renewal.
pub const WAIT_MS: u64 = RENEWAL_MS + 2 * super::RENEWAL_RETRY_MS;
/// How long an expired lease can still be renewed or completed if nobody else asked.
const GRACE_MS: u64 = TTL_MS;

/// How an arbiter starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// There are no others that this node knows of: it need not wait for their holders.
    Alone,
    /// It was a member before or is told whom to join, even if it has not met them yet.
    Joining,
}

/// What a caller wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// Any result will do; this is the one the driver knows, if any.
    Reuse(Option<Cid>),
    /// The bytes of this result are nowhere: run it again.
    Again(Cid),
}

/// The answer to an acquire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// There is a result.
    Done(Cid),
    /// Run it, and renew.
    Granted {
        /// The fencing token.
        epoch: Epoch,
        /// How long it lasts, from when the caller asked.
        ttl_ms: u64,
    },
    /// Somebody else runs it.
    Follow {
        /// Who.
        holder: Origin,
        /// Ask again after this.
        ttl_ms: u64,
    },
    /// Not now: the arbiter is new, full, or not the arbiter.
    Wait {
        /// Ask again after this.
        retry_ms: u64,
    },
}

/// The answer to a renewal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewed {
    /// The lease goes on.
    Held {
        /// How long, from when the caller asked.
        ttl_ms: u64,
    },
    /// The action is somebody else's, or done, or was never granted so.
    Lost,
    /// This is not the arbiter and knows nothing of it: ask the one who is.
    NotHere,
}

/// The answer to a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Released {
    /// The lease is over; a CID given with it is the result.
    Accepted,
    /// The epoch is stale: the work was wasted, publish nothing.
    Stale,
}

/// What happened since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Leases granted.
    pub granted: u64,
    /// Callers told to follow.
    pub merged: u64,
    /// Leases that ran out.
    pub expired: u64,
    /// Leases taken over from another arbiter.
    pub adopted: u64,
    /// Completions refused.
    pub stale: u64,
}

#[derive(Debug, Clone, Copy)]
struct Lease {
    holder: Origin,
    epoch: Epoch,
    expires_ms: u64,
}

#[derive(Debug, Clone, Copy)]
struct Ended {
    how: End,
    at_ms: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Done {
        cid: Cid,
        holder: Origin,
        epoch: Epoch,
    },
    GivenBack,
    /// It ran out or its holder left; if nobody was granted the action since, the holder may come
    /// back with its epoch.
    Lapsed {
        holder: Origin,
        epoch: Epoch,
    },
}

/// One life of one node's arbiter.
#[derive(Debug)]
pub struct Arbiter {
    own: Origin,
    incarnation: u64,
    counter: u64,
    members: BTreeSet<Origin>,
    /// Members that joined or left within the waiting interval, with when.
    joined: BTreeMap<Origin, u64>,
    left: BTreeMap<Origin, u64>,
    new_until_ms: u64,
    leases: BTreeMap<ActionId, Lease>,
    ended: BTreeMap<ActionId, Ended>,
    /// Ended leases, oldest first; may name ones that were replaced.
    ended_order: VecDeque<(u64, ActionId)>,
    counters: Counters,
}

impl Arbiter {
    /// An arbiter that starts now. `life` is different for every start of this node (unix
    /// nanoseconds will do); with the origin it makes its epochs unlike any other's.
    pub fn new(now_ms: u64, own: Origin, life: u64, start: Start) -> Arbiter {
        let hash = tagged("artdag/lease-epoch/1", &[&own.0, &life.to_le_bytes()]);
        let incarnation = u64::from_le_bytes(hash[..8].try_into().expect("8 of 32 bytes"));
        Arbiter {
            own,
            incarnation,
            counter: 0,
            members: BTreeSet::from([own]),
            joined: BTreeMap::new(),
            left: BTreeMap::new(),
            new_until_ms: match start {
                Start::Alone => 0,
                Start::Joining => now_ms + WAIT_MS,
            },
            leases: BTreeMap::new(),
            ended: BTreeMap::new(),
            ended_order: VecDeque::new(),
            counters: Counters::default(),
        }
    }

    /// A member is live. If those who joined lately are half of all or more, it is we who joined
    /// them: their leases are theirs until they renew here.
    pub fn member_joined(&mut self, now_ms: u64, origin: Origin) {
        if origin == self.own || !self.members.insert(origin) {
            return;
        }
        self.left.remove(&origin);
        self.joined.insert(origin, now_ms);
        self.joined.retain(|_, at| *at + WAIT_MS > now_ms);
        if self.joined.len() * 2 >= self.members.len() {
            self.new_until_ms = now_ms + WAIT_MS;
        }
    }

    /// A member is gone: its leases are free, and the actions it arbitrated wait for their holders.
    pub fn member_left(&mut self, now_ms: u64, origin: Origin) {
        if origin == self.own || !self.members.remove(&origin) {
            return;
        }
        self.joined.remove(&origin);
        self.left.insert(origin, now_ms);
        self.end_where(now_ms, |lease| lease.holder == origin);
    }

    /// Asks for an action on behalf of a member.
    pub fn acquire(&mut self, now_ms: u64, action: ActionId, who: Origin, ask: Ask) -> Answer {
        if let Some(cid) = self.known_result(now_ms, &action, ask) {
            return Answer::Done(cid);
        }
        if let Some(lease) = self.leases.get_mut(&action).filter(|one| one.expires_ms > now_ms) {
            if lease.holder == who {
                // The answer was lost, or the caller was restarted.
                lease.expires_ms = now_ms + TTL_MS;
                return Answer::Granted { epoch: lease.epoch, ttl_ms: TTL_MS };
            }
            self.counters.merged += 1;
            return Answer::Follow { holder: lease.holder, ttl_ms: lease.expires_ms - now_ms };
        }
        if let Some(retry_ms) = self.must_wait(now_ms, &action) {
            return Answer::Wait { retry_ms };
        }
        if self.leases.len() >= MAX_LEASES {
            self.tick(now_ms);
        }
        if self.leases.len() >= MAX_LEASES && !self.leases.contains_key(&action) {
            return Answer::Wait { retry_ms: TTL_MS };
        }
        let epoch = self.grant(now_ms, action, who);
        Answer::Granted { epoch, ttl_ms: TTL_MS }
    }

    /// Prolongs a lease, or takes it over from an arbiter that is no more.
    pub fn renew(&mut self, now_ms: u64, action: ActionId, who: Origin, epoch: Epoch) -> Renewed {
        if let Some(lease) = self.leases.get_mut(&action) {
            if lease.epoch != epoch || lease.holder != who {
                return Renewed::Lost;
            }
            lease.expires_ms = now_ms + TTL_MS;
            return Renewed::Held { ttl_ms: TTL_MS };
        }
        if !self.is_last(&action, who, epoch) {
            return Renewed::Lost;
        }
        if !self.is_arbiter(&action) {
            return Renewed::NotHere;
        }
        if self.leases.len() >= MAX_LEASES && !self.leases.contains_key(&action) {
            return Renewed::NotHere;
        }
        let expires_ms = now_ms + TTL_MS;
        self.leases.insert(action, Lease { holder: who, epoch, expires_ms });
        self.counters.adopted += 1;
        Renewed::Held { ttl_ms: TTL_MS }
    }

    /// Ends a lease: with a CID the action is done, without it is free again.
    pub fn release(
        &mut self,
        now_ms: u64,
        action: ActionId,
        who: Origin,
        epoch: Epoch,
        result: Option<Cid>,
    ) -> Released {
        if !self.may_end(&action, who, epoch, result) {
            self.counters.stale += 1;
            return Released::Stale;
        }
        self.leases.remove(&action);
        let done = |cid| End::Done { cid, holder: who, epoch };
        self.remember(now_ms, action, result.map_or(End::GivenBack, done));
        Released::Accepted
    }

    /// Forgets what has run out. Call it now and then; correctness does not depend on it.
    pub fn tick(&mut self, now_ms: u64) {
        self.counters.expired += self.end_where(now_ms, |one| one.expires_ms + GRACE_MS <= now_ms);
        self.left.retain(|_, at| *at + WAIT_MS > now_ms);
        self.joined.retain(|_, at| *at + WAIT_MS > now_ms);
        while self.ended_order.front().is_some_and(|(at, _)| at + ENDED_MS <= now_ms) {
            self.forget_oldest();
        }
    }

    /// Live leases: action, holder, epoch and what is left of the time.
    pub fn leases(&self, now_ms: u64) -> impl Iterator<Item = (ActionId, Origin, Epoch, u64)> + '_ {
        self.leases.iter().filter_map(move |(action, lease)| {
            let left_ms = lease.expires_ms.checked_sub(now_ms).filter(|left| *left > 0)?;
            Some((*action, lease.holder, lease.epoch, left_ms))
        })
    }

    /// What happened since the start.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Whether this node arbitrates the action, as far as it sees.
    pub fn is_arbiter(&self, action: &ActionId) -> bool {
        first(action, self.members.iter().copied()) == Some(self.own)
    }

    fn known_result(&self, now_ms: u64, action: &ActionId, ask: Ask) -> Option<Cid> {
        let fresh = self.ended.get(action).filter(|ended| ended.at_ms + ENDED_MS > now_ms);
        let remembered = fresh.and_then(|ended| match ended.how {
            End::Done { cid, .. } => Some(cid),
            End::GivenBack | End::Lapsed { .. } => None,
        });
        match ask {
            Ask::Reuse(known) => known.or(remembered),
            Ask::Again(lost) => remembered.filter(|cid| *cid != lost),
        }
    }

    /// How long a caller must wait before this arbiter may grant the action.
    fn must_wait(&self, now_ms: u64, action: &ActionId) -> Option<u64> {
        if !self.is_arbiter(action) {
            return Some(RETRY_MS);
        }
        let until = self.new_until_ms.max(self.inherited_until(action));
        (until > now_ms).then(|| (until - now_ms).max(1))
    }

    /// Everyone who left lately and came before us may have granted the action. Alone there is
    /// nobody left to hold it.
    fn inherited_until(&self, action: &ActionId) -> u64 {
        if self.members.len() == 1 {
            return 0;
        }
        self.left
            .iter()
            .filter(|(origin, _)| first(action, [**origin, self.own]) != Some(self.own))
            .map(|(_, at)| at + WAIT_MS)
            .max()
            .unwrap_or(0)
    }

    fn grant(&mut self, now_ms: u64, action: ActionId, who: Origin) -> Epoch {
        self.counter += 1;
        self.counters.granted += 1;
        let epoch = Epoch { incarnation: self.incarnation, counter: self.counter };
        let lease = Lease { holder: who, epoch, expires_ms: now_ms + TTL_MS };
        if self.leases.insert(action, lease).is_some() {
            self.counters.expired += 1;
        }
        self.ended.remove(&action);
        epoch
    }

    fn may_end(&self, action: &ActionId, who: Origin, epoch: Epoch, result: Option<Cid>) -> bool {
        if let Some(lease) = self.leases.get(action) {
            return lease.epoch == epoch && lease.holder == who;
        }
        // The same completion again: the answer was lost and the holder repeats itself.
        let done = result.map(|cid| End::Done { cid, holder: who, epoch });
        let repeated = self.ended.get(action).is_some_and(|ended| Some(ended.how) == done);
        repeated || self.is_last(action, who, epoch)
    }

    /// Whether this epoch, of which no lease is in place, was the last one granted for the action,
    /// as far as this arbiter can know: its own memory, and else another arbiter's word.
    fn is_last(&self, action: &ActionId, who: Origin, epoch: Epoch) -> bool {
        match self.ended.get(action) {
            Some(ended) => ended.how == End::Lapsed { holder: who, epoch },
            None => epoch.incarnation != self.incarnation,
        }
    }

    fn end_where(&mut self, now_ms: u64, gone: impl Fn(&Lease) -> bool) -> u64 {
        let over = self.leases.iter().filter(|(_, lease)| gone(lease));
        let over: Vec<(ActionId, Lease)> = over.map(|(action, lease)| (*action, *lease)).collect();
        for (action, Lease { holder, epoch, .. }) in &over {
            self.leases.remove(action);
            self.remember(now_ms, *action, End::Lapsed { holder: *holder, epoch: *epoch });
        }
        u64::try_from(over.len()).expect("a count of leases fits u64")
    }

    fn remember(&mut self, now_ms: u64, action: ActionId, how: End) {
        if self.ended_order.len() >= MAX_ENDED {
            self.forget_oldest();
        }
        self.ended.insert(action, Ended { how, at_ms: now_ms });
        self.ended_order.push_back((now_ms, action));
    }

    fn forget_oldest(&mut self) {
        let Some((at_ms, action)) = self.ended_order.pop_front() else { return };
        if self.ended.get(&action).is_some_and(|ended| ended.at_ms == at_ms) {
            self.ended.remove(&action);
        }
    }
}

#[cfg(test)]
mod tests;
