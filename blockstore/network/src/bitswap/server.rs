//! What peers want of us, as a state machine: one ledger per peer, no clock and no disk.
//!
//! A want is looked up, then answered with a block, HAVE or DONT_HAVE, or left waiting so that a block
//! which is stored later is still sent. Always: at most `WANTLIST_ENTRIES` wants and a byte budget per
//! peer; blocks are named here and loaded only when their message is due; what a peer is shown depends
//! on its circle alone.

use std::collections::{BTreeSet, HashMap, VecDeque};

use cid::Cid;

use super::message::{Entry, IfMissing, Listing, Presence, Request};
use crate::limits::{
    HAVE_AS_BLOCK_BYTES, LOOKUP_JOBS_PER_PEER, MESSAGE_BLOCK_BYTES, MESSAGE_BLOCKS, MESSAGE_PRESENCES,
    MESSAGE_TARGET_BYTES, OUTSTANDING_MEMBER_BYTES, OUTSTANDING_PUBLIC_BYTES, WANTLIST_ENTRIES,
};
use crate::peer::PeerId;

/// Which content a peer may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Circle {
    Member,
    Public,
}

impl Circle {
    fn budget(self) -> usize {
        match self {
            Circle::Member => OUTSTANDING_MEMBER_BYTES,
            Circle::Public => OUTSTANDING_PUBLIC_BYTES,
        }
    }
}

/// Answers kept for a peer that does not read; later ones are shed, and its wants time out there.
const QUEUED_PRESENCES: usize = 2 * MESSAGE_PRESENCES;
/// CIDs in one look-up job, so that one peer's list does not hold a disk thread for long.
const LOOKUP_CIDS: usize = 256;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    LookingUp,
    Ready,
    Waiting,
}

struct Want {
    request: Request,
    stage: Stage,
}

struct Ledger {
    circle: Circle,
    wants: HashMap<Cid, Want>,
    to_look_up: VecDeque<Cid>,
    lookups: usize,
    ready: VecDeque<(Cid, u32)>,
    presences: VecDeque<(Cid, Presence)>,
    outstanding: usize,
}

/// The part of a message that answers wants.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Answer {
    pub presences: Vec<(Cid, Presence)>,
    pub blocks: Vec<Cid>,
    pub block_bytes: usize,
    pub pending_bytes: usize,
}

/// The serving half of bitswap.
#[derive(Default)]
pub struct Server {
    ledgers: HashMap<PeerId, Ledger>,
    /// Who still waits for a block that is not here.
    waiting: HashMap<Cid, BTreeSet<PeerId>>,
}

impl Server {
    pub fn connected(&mut self, peer: PeerId, circle: Circle) {
        let fresh = Ledger {
            circle,
            wants: HashMap::new(),
            to_look_up: VecDeque::new(),
            lookups: 0,
            ready: VecDeque::new(),
            presences: VecDeque::new(),
            outstanding: 0,
        };
        self.ledgers.insert(peer, fresh);
    }

    /// The peer proved itself: what it waits for is looked up again with a member's eyes.
    pub fn proved(&mut self, peer: PeerId) {
        if let Some(ledger) = self.ledgers.get_mut(&peer) {
            ledger.circle = Circle::Member;
            let waiting: Vec<Cid> = ledger.waiting_cids();
            self.look_again(peer, &waiting);
        }
    }

    pub fn disconnected(&mut self, peer: PeerId) {
        if let Some(ledger) = self.ledgers.remove(&peer) {
            for cid in ledger.waiting_cids() {
                forget(&mut self.waiting, &cid, peer);
            }
        }
    }

    /// A wantlist came.
    pub fn wantlist(&mut self, peer: PeerId, listing: Listing, entries: Vec<Entry>) {
        if listing == Listing::Full {
            self.clear(peer);
        }
        let Some(ledger) = self.ledgers.get_mut(&peer) else {
            return;
        };
        for Entry { cid, request } in entries {
            if request == Request::Cancel {
                if let Some(want) = ledger.wants.remove(&cid) {
                    ledger.withdraw(&cid, want.stage);
                    forget(&mut self.waiting, &cid, peer);
                }
            } else if ledger.want(cid, request) == Taken::WasWaiting {
                forget(&mut self.waiting, &cid, peer);
            }
        }
    }

    fn clear(&mut self, peer: PeerId) {
        if let Some(ledger) = self.ledgers.get_mut(&peer) {
            for cid in ledger.waiting_cids() {
                forget(&mut self.waiting, &cid, peer);
            }
            ledger.wants.clear();
            ledger.to_look_up.clear();
            ledger.ready.clear();
        }
    }

    /// CIDs to look up next for this peer, with the eyes to use; the caller answers with `found`.
    pub fn next_lookup(&mut self, peer: PeerId) -> Option<(Circle, Vec<Cid>)> {
        let ledger = self.ledgers.get_mut(&peer)?;
        if ledger.lookups >= LOOKUP_JOBS_PER_PEER || ledger.to_look_up.is_empty() {
            return None;
        }
        ledger.lookups += 1;
        let count = ledger.to_look_up.len().min(LOOKUP_CIDS);
        Some((ledger.circle, ledger.to_look_up.drain(..count).collect()))
    }

    /// Sizes of what was looked up; `None` is "not here, or not for these eyes".
    pub fn found(&mut self, peer: PeerId, found: Vec<(Cid, Option<u32>)>) {
        let Some(ledger) = self.ledgers.get_mut(&peer) else {
            return;
        };
        ledger.lookups = ledger.lookups.saturating_sub(1);
        for (cid, size) in found {
            if ledger.answer(cid, size) == Taken::Waits {
                self.waiting.entry(cid).or_default().insert(peer);
            }
        }
    }

    /// These blocks are here now: whoever still waits for one is looked after.
    pub fn stored(&mut self, cids: &[Cid]) -> Vec<PeerId> {
        let mut touched = BTreeSet::new();
        for cid in cids {
            let peers = self.waiting.remove(cid).unwrap_or_default();
            for peer in peers {
                self.look_again(peer, std::slice::from_ref(cid));
                touched.insert(peer);
            }
        }
        touched.into_iter().collect()
    }

    fn look_again(&mut self, peer: PeerId, cids: &[Cid]) {
        let Some(ledger) = self.ledgers.get_mut(&peer) else {
            return;
        };
        for cid in cids {
            if let Some(want) = ledger.wants.get_mut(cid) {
                want.stage = Stage::LookingUp;
                ledger.to_look_up.push_back(*cid);
            }
            forget(&mut self.waiting, cid, peer);
        }
    }

    /// The next answer that is due to this peer within its budget.
    pub fn next_answer(&mut self, peer: PeerId) -> Option<Answer> {
        let ledger = self.ledgers.get_mut(&peer)?;
        let mut answer = Answer::default();
        let count = ledger.presences.len().min(MESSAGE_PRESENCES);
        answer.presences.extend(ledger.presences.drain(..count));
        if ledger.outstanding < ledger.circle.budget() {
            ledger.fill(&mut answer);
        }
        ledger.outstanding += answer.block_bytes;
        answer.pending_bytes = ledger.ready.iter().map(|(_, size)| *size as usize).sum();
        (!answer.presences.is_empty() || !answer.blocks.is_empty()).then_some(answer)
    }

    /// A message with that many block bytes left for the peer, or was lost.
    pub fn sent(&mut self, peer: PeerId, block_bytes: usize) {
        if let Some(ledger) = self.ledgers.get_mut(&peer) {
            ledger.outstanding = ledger.outstanding.saturating_sub(block_bytes);
        }
    }

    pub fn circle(&self, peer: PeerId) -> Option<Circle> {
        self.ledgers.get(&peer).map(|ledger| ledger.circle)
    }
}

#[derive(PartialEq, Eq)]
enum Taken {
    Done,
    Waits,
    WasWaiting,
}

impl Ledger {
    fn want(&mut self, cid: Cid, request: Request) -> Taken {
        let full = self.wants.len() >= WANTLIST_ENTRIES;
        match self.wants.get_mut(&cid) {
            Some(want) if want.stage != Stage::Waiting => {
                want.request = stronger(want.request, request);
                Taken::Done
            }
            Some(want) => {
                want.request = request;
                want.stage = Stage::LookingUp;
                self.to_look_up.push_back(cid);
                Taken::WasWaiting
            }
            None if full => {
                self.tell_missing(cid, request);
                Taken::Done
            }
            None => {
                let stage = Stage::LookingUp;
                self.wants.insert(cid, Want { request, stage });
                self.to_look_up.push_back(cid);
                Taken::Done
            }
        }
    }

    fn withdraw(&mut self, cid: &Cid, stage: Stage) {
        match stage {
            Stage::LookingUp => self.to_look_up.retain(|it| it != cid),
            Stage::Ready => self.ready.retain(|(it, _)| it != cid),
            Stage::Waiting => {}
        }
    }

    fn answer(&mut self, cid: Cid, size: Option<u32>) -> Taken {
        let Some(want) = self.wants.get_mut(&cid) else {
            return Taken::Done;
        };
        if want.stage != Stage::LookingUp {
            return Taken::Done;
        }
        let request = want.request;
        match (size, request) {
            (None, _) => {
                want.stage = Stage::Waiting;
                self.tell_missing(cid, request);
                return Taken::Waits;
            }
            (Some(size), Request::Have(_)) if size > HAVE_AS_BLOCK_BYTES => {
                self.wants.remove(&cid);
                self.tell(cid, Presence::Have);
            }
            (Some(size), _) => {
                want.stage = Stage::Ready;
                self.ready.push_back((cid, size));
            }
        }
        Taken::Done
    }

    fn tell_missing(&mut self, cid: Cid, request: Request) {
        if let Request::Block(IfMissing::Tell) | Request::Have(IfMissing::Tell) = request {
            self.tell(cid, Presence::DontHave);
        }
    }

    fn tell(&mut self, cid: Cid, presence: Presence) {
        if self.presences.len() < QUEUED_PRESENCES {
            self.presences.push_back((cid, presence));
        }
    }

    fn fill(&mut self, answer: &mut Answer) {
        while let Some((cid, size)) = self.ready.front().copied() {
            let after = answer.block_bytes + size as usize;
            let full = answer.block_bytes >= MESSAGE_TARGET_BYTES
                || after > MESSAGE_BLOCK_BYTES
                || answer.blocks.len() >= MESSAGE_BLOCKS;
            if full && !answer.blocks.is_empty() {
                break;
            }
            self.ready.pop_front();
            self.wants.remove(&cid);
            answer.blocks.push(cid);
            answer.block_bytes = after;
        }
    }

    fn waiting_cids(&self) -> Vec<Cid> {
        let waiting = |(cid, want): (&Cid, &Want)| (want.stage == Stage::Waiting).then_some(*cid);
        self.wants.iter().filter_map(waiting).collect()
    }
}

/// A want-block stands when a want-have for the same CID follows it.
fn stronger(old: Request, new: Request) -> Request {
    match (old, new) {
        (Request::Block(_), Request::Have(_)) => old,
        _ => new,
    }
}

fn forget(waiting: &mut HashMap<Cid, BTreeSet<PeerId>>, cid: &Cid, peer: PeerId) {
    if let Some(peers) = waiting.get_mut(cid) {
        peers.remove(&peer);
        if peers.is_empty() {
            waiting.remove(cid);
        }
    }
}
