//! artdag-network: everything that touches a peer, and the only place that names libp2p.
//!
//! Two circles: members proved that they hold the cluster key, everyone else is a public IPFS peer.
//! Blocks travel by bitswap to both, each shown only what is for its eyes; gossip and planes (byte
//! streams for gRPC and reconciling) are for members. Always: a block that is handed out was verified;
//! a want of scope `Members` is never told to a stranger; every queue, wait and task has a bound and an
//! owner (`limits`, `task`).
//!
//! Rooms: `network` (the handle), `swarm` (the driver), `behaviour` (libp2p put together), `bitswap/`,
//! `member/`, `gossip/`, `plane`, `stream` (raw streams), `frame`, `peer`, `listen`, `event`, `metrics`.
//! It stores nothing it fetched, finds no providers, and speaks no DHT yet.

mod behaviour;
mod bitswap;
mod event;
mod frame;
mod gossip;
mod limits;
mod listen;
mod member;
mod metrics;
mod network;
mod peer;
mod plane;
mod stream;
mod swarm;
mod task;

pub use artdag_blockstore::Block;
pub use bitswap::ask::Scope;
pub use cid::Cid;
pub use event::{Event, Events};
pub use limits::GOSSIP_BYTES;
pub use metrics::Metrics;
pub use network::{Args, DialError, Discovery, FetchError, Network, PublishError, StartError, start};
pub use peer::{BadPeerId, PeerId, is_address};
pub use plane::{Incoming, Plane, Stream};
pub use stream::OpenError;
pub use swarm::PeerInfo;
