//! The swarm's driver: waits for one event, asks the circle what follows, does it.
//!
//! It owns the libp2p swarm and nothing else does. Always: a stream is handed on only to a peer of the
//! right standing; what happens to peers reaches bitswap, gossip and the node in the same order.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use futures::StreamExt;
use libp2p::core::ConnectedPoint;
use libp2p::gossipsub::{self, IdentTopic};
use libp2p::swarm::{ConnectionId, SwarmEvent};
use libp2p::{Multiaddr, PeerId as Libp2pPeerId, Swarm, identify, mdns, ping};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::{MissedTickBehavior, timeout};
use tracing::{debug, info, warn};

use crate::behaviour::{Behaviour, BehaviourEvent};
use crate::bitswap::driver::Change;
use crate::bitswap::message::Version;
use crate::event::{Event, EventSender};
use crate::gossip::gate;
use crate::gossip::seal::Seal;
use crate::limits::{COMMANDS, GOODBYE, PLANE_STREAMS_PER_PEER, SWARM_TICK};
use crate::member;
use crate::member::circle::{Action, Circle, Standing};
use crate::member::handshake::Secret;
use crate::member::link::{self, Note, Reach, What};
use crate::member::roster::Roster;
use crate::metrics::Counters;
use crate::peer::{PeerId, is_loopback};
use crate::plane::{Acceptors, Plane, Stream as PlaneStream};
use crate::stream::{Inbound, Opener, Request};
use crate::task::Tasks;

mod dial;
mod gossip;

/// A connected peer, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerInfo {
    pub peer: PeerId,
    /// Where it is connected.
    pub addresses: Vec<String>,
    pub member: bool,
    /// What it calls itself; not to be trusted.
    pub agent: String,
}

/// Who is there.
#[derive(Clone, Debug, Default)]
pub struct Census {
    pub members: BTreeSet<PeerId>,
    pub peers: usize,
}

/// A dial that somebody waits for.
pub struct Dial {
    pub peer: Option<PeerId>,
    pub addresses: Vec<Multiaddr>,
    pub reply: oneshot::Sender<Result<PeerId, String>>,
}

/// What the swarm may be asked for.
pub enum Command {
    Open(PeerId, Request),
    Disconnect(PeerId, String),
    Dial(Dial),
    Addresses(oneshot::Sender<Vec<Multiaddr>>),
    Peers(oneshot::Sender<Vec<PeerInfo>>),
    /// Answers whether there was room.
    Publish(Vec<u8>, oneshot::Sender<bool>),
}

/// What the driver needs.
pub struct Args {
    pub swarm: Swarm<Behaviour>,
    pub local: PeerId,
    pub secret: Secret,
    pub topic: IdentTopic,
    pub seal: Arc<Seal>,
    pub opener: Opener,
    pub bitswap: mpsc::Sender<Change>,
    pub events: EventSender,
    pub census: watch::Sender<Census>,
    pub acceptors: Acceptors,
    pub counters: Arc<Counters>,
    pub tasks: Tasks,
}

/// Starts the driver.
pub fn start(args: Args, commands: mpsc::Receiver<Command>) {
    let (notes, notes_in) = mpsc::channel(COMMANDS);
    let circle = Circle::new(args.local);
    let (roster, _) = watch::channel(Roster::new());
    let tasks = args.tasks.clone();
    let driver = Driver {
        args,
        circle,
        notes,
        roster,
        dials: HashMap::new(),
        present: BTreeMap::new(),
        rediscover_at: Instant::now(),
    };
    tasks.spawn_orderly(driver.run(commands, notes_in));
}

/// What is known of a connected peer beside its standing.
struct Present {
    agent: String,
    addresses: BTreeMap<ConnectionId, Multiaddr>,
    plane_streams: Arc<Semaphore>,
}

struct Driver {
    args: Args,
    circle: Circle,
    notes: mpsc::Sender<Note>,
    roster: watch::Sender<Roster>,
    dials: HashMap<ConnectionId, oneshot::Sender<Result<PeerId, String>>>,
    present: BTreeMap<PeerId, Present>,
    rediscover_at: Instant,
}

impl Driver {
    async fn run(mut self, mut commands: mpsc::Receiver<Command>, mut notes: mpsc::Receiver<Note>) {
        let mut clock = tokio::time::interval(SWARM_TICK);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let tasks = self.args.tasks.clone();
        self.listening().await;
        loop {
            tokio::select! {
                () = tasks.stopping() => break,
                Some(note) = notes.recv() => self.note(note).await,
                event = self.args.swarm.select_next_some() => self.event(event).await,
                Some(command) = commands.recv() => self.command(command),
                _ = clock.tick() => {
                    let actions = self.circle.tick(Instant::now());
                    self.perform(actions).await;
                    self.dials.retain(|_, reply| !reply.is_closed());
                    self.rediscover();
                }
            }
        }
        self.goodbye().await;
    }

    async fn event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(event) => self.behaviour(event).await,
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                self.opened(PeerId(peer_id), connection_id, endpoint).await;
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, num_established, cause, .. } => {
                debug!(peer = %peer_id, ?cause, "connection closed");
                self.closed(PeerId(peer_id), connection_id, num_established).await;
            }
            SwarmEvent::OutgoingConnectionError { connection_id, peer_id, error } => {
                debug!(peer = ?peer_id, %error, "dial failed");
                if let Some(reply) = self.dials.remove(&connection_id) {
                    let _ = reply.send(Err(error.to_string()));
                }
            }
            SwarmEvent::NewListenAddr { .. } | SwarmEvent::ExpiredListenAddr { .. } => {
                self.listening().await;
            }
            SwarmEvent::ListenerClosed { addresses, reason, .. } => {
                warn!(?addresses, ?reason, "no longer listening");
                self.listening().await;
            }
            SwarmEvent::ListenerError { error, .. } => warn!(%error, "listener error"),
            _ => {}
        }
    }

    async fn listening(&mut self) {
        let own = self.args.swarm.listeners().cloned().collect();
        let actions = self.circle.listening(own);
        self.perform(actions).await;
    }

    async fn opened(&mut self, peer: PeerId, connection: ConnectionId, endpoint: ConnectedPoint) {
        let remote = endpoint.get_remote_address().clone();
        let present = self.present.entry(peer).or_insert_with(|| Present {
            agent: String::new(),
            addresses: BTreeMap::new(),
            plane_streams: Arc::new(Semaphore::new(PLANE_STREAMS_PER_PEER)),
        });
        present.addresses.insert(connection, remote.clone());
        let dialled = endpoint.is_dialer().then(|| crate::peer::split_peer(remote).0);
        let actions = self.circle.opened(peer, dialled, Instant::now());
        self.perform(actions).await;
        // Last: who dialled may fetch at once, and bitswap must know the peer by then.
        if let Some(reply) = self.dials.remove(&connection) {
            let _ = reply.send(Ok(peer));
        }
    }

    async fn closed(&mut self, peer: PeerId, connection: ConnectionId, remaining: u32) {
        if let Some(present) = self.present.get_mut(&peer) {
            present.addresses.remove(&connection);
        }
        if remaining == 0 {
            self.present.remove(&peer);
            let actions = self.circle.closed(peer, Instant::now());
            self.perform(actions).await;
        }
    }

    async fn behaviour(&mut self, event: BehaviourEvent) {
        match event {
            BehaviourEvent::Streams(inbound) => self.inbound(inbound).await,
            BehaviourEvent::Gossip(gate::Event::Gossip(gossipsub::Event::Message {
                propagation_source,
                message_id,
                message,
            })) => self.gossip(propagation_source, &message_id, message),
            BehaviourEvent::Gossip(gate::Event::Flooding(peer)) => {
                let reason = "gossips without having proved itself".to_owned();
                self.disconnect(PeerId(peer), &reason);
            }
            BehaviourEvent::Identify(identify::Event::Received { peer_id, info, .. }) => {
                if let Some(present) = self.present.get_mut(&PeerId(peer_id)) {
                    present.agent = printable(&info.agent_version);
                }
            }
            BehaviourEvent::Ping(ping::Event { peer, connection, result: Err(failure) })
                if !matches!(failure, ping::Failure::Unsupported) =>
            {
                debug!(%peer, %failure, "ping failed, the connection is closed");
                self.args.swarm.close_connection(connection);
            }
            BehaviourEvent::Mdns(mdns::Event::Discovered(found)) => self.discovered(found),
            _ => {}
        }
    }

    /// Puts an inbound stream where it belongs, if its peer may open it.
    async fn inbound(&mut self, inbound: Inbound) {
        let peer = PeerId(inbound.peer);
        let protocol = inbound.protocol.as_ref();
        if Version::from_protocol(protocol).is_some() {
            self.tell_bitswap(Change::Inbound(peer, inbound.stream)).await;
        } else if protocol == member::PROTOCOL {
            self.respond(peer, inbound.stream);
        } else if let Some(plane) = Plane::from_protocol(protocol) {
            self.plane(peer, plane, inbound.stream);
        }
    }

    fn plane(&mut self, peer: PeerId, plane: Plane, stream: libp2p::Stream) {
        if self.circle.standing(&peer) < Some(Standing::Proved) {
            warn!(%peer, ?plane, "a peer that is no member opened a member stream; it was reset");
            return;
        }
        let places = self.present.get(&peer).map(|it| it.plane_streams.clone());
        let Some(Ok(place)) = places.map(Semaphore::try_acquire_owned) else {
            warn!(%peer, ?plane, "too many streams of one member; one was reset");
            return;
        };
        let stream = PlaneStream::new(stream, Some(place));
        if self.args.acceptors.hand_over(plane, peer, stream).is_err() {
            warn!(%peer, ?plane, "nobody accepts streams of this plane; one was reset");
        }
    }

    fn link(&self, peer: PeerId, session: u64) -> link::Args {
        let addresses = self.present.get(&peer).map(|it| it.addresses.values());
        let local = addresses.is_some_and(|mut it| it.any(is_loopback));
        link::Args {
            secret: self.args.secret.clone(),
            local: self.args.local,
            peer,
            session,
            reach: match local {
                true => Reach::SameMachine,
                false => Reach::Elsewhere,
            },
            notes: self.notes.clone(),
            roster: self.roster.subscribe(),
        }
    }

    fn respond(&mut self, peer: PeerId, stream: libp2p::Stream) {
        // The smaller id calls; a call from the other side is no proof we asked for.
        if let Some(session) = self.circle.may_call(&peer) {
            self.args.tasks.spawn(link::respond(self.link(peer, session), stream));
        }
    }

    async fn note(&mut self, note: Note) {
        let Note { peer, session, what } = note;
        let now = Instant::now();
        let actions = match what {
            What::Proved(done) => {
                let actions = self.circle.proved(peer, session);
                self.perform(actions).await;
                let _ = done.send(());
                return;
            }
            What::Joined => self.circle.joined(peer, session),
            What::Roster(roster) => self.circle.told(peer, session, roster, now),
            What::Refused(refusal) => {
                let reason = refusal.to_string();
                warn!(%peer, reason, "refused as a member; it stays a public peer");
                self.circle.refused(peer, session);
                self.args.events.send(Event::MemberRefused { peer, reason });
                return;
            }
            What::Ended(reason) => {
                debug!(%peer, reason, "member stream ended");
                self.circle.link_ended(peer, session, now);
                return;
            }
            What::Stranger => {
                self.circle.refused(peer, session);
                return;
            }
        };
        self.perform(actions).await;
    }

    async fn perform(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Connected(peer) => {
                    self.tell_bitswap(Change::Connected(peer)).await;
                    self.args.events.send(Event::PeerConnected(peer));
                }
                Action::Disconnected(peer) => {
                    self.tell_bitswap(Change::Disconnected(peer)).await;
                    self.args.events.send(Event::PeerDisconnected(peer));
                }
                Action::Proved(peer) => {
                    self.args.swarm.behaviour_mut().gossip.prove(peer.0);
                    self.tell_bitswap(Change::Proved(peer)).await;
                }
                Action::Joined(peer) => {
                    info!(%peer, "member joined");
                    self.count();
                    self.args.events.send(Event::MemberJoined(peer));
                }
                Action::Left(peer) => {
                    info!(%peer, "member left");
                    self.count();
                    self.args.events.send(Event::MemberLeft(peer));
                }
                Action::Prove { peer, session } => {
                    let call = link::initiate(self.link(peer, session), self.args.opener.clone());
                    self.args.tasks.spawn(call);
                }
                Action::Dial { peer, addresses } => self.dial_known(peer.0, addresses),
                Action::RosterChanged => {
                    self.roster.send_replace(self.circle.roster());
                }
            }
        }
        self.count();
    }

    /// Bitswap never waits for the swarm, so waiting for it here cannot lock up.
    async fn tell_bitswap(&mut self, change: Change) {
        // Its queue closes at shutdown only.
        let _ = self.args.bitswap.send(change).await;
    }

    fn count(&self) {
        let census = Census { members: self.circle.members().collect(), peers: self.present.len() };
        self.args.census.send_replace(census);
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Open(peer, request) => {
                self.args.swarm.behaviour_mut().streams.open(peer.0, request);
            }
            Command::Disconnect(peer, reason) => self.disconnect(peer, &reason),
            Command::Dial(dial) => self.dial(dial),
            Command::Addresses(reply) => {
                let _ = reply.send(self.args.swarm.listeners().cloned().collect());
            }
            Command::Peers(reply) => {
                let _ = reply.send(self.peers());
            }
            Command::Publish(sealed, reply) => {
                let _ = reply.send(self.publish(sealed));
            }
        }
    }

    fn disconnect(&mut self, peer: PeerId, reason: &str) {
        if self.args.swarm.disconnect_peer_id(peer.0).is_ok() {
            warn!(%peer, reason, "peer is disconnected");
        }
    }

    fn peers(&self) -> Vec<PeerInfo> {
        let info = |(peer, present): (&PeerId, &Present)| PeerInfo {
            peer: *peer,
            addresses: present.addresses.values().map(Multiaddr::to_string).collect(),
            member: self.circle.standing(peer) == Some(Standing::Member),
            agent: present.agent.clone(),
        };
        self.present.iter().map(info).collect()
    }

    /// Closes every connection, so that peers know at once; bounded.
    async fn goodbye(mut self) {
        let peers: Vec<Libp2pPeerId> = self.args.swarm.connected_peers().copied().collect();
        for peer in peers {
            // It may have gone by itself.
            let _ = self.args.swarm.disconnect_peer_id(peer);
        }
        let closing = async {
            while self.args.swarm.connected_peers().next().is_some() {
                self.args.swarm.select_next_some().await;
            }
        };
        let _ = timeout(GOODBYE, closing).await;
    }
}

/// What a peer calls itself, made harmless for logs and terminals.
fn printable(agent: &str) -> String {
    const LONGEST: usize = 128;
    agent.chars().filter(|it| !it.is_control()).take(LONGEST).collect()
}
