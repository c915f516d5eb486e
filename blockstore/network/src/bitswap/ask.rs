//! One CID that we want: who waits for it, who was asked, and whom to ask next.
//!
//! The order of asking: a hinted peer, or one that just sent us other blocks, is asked for the block
//! straight away; the others are asked whether they have it when that peer says no or is slow.
//! Always: a want of scope `Members` is never told to a stranger.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::WantId;
use super::server::Circle;
use crate::limits::{ASKED_PEERS, BLOCK_TIMEOUT, HAVE_TIMEOUT, HINT_PATIENCE, MEMBER_PATIENCE, SESSION_MEMORY};
use crate::peer::PeerId;

/// Who may learn that we want something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Proved members only.
    Members,
    /// Members first, then every connected peer.
    Anyone,
}

impl Scope {
    fn admits(self, circle: Circle) -> bool {
        self == Scope::Anyone || circle == Circle::Member
    }
}

/// What a waiter is after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Fetch,
    /// Only to learn who has it, until then.
    Locate(Instant),
}

/// What a peer said, or that it has not yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    Have(Instant),
    Holds,
    Block(Instant),
    No,
    Silent,
}

impl Asked {
    fn is_open(self) -> bool {
        matches!(self, Asked::Have(_) | Asked::Block(_))
    }
}

/// What an ask needs to know about a peer.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    pub circle: Circle,
    /// Want-blocks it has not answered.
    pub loading: usize,
    pub last_block: Option<Instant>,
    pub last_heard: Option<Instant>,
}

pub type Sources = BTreeMap<PeerId, Source>;

#[derive(Clone, Copy, Debug)]
struct Waiter {
    purpose: Purpose,
    scope: Scope,
}

/// One CID that we want.
pub struct Ask {
    waiters: BTreeMap<WantId, Waiter>,
    pub peers: BTreeMap<PeerId, Asked>,
    hints: BTreeSet<PeerId>,
    started: Instant,
}

/// What to tell a peer next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    Have,
    Block,
}

/// How a waiter's wait ended without a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Everyone that may be asked said no, or there is nobody.
    NotFound,
    /// Someone never answered.
    TimedOut,
    /// Too many of our wants wait already.
    Busy,
    /// A locate is done: these peers have it.
    Holders(Vec<PeerId>),
}

impl Ask {
    pub fn new(now: Instant) -> Self {
        Ask { waiters: BTreeMap::new(), peers: BTreeMap::new(), hints: BTreeSet::new(), started: now }
    }

    pub fn join(&mut self, id: WantId, purpose: Purpose, scope: Scope, hints: &[PeerId]) {
        self.waiters.insert(id, Waiter { purpose, scope });
        self.hints.extend(hints.iter().take(ASKED_PEERS));
    }

    pub fn leave(&mut self, id: WantId) {
        self.waiters.remove(&id);
    }

    pub fn is_idle(&self) -> bool {
        self.waiters.is_empty()
    }

    /// Takes out all who wait for the block itself.
    pub fn take_fetchers(&mut self) -> Vec<WantId> {
        let fetches = |it: &Waiter| it.purpose == Purpose::Fetch;
        let waiters = self.waiters.iter();
        let ids: Vec<WantId> = waiters.filter(|(_, it)| fetches(it)).map(|(id, _)| *id).collect();
        self.waiters.retain(|_, it| !fetches(it));
        ids
    }

    /// Peers that were asked and may no longer be, because the waiter who allowed it left.
    pub fn retract(&mut self, sources: &Sources) -> Vec<PeerId> {
        let scope = self.scope();
        let admitted = |peer: &PeerId| {
            let source = sources.get(peer);
            source.is_some_and(|it| scope.is_some_and(|scope| scope.admits(it.circle)))
        };
        let out: Vec<PeerId> = self.peers.keys().filter(|it| !admitted(it)).copied().collect();
        out.iter().for_each(|peer| {
            self.peers.remove(peer);
        });
        out
    }

    fn scope(&self) -> Option<Scope> {
        self.waiters.values().map(|it| it.scope).max()
    }

    /// Marks as silent who has not answered in time.
    pub fn expire(&mut self, sources: &Sources, now: Instant) {
        for (peer, asked) in &mut self.peers {
            let source = sources.get(peer);
            let (since, heard, patience) = match *asked {
                Asked::Have(since) => (since, source.and_then(|it| it.last_heard), HAVE_TIMEOUT),
                Asked::Block(since) => (since, source.and_then(|it| it.last_block), BLOCK_TIMEOUT),
                _ => continue,
            };
            // A peer that is busy answering our other wants is not silent, up to a point.
            let last = heard.map_or(since, |heard| heard.max(since));
            let busy = now.duration_since(last) <= patience;
            if !busy || now.duration_since(since) > patience * BUSY_FACTOR {
                *asked = Asked::Silent;
            }
        }
    }

    /// Questions to put now, and marks them as put.
    pub fn questions(&mut self, sources: &Sources, now: Instant) -> Vec<(PeerId, Question)> {
        let Some(scope) = self.scope() else {
            return Vec::new();
        };
        let candidates = self.candidates(scope, sources, now);
        let mut questions = Vec::new();
        let fetching = self.waiters.values().any(|it| it.purpose == Purpose::Fetch);
        if fetching
            && !self.peers.values().any(|it| matches!(it, Asked::Block(_)))
            && let Some(peer) = self.next_source(&candidates, sources, now)
        {
            self.peers.insert(peer, Asked::Block(now));
            questions.push((peer, Question::Block));
        }
        if self.may_broadcast(sources, now) {
            let open = self.peers.values().filter(|it| it.is_open()).count();
            let room = ASKED_PEERS.saturating_sub(open);
            let unasked = candidates.iter().filter(|it| !self.peers.contains_key(it));
            let unasked: Vec<PeerId> = unasked.take(room).copied().collect();
            for peer in unasked {
                self.peers.insert(peer, Asked::Have(now));
                questions.push((peer, Question::Have));
            }
        }
        questions
    }

    /// Whom we may ask now: members, and the others when their turn has come.
    fn candidates(&self, scope: Scope, sources: &Sources, now: Instant) -> Vec<PeerId> {
        let (members, others): (Vec<_>, Vec<_>) = sources.iter().partition(|(_, it)| it.circle == Circle::Member);
        let closed = |peer: &PeerId| self.peers.get(peer).is_some_and(|it| !it.is_open());
        let public = scope == Scope::Anyone
            && (now.duration_since(self.started) >= MEMBER_PATIENCE || members.iter().all(|(peer, _)| closed(peer)));
        let others =
            others.into_iter().filter(|(peer, _)| public || (scope == Scope::Anyone && self.hints.contains(*peer)));
        members.into_iter().chain(others).map(|(peer, _)| *peer).collect()
    }

    /// The peer to ask for the block itself, if one stands out.
    fn next_source(&self, candidates: &[PeerId], sources: &Sources, now: Instant) -> Option<PeerId> {
        let least = |peers: &mut dyn Iterator<Item = PeerId>| {
            peers.min_by_key(|it| (sources.get(it).map_or(usize::MAX, |it| it.loading), *it))
        };
        let asked = |peer: &PeerId| self.peers.get(peer);
        let holders = &mut candidates.iter().copied();
        if let Some(peer) = least(&mut holders.filter(|it| asked(it) == Some(&Asked::Holds))) {
            return Some(peer);
        }
        let mut unasked = candidates.iter().copied().filter(|it| asked(it).is_none());
        if candidates.len() == 1 {
            return unasked.next();
        }
        if let Some(peer) = least(&mut unasked.clone().filter(|it| self.hints.contains(it))) {
            return Some(peer);
        }
        let recent = |peer: &PeerId| {
            let last = sources.get(peer).and_then(|it| it.last_block);
            last.is_some_and(|last| now.duration_since(last) <= SESSION_MEMORY)
        };
        // Once somebody said no, the others are asked whether they have it, not for the bytes.
        self.peers.is_empty().then(|| least(&mut unasked.filter(recent)))?
    }

    /// Whether the rest may be asked: always to locate, and to fetch unless one peer is at it.
    fn may_broadcast(&self, sources: &Sources, now: Instant) -> bool {
        let locating = self.waiters.values().any(|it| it.purpose != Purpose::Fetch);
        let patient = |(peer, asked): (&PeerId, &Asked)| {
            let Asked::Block(since) = *asked else {
                return false;
            };
            let last = sources.get(peer).and_then(|it| it.last_block);
            now.duration_since(last.map_or(since, |last| last.max(since))) < HINT_PATIENCE
        };
        locating || !self.peers.iter().any(patient)
    }

    /// Waiters with nobody left to hope for.
    pub fn ended(&mut self, sources: &Sources, now: Instant) -> Vec<(WantId, Ended)> {
        let mut ended = Vec::new();
        for (id, waiter) in &self.waiters {
            let mine = |peer: &PeerId| sources.get(peer).is_some_and(|it| waiter.scope.admits(it.circle));
            let all_asked = sources.keys().filter(|it| mine(it)).all(|it| self.peers.contains_key(it));
            let of = |test: &dyn Fn(Asked) -> bool| self.peers.iter().any(|(peer, asked)| mine(peer) && test(*asked));
            let open = !all_asked || of(&Asked::is_open);
            match waiter.purpose {
                Purpose::Fetch if open || of(&|it| it == Asked::Holds) => {}
                Purpose::Fetch if of(&|it| it == Asked::Silent) => ended.push((*id, Ended::TimedOut)),
                Purpose::Fetch => ended.push((*id, Ended::NotFound)),
                Purpose::Locate(until) if open && now < until => {}
                Purpose::Locate(_) => {
                    let holds = |it: &Asked| matches!(it, Asked::Holds | Asked::Block(_));
                    let peers = self.peers.iter().filter(|(peer, it)| mine(peer) && holds(it));
                    ended.push((*id, Ended::Holders(peers.map(|(peer, _)| *peer).collect())));
                }
            }
        }
        ended.iter().for_each(|(id, _)| self.leave(*id));
        ended
    }
}

/// A peer may be busy with our other wants for this many patiences before it counts as silent.
const BUSY_FACTOR: u32 = 12;
