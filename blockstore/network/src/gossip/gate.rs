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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::StreamExt;
    use libp2p::swarm::SwarmEvent;
    use libp2p::{Swarm, SwarmBuilder, noise, tcp, yamux};

    use super::*;
    use crate::gossip::{behaviour, topic};
    use crate::peer::keypair;

    const NAMESPACE: [u8; 32] = [7; 32];

    fn swarm<B: NetworkBehaviour>(seed: u8, inside: impl FnOnce(Gate) -> B) -> Swarm<B> {
        let keypair = keypair(&[seed; 32]);
        let gate = behaviour(&keypair, &NAMESPACE).expect("built");
        SwarmBuilder::with_existing_identity(keypair)
            .with_tokio()
            .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
            .expect("a transport")
            .with_behaviour(|_| inside(gate))
            .unwrap_or_else(|never| match never {})
            .build()
    }

    /// A gated swarm, and one of a peer that uses gossipsub as it likes, connected to it.
    async fn pair() -> (Swarm<Gate>, Swarm<Inner>) {
        let mut gated = swarm(1, |gate| gate);
        let mut hostile = swarm(2, |gate| gate.inner);
        gated.listen_on("/ip4/127.0.0.1/tcp/0".parse().expect("an address")).expect("listens");
        let address = loop {
            if let SwarmEvent::NewListenAddr { address, .. } = gated.select_next_some().await {
                break address;
            }
        };
        hostile.dial(address).expect("dials");
        (gated, hostile)
    }

    fn is_message(event: &gossipsub::Event) -> bool {
        matches!(event, gossipsub::Event::Message { .. })
    }

    #[tokio::test]
    async fn an_unproved_peer_hears_nothing_and_is_not_heard_until_it_proves_itself() {
        let (mut gated, mut hostile) = pair().await;
        let peer = *hostile.local_peer_id();
        let topic = topic(&NAMESPACE);
        let mut clock = tokio::time::interval(Duration::from_millis(5));
        let work = async {
            // Both talk; it ends when the gate has had enough of the unproved one.
            loop {
                tokio::select! {
                    _ = clock.tick() => {
                        let _ = hostile.behaviour_mut().publish(topic.clone(), b"rumour".to_vec());
                        let _ = gated.behaviour_mut().inner.publish(topic.clone(), b"secret".to_vec());
                    }
                    event = gated.select_next_some() => match event {
                        SwarmEvent::Behaviour(Event::Flooding(from)) => {
                            assert_eq!(from, peer);
                            break;
                        }
                        SwarmEvent::Behaviour(Event::Gossip(event)) => assert!(!is_message(&event)),
                        _ => {}
                    },
                    event = hostile.select_next_some() => {
                        if let SwarmEvent::Behaviour(event) = event {
                            assert!(!is_message(&event), "it heard {event:?}");
                        }
                    }
                }
            }
            assert_eq!(gated.behaviour().inner.all_mesh_peers().count(), 0);
            gated.behaviour_mut().prove(peer);
            assert_eq!(gated.behaviour().held_events, 0);
            let (mut heard, mut spoke) = (false, false);
            while !(heard && spoke) {
                tokio::select! {
                    _ = clock.tick() => {
                        let _ = hostile.behaviour_mut().publish(topic.clone(), b"news".to_vec());
                        let _ = gated.behaviour_mut().inner.publish(topic.clone(), b"news".to_vec());
                    }
                    event = gated.select_next_some() => {
                        if let SwarmEvent::Behaviour(Event::Gossip(event)) = event {
                            heard |= is_message(&event);
                        }
                    }
                    event = hostile.select_next_some() => {
                        if let SwarmEvent::Behaviour(event) = event {
                            spoke |= is_message(&event);
                        }
                    }
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(60), work).await.expect("in time");
    }
}
