//! The handle to a running network, and how one is started.
//!
//! Every method may be called from any task. What it says about peers is what was true a moment ago.

use std::sync::Arc;
use std::time::{Duration, Instant};

use artdag_blockstore::{Block, Store};
use cid::Cid;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;
use tokio_util::sync::DropGuard;

use crate::behaviour;
use crate::bitswap::ask::{Ended, Scope};
use crate::bitswap::driver as bitswap;
use crate::event::{Events, events};
use crate::gossip::{self, seal::Seal};
use crate::limits::{CID_BYTES, COMMANDS, DIAL_TIMEOUT};
use crate::listen::listen;
use crate::member::handshake::Secret;
use crate::metrics::{Counters, Metrics};
use crate::peer::{PeerId, keypair, resolve, split_peer};
use crate::plane::{Acceptors, Incoming, Plane, Stream};
use crate::stream::{OpenError, Opener};
use crate::swarm::{self, Command, PeerInfo};
use crate::task::Tasks;

/// How peers are found without being told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discovery {
    /// On the local network; loopback is never asked.
    Mdns,
    Off,
}

/// Everything a network needs.
pub struct Args {
    /// The ed25519 secret seed: the node's identity.
    pub identity: [u8; 32],
    /// Multiaddrs; port 0 is allowed.
    pub listen: Vec<String>,
    pub namespace: [u8; 32],
    pub membership: [u8; 32],
    pub gossip: [u8; 32],
    pub key_epoch: u32,
    pub discovery: Discovery,
    /// Told to every peer, such as `artdag/0.1.0`.
    pub agent: String,
    /// What is served; blocks that are fetched are not put into it.
    pub store: Store,
}

/// Why a network did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("{address} is already in use; choose another port or stop the program that has it")]
    AddressInUse { address: String },
    #[error("{address} is not an address to listen on: {reason}")]
    BadAddress { address: String, reason: String },
    #[error("cannot listen on {address}: {source}")]
    Listen { address: String, source: std::io::Error },
    #[error("cannot look for peers on the local network: {0}")]
    Discovery(std::io::Error),
    #[error("the network cannot be set up: {0}")]
    Build(String),
}

/// Why a dial failed.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    #[error("{0} is not an address to dial: write /ip4/HOST/tcp/PORT[/p2p/PEER]")]
    BadAddress(String),
    #[error("cannot reach {address}: {reason}")]
    Unreachable { address: String, reason: String },
    #[error("no answer from {0} in time")]
    TimedOut(String),
    #[error("the network is shut down")]
    ShutDown,
}

/// Why nothing was published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    #[error("{0} bytes are over what one message may carry")]
    TooLong(usize),
    #[error("the queues to all members are full; try again")]
    Busy,
    #[error("the network is shut down")]
    ShutDown,
}

/// Why a block was not fetched.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FetchError {
    #[error("no peer that may be asked has {0}")]
    NotFound(Cid),
    #[error("peers did not answer for {0} in time")]
    TimedOut(Cid),
    #[error("too many blocks are being fetched already")]
    Busy,
    #[error("{0} cannot be fetched: its bytes could never be verified")]
    Invalid(Cid),
    #[error("the network is shut down")]
    ShutDown,
}

/// The handle. Clones share one network; when the last one goes, so does the network.
#[derive(Clone)]
pub struct Network {
    shared: Arc<Shared>,
}

struct Shared {
    local: PeerId,
    commands: mpsc::Sender<Command>,
    opener: Opener,
    bitswap: mpsc::Sender<bitswap::Request>,
    members: watch::Receiver<swarm::Census>,
    acceptors: Acceptors,
    seal: Arc<Seal>,
    counters: Arc<Counters>,
    tasks: Tasks,
    _stop_at_last: DropGuard,
}

/// Starts a network: it listens on every address when this returns. Not safe to drop half way.
pub async fn start(args: Args) -> Result<(Network, Events), StartError> {
    let keypair = keypair(&args.identity);
    let local = PeerId(keypair.public().to_peer_id());
    let mut swarm = behaviour::swarm(behaviour::Args {
        keypair,
        namespace: &args.namespace,
        agent: args.agent,
        discovery: args.discovery,
    })?;
    listen(&mut swarm, &args.listen).await?;

    let topic = gossip::topic(&args.namespace);
    let seal = Arc::new(Seal::new(&args.gossip, args.key_epoch, topic.hash().into_string()));
    let tasks = Tasks::new();
    let counters = Arc::new(Counters::default());
    let (commands, commands_in) = mpsc::channel(COMMANDS);
    let opener = Opener::new(commands.clone());
    let doors = bitswap::start(bitswap::Args {
        store: args.store,
        opener: opener.clone(),
        tasks: tasks.clone(),
        counters: counters.clone(),
    });
    let (census, members) = watch::channel(swarm::Census::default());
    let (events, events_out) = events(counters.clone());
    let acceptors = Acceptors::default();
    swarm::start(
        swarm::Args {
            swarm,
            local,
            secret: Secret { membership: args.membership, namespace: args.namespace, epoch: args.key_epoch },
            topic,
            seal: seal.clone(),
            opener: opener.clone(),
            bitswap: doors.changes,
            events,
            census,
            acceptors: acceptors.clone(),
            counters: counters.clone(),
            tasks: tasks.clone(),
        },
        commands_in,
    );
    let shared = Shared {
        local,
        commands,
        opener,
        bitswap: doors.requests,
        members,
        acceptors,
        seal,
        counters,
        _stop_at_last: tasks.stop_when_dropped(),
        tasks,
    };
    Ok((Network { shared: Arc::new(shared) }, events_out))
}

impl Network {
    pub fn local_peer(&self) -> PeerId {
        self.shared.local
    }

    /// Where others can dial us, each with `/p2p/PEER`. Safe to drop.
    pub async fn listen_addresses(&self) -> Vec<String> {
        let addresses = self.ask(Command::Addresses).await.unwrap_or_default();
        let full = |address| format!("{address}/p2p/{}", self.shared.local);
        addresses.into_iter().map(full).collect()
    }

    /// Connects to an address; resolves when connected, which is before any proof of membership.
    /// Safe to drop: the connection may come up all the same.
    pub async fn dial(&self, address: &str) -> Result<PeerId, DialError> {
        let bad = || DialError::BadAddress(address.to_owned());
        let unreachable = |reason: String| DialError::Unreachable { address: address.to_owned(), reason };
        let multiaddr = address.parse().map_err(|_| bad())?;
        let (bare, peer) = split_peer(multiaddr);
        let dial = async {
            let addresses = resolve(bare).await.map_err(|error| unreachable(error.to_string()))?;
            if addresses.is_empty() {
                return Err(unreachable("the name has no address".to_owned()));
            }
            let peer = peer.map(PeerId);
            let dial = |reply| Command::Dial(swarm::Dial { peer, addresses, reply });
            match self.ask(dial).await {
                Some(Ok(peer)) => Ok(peer),
                Some(Err(reason)) => Err(unreachable(reason)),
                None => Err(DialError::ShutDown),
            }
        };
        let timed_out = |_| DialError::TimedOut(address.to_owned());
        timeout(DIAL_TIMEOUT, dial).await.map_err(timed_out)?
    }

    /// Proved members, in order.
    pub fn members(&self) -> Vec<PeerId> {
        self.shared.members.borrow().members.iter().copied().collect()
    }

    /// Every connected peer. Safe to drop.
    pub async fn peers(&self) -> Vec<PeerInfo> {
        self.ask(Command::Peers).await.unwrap_or_default()
    }

    /// Seals and gossips up to 48 KiB to all members. It may be lost; nothing tells. Safe to drop.
    pub async fn publish(&self, data: Vec<u8>) -> Result<(), PublishError> {
        let sealed = self.shared.seal.seal(&self.shared.local, &data);
        let sealed = sealed.map_err(|error| PublishError::TooLong(error.0))?;
        let publish = |reply| Command::Publish(sealed, reply);
        match self.ask(publish).await {
            Some(true) => Ok(()),
            Some(false) => Err(PublishError::Busy),
            None => Err(PublishError::ShutDown),
        }
    }

    /// Fetches one block and verifies it; it is not stored. Peers in `hints` are asked first.
    /// Safe to drop: the want is then taken back.
    pub async fn fetch(&self, cid: &Cid, scope: Scope, hints: &[PeerId]) -> Result<Block, FetchError> {
        if let Some(block) = inline(cid) {
            return block;
        }
        let (reply, answer) = oneshot::channel();
        let request = bitswap::Request::Fetch { cid: *cid, scope, hints: hints.to_vec(), reply };
        let sent = self.shared.bitswap.send(request).await;
        sent.map_err(|_| FetchError::ShutDown)?;
        match answer.await {
            Ok(Ok(block)) => Ok(block),
            Ok(Err(Ended::TimedOut)) => Err(FetchError::TimedOut(*cid)),
            Ok(Err(Ended::Busy)) => Err(FetchError::Busy),
            Ok(Err(Ended::NotFound | Ended::Holders(_))) => Err(FetchError::NotFound(*cid)),
            Err(_) => Err(FetchError::ShutDown),
        }
    }

    /// Who says to have a block, asked now; ends early when all answered. Safe to drop.
    pub async fn who_has(&self, cid: &Cid, scope: Scope, patience: Duration) -> Vec<PeerId> {
        let (reply, answer) = oneshot::channel();
        let request = bitswap::Request::Locate { cid: *cid, scope, until: Instant::now() + patience, reply };
        if self.shared.bitswap.send(request).await.is_err() {
            return Vec::new();
        }
        answer.await.unwrap_or_default()
    }

    /// These blocks are in the store now: peers that still wait for one get it. Safe to drop.
    pub async fn notify_stored(&self, cids: &[Cid]) {
        let request = bitswap::Request::Stored(cids.to_vec());
        // After shutdown nobody waits any more.
        let _ = self.shared.bitswap.send(request).await;
    }

    /// Opens a stream to a member. Safe to drop.
    pub async fn open(&self, peer: &PeerId, plane: Plane) -> Result<Stream, OpenError> {
        if !self.shared.members.borrow().members.contains(peer) {
            return Err(OpenError::NotMember);
        }
        let (stream, _) = self.shared.opener.open(*peer, &[plane.protocol()]).await?;
        Ok(Stream::new(stream, None))
    }

    /// Streams that members open on this plane. Who accepts last gets them all.
    pub fn accept(&self, plane: Plane) -> Incoming {
        self.shared.acceptors.accept(plane)
    }

    pub fn metrics(&self) -> Metrics {
        let census = self.shared.members.borrow();
        self.shared.counters.read(census.members.len(), census.peers)
    }

    /// Says goodbye, stops every task and waits for them. Handles that remain answer `ShutDown`.
    pub async fn shutdown(self) {
        self.shared.tasks.stop().await;
        self.shared.acceptors.close();
    }

    /// Sends a command and waits for its answer; `None` when the network is shut down.
    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.shared.commands.send(command(reply)).await.ok()?;
        answer.await.ok()
    }
}

/// The answer that needs no peer: a CID that holds its own bytes, or one that no peer may be asked for.
fn inline(cid: &Cid) -> Option<Result<Block, FetchError>> {
    const IDENTITY: u64 = 0;
    if cid.hash().code() == IDENTITY {
        let block = Block::new(*cid, cid.hash().digest());
        return Some(block.map_err(|_| FetchError::Invalid(*cid)));
    }
    let verifiable = multihash_codetable::Code::try_from(cid.hash().code()).is_ok();
    (cid.encoded_len() > CID_BYTES || !verifiable).then_some(Err(FetchError::Invalid(*cid)))
}
