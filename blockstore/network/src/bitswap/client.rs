//! What we want of peers, as a state machine: asks by CID, a wantlist per peer, no clock and no wire.
//!
//! Always: a block is handed out once per waiter; whoever else was asked is told that we have it; a
//! peer that sends blocks nobody asked it for is reported.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Instant;

use artdag_blockstore::Block;
use cid::Cid;

use super::WantId;
use super::ask::{Ask, Asked, Ended, Purpose, Question, Scope, Source, Sources};
use super::message::{Entry, Presence};
use super::server::Circle;
use super::wantlist::{Kind, Wantlist};
use crate::limits::{LATE_BLOCK, LATE_BLOCKS_REMEMBERED, UNSOLICITED_BLOCKS};
use crate::peer::PeerId;

/// What came of our wants.
#[derive(Debug)]
pub enum Outcome {
    Delivered(WantId, Block),
    Ended(WantId, Ended),
    /// A block that we had wanted but no longer needed.
    Duplicate,
    /// This peer sends what nobody asked for.
    Pushy(PeerId),
}

#[derive(Default)]
struct Peer {
    wantlist: Wantlist,
    /// Asks taken back of late: their blocks may still come.
    late: BTreeMap<Cid, Instant>,
    late_order: VecDeque<Cid>,
    unsolicited: u32,
}

/// The asking half of bitswap.
#[derive(Default)]
pub struct Client {
    sources: Sources,
    peers: HashMap<PeerId, Peer>,
    asks: HashMap<Cid, Ask>,
    wants: HashMap<WantId, Cid>,
    /// Peers whose wantlist may have changes to tell.
    pub changed: BTreeSet<PeerId>,
}

impl Client {
    pub fn wants(&self) -> usize {
        self.wants.len()
    }

    pub fn connected(&mut self, peer: PeerId, circle: Circle, now: Instant) -> Vec<Outcome> {
        let source = Source { circle, loading: 0, last_block: None, last_heard: None };
        self.sources.insert(peer, source);
        self.peers.insert(peer, Peer::default());
        self.advance_all(now)
    }

    pub fn proved(&mut self, peer: PeerId, now: Instant) -> Vec<Outcome> {
        if let Some(source) = self.sources.get_mut(&peer) {
            source.circle = Circle::Member;
        }
        self.advance_all(now)
    }

    /// The peer is gone, or cannot be asked anything.
    pub fn disconnected(&mut self, peer: PeerId, now: Instant) -> Vec<Outcome> {
        self.sources.remove(&peer);
        self.peers.remove(&peer);
        self.changed.remove(&peer);
        for ask in self.asks.values_mut() {
            ask.peers.remove(&peer);
        }
        self.advance_all(now)
    }

    pub fn want(
        &mut self,
        id: WantId,
        cid: Cid,
        purpose: Purpose,
        scope: Scope,
        hints: &[PeerId],
        now: Instant,
    ) -> Vec<Outcome> {
        self.wants.insert(id, cid);
        let ask = self.asks.entry(cid).or_insert_with(|| Ask::new(now));
        ask.join(id, purpose, scope, hints);
        self.advance(cid, now)
    }

    /// The waiter went away.
    pub fn cancel(&mut self, id: WantId, now: Instant) -> Vec<Outcome> {
        let Some(cid) = self.wants.remove(&id) else {
            return Vec::new();
        };
        if let Some(ask) = self.asks.get_mut(&cid) {
            ask.leave(id);
        }
        self.advance(cid, now)
    }

    /// A peer spoke; it is alive.
    pub fn heard(&mut self, peer: PeerId, now: Instant) {
        if let Some(source) = self.sources.get_mut(&peer) {
            source.last_heard = Some(now);
        }
    }

    pub fn presence(&mut self, peer: PeerId, cid: Cid, presence: Presence, now: Instant) -> Vec<Outcome> {
        let Some(asked) = self.asks.get_mut(&cid).and_then(|it| it.peers.get_mut(&peer)) else {
            return Vec::new();
        };
        let was = *asked;
        match presence {
            // HAVE after want-block is an early word, not the answer.
            Presence::Have if matches!(was, Asked::Block(_)) => return Vec::new(),
            Presence::Have => *asked = Asked::Holds,
            Presence::DontHave => *asked = Asked::No,
        }
        let is = *asked;
        self.account(peer, was, is);
        self.advance(cid, now)
    }

    pub fn block(&mut self, peer: PeerId, block: Block, now: Instant) -> Vec<Outcome> {
        let cid = *block.cid();
        let known = match self.peers.get_mut(&peer) {
            Some(it) => {
                it.wantlist.fulfilled(&cid);
                it.late.remove(&cid).is_some()
            }
            None => return Vec::new(),
        };
        self.changed.insert(peer);
        let Some(ask) = self.asks.get_mut(&cid) else {
            return vec![self.unwanted(peer, known)];
        };
        let Some(was) = ask.peers.insert(peer, Asked::Holds) else {
            // It may be a late answer, and it is welcome: the hash was checked.
            ask.peers.remove(&peer);
            return self.deliver(cid, block, now);
        };
        self.account(peer, was, Asked::Holds);
        if let Some(source) = self.sources.get_mut(&peer) {
            source.last_block = Some(now);
        }
        self.deliver(cid, block, now)
    }

    fn deliver(&mut self, cid: Cid, block: Block, now: Instant) -> Vec<Outcome> {
        let fetchers = self.asks.get_mut(&cid).map(Ask::take_fetchers).unwrap_or_default();
        let mut outcomes = Vec::with_capacity(fetchers.len());
        for id in fetchers {
            self.wants.remove(&id);
            outcomes.push(Outcome::Delivered(id, block.clone()));
        }
        outcomes.extend(self.advance(cid, now));
        outcomes
    }

    fn unwanted(&mut self, peer: PeerId, known: bool) -> Outcome {
        let Some(it) = self.peers.get_mut(&peer) else {
            return Outcome::Duplicate;
        };
        if known {
            return Outcome::Duplicate;
        }
        it.unsolicited += 1;
        // Once: it is dropped for it, and the rest of its message says nothing new.
        if it.unsolicited == UNSOLICITED_BLOCKS + 1 {
            return Outcome::Pushy(peer);
        }
        Outcome::Duplicate
    }

    /// Time passed.
    pub fn tick(&mut self, now: Instant) -> Vec<Outcome> {
        for peer in self.peers.values_mut() {
            while let Some(cid) = peer.late_order.front() {
                let since = peer.late.get(cid);
                let over = since.is_none_or(|since| now.duration_since(*since) > LATE_BLOCK);
                if !over && peer.late_order.len() <= LATE_BLOCKS_REMEMBERED {
                    break;
                }
                peer.late.remove(cid);
                peer.late_order.pop_front();
            }
        }
        self.advance_all(now)
    }

    /// Changes of our wantlist to tell this peer.
    pub fn changes(&mut self, peer: PeerId) -> Vec<Entry> {
        self.changed.remove(&peer);
        self.peers.get_mut(&peer).map(|it| it.wantlist.changes()).unwrap_or_default()
    }

    fn advance_all(&mut self, now: Instant) -> Vec<Outcome> {
        let mut cids: Vec<Cid> = self.asks.keys().copied().collect();
        cids.sort_unstable();
        cids.into_iter().flat_map(|cid| self.advance(cid, now)).collect()
    }

    /// Brings one ask forward: who is late, whom to ask now, who waits in vain.
    fn advance(&mut self, cid: Cid, now: Instant) -> Vec<Outcome> {
        let Some(mut ask) = self.asks.remove(&cid) else {
            return Vec::new();
        };
        let before: Vec<_> = ask.peers.iter().map(|(peer, it)| (*peer, *it)).collect();
        ask.expire(&self.sources, now);
        for (peer, was) in before {
            if let Some(is) = ask.peers.get(&peer) {
                self.account(peer, was, *is);
            }
        }
        for (peer, question) in ask.questions(&self.sources, now) {
            self.put(peer, cid, question);
        }
        let ended = ask.ended(&self.sources, now);
        for (id, _) in &ended {
            self.wants.remove(id);
        }
        let retracted: Vec<_> = ask.peers.iter().map(|(peer, it)| (*peer, *it)).collect();
        let out = ask.retract(&self.sources);
        for (peer, was) in retracted {
            if out.contains(&peer) {
                self.take_back(peer, cid, was, now);
            }
        }
        if !ask.is_idle() {
            self.asks.insert(cid, ask);
        }
        ended.into_iter().map(|(id, how)| Outcome::Ended(id, how)).collect()
    }

    fn put(&mut self, peer: PeerId, cid: Cid, question: Question) {
        if let Some(it) = self.peers.get_mut(&peer) {
            let kind = match question {
                Question::Have => Kind::Have,
                Question::Block => Kind::Block,
            };
            it.wantlist.want(cid, kind);
            self.changed.insert(peer);
        }
        if question == Question::Block
            && let Some(source) = self.sources.get_mut(&peer)
        {
            source.loading += 1;
        }
    }

    fn take_back(&mut self, peer: PeerId, cid: Cid, was: Asked, now: Instant) {
        self.account(peer, was, Asked::No);
        if let Some(it) = self.peers.get_mut(&peer) {
            it.wantlist.cancel(&cid);
            if was != Asked::Holds && it.late.insert(cid, now).is_none() {
                it.late_order.push_back(cid);
            }
            self.changed.insert(peer);
        }
    }

    /// Keeps the count of want-blocks a peer has not answered.
    fn account(&mut self, peer: PeerId, was: Asked, is: Asked) {
        let loads = |asked: Asked| matches!(asked, Asked::Block(_));
        if loads(was)
            && !loads(is)
            && let Some(source) = self.sources.get_mut(&peer)
        {
            source.loading = source.loading.saturating_sub(1);
        }
    }
}
