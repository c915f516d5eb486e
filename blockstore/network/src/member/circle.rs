//! Who is connected, who proved itself, where members are, and whom to call again: no clock, no wire.
//!
//! Always: of two peers the one with the smaller id calls for the proof, so there is one; a proof belongs
//! to one session (from the first connection to the last one's end); what a late task says about an
//! earlier session is ignored; a lost member is dialled again with growing pauses.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use libp2p::Multiaddr;

use super::roster::Roster;
use crate::limits::{ADDRESSES_PER_MEMBER, MEMBERS, PROOF_ATTEMPTS, REDIAL_FIRST, REDIAL_FORGET, REDIAL_LAST};
use crate::peer::PeerId;

/// How far a connected peer got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    Stranger,
    /// We believe it; it may use us.
    Proved,
    /// Both know; we may use it.
    Member,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    Connected(PeerId),
    Disconnected(PeerId),
    /// Call the peer for the proof.
    Prove {
        peer: PeerId,
        session: u64,
    },
    Proved(PeerId),
    Joined(PeerId),
    Left(PeerId),
    Dial {
        peer: PeerId,
        addresses: Vec<Multiaddr>,
    },
    /// What we tell members has changed.
    RosterChanged,
}

struct Connected {
    session: u64,
    standing: Standing,
    attempts: u32,
    prove_at: Option<Instant>,
    /// Where we dialled it.
    dialled: Vec<Multiaddr>,
}

struct Known {
    addresses: Vec<Multiaddr>,
    redial: Option<Redial>,
}

struct Redial {
    since: Instant,
    at: Instant,
    pause: Duration,
}

/// See the module.
pub struct Circle {
    local: PeerId,
    own: Vec<Multiaddr>,
    connected: BTreeMap<PeerId, Connected>,
    /// Members of now and before.
    known: BTreeMap<PeerId, Known>,
    sessions: u64,
}

impl Circle {
    pub fn new(local: PeerId) -> Self {
        Circle { local, own: Vec::new(), connected: BTreeMap::new(), known: BTreeMap::new(), sessions: 0 }
    }

    pub fn standing(&self, peer: &PeerId) -> Option<Standing> {
        self.connected.get(peer).map(|it| it.standing)
    }

    /// The session in which this peer may call us for a proof: the smaller id calls.
    pub fn may_call(&self, peer: &PeerId) -> Option<u64> {
        let connected = self.connected.get(peer)?;
        (*peer < self.local).then_some(connected.session)
    }

    pub fn members(&self) -> impl Iterator<Item = PeerId> {
        let connected = self.connected.iter();
        connected.filter(|(_, it)| it.standing == Standing::Member).map(|(peer, _)| *peer)
    }

    pub fn connected(&self) -> impl Iterator<Item = (PeerId, Standing)> {
        self.connected.iter().map(|(peer, it)| (*peer, it.standing))
    }

    /// What we tell members: where we and our members are.
    pub fn roster(&self) -> Roster {
        let mut roster = vec![(self.local, self.own.clone())];
        for peer in self.members().take(MEMBERS - 1) {
            if let Some(known) = self.known.get(&peer) {
                roster.push((peer, known.addresses.clone()));
            }
        }
        roster
    }

    pub fn listening(&mut self, own: Vec<Multiaddr>) -> Vec<Action> {
        self.own = own;
        self.own.truncate(ADDRESSES_PER_MEMBER);
        vec![Action::RosterChanged]
    }

    /// A connection is there; `dialled` if it was we who called, and where.
    pub fn opened(&mut self, peer: PeerId, dialled: Option<Multiaddr>, now: Instant) -> Vec<Action> {
        if let Some(it) = self.connected.get_mut(&peer) {
            remember(&mut it.dialled, dialled);
            return Vec::new();
        }
        self.sessions += 1;
        let calls = self.local < peer;
        let connected = Connected {
            session: self.sessions,
            standing: Standing::Stranger,
            attempts: 0,
            prove_at: calls.then_some(now),
            dialled: dialled.into_iter().collect(),
        };
        self.connected.insert(peer, connected);
        if let Some(known) = self.known.get_mut(&peer) {
            known.redial = None;
        }
        let mut actions = vec![Action::Connected(peer)];
        actions.extend(self.due_proofs(now));
        actions
    }

    /// The last connection is gone.
    pub fn closed(&mut self, peer: PeerId, now: Instant) -> Vec<Action> {
        let Some(it) = self.connected.remove(&peer) else {
            return Vec::new();
        };
        let mut actions = Vec::new();
        if it.standing == Standing::Member {
            actions.extend([Action::Left(peer), Action::RosterChanged]);
        }
        if let Some(known) = self.known.get_mut(&peer) {
            known.redial = Some(Redial { since: now, at: now + REDIAL_FIRST, pause: REDIAL_FIRST });
        }
        actions.push(Action::Disconnected(peer));
        actions
    }

    fn current(&mut self, peer: PeerId, session: u64) -> Option<&mut Connected> {
        self.connected.get_mut(&peer).filter(|it| it.session == session)
    }

    pub fn proved(&mut self, peer: PeerId, session: u64) -> Vec<Action> {
        match self.current(peer, session) {
            Some(it) if it.standing == Standing::Stranger => {
                it.standing = Standing::Proved;
                vec![Action::Proved(peer)]
            }
            _ => Vec::new(),
        }
    }

    pub fn joined(&mut self, peer: PeerId, session: u64) -> Vec<Action> {
        let dialled = match self.current(peer, session) {
            Some(it) if it.standing == Standing::Proved => {
                it.standing = Standing::Member;
                it.attempts = 0;
                it.dialled.clone()
            }
            _ => return Vec::new(),
        };
        if self.known.len() < MEMBERS || self.known.contains_key(&peer) {
            let known = self.known.entry(peer).or_insert(Known { addresses: Vec::new(), redial: None });
            dialled.into_iter().for_each(|it| remember(&mut known.addresses, Some(it)));
        }
        vec![Action::Joined(peer), Action::RosterChanged]
    }

    /// The peer is no member: it is left alone for this session.
    pub fn refused(&mut self, peer: PeerId, session: u64) {
        if let Some(it) = self.current(peer, session) {
            it.prove_at = None;
        }
        if self.standing(&peer) == Some(Standing::Stranger) {
            self.known.remove(&peer);
        }
    }

    /// The member stream ended: the caller tries again, a few times.
    pub fn link_ended(&mut self, peer: PeerId, session: u64, now: Instant) {
        let calls = self.local < peer;
        if let Some(it) = self.current(peer, session) {
            it.attempts += 1;
            let again = calls && it.attempts < PROOF_ATTEMPTS;
            it.prove_at = again.then(|| now + REDIAL_FIRST * it.attempts);
        }
    }

    /// A member told where members are; whom we do not know yet is called at once.
    pub fn told(&mut self, from: PeerId, session: u64, roster: Roster, now: Instant) -> Vec<Action> {
        match self.current(from, session) {
            Some(it) if it.standing == Standing::Member => {}
            _ => return Vec::new(),
        }
        let before = self.roster();
        for (peer, addresses) in roster {
            if peer == self.local || addresses.is_empty() {
                continue;
            }
            let connected = self.connected.contains_key(&peer);
            let room = self.known.len() < MEMBERS;
            match self.known.get_mut(&peer) {
                // Its own word about itself replaces what others said.
                Some(known) if peer == from => known.addresses = addresses,
                Some(known) if !connected => {
                    addresses.into_iter().for_each(|it| remember(&mut known.addresses, Some(it)));
                }
                None if !connected && room => {
                    let redial = Some(Redial { since: now, at: now, pause: REDIAL_FIRST });
                    self.known.insert(peer, Known { addresses, redial });
                }
                _ => {}
            }
        }
        let mut actions = self.due_dials(now);
        if self.roster() != before {
            actions.push(Action::RosterChanged);
        }
        actions
    }

    pub fn tick(&mut self, now: Instant) -> Vec<Action> {
        let forgotten = |it: &Known| {
            let redial = it.redial.as_ref();
            redial.is_some_and(|it| now.duration_since(it.since) > REDIAL_FORGET)
        };
        self.known.retain(|_, it| !forgotten(it));
        let mut actions = self.due_proofs(now);
        actions.extend(self.due_dials(now));
        actions
    }

    fn due_proofs(&mut self, now: Instant) -> Vec<Action> {
        let mut actions = Vec::new();
        for (peer, it) in &mut self.connected {
            if it.prove_at.is_some_and(|at| at <= now) {
                it.prove_at = None;
                actions.push(Action::Prove { peer: *peer, session: it.session });
            }
        }
        actions
    }

    fn due_dials(&mut self, now: Instant) -> Vec<Action> {
        let mut actions = Vec::new();
        for (peer, known) in &mut self.known {
            let Some(redial) = known.redial.as_mut().filter(|it| it.at <= now) else {
                continue;
            };
            // The next one is set before this one is known to fail: success clears it.
            redial.pause = (redial.pause * 2).min(REDIAL_LAST);
            redial.at = now + redial.pause;
            let addresses = known.addresses.clone();
            if !self.connected.contains_key(peer) && !addresses.is_empty() {
                actions.push(Action::Dial { peer: *peer, addresses });
            }
        }
        actions
    }
}

fn remember(addresses: &mut Vec<Multiaddr>, address: Option<Multiaddr>) {
    if let Some(address) = address
        && !addresses.contains(&address)
        && addresses.len() < ADDRESSES_PER_MEMBER
    {
        addresses.push(address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peers() -> [PeerId; 3] {
        let mut peers = [1, 2, 3].map(|seed| PeerId::from_seed(&[seed; 32]));
        peers.sort();
        peers
    }

    fn address(port: u16) -> Multiaddr {
        format!("/ip4/127.0.0.1/tcp/{port}").parse().expect("known")
    }

    impl Circle {
        fn session(&self, peer: &PeerId) -> Option<u64> {
            self.connected.get(peer).map(|it| it.session)
        }
    }

    /// `local` with `peer` as a member.
    fn with_member(local: PeerId, peer: PeerId, now: Instant) -> (Circle, u64) {
        let mut circle = Circle::new(local);
        circle.opened(peer, Some(address(1)), now);
        let session = circle.session(&peer).expect("known");
        circle.proved(peer, session);
        circle.joined(peer, session);
        (circle, session)
    }

    #[test]
    fn only_the_smaller_id_calls() {
        let [small, large, _] = peers();
        let now = Instant::now();
        let calls = |actions: Vec<Action>| actions.iter().any(|it| matches!(it, Action::Prove { .. }));
        assert!(calls(Circle::new(small).opened(large, None, now)));
        assert!(!calls(Circle::new(large).opened(small, None, now)));
    }

    #[test]
    fn a_proof_of_an_earlier_session_is_ignored() {
        let [local, peer, _] = peers();
        let now = Instant::now();
        let mut circle = Circle::new(local);
        circle.opened(peer, None, now);
        let old = circle.session(&peer).expect("known");
        circle.closed(peer, now);
        circle.opened(peer, None, now);
        assert!(circle.proved(peer, old).is_empty());
        assert_eq!(circle.standing(&peer), Some(Standing::Stranger));
    }

    #[test]
    fn joining_needs_the_proof_first() {
        let [local, peer, _] = peers();
        let mut circle = Circle::new(local);
        circle.opened(peer, None, Instant::now());
        let session = circle.session(&peer).expect("known");
        assert!(circle.joined(peer, session).is_empty());
        assert_eq!(circle.members().count(), 0);
    }

    #[test]
    fn a_lost_member_is_dialled_with_growing_pauses_until_it_is_back() {
        let [local, peer, _] = peers();
        let now = Instant::now();
        let (mut circle, _) = with_member(local, peer, now);
        assert!(circle.closed(peer, now).contains(&Action::Left(peer)));
        let dial = Action::Dial { peer, addresses: vec![address(1)] };
        assert!(circle.tick(now).is_empty());
        assert_eq!(circle.tick(now + REDIAL_FIRST), vec![dial.clone()]);
        assert!(circle.tick(now + REDIAL_FIRST * 2).is_empty());
        assert_eq!(circle.tick(now + REDIAL_FIRST * 3), vec![dial]);
        circle.opened(peer, None, now);
        assert!(circle.due_dials(now + REDIAL_LAST).is_empty());
        circle.closed(peer, now);
        assert!(circle.tick(now + REDIAL_FORGET * 2).is_empty(), "forgotten");
    }

    #[test]
    fn members_of_members_are_dialled_at_once() {
        let [local, peer, third] = peers();
        let now = Instant::now();
        let (mut circle, session) = with_member(local, peer, now);
        let roster = vec![(third, vec![address(3)]), (local, vec![address(4)])];
        let dial = Action::Dial { peer: third, addresses: vec![address(3)] };
        assert_eq!(circle.told(peer, session, roster.clone(), now), vec![dial]);
        assert!(circle.told(peer, session, roster, now).is_empty(), "and not twice");
    }

    #[test]
    fn a_stranger_is_not_believed_about_members() {
        let [local, peer, third] = peers();
        let now = Instant::now();
        let mut circle = Circle::new(local);
        circle.opened(peer, None, now);
        let session = circle.session(&peer).expect("known");
        assert!(circle.told(peer, session, vec![(third, vec![address(3)])], now).is_empty());
    }

    #[test]
    fn what_is_known_stays_bounded() {
        let [local, peer, _] = peers();
        let now = Instant::now();
        let (mut circle, session) = with_member(local, peer, now);
        for round in 0..3_u16 {
            let member = |at: u16| {
                let mut seed = [9; 32];
                seed[..4].copy_from_slice(&[(at >> 8) as u8, at as u8, round as u8, 1]);
                (PeerId::from_seed(&seed), vec![address(at)])
            };
            circle.told(peer, session, (0..300).map(member).collect(), now);
        }
        assert_eq!(circle.known.len(), MEMBERS);
    }

    #[test]
    fn a_broken_proof_is_tried_a_few_times() {
        let [local, peer, _] = peers();
        let mut now = Instant::now();
        let mut circle = Circle::new(local);
        circle.opened(peer, None, now);
        let session = circle.session(&peer).expect("known");
        let mut tries = 1;
        for _ in 0..20 {
            circle.link_ended(peer, session, now);
            now += REDIAL_LAST;
            tries += circle.tick(now).len() as u32;
        }
        assert_eq!(tries, PROOF_ATTEMPTS);
    }
}
