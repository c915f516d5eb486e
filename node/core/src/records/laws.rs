//! The laws of records, as tests: merging, reconcile, codecs, hostile bytes, old versions.

use cid::Cid;
use ed25519_dalek::SigningKey;
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::BTreeMap;

use super::batch::{Batch, MAX_BATCH_BYTES, NO_PREVIOUS, NotABatch, VerifiedBatch};
use super::evidence::Evidence;
use super::hlc::{MAX_DRIFT_MS, Stamp};
use super::log::{BatchKey, PARK_WINDOW};
use super::outbox::{LINGER_MS, NotTaken, Outbox};
use super::reconcile::{Message, Send, Session, Violation};
use super::record::*;
use super::results::MAX_CANDIDATES_PER_LOG;
use super::version::VersionVector;
use super::*;
use crate::identity::{ActionId, CacheId, Origin, RunId};

const NOW: u64 = 1_800_000_000_000;

fn key(n: u8) -> SigningKey {
    SigningKey::from_bytes(&[n; 32])
}

fn origin(n: u8) -> Origin {
    Origin(key(n).verifying_key().to_bytes())
}

fn cid(n: u8) -> Cid {
    let hash = multihash_codetable::Multihash::wrap(0x12, &[n; 32]).expect("32 bytes fit");
    Cid::new_v1(0x55, hash)
}

fn result(action: u8, output: u8) -> Record {
    Record::Result(ResultRecord {
        cache_id: CacheId([action; 32]),
        action_id: ActionId([action; 32]),
        cid: cid(output),
        kind: "SEGMENT".into(),
        inputs: vec![Producer::Action(ActionId([9; 32])), Producer::Source(cid(8))],
        size: 1234,
        content_hash: Some([7; 32]),
        duration_ms: 56,
        toolset: "ffmpeg-5.1".into(),
        exact_build: "5.1.6-0+deb12u1".into(),
    })
}

fn member(running: u32) -> Record {
    Record::Member(MemberRecord {
        toolsets: vec!["ffmpeg-5.1".into(), "builtin-1".into()],
        slots: 2,
        running,
        addresses: vec!["/ip4/127.0.0.1/tcp/7700".into()],
        free_disk: 1 << 40,
        expires_ms: NOW + 60_000,
    })
}

fn run(state: RunState, output: Option<u8>) -> Record {
    Record::Run(RunRecord {
        state,
        execution_id: "execution-1".into(),
        run_id: RunId([4; 32]),
        plan: Some(cid(3)),
        output: output.map(cid),
    })
}

fn any_record() -> impl Strategy<Value = Record> {
    let state = prop_oneof![
        Just(RunState::Running),
        Just(RunState::Failed),
        Just(RunState::Cancelled),
        Just(RunState::Succeeded)
    ];
    prop_oneof![
        4 => (0..6u8, 0..4u8).prop_map(|(action, output)| result(action, output)),
        1 => (0..9u32).prop_map(member),
        1 => (state, proptest::option::of(0..3u8)).prop_map(|(state, output)| run(state, output)),
        1 => vec(any::<u8>(), 0..20).prop_map(|tail| {
            Record::decode(&[&[200, 7], &tail[..]].concat()).expect("unknown kinds are kept")
        }),
    ]
}

/// Batches of one log; from `fork_at` on (if it is in there) a second, contradicting tail.
fn chain(n: u8, contents: &[Vec<Record>], fork_at: Option<usize>) -> Vec<VerifiedBatch> {
    let mut batches = Vec::new();
    for fork in 0..=usize::from(fork_at.is_some()) {
        let mut previous = NO_PREVIOUS;
        for (index, records) in contents.iter().enumerate() {
            let forked = fork == 1 && fork_at.is_some_and(|at| index >= at);
            let batch = Batch {
                origin: origin(n),
                incarnation: 1,
                number: index as u64 + 1,
                previous,
                clock: Stamp { wall_ms: NOW + u64::from(forked), counter: index as u32 },
                records: records.clone(),
            }
            .seal(&key(n))
            .expect("a small batch");
            previous = batch.hash();
            if fork == 0 || forked {
                batches.push(batch);
            }
        }
    }
    batches
}

/// Some logs; about one in four lies.
fn any_logs() -> impl Strategy<Value = Vec<VerifiedBatch>> {
    let log = (vec(vec(any_record(), 1..3), 1..6), proptest::option::weighted(0.25, 0..6usize));
    vec(log, 1..4).prop_map(|logs| {
        let mut all = Vec::new();
        for (n, (contents, fork)) in logs.iter().enumerate() {
            all.extend(chain(n as u8 + 1, contents, fork.filter(|at| *at < contents.len())));
        }
        all
    })
}

/// A node with its disk: what a driver does, without IO.
struct Node {
    records: Records,
    disk: BTreeMap<BatchKey, Vec<u8>>,
}

impl Node {
    fn new() -> Node {
        Node { records: Records::new(origin(200), 1), disk: BTreeMap::new() }
    }

    fn receive(&mut self, bytes: &[u8]) {
        let Ok(received) = self.records.receive(NOW, bytes) else { return };
        for write in received.persist {
            self.disk.insert(write.key, write.bytes);
        }
        if let Some(contradiction) = received.contradiction {
            let stored = &self.disk[&contradiction.stored];
            let proof = contradiction.prove(stored).expect("the disk is whole");
            self.receive(&proof);
        }
    }

    fn restarted(self) -> Node {
        let mut records = Records::new(origin(200), 1);
        let stored = self.disk.iter().map(|(key, bytes)| (key.to_bytes().to_vec(), bytes.clone()));
        let restored = records.restore(stored);
        assert_eq!(restored.refused, 0);
        Node { records, disk: self.disk }
    }

    fn disowned(&self) -> Vec<LogId> {
        self.records.disowned().collect()
    }
}

/// Everything to be known of these batches: until nothing changes any more.
fn know_all(node: &mut Node, batches: &[VerifiedBatch]) {
    for _ in 0..batches.len() + 1 {
        for batch in batches {
            node.receive(batch.bytes());
        }
    }
}

fn reconcile(one: &mut Node, other: &mut Node) {
    let (mut here, mut there) = (Session::default(), Session::default());
    for _ in 0..10_000 {
        let moved = step(one, &mut here, other, &mut there) | step(other, &mut there, one, &mut here);
        if !moved {
            assert!(here.is_over() && there.is_over());
            return;
        }
    }
    panic!("reconcile does not end");
}

fn step(from: &mut Node, session: &mut Session, to: &mut Node, receiver: &mut Session) -> bool {
    let Some(send) = session.next_send(&from.records) else { return false };
    let message = match send {
        Send::Hello(vector) => Message::Hello(vector),
        Send::Batches(keys) => Message::Batches(keys.iter().map(|key| from.disk[key].clone()).collect()),
        Send::Done => Message::Done,
    };
    let message = Message::decode(&message.encode()).expect("our own message");
    for item in receiver.receive(message).expect("we keep to the protocol") {
        to.receive(&item);
    }
    true
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn order_grouping_and_repetition_do_not_matter(
        (batches, shuffled) in any_logs().prop_flat_map(|batches| {
            let twice: Vec<_> = batches.iter().chain(&batches).cloned().collect();
            (Just(batches), Just(twice).prop_shuffle())
        }),
        restart_at in 0..12usize,
    ) {
        let mut straight = Node::new();
        know_all(&mut straight, &batches);
        let mut other = Node::new();
        for (index, batch) in shuffled.iter().enumerate() {
            if index == restart_at {
                other = other.restarted();
            }
            other.receive(batch.bytes());
        }
        know_all(&mut other, &shuffled);
        prop_assert_eq!(straight.records.state(), other.records.state());
        prop_assert_eq!(straight.disowned(), other.disowned());
        // The disk says the same as the memory.
        let state = other.records.state().clone();
        let again = other.restarted();
        prop_assert_eq!(&state, again.records.state());
    }

    #[test]
    fn reconcile_converges_from_any_two_states(
        batches in any_logs(),
        here in vec(any::<bool>(), 48),
        there in vec(any::<bool>(), 48),
    ) {
        let (mut one, mut other) = (Node::new(), Node::new());
        for (index, batch) in batches.iter().enumerate() {
            if here[index] { one.receive(batch.bytes()) }
            if there[index] { other.receive(batch.bytes()) }
        }
        // A proof that is made in one session is told in the next.
        for _ in 0..3 {
            reconcile(&mut one, &mut other);
        }
        prop_assert_eq!(one.records.state(), other.records.state());
        prop_assert_eq!(one.disowned(), other.disowned());
        for log in one.disowned() {
            let proof = &one.disk[&BatchKey { log, number: 0 }];
            prop_assert_eq!(Evidence::decode(proof).expect("a stored proof holds").log(), log);
        }
    }

    #[test]
    fn codecs_round_trip(record in any_record(), batches in any_logs()) {
        let bytes = record.encode().expect("within the bounds");
        prop_assert_eq!(Record::decode(&bytes).expect("our own bytes"), record);
        for batch in &batches {
            prop_assert_eq!(&VerifiedBatch::decode(batch.bytes()).expect("our own bytes"), batch);
            prop_assert_eq!(BatchKey::from_bytes(&batch.key().to_bytes()), Some(batch.key()));
        }
        let mut node = Node::new();
        know_all(&mut node, &batches);
        let vector = node.records.vector();
        prop_assert_eq!(VersionVector::decode(&vector.encode()).expect("our own bytes"), vector);
    }

    #[test]
    fn random_bytes_change_nothing_and_panic_nowhere(bytes in vec(any::<u8>(), 0..300)) {
        let mut node = Node::new();
        prop_assert!(node.records.receive(NOW, &bytes).is_err());
        let _ = (Record::decode(&bytes), Message::decode(&bytes), Evidence::decode(&bytes));
        let _ = (VersionVector::decode(&bytes), VerifiedBatch::decode(&bytes));
    }

    #[test]
    fn a_mutated_batch_is_refused(
        contents in vec(any_record(), 1..4),
        at in any::<prop::sample::Index>(),
        flip in 1..=255u8,
        cut in any::<prop::sample::Index>(),
    ) {
        let batch = chain(1, &[contents], None).remove(0);
        let mut bytes = batch.bytes().to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        prop_assert!(VerifiedBatch::decode(&bytes).is_err());
        let cut = cut.index(batch.bytes().len());
        prop_assert!(VerifiedBatch::decode(&batch.bytes()[..cut]).is_err());
        let longer = [batch.bytes(), &[0]].concat();
        prop_assert!(VerifiedBatch::decode(&longer).is_err());
    }

    #[test]
    fn a_mutated_vector_or_evidence_panics_nowhere(
        batches in any_logs(),
        at in any::<prop::sample::Index>(),
        flip in 1..=255u8,
    ) {
        let mut node = Node::new();
        know_all(&mut node, &batches);
        let mut hello = Message::Hello(node.records.vector()).encode();
        let place = at.index(hello.len());
        hello[place] ^= flip;
        if let Ok(Message::Hello(vector)) = Message::decode(&hello) {
            let _ = node.records.missing_for(&vector, 1000);
        }
        for log in node.disowned() {
            let mut proof = node.disk[&BatchKey { log, number: 0 }].clone();
            let place = at.index(proof.len());
            proof[place] ^= flip;
            prop_assert!(Evidence::decode(&proof).is_err());
        }
    }
}

#[test]
fn every_version_that_was_written_is_still_read() {
    let records = [result(1, 2), member(1), run(RunState::Succeeded, Some(5))];
    let batch = chain(1, &[records[..2].to_vec()], None).remove(0);
    let golden = [
        include_str!("golden/result-1.hex"),
        include_str!("golden/member-1.hex"),
        include_str!("golden/run-1.hex"),
        include_str!("golden/batch-1.hex"),
    ]
    .map(str::trim);
    let mut written: Vec<String> =
        records.iter().map(|record| hex::encode(record.encode().expect("within the bounds"))).collect();
    written.push(hex::encode(batch.bytes()));
    assert_eq!(written, golden);
    let golden = golden.map(|text| hex::decode(text).expect("golden files are hex"));
    for (bytes, record) in golden.iter().zip(&records) {
        assert_eq!(&Record::decode(bytes).expect("a version we wrote"), record);
    }
    assert_eq!(VerifiedBatch::decode(&golden[3]).expect("a version we wrote"), batch);
}

#[test]
fn the_most_origins_win_then_the_lowest_hash_and_time_decides_nothing() {
    let mut node = Node::new();
    let few = chain(1, &[vec![result(1, 10)]], None);
    let many = [chain(2, &[vec![result(1, 11)]], None), chain(3, &[vec![result(1, 11)]], None)];
    know_all(&mut node, &few);
    let state = node.records.state();
    assert_eq!(state.lookup(&CacheId([1; 32])).expect("stated").cid(), cid(10));
    know_all(&mut node, &many.concat());
    let state = node.records.state();
    let chosen = state.lookup_action(&ActionId([1; 32])).expect("stated");
    assert_eq!(chosen.cid(), cid(11));
    let mut both = vec![origin(2), origin(3)];
    both.sort();
    assert_eq!(chosen.origins, both);
    assert_eq!(state.conflicts().count(), 1);
    know_all(&mut node, &chain(4, &[vec![result(1, 10)]], None));
    let tagged = |n| crate::identity::tagged("artdag/preference/1", &[&[1; 32], &cid(n).to_bytes()]);
    let expected = if tagged(10) < tagged(11) { cid(10) } else { cid(11) };
    let chosen = node.records.state().lookup_action(&ActionId([1; 32])).expect("stated");
    assert_eq!(chosen.cid(), expected);
}

#[test]
fn one_log_states_a_bounded_number_of_candidates() {
    let mut node = Node::new();
    let many: Vec<Record> = (0..20).map(|output| result(1, output)).collect();
    know_all(&mut node, &chain(1, &[many], None));
    let candidates = node.records.state().results().of_action(&ActionId([1; 32]));
    assert_eq!(candidates.len(), MAX_CANDIDATES_PER_LOG);
}

#[test]
fn a_terminal_run_absorbs() {
    let mut node = Node::new();
    let first = vec![run(RunState::Succeeded, Some(1))];
    let late = vec![run(RunState::Running, None), run(RunState::Failed, None)];
    know_all(&mut node, &chain(1, &[first, late.clone()], None));
    know_all(&mut node, &chain(2, &[late], None));
    let seen = node.records.state().run("execution-1").expect("stated");
    assert_eq!((seen.state, seen.output), (RunState::Succeeded, Some(cid(1))));
}

#[test]
fn a_member_expires() {
    let mut node = Node::new();
    know_all(&mut node, &chain(1, &[vec![member(1)], vec![member(2)]], None));
    let state = node.records.state();
    let members: Vec<_> = state.members(NOW).map(|(who, entry)| (who, entry.running)).collect();
    assert_eq!(members, [(origin(1), 2)]);
    assert_eq!(state.members(NOW + 60_000).count(), 0);
}

#[test]
fn the_first_contradiction_empties_a_log_and_the_proof_is_kept() {
    let batches = chain(1, &[vec![result(1, 1)], vec![result(2, 2)]], Some(1));
    let mut node = Node::new();
    node.receive(batches[0].bytes());
    node.receive(batches[1].bytes());
    assert_eq!(node.records.state().results().len(), 2);
    node.receive(batches[2].bytes());
    assert!(node.records.state().results().is_empty());
    assert_eq!(node.disowned(), [batches[0].log()]);
    let again = node.records.receive(NOW, batches[0].bytes());
    assert_eq!(again, Err(Reject::Disowned));
    let node = node.restarted();
    assert_eq!(node.disowned(), [batches[0].log()]);
}

#[test]
fn a_batch_from_the_future_is_not_taken_now() {
    let mut node = Node::new();
    let batch = chain(1, &[vec![result(1, 1)]], None).remove(0);
    let early = NOW - MAX_DRIFT_MS - 1;
    let refused = node.records.receive(early, batch.bytes());
    assert!(matches!(refused, Err(Reject::Later(_))));
    node.receive(batch.bytes());
    assert_eq!(node.records.state().results().len(), 1);
}

#[test]
fn only_so_many_batches_wait_for_an_earlier_one() {
    let contents: Vec<Vec<Record>> = (0..70).map(|n| vec![result(n, n)]).collect();
    let batches = chain(1, &contents, None);
    let mut node = Node::new();
    let mut outcomes = Vec::new();
    for batch in &batches[1..] {
        outcomes.push(node.records.receive(NOW, batch.bytes()).expect("valid").outcome);
    }
    let parked = outcomes.iter().filter(|one| **one == Outcome::Parked).count();
    assert_eq!(parked as u64, PARK_WINDOW - 1);
    assert_eq!(outcomes.last(), Some(&Outcome::Shed));
    let linked = node.records.receive(NOW, batches[0].bytes()).expect("valid");
    assert_eq!(linked.persist.len() as u64, PARK_WINDOW);
    assert_eq!(node.records.parked_bytes, 0);
}

#[test]
fn incarnations_of_one_origin_are_bounded() {
    let mut records = Records::new(origin(200), 1);
    let batch = |incarnation| {
        let records = vec![result(1, 1)];
        let clock = Stamp { wall_ms: NOW, counter: 0 };
        Batch { origin: origin(1), incarnation, number: 1, previous: NO_PREVIOUS, clock, records }
            .seal(&key(1))
            .expect("a small batch")
    };
    for incarnation in 0..MAX_INCARNATIONS as u64 {
        records.receive(NOW, batch(incarnation).bytes()).expect("there is room");
    }
    let refused = records.receive(NOW, batch(MAX_INCARNATIONS as u64).bytes());
    assert!(matches!(refused, Err(Reject::Later(_))));
}

#[test]
fn our_own_log_continues_after_a_restart_and_refuses_where_it_would_lie() {
    let mut records = Records::new(origin(1), 1);
    let first = records.append(NOW, vec![result(1, 1)], &key(1)).expect("appended");
    let second = records.append(NOW, vec![result(2, 2)], &key(1)).expect("appended");
    assert!(matches!(records.append(NOW, vec![], &key(1)), Err(AppendError::Refused(_))));
    assert!(matches!(records.append(NOW, vec![result(3, 3)], &key(2)), Err(AppendError::Refused(_))));
    let stored = |batch: &VerifiedBatch| (batch.key().to_bytes().to_vec(), batch.bytes().to_vec());

    let mut back = Records::new(origin(1), 1);
    let found = back.restore([stored(&first), stored(&second)]);
    assert_eq!(found, Restored { taken: 2, refused: 0, own: OwnLog::Intact });
    let third = back.append(NOW - 1, vec![result(3, 3)], &key(1)).expect("appended");
    assert_eq!(third.batch().number, 3);
    assert!(third.batch().clock > second.batch().clock);

    // The first batch is gone from the disk: what follows it shows that.
    let mut damaged = Records::new(origin(1), 1);
    assert_eq!(damaged.restore([stored(&second)]).own, OwnLog::Doubtful);
    let refused = damaged.append(NOW, vec![result(4, 4)], &key(1));
    assert_eq!(refused, Err(AppendError::NewIncarnation));

    let mut slow = Records::new(origin(1), 1);
    slow.restore([stored(&first)]);
    let refused = slow.append(NOW - MAX_DRIFT_MS - 1, vec![result(4, 4)], &key(1));
    assert_eq!(refused, Err(AppendError::ClockBehind { behind_ms: MAX_DRIFT_MS + 1 }));
}

#[test]
fn a_batch_over_its_bounds_is_not_made_and_not_read() {
    let many = vec![result(1, 1); 1024];
    let mut records = Records::new(origin(1), 1);
    assert!(matches!(records.append(NOW, many, &key(1)), Err(AppendError::Refused(_))));
    let long = vec![0; MAX_BATCH_BYTES + 1];
    assert_eq!(VerifiedBatch::decode(&long), Err(NotABatch::TooLarge));
    let Record::Result(mut wide) = result(1, 1) else { unreachable!("it is a result") };
    wide.inputs = vec![Producer::Source(cid(1)); MAX_INPUTS + 1];
    assert!(Record::Result(wide).encode().is_err());
}

#[test]
fn a_session_brings_a_bounded_number_of_bytes() {
    let mut session = Session::default();
    assert_eq!(session.receive(Message::Done), Err(Violation::OutOfTurn));
    session.receive(Message::Hello(VersionVector::default())).expect("first comes hello");
    let item = vec![0; 500_000];
    let mut outcome = Ok(vec![]);
    for _ in 0..40 {
        outcome = session.receive(Message::Batches(vec![item.clone()]));
        if outcome.is_err() {
            break;
        }
    }
    assert_eq!(outcome, Err(Violation::TooMuch));
}

#[test]
fn missing_batches_keep_to_the_budget_but_always_move() {
    let contents: Vec<Vec<Record>> = (0..30).map(|n| vec![result(n, n)]).collect();
    let mut node = Node::new();
    let batches = chain(1, &contents, None);
    know_all(&mut node, &batches);
    let nothing = VersionVector::default();
    assert_eq!(node.records.missing_for(&nothing, 1).len(), 1);
    let size = batches[0].bytes().len() + batches[1].bytes().len();
    assert_eq!(node.records.missing_for(&nothing, size).len(), 2);
    let mut other = Node::new();
    reconcile(&mut node, &mut other);
    assert_eq!(node.records.vector(), other.records.vector());
}

#[test]
fn the_outbox_groups_by_time_and_size_and_says_when_it_is_full() {
    let mut outbox = Outbox::default();
    assert_eq!(outbox.due_at(), None);
    outbox.push(100, result(1, 1)).expect("there is room");
    outbox.push(105, result(2, 2)).expect("there is room");
    assert_eq!(outbox.due_at(), Some(100 + LINGER_MS));
    assert_eq!(outbox.take_due(100), None);
    assert_eq!(outbox.take_due(100 + LINGER_MS).map(|records| records.len()), Some(2));

    let mut pushed = 0;
    let full = loop {
        match outbox.push(200, result(3, 3)) {
            Ok(()) => pushed += 1,
            Err(why) => break why,
        }
    };
    assert_eq!(full, NotTaken::Full);
    let mut records = Records::new(origin(1), 1);
    while let Some(group) = outbox.take_due(200) {
        pushed -= group.len();
        records.append(NOW, group, &key(1)).expect("a group fits a batch");
    }
    pushed -= outbox.take().len();
    assert_eq!(pushed, 0);
}
