//! The protocols of a node put together, and the transports under them.
//!
//! TCP with Noise and Yamux, and QUIC; identify, ping, mDNS, connection limits from libp2p; gossip behind
//! its gate and plain streams of our own. Nothing is decided here.

use libp2p::connection_limits::{self, ConnectionLimits};
use libp2p::identity::Keypair;
use libp2p::swarm::NetworkBehaviour;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::{StreamProtocol, Swarm, SwarmBuilder, identify, mdns, noise, ping, tcp, yamux};

use crate::bitswap::message::Version;
use crate::gossip;
use crate::limits::{
    CONNECTION_IDLE, CONNECTIONS_IN, CONNECTIONS_OUT, CONNECTIONS_PENDING, CONNECTIONS_PER_PEER, PING_INTERVAL,
    PING_TIMEOUT, YAMUX_STREAMS,
};
use crate::member;
use crate::network::{Discovery, StartError};
use crate::plane::Plane;
use crate::stream;

/// Every protocol of a node.
#[derive(NetworkBehaviour)]
pub struct Behaviour {
    pub limits: connection_limits::Behaviour,
    pub identify: identify::Behaviour,
    pub ping: ping::Behaviour,
    pub mdns: Toggle<mdns::tokio::Behaviour>,
    pub gossip: gossip::gate::Gate,
    pub streams: stream::Behaviour,
}

/// What the behaviour is made of.
pub struct Args<'a> {
    pub keypair: Keypair,
    pub namespace: &'a [u8; 32],
    pub agent: String,
    pub discovery: Discovery,
}

/// A swarm that does not listen yet.
pub fn swarm(args: Args<'_>) -> Result<Swarm<Behaviour>, StartError> {
    let behaviour = behaviour(&args)?;
    let built = SwarmBuilder::with_existing_identity(args.keypair)
        .with_tokio()
        .with_tcp(tcp::Config::default().nodelay(true), noise::Config::new, yamux)
        .map_err(|error| StartError::Build(error.to_string()))?
        .with_quic()
        .with_behaviour(|_| behaviour);
    let built = match built {
        Ok(built) => built,
        Err(never) => match never {},
    };
    let swarm = built.with_swarm_config(|config| {
        config
            .with_idle_connection_timeout(CONNECTION_IDLE)
            .with_per_connection_event_buffer_size(EVENTS_PER_CONNECTION)
    });
    Ok(swarm.build())
}

/// Events of one connection that may wait for the swarm before that connection is slowed.
const EVENTS_PER_CONNECTION: usize = 32;

fn behaviour(args: &Args<'_>) -> Result<Behaviour, StartError> {
    let peer = args.keypair.public().to_peer_id();
    let mdns = match args.discovery {
        Discovery::Off => None,
        Discovery::Mdns => {
            let mdns = mdns::tokio::Behaviour::new(mdns::Config::default(), peer);
            Some(mdns.map_err(StartError::Discovery)?)
        }
    };
    let identify = identify::Config::new("ipfs/0.1.0".to_owned(), args.keypair.public())
        .with_agent_version(args.agent.clone())
        .with_push_listen_addr_updates(true);
    let ping = ping::Config::new().with_interval(PING_INTERVAL).with_timeout(PING_TIMEOUT);
    Ok(Behaviour {
        limits: connection_limits::Behaviour::new(limits()),
        identify: identify::Behaviour::new(identify),
        ping: ping::Behaviour::new(ping),
        mdns: mdns.into(),
        gossip: gossip::behaviour(&args.keypair, args.namespace).map_err(StartError::Build)?,
        streams: stream::Behaviour::new(inbound_protocols()),
    })
}

fn limits() -> ConnectionLimits {
    ConnectionLimits::default()
        .with_max_pending_incoming(Some(CONNECTIONS_PENDING))
        .with_max_pending_outgoing(Some(CONNECTIONS_PENDING))
        .with_max_established_incoming(Some(CONNECTIONS_IN))
        .with_max_established_outgoing(Some(CONNECTIONS_OUT))
        .with_max_established_per_peer(Some(CONNECTIONS_PER_PEER))
}

fn yamux() -> yamux::Config {
    let mut config = yamux::Config::default();
    config.set_max_num_streams(YAMUX_STREAMS);
    config
}

/// What peers may open to us. Who may use what is decided when a stream comes.
fn inbound_protocols() -> Vec<StreamProtocol> {
    let bitswap = Version::ALL.into_iter().map(Version::protocol);
    let planes = Plane::ALL.into_iter().map(Plane::protocol);
    let all = bitswap.chain(planes).chain(std::iter::once(member::PROTOCOL));
    all.map(StreamProtocol::new).collect()
}
