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
mod tests {
    use super::*;
    use crate::identity::tagged;

    const ME: Origin = Origin([1; 32]);
    const ANN: Origin = Origin([2; 32]);
    const BOB: Origin = Origin([3; 32]);

    fn cid(n: u8) -> Cid {
        let hash = multihash_codetable::Multihash::wrap(0x12, &[n; 32]).expect("32 bytes fit");
        Cid::new_v1(0x55, hash)
    }

    /// An action that `arbiter` arbitrates among `members`.
    fn action_of(arbiter: Origin, members: &[Origin]) -> ActionId {
        (0u32..)
            .map(|n| ActionId(tagged("test", &[&n.to_le_bytes()])))
            .find(|action| first(action, members.iter().copied()) == Some(arbiter))
            .expect("each member arbitrates some action")
    }

    /// An arbiter among three members, past its waiting interval, and an action of it.
    fn settled() -> (Arbiter, ActionId, u64) {
        let mut arbiter = Arbiter::new(0, ME, 1, Start::Alone);
        arbiter.member_joined(0, ANN);
        arbiter.member_joined(0, BOB);
        (arbiter, action_of(ME, &[ME, ANN, BOB]), WAIT_MS)
    }

    fn granted(answer: Answer) -> Epoch {
        match answer {
            Answer::Granted { epoch, .. } => epoch,
            other => panic!("expected a grant, got {other:?}"),
        }
    }

    #[test]
    fn one_is_granted_the_other_follows_and_both_get_the_result() {
        let (mut arbiter, action, now) = settled();
        let epoch = granted(arbiter.acquire(now, action, ANN, Ask::Reuse(None)));
        let follow = Answer::Follow { holder: ANN, ttl_ms: TTL_MS - 5 };
        assert_eq!(arbiter.acquire(now + 5, action, BOB, Ask::Reuse(None)), follow);
        assert_eq!(granted(arbiter.acquire(now + 6, action, ANN, Ask::Reuse(None))), epoch);
        let released = arbiter.release(now + 9, action, ANN, epoch, Some(cid(1)));
        assert_eq!(released, Released::Accepted);
        let again = arbiter.release(now + 9, action, ANN, epoch, Some(cid(1)));
        assert_eq!(again, Released::Accepted);
        assert_eq!(arbiter.acquire(now + 10, action, BOB, Ask::Reuse(None)), Answer::Done(cid(1)));
        granted(arbiter.acquire(now + 11, action, BOB, Ask::Again(cid(1))));
    }

    #[test]
    fn a_completion_with_a_stale_epoch_is_refused() {
        let (mut arbiter, action, now) = settled();
        let old = granted(arbiter.acquire(now, action, ANN, Ask::Reuse(None)));
        let later = now + TTL_MS;
        let new = granted(arbiter.acquire(later, action, BOB, Ask::Reuse(None)));
        assert_ne!(old, new);
        assert_eq!(arbiter.renew(later, action, ANN, old), Renewed::Lost);
        assert_eq!(arbiter.release(later, action, ANN, old, Some(cid(1))), Released::Stale);
        assert_eq!(arbiter.release(later, action, BOB, new, None), Released::Accepted);
        assert_eq!(arbiter.release(later, action, ANN, old, Some(cid(1))), Released::Stale);
        assert_eq!(arbiter.counters().stale, 2);

        // Not even with the result that was accepted from another.
        let third = granted(arbiter.acquire(later, action, BOB, Ask::Reuse(None)));
        assert_eq!(arbiter.release(later, action, BOB, third, Some(cid(1))), Released::Accepted);
        assert_eq!(arbiter.release(later, action, ANN, old, Some(cid(1))), Released::Stale);
    }

    #[test]
    fn a_predecessors_epoch_is_stale_after_a_grant_here_ended() {
        let (mut arbiter, action, now) = settled();
        let foreign = Epoch { incarnation: 77, counter: 1 };
        let mine = granted(arbiter.acquire(now, action, BOB, Ask::Reuse(None)));
        assert_eq!(arbiter.release(now, action, BOB, mine, None), Released::Accepted);
        assert_eq!(arbiter.renew(now, action, ANN, foreign), Renewed::Lost);
        assert_eq!(arbiter.release(now, action, ANN, foreign, Some(cid(1))), Released::Stale);
    }

    #[test]
    fn a_holder_that_leaves_frees_its_leases() {
        let (mut arbiter, action, now) = settled();
        let old = granted(arbiter.acquire(now, action, ANN, Ask::Reuse(None)));
        arbiter.member_left(now + 1, ANN);
        assert!(arbiter.is_arbiter(&action));
        granted(arbiter.acquire(now + 1 + WAIT_MS, action, BOB, Ask::Reuse(None)));
        let stale = arbiter.release(now + WAIT_MS + 2, action, ANN, old, Some(cid(1)));
        assert_eq!(stale, Released::Stale);
    }

    #[test]
    fn a_holder_that_comes_back_before_anyone_was_granted_goes_on() {
        let (mut arbiter, action, now) = settled();
        let epoch = granted(arbiter.acquire(now, action, ANN, Ask::Reuse(None)));
        arbiter.member_left(now + 1, ANN);
        let other = Epoch { counter: epoch.counter + 1, ..epoch };
        assert_eq!(arbiter.renew(now + 2, action, ANN, other), Renewed::Lost);
        assert_eq!(arbiter.renew(now + 2, action, ANN, epoch), Renewed::Held { ttl_ms: TTL_MS });
        arbiter.tick(now + 3 + 2 * TTL_MS);
        let released = arbiter.release(now + 4 + 2 * TTL_MS, action, ANN, epoch, Some(cid(1)));
        assert_eq!(released, Released::Accepted);
    }

    #[test]
    fn an_arbiter_that_inherits_waits_and_takes_the_holder_over() {
        let (mut arbiter, _, now) = settled();
        let action = action_of(ANN, &[ME, ANN, BOB]);
        let action = if first(&action, [ME, BOB]) == Some(ME) {
            action
        } else {
            (0u32..)
                .map(|n| ActionId(tagged("inherited", &[&n.to_le_bytes()])))
                .find(|one| first(one, [ME, ANN, BOB]) == Some(ANN) && first(one, [ME, BOB]) == Some(ME))
                .expect("some action has this order")
        };
        let theirs = Epoch { incarnation: 77, counter: 5 };
        let asked = arbiter.acquire(now, action, BOB, Ask::Reuse(None));
        assert_eq!(asked, Answer::Wait { retry_ms: RETRY_MS });
        assert_eq!(arbiter.renew(now, action, BOB, theirs), Renewed::NotHere);
        arbiter.member_left(now, ANN);
        let waiting = arbiter.acquire(now, action, ME, Ask::Reuse(None));
        assert_eq!(waiting, Answer::Wait { retry_ms: WAIT_MS });
        let renewed = arbiter.renew(now + 10, action, BOB, theirs);
        assert_eq!(renewed, Renewed::Held { ttl_ms: TTL_MS });
        let follow = Answer::Follow { holder: BOB, ttl_ms: TTL_MS };
        assert_eq!(arbiter.acquire(now + 10, action, ME, Ask::Reuse(None)), follow);
    }

    #[test]
    fn one_that_was_a_member_before_waits_though_it_has_met_nobody_yet() {
        let mut arbiter = Arbiter::new(0, ME, 1, Start::Joining);
        let waiting = arbiter.acquire(0, ActionId([9; 32]), ME, Ask::Reuse(None));
        assert_eq!(waiting, Answer::Wait { retry_ms: WAIT_MS });
        granted(arbiter.acquire(WAIT_MS, ActionId([9; 32]), ME, Ask::Reuse(None)));
    }

    #[test]
    fn a_lone_arbiter_does_not_wait_and_one_that_joins_others_does() {
        let mut arbiter = Arbiter::new(0, ME, 1, Start::Alone);
        let alone = ActionId([9; 32]);
        granted(arbiter.acquire(0, alone, ME, Ask::Reuse(None)));
        arbiter.member_joined(60_000, ANN);
        let action = action_of(ME, &[ME, ANN]);
        let waiting = arbiter.acquire(60_000, action, ANN, Ask::Reuse(None));
        assert_eq!(waiting, Answer::Wait { retry_ms: WAIT_MS });
        let later = 60_000 + WAIT_MS;
        granted(arbiter.acquire(later, action, ANN, Ask::Reuse(None)));
        let mut larger = settled().0;
        larger.member_joined(later, Origin([4; 32]));
        let other = action_of(ME, &[ME, ANN, BOB, Origin([4; 32])]);
        granted(larger.acquire(later + 1, other, BOB, Ask::Reuse(None)));
    }

    #[test]
    fn leases_are_bounded_and_the_refusal_says_when_to_retry() {
        let mut arbiter = Arbiter::new(0, ME, 1, Start::Alone);
        let action = |n: usize| ActionId(tagged("test", &[&n.to_le_bytes()]));
        for n in 0..MAX_LEASES {
            granted(arbiter.acquire(0, action(n), ME, Ask::Reuse(None)));
        }
        let refused = arbiter.acquire(0, action(MAX_LEASES), ME, Ask::Reuse(None));
        assert_eq!(refused, Answer::Wait { retry_ms: TTL_MS });
        let later = TTL_MS + GRACE_MS;
        granted(arbiter.acquire(later, action(MAX_LEASES), ME, Ask::Reuse(None)));
        assert_eq!(arbiter.leases(later).count(), 1);
    }

    #[test]
    fn no_two_lives_share_epochs() {
        let epochs: BTreeSet<Epoch> = [(ME, 1), (ME, 2), (ANN, 1)]
            .map(|(own, life)| {
                let mut arbiter = Arbiter::new(0, own, life, Start::Alone);
                granted(arbiter.acquire(0, ActionId([1; 32]), own, Ask::Reuse(None)))
            })
            .into();
        assert_eq!(epochs.len(), 3);
    }
}
