//! What an arbiter answers, case by case. The laws that hold over time are the simulation's.

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
