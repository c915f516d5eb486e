//! Gossipsub behind a gate: what a peer says reaches it only after the peer proved itself a member.
//!
//! Gossipsub's own blacklist is not enough: a blacklisted peer still gets into the mesh and is sent
//! messages, and a peer that is blacklisted when it connects is never told our subscription. Here the
//! words of an unproved peer (its subscription first of all) are held back, so that it is in no mesh
//! and is sent nothing, and are played to gossipsub in order when it proves itself. Always: at most
//! `HELD_EVENTS` are held; a peer that goes on talking unproved is reported once.

use std::collections::{HashMap, HashSet, VecDeque};
use std::task::{Context, Poll};

use libp2p::PeerId as Libp2pPeerId;
use libp2p::core::transport::PortUse;
use libp2p::core::{Endpoint, Multiaddr};
use libp2p::gossipsub::{self, IdentityTransform, WhitelistSubscriptionFilter};
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
};

use crate::limits::{HELD_EVENTS, HELD_EVENTS_PER_PEER};

pub type Inner = gossipsub::Behaviour<IdentityTransform, WhitelistSubscriptionFilter>;

/// Words of an unproved peer beyond those held before it is reported.
const TALKATIVE: usize = 64;

/// What comes out of the gate.
#[derive(Debug)]
pub enum Event {
    Gossip(gossipsub::Event),
    /// This peer floods us with gossip and has proved nothing.
    Flooding(Libp2pPeerId),
}

#[derive(Default)]
struct Held {
    events: VecDeque<(ConnectionId, THandlerOutEvent<Inner>)>,
    dropped: usize,
}

/// See the module.
pub struct Gate {
    pub inner: Inner,
    proved: HashSet<Libp2pPeerId>,
    held: HashMap<Libp2pPeerId, Held>,
    held_events: usize,
    reports: VecDeque<Libp2pPeerId>,
}

impl Gate {
    pub fn new(inner: Inner) -> Self {
        Gate { inner, proved: HashSet::new(), held: HashMap::new(), held_events: 0, reports: VecDeque::new() }
    }

    /// Lets the peer in and plays what it said so far.
    pub fn prove(&mut self, peer: Libp2pPeerId) {
        self.proved.insert(peer);
        for (connection, event) in self.release(&peer) {
            self.inner.on_connection_handler_event(peer, connection, event);
        }
    }

    fn release(&mut self, peer: &Libp2pPeerId) -> VecDeque<(ConnectionId, THandlerOutEvent<Inner>)> {
        let held = self.held.remove(peer).unwrap_or_default();
        self.held_events -= held.events.len();
        held.events
    }

    fn hold(&mut self, peer: Libp2pPeerId, connection: ConnectionId, event: THandlerOutEvent<Inner>) {
        let held = self.held.entry(peer).or_default();
        if held.events.len() < HELD_EVENTS_PER_PEER && self.held_events < HELD_EVENTS {
            held.events.push_back((connection, event));
            self.held_events += 1;
            return;
        }
        held.dropped += 1;
        if held.dropped == TALKATIVE {
            self.reports.push_back(peer);
        }
    }
}

impl NetworkBehaviour for Gate {
    type ConnectionHandler = THandler<Inner>;
    type ToSwarm = Event;

    fn handle_pending_inbound_connection(
        &mut self,
        connection: ConnectionId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        self.inner.handle_pending_inbound_connection(connection, local, remote)
    }

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: Libp2pPeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.inner.handle_established_inbound_connection(connection, peer, local, remote)
    }

    fn handle_pending_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: Option<Libp2pPeerId>,
        addresses: &[Multiaddr],
        role: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        self.inner.handle_pending_outbound_connection(connection, peer, addresses, role)
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: Libp2pPeerId,
        address: &Multiaddr,
        role: Endpoint,
        port: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.inner.handle_established_outbound_connection(connection, peer, address, role, port)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        if let FromSwarm::ConnectionClosed(closed) = &event {
            if closed.remaining_established == 0 {
                self.proved.remove(&closed.peer_id);
                self.release(&closed.peer_id);
            } else if let Some(held) = self.held.get_mut(&closed.peer_id) {
                let before = held.events.len();
                held.events.retain(|(id, _)| *id != closed.connection_id);
                self.held_events -= before - held.events.len();
            }
        }
        self.inner.on_swarm_event(event);
    }

    fn on_connection_handler_event(
        &mut self,
        peer: Libp2pPeerId,
        connection: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        match self.proved.contains(&peer) {
            true => self.inner.on_connection_handler_event(peer, connection, event),
            false => self.hold(peer, connection, event),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Event, THandlerInEvent<Self>>> {
        if let Some(peer) = self.reports.pop_front() {
            return Poll::Ready(ToSwarm::GenerateEvent(Event::Flooding(peer)));
        }
        self.inner.poll(cx).map(|event| event.map_out(Event::Gossip))
    }
}
