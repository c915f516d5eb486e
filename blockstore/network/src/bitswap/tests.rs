//! Laws of the engine, on a few engines wired together without clock, disk or network.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

use artdag_blockstore::Block;
use cid::Cid;
use proptest::prelude::*;

use super::WantId;
use super::ask::{Ended, Purpose, Scope};
use super::engine::{Draft, Engine, Input, Output, Receipt};
use super::message::{Entry, IfMissing, Incoming, Listing, Outgoing, Presence, Request, Version};
use super::server::Circle;
use crate::limits::*;
use crate::peer::PeerId;

fn peer(seed: u8) -> PeerId {
    PeerId::from_seed(&[seed; 32])
}

fn block(seed: u8, bytes: usize) -> Block {
    Block::raw(vec![seed; bytes]).expect("within the bound")
}

fn block_bytes(message: &Outgoing) -> usize {
    message.blocks.iter().map(|it| it.bytes().len()).sum()
}

/// One node: an engine and a store that shows everything to members and `public` to all.
#[derive(Default)]
struct Node {
    engine: Engine,
    blocks: HashMap<Cid, Block>,
    public: BTreeSet<Cid>,
    delivered: BTreeMap<WantId, Block>,
    ended: BTreeMap<WantId, Ended>,
    dropped: BTreeSet<PeerId>,
}

impl Node {
    fn visible(&self, cid: &Cid, circle: Circle) -> Option<Block> {
        let shown = circle == Circle::Member || self.public.contains(cid);
        self.blocks.get(cid).filter(|_| shown).cloned()
    }
}

/// Nodes and the messages between them, delivered one at a time in order.
struct World {
    now: Instant,
    nodes: BTreeMap<PeerId, Node>,
    wires: VecDeque<(PeerId, PeerId, Outgoing, Receipt)>,
    /// Every message that was sent.
    log: Vec<(PeerId, PeerId, Outgoing)>,
    /// Peers that read nothing and say nothing.
    deaf: BTreeSet<PeerId>,
}

impl World {
    fn new(seeds: &[u8]) -> Self {
        World {
            now: Instant::now(),
            nodes: seeds.iter().map(|seed| (peer(*seed), Node::default())).collect(),
            wires: VecDeque::new(),
            log: Vec::new(),
            deaf: BTreeSet::new(),
        }
    }

    fn connect(&mut self, a: u8, b: u8, circle: Circle) {
        for (a, b) in [(peer(a), peer(b)), (peer(b), peer(a))] {
            self.input(a, Input::Connected(b));
            if circle == Circle::Member {
                self.input(a, Input::Proved(b));
            }
        }
    }

    fn disconnect(&mut self, a: u8, b: u8) {
        self.wires.retain(|(from, to, ..)| ![(peer(a), peer(b)), (peer(b), peer(a))].contains(&(*from, *to)));
        self.input(peer(a), Input::Disconnected(peer(b)));
        self.input(peer(b), Input::Disconnected(peer(a)));
    }

    fn give(&mut self, to: u8, block: &Block) {
        self.node(to).blocks.insert(*block.cid(), block.clone());
    }

    fn node(&mut self, seed: u8) -> &mut Node {
        self.nodes.get_mut(&peer(seed)).expect("a node of this world")
    }

    fn input(&mut self, at: PeerId, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let node = self.nodes.get_mut(&at).expect("a node of this world");
            for output in node.engine.handle(self.now, input) {
                match output {
                    Output::Send(to, draft) => {
                        let (message, receipt) = load(node, draft);
                        self.log.push((at, to, message.clone()));
                        self.wires.push_back((at, to, message, receipt));
                    }
                    Output::LookUp(to, circle, cids) => {
                        let size = |cid: &Cid| node.visible(cid, circle).map(|it| it.bytes().len() as u32);
                        let found = cids.iter().map(|cid| (*cid, size(cid))).collect();
                        inputs.push_back(Input::Found(to, found));
                    }
                    Output::Deliver(id, block) => {
                        assert!(node.delivered.insert(id, block).is_none(), "delivered twice");
                    }
                    Output::Ended(id, how) => {
                        assert!(node.ended.insert(id, how).is_none(), "ended twice");
                    }
                    Output::Duplicate => {}
                    Output::Drop(peer, _) => {
                        node.dropped.insert(peer);
                    }
                }
            }
        }
    }

    /// Delivers messages until there are none; those to deaf peers are never read.
    fn settle(&mut self) {
        while let Some((from, to, message, receipt)) = self.wires.pop_front() {
            if self.deaf.contains(&to) {
                continue;
            }
            self.input(from, Input::Sent(to, receipt));
            let read = Incoming::decode(message.encode(Version::V1_2)).expect("own message");
            self.input(to, Input::Message(from, read));
        }
    }

    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            self.now += BITSWAP_TICK;
            let peers: Vec<PeerId> = self.nodes.keys().copied().collect();
            peers.into_iter().for_each(|peer| self.input(peer, Input::Tick));
            self.settle();
        }
    }

    fn fetch(&mut self, at: u8, id: WantId, cid: &Cid, scope: Scope, hints: &[u8]) {
        let hints = hints.iter().map(|it| peer(*it)).collect();
        let purpose = Purpose::Fetch;
        self.input(peer(at), Input::Want { id, cid: *cid, purpose, scope, hints });
    }

    /// What `from` asked `to`, in order.
    fn asked(&self, from: u8, to: u8) -> Vec<Request> {
        let sent = self.log.iter().filter(|(a, b, _)| (*a, *b) == (peer(from), peer(to)));
        sent.flat_map(|(_, _, message)| message.entries.iter().map(|it| it.request)).collect()
    }
}

fn load(node: &Node, draft: Draft) -> (Outgoing, Receipt) {
    let blocks = draft.blocks.iter().filter_map(|cid| node.visible(cid, draft.circle));
    let message = Outgoing {
        entries: draft.entries,
        presences: draft.presences,
        blocks: blocks.collect(),
        pending_bytes: draft.pending_bytes,
    };
    (message, draft.receipt)
}

const BLOCK: Request = Request::Block(IfMissing::Tell);
const HAVE: Request = Request::Have(IfMissing::Tell);

#[test]
fn a_lone_peer_is_asked_for_the_block_straight_away() {
    let mut world = World::new(&[1, 2]);
    world.connect(1, 2, Circle::Member);
    let wanted = block(7, 5000);
    world.give(2, &wanted);
    world.fetch(1, 0, wanted.cid(), Scope::Members, &[]);
    world.settle();
    assert_eq!(world.node(1).delivered[&0], wanted);
    assert_eq!(world.asked(1, 2), [BLOCK], "no cancel: the sender struck the want itself");
}

#[test]
fn several_peers_are_asked_whether_they_have_it_first() {
    let mut world = World::new(&[1, 2, 3]);
    world.connect(1, 2, Circle::Member);
    world.connect(1, 3, Circle::Member);
    let wanted = block(7, 5000);
    world.give(3, &wanted);
    world.fetch(1, 0, wanted.cid(), Scope::Members, &[]);
    world.settle();
    assert_eq!(world.node(1).delivered[&0], wanted);
    assert_eq!(world.asked(1, 3), [HAVE, BLOCK]);
    assert_eq!(world.asked(1, 2), [HAVE, Request::Cancel]);
}

#[test]
fn a_hint_is_asked_first_and_alone_until_patience_ends() {
    let mut world = World::new(&[1, 2, 3]);
    world.connect(1, 2, Circle::Member);
    world.connect(1, 3, Circle::Member);
    let wanted = block(7, 5000);
    world.give(2, &wanted);
    world.deaf.insert(peer(3));
    world.fetch(1, 0, wanted.cid(), Scope::Members, &[3]);
    world.settle();
    assert_eq!((world.asked(1, 3), world.asked(1, 2)), (vec![BLOCK], vec![]));
    world.pass(HINT_PATIENCE + BITSWAP_TICK);
    assert_eq!(world.asked(1, 2), [HAVE], "the hinted peer still has its time for the block");
    world.pass(BLOCK_TIMEOUT);
    assert_eq!(world.node(1).delivered[&0], wanted);
}

#[test]
fn a_hint_that_says_no_costs_one_round_only() {
    let mut world = World::new(&[1, 2, 3]);
    world.connect(1, 2, Circle::Member);
    world.connect(1, 3, Circle::Member);
    let wanted = block(7, 5000);
    world.give(2, &wanted);
    world.fetch(1, 0, wanted.cid(), Scope::Members, &[3]);
    world.settle();
    assert_eq!(world.node(1).delivered[&0], wanted);
}

#[test]
fn nobody_has_it_is_known_without_waiting() {
    let mut world = World::new(&[1, 2, 3]);
    let wanted = block(7, 5000);
    world.fetch(1, 0, wanted.cid(), Scope::Members, &[]);
    assert_eq!(world.node(1).ended[&0], Ended::NotFound, "nobody is there");
    world.connect(1, 2, Circle::Member);
    world.connect(1, 3, Circle::Member);
    world.fetch(1, 1, wanted.cid(), Scope::Members, &[2]);
    world.settle();
    assert_eq!(world.node(1).ended[&1], Ended::NotFound);
}

#[test]
fn a_silent_peer_ends_in_a_timeout() {
    let mut world = World::new(&[1, 2]);
    world.connect(1, 2, Circle::Member);
    world.deaf.insert(peer(2));
    world.fetch(1, 0, block(7, 9).cid(), Scope::Members, &[]);
    world.pass(BLOCK_TIMEOUT + HAVE_TIMEOUT);
    assert_eq!(world.node(1).ended[&0], Ended::TimedOut);
}

#[test]
fn members_wants_never_reach_a_stranger() {
    let mut world = World::new(&[1, 2, 3]);
    world.connect(1, 2, Circle::Member);
    world.connect(1, 3, Circle::Public);
    let wanted = block(7, 5000);
    world.give(3, &wanted);
    world.node(3).public.insert(*wanted.cid());
    world.deaf.insert(peer(2));
    world.fetch(1, 0, wanted.cid(), Scope::Members, &[3]);
    world.settle();
    world.disconnect(1, 2);
    world.pass(BLOCK_TIMEOUT * 2);
    assert_eq!(world.asked(1, 3), []);
    assert_eq!(world.node(1).ended[&0], Ended::NotFound);
}

#[test]
fn anyone_means_members_first() {
    let mut world = World::new(&[1, 2, 3]);
    world.connect(1, 2, Circle::Member);
    world.connect(1, 3, Circle::Public);
    let (ours, theirs) = (block(7, 5000), block(8, 5000));
    world.give(2, &ours);
    world.give(3, &theirs);
    world.node(3).public.insert(*theirs.cid());
    world.fetch(1, 0, ours.cid(), Scope::Anyone, &[]);
    world.settle();
    assert_eq!(world.asked(1, 3), []);
    world.fetch(1, 1, theirs.cid(), Scope::Anyone, &[]);
    world.settle();
    assert_eq!(world.node(1).delivered[&0], ours);
    assert_eq!(world.node(1).delivered[&1], theirs);
}

#[test]
fn a_narrowed_want_is_taken_back_from_strangers() {
    let mut world = World::new(&[1, 2, 3]);
    world.connect(1, 2, Circle::Member);
    world.connect(1, 3, Circle::Public);
    world.deaf.extend([peer(2)]);
    let wanted = block(7, 5000);
    world.fetch(1, 0, wanted.cid(), Scope::Members, &[]);
    world.fetch(1, 1, wanted.cid(), Scope::Anyone, &[]);
    world.pass(MEMBER_PATIENCE * 2);
    assert_eq!(world.asked(1, 3), [HAVE]);
    world.input(peer(1), Input::Cancel(1));
    world.settle();
    assert_eq!(world.asked(1, 3), [HAVE, Request::Cancel]);
}

#[test]
fn strangers_see_the_public_set_only_have_included() {
    let mut world = World::new(&[1, 2]);
    world.connect(1, 2, Circle::Public);
    let (private, public) = (block(7, 5000), block(8, 5000));
    world.give(2, &private);
    world.give(2, &public);
    world.node(2).public.insert(*public.cid());
    world.fetch(1, 0, private.cid(), Scope::Anyone, &[]);
    world.fetch(1, 1, public.cid(), Scope::Anyone, &[]);
    let (id, scope) = (2, Scope::Anyone);
    let purpose = Purpose::Locate(world.now + HAVE_TIMEOUT);
    world.input(peer(1), Input::Want { id, cid: *private.cid(), purpose, scope, hints: vec![] });
    world.settle();
    assert_eq!(world.node(1).ended[&0], Ended::NotFound);
    assert_eq!(world.node(1).delivered[&1], public);
    assert_eq!(world.node(1).ended[&2], Ended::Holders(vec![]));
    world.connect(1, 2, Circle::Member);
    world.fetch(1, 3, private.cid(), Scope::Members, &[]);
    world.settle();
    assert_eq!(world.node(1).delivered[&3], private);
}

#[test]
fn a_block_that_is_stored_later_is_sent_to_who_still_wants_it() {
    let mut world = World::new(&[1, 2]);
    world.connect(1, 2, Circle::Member);
    let wanted = block(7, 5000);
    let entry = Entry { cid: *wanted.cid(), request: BLOCK };
    let message = Outgoing { entries: vec![entry], ..Outgoing::default() };
    let read = Incoming::decode(message.encode(Version::V1_2)).expect("decodes");
    world.input(peer(2), Input::Message(peer(1), read));
    assert_eq!(world.log.last().expect("decodes").2.presences, [(*wanted.cid(), Presence::DontHave)]);
    world.settle();
    world.give(2, &wanted);
    world.input(peer(2), Input::Stored(vec![*wanted.cid()]));
    assert_eq!(world.log.last().expect("decodes").2.blocks, std::slice::from_ref(&wanted));
    world.input(peer(2), Input::Stored(vec![*wanted.cid()]));
    assert_eq!(world.log.iter().filter(|it| !it.2.blocks.is_empty()).count(), 1, "once");
}

#[test]
fn small_blocks_answer_want_have() {
    let mut world = World::new(&[1, 2, 3]);
    world.connect(1, 2, Circle::Member);
    world.connect(1, 3, Circle::Member);
    let wanted = block(7, HAVE_AS_BLOCK_BYTES as usize);
    world.give(2, &wanted);
    world.fetch(1, 0, wanted.cid(), Scope::Members, &[]);
    world.settle();
    assert_eq!(world.node(1).delivered[&0], wanted);
    assert_eq!(world.asked(1, 2), [HAVE]);
}

#[test]
fn locating_ends_when_all_have_answered() {
    let mut world = World::new(&[1, 2, 3, 4]);
    for other in [2, 3, 4] {
        world.connect(1, other, Circle::Member);
    }
    let wanted = block(7, 5000);
    world.give(2, &wanted);
    world.give(4, &wanted);
    let purpose = Purpose::Locate(world.now + HAVE_TIMEOUT);
    let scope = Scope::Members;
    world.input(peer(1), Input::Want { id: 0, cid: *wanted.cid(), purpose, scope, hints: vec![] });
    world.settle();
    let mut holders = vec![peer(2), peer(4)];
    holders.sort();
    assert_eq!(world.node(1).ended[&0], Ended::Holders(holders));
}

#[test]
fn locating_ends_at_its_time_with_who_answered() {
    let mut world = World::new(&[1, 2, 3]);
    world.connect(1, 2, Circle::Member);
    world.connect(1, 3, Circle::Member);
    world.deaf.insert(peer(3));
    let wanted = block(7, 5000);
    world.give(2, &wanted);
    let purpose = Purpose::Locate(world.now + Duration::from_secs(1));
    let scope = Scope::Members;
    world.input(peer(1), Input::Want { id: 0, cid: *wanted.cid(), purpose, scope, hints: vec![] });
    world.pass(Duration::from_secs(2));
    assert_eq!(world.node(1).ended[&0], Ended::Holders(vec![peer(2)]));
}

#[test]
fn a_source_that_goes_away_is_replaced() {
    let mut world = World::new(&[1, 2, 3]);
    world.connect(1, 2, Circle::Member);
    world.connect(1, 3, Circle::Member);
    let wanted = block(7, 5000);
    world.give(2, &wanted);
    world.give(3, &wanted);
    world.deaf.insert(peer(3));
    world.fetch(1, 0, wanted.cid(), Scope::Members, &[3]);
    world.settle();
    world.disconnect(1, 3);
    world.settle();
    assert_eq!(world.node(1).delivered[&0], wanted);
}

#[test]
fn a_member_that_joins_is_asked_for_what_is_still_wanted() {
    let mut world = World::new(&[1, 2, 3]);
    world.connect(1, 2, Circle::Member);
    world.deaf.insert(peer(2));
    let wanted = block(7, 5000);
    world.give(3, &wanted);
    world.fetch(1, 0, wanted.cid(), Scope::Members, &[]);
    world.settle();
    world.connect(1, 3, Circle::Member);
    world.pass(HINT_PATIENCE * 2);
    world.pass(BLOCK_TIMEOUT);
    assert_eq!(world.node(1).delivered[&0], wanted);
}

#[test]
fn many_fetches_pipeline_within_the_budget_and_message_bounds() {
    let mut world = World::new(&[1, 2]);
    world.connect(1, 2, Circle::Member);
    let blocks: Vec<Block> = (0..64).map(|seed| block(seed, 1 << 20)).collect();
    for (id, wanted) in blocks.iter().enumerate() {
        world.give(2, wanted);
        world.fetch(1, id as WantId, wanted.cid(), Scope::Members, &[2]);
    }
    // Everything is asked, nothing of it read yet: the server must stop by itself.
    let queued = |world: &World| {
        let sent = world.wires.iter().filter(|it| it.0 == peer(2));
        sent.map(|it| block_bytes(&it.2)).sum::<usize>()
    };
    let mut most = 0;
    while let Some((from, to, message, receipt)) = world.wires.pop_front() {
        most = most.max(queued(&world) + block_bytes(&message));
        assert!(block_bytes(&message) <= MESSAGE_BLOCK_BYTES);
        world.input(from, Input::Sent(to, receipt));
        let read = Incoming::decode(message.encode(Version::V1_2)).expect("decodes");
        world.input(to, Input::Message(from, read));
    }
    assert_eq!(world.node(1).delivered.len(), 64);
    assert!(most <= OUTSTANDING_MEMBER_BYTES + (1 << 20), "{most} bytes were under way");
    assert!(most >= OUTSTANDING_MEMBER_BYTES, "the pipe was never full: {most}");
    let messages = world.log.iter().filter(|it| it.0 == peer(1)).count();
    assert!(messages <= 8, "64 wants took {messages} messages");
}

#[test]
fn a_stranger_that_does_not_read_is_sent_no_more_than_its_budget() {
    let mut world = World::new(&[1, 2]);
    world.connect(1, 2, Circle::Public);
    for seed in 0..64 {
        let wanted = block(seed, 256 << 10);
        world.give(2, &wanted);
        world.node(2).public.insert(*wanted.cid());
        let entry = Entry { cid: *wanted.cid(), request: BLOCK };
        let message = Outgoing { entries: vec![entry], ..Outgoing::default() };
        let read = Incoming::decode(message.encode(Version::V1_2)).expect("decodes");
        world.input(peer(2), Input::Message(peer(1), read));
    }
    let sent: usize = world.log.iter().map(|it| block_bytes(&it.2)).sum();
    assert_eq!(sent, OUTSTANDING_PUBLIC_BYTES);
}

#[test]
fn wants_over_the_bound_are_declined_at_once() {
    let mut world = World::new(&[1, 2]);
    world.connect(1, 2, Circle::Member);
    let entry = |number: usize| Entry { cid: *Block::raw(number.to_be_bytes()).expect("small").cid(), request: BLOCK };
    let entries: Vec<Entry> = (0..WANTLIST_ENTRIES + 10).map(entry).collect();
    let message = Incoming { listing: Listing::Changes, entries, blocks: vec![], presences: vec![] };
    world.input(peer(2), Input::Message(peer(1), message));
    world.settle();
    let declined = world.log.iter().flat_map(|it| &it.2.presences).count();
    assert_eq!(declined, WANTLIST_ENTRIES + 10, "ten at once, the rest after the look-up");
    let last = entry(WANTLIST_ENTRIES + 9);
    let late = Block::raw((WANTLIST_ENTRIES + 9).to_be_bytes()).expect("small");
    world.give(2, &late);
    world.input(peer(2), Input::Stored(vec![last.cid]));
    assert!(world.log.iter().all(|it| it.2.blocks.is_empty()), "it was not remembered");
}

#[test]
fn a_full_list_replaces_what_was_wanted() {
    let mut world = World::new(&[1, 2]);
    world.connect(1, 2, Circle::Member);
    let (old, new) = (block(7, 5000), block(8, 5000));
    for (listing, wanted) in [(Listing::Changes, &old), (Listing::Full, &new)] {
        let entries = vec![Entry { cid: *wanted.cid(), request: BLOCK }];
        let message = Incoming { listing, entries, blocks: vec![], presences: vec![] };
        world.input(peer(2), Input::Message(peer(1), message));
    }
    world.give(2, &old);
    world.give(2, &new);
    world.input(peer(2), Input::Stored(vec![*old.cid(), *new.cid()]));
    world.settle();
    let sent: Vec<&Block> = world.log.iter().flat_map(|it| &it.2.blocks).collect();
    assert_eq!(sent, [&new]);
}

#[test]
fn who_pushes_blocks_nobody_asked_for_is_dropped() {
    let mut world = World::new(&[1, 2]);
    world.connect(1, 2, Circle::Member);
    let push = |number: u32| Incoming {
        listing: Listing::Changes,
        entries: vec![],
        blocks: vec![Block::raw(number.to_be_bytes()).expect("small")],
        presences: vec![],
    };
    for number in 0..UNSOLICITED_BLOCKS {
        world.input(peer(1), Input::Message(peer(2), push(number)));
    }
    assert!(world.node(1).dropped.is_empty(), "a few may be late");
    world.input(peer(1), Input::Message(peer(2), push(UNSOLICITED_BLOCKS)));
    assert_eq!(world.node(1).dropped, BTreeSet::from([peer(2)]));
}

#[test]
fn a_late_block_is_a_duplicate_without_blame() {
    let mut world = World::new(&[1, 2]);
    world.connect(1, 2, Circle::Member);
    for number in 0..=UNSOLICITED_BLOCKS {
        let wanted = Block::raw(number.to_be_bytes()).expect("small");
        world.give(2, &wanted);
        world.fetch(1, u64::from(number), wanted.cid(), Scope::Members, &[]);
        world.input(peer(1), Input::Cancel(u64::from(number)));
    }
    world.settle();
    assert!(world.node(1).delivered.is_empty());
    assert!(world.node(1).dropped.is_empty());
}

#[test]
fn too_many_wants_are_refused() {
    let mut world = World::new(&[1, 2]);
    world.connect(1, 2, Circle::Member);
    world.deaf.insert(peer(2));
    for id in 0..=WANTS as u64 {
        let wanted = *Block::raw(id.to_be_bytes()).expect("small").cid();
        world.fetch(1, id, &wanted, Scope::Members, &[]);
    }
    assert_eq!(world.node(1).ended, BTreeMap::from([(WANTS as u64, Ended::Busy)]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Whoever fetches gets the block exactly when a member has it, whatever else goes on, and every
    /// want ends.
    #[test]
    fn a_fetch_succeeds_exactly_when_a_member_has_it(
        holders in proptest::collection::vec((0..12_u8, 2..6_u8), 0..30),
        fetches in proptest::collection::vec((0..12_u8, proptest::collection::vec(2..6_u8, 0..3)), 1..30),
        lost in proptest::option::of(2..6_u8),
    ) {
        let mut world = World::new(&[1, 2, 3, 4, 5]);
        for other in 2..6 {
            world.connect(1, other, Circle::Member);
        }
        let blocks: Vec<Block> = (0..12).map(|it| block(it, usize::from(it) * 700 + 1)).collect();
        for (which, holder) in &holders {
            world.give(*holder, &blocks[usize::from(*which)]);
        }
        for (id, (which, hints)) in fetches.iter().enumerate() {
            world.fetch(1, id as WantId, blocks[usize::from(*which)].cid(), Scope::Members, hints);
        }
        if let Some(lost) = lost {
            world.disconnect(1, lost);
        }
        world.settle();
        world.pass(BLOCK_TIMEOUT * 2);
        for (id, (which, _)) in fetches.iter().enumerate() {
            let id = id as WantId;
            let held = holders.iter().any(|(held, by)| held == which && Some(*by) != lost);
            let node = world.node(1);
            let got = node.delivered.get(&id) == Some(&blocks[usize::from(*which)]);
            prop_assert_eq!(got, held, "want {} for block {}", id, which);
            prop_assert_eq!(node.ended.contains_key(&id), !held);
        }
    }
}
