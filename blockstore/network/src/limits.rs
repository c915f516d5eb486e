//! Every bound of the network, each with its reason.
//!
//! A bound that faces a peer says what happens when it is reached: the peer is told, slowed or dropped;
//! nothing grows in silence. Durations are here too, because a wait without an end is a leak.

use std::time::Duration;

/// Blocks of one message: 4 MiB of 1 KiB blocks, the smallest that boxo sends unasked.
pub const RECEIVED_BLOCKS: usize = 4096;

/// The most bytes a bitswap message may have on the wire: what the specification and boxo accept.
pub const MESSAGE_BYTES: usize = 4 << 20;
/// The most block bytes we put into one message; older implementations cap messages near 2 MiB.
pub const MESSAGE_BLOCK_BYTES: usize = 2 << 20;
/// We stop packing small blocks into a message here, so that the first of them is not kept waiting.
pub const MESSAGE_TARGET_BYTES: usize = 256 << 10;
/// The most blocks in one message: bounds what one disk job loads.
pub const MESSAGE_BLOCKS: usize = 64;
/// The most bytes of a CID in a message, as in boxo: 40 of varints and 128 of digest.
pub const CID_BYTES: usize = 168;
/// The largest block that bitswap and our store accept.
pub const BLOCK_BYTES: usize = 2 << 20;
/// The most wants we remember for one peer; more are answered with DONT_HAVE at once. As in boxo.
pub const WANTLIST_ENTRIES: usize = 1024;
/// The most entries or presences one message may carry; more is abuse and ends the stream.
pub const MESSAGE_ENTRIES: usize = 16 * 1024;
/// The most presences we send in one message: 1024 wants may all be answered at once.
pub const MESSAGE_PRESENCES: usize = 2048;
/// A want-have for a block this small is answered with the block itself, as in boxo.
pub const HAVE_AS_BLOCK_BYTES: u32 = 1024;
/// Block bytes on their way to a stranger before we wait for its stream, as in boxo.
pub const OUTSTANDING_PUBLIC_BYTES: usize = 1 << 20;
/// The same for a member: members are few and ours, and with 1 MiB leaves one outstanding block
/// would leave the disk idle while the wire is busy.
pub const OUTSTANDING_MEMBER_BYTES: usize = 4 << 20;
/// Messages on their way to one peer: the depth of its writer's queue.
pub const MESSAGES_IN_FLIGHT: usize = 8;
/// Disk jobs that serve blocks at one time over all peers; the rest wait for their turn.
pub const SERVE_JOBS: usize = 8;
/// Presence look-ups one peer may have running; its next message waits until they are answered.
pub const LOOKUP_JOBS_PER_PEER: usize = 4;
/// Fetches and look-ups of ours that may wait at one time; more are refused as busy.
pub const WANTS: usize = 4096;
/// Peers asked about one block at one time when nobody is known to have it.
pub const ASKED_PEERS: usize = 64;
/// Blocks nobody asked for before their sender is dropped: a few may be late answers.
pub const UNSOLICITED_BLOCKS: u32 = 64;
/// How long a block that we asked for and then cancelled may still arrive without blame.
pub const LATE_BLOCK: Duration = Duration::from_secs(60);
/// Cancelled asks remembered per peer for that purpose.
pub const LATE_BLOCKS_REMEMBERED: usize = 4096;

/// Kilobytes of messages being received from all strangers together; others wait.
pub const RECEIVE_PUBLIC_KILOBYTES: usize = 64 << 10;
/// The same from all members.
pub const RECEIVE_MEMBER_KILOBYTES: usize = 256 << 10;

/// A hinted peer has this long before the others are asked too.
pub const HINT_PATIENCE: Duration = Duration::from_millis(300);
/// Members have this long before a want that may be public is asked of everyone.
pub const MEMBER_PATIENCE: Duration = Duration::from_millis(500);
/// No answer to a want-have after this counts as DONT_HAVE (boxo: 5 s).
pub const HAVE_TIMEOUT: Duration = Duration::from_secs(5);
/// A want-block is given up when its peer sent no block at all for this long.
pub const BLOCK_TIMEOUT: Duration = Duration::from_secs(15);
/// A peer that sent us a block within this time is asked first for the next one.
pub const SESSION_MEMORY: Duration = Duration::from_secs(10);
/// How often bitswap looks at its clocks.
pub const BITSWAP_TICK: Duration = Duration::from_millis(100);
/// An outbound bitswap stream without a message for this long is closed; Helia closes at 10 s.
pub const STREAM_IDLE: Duration = Duration::from_secs(6);
/// An inbound bitswap stream may be silent for this long.
pub const READ_IDLE: Duration = Duration::from_secs(120);
/// One message must be on the wire within this time.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(120);
/// Inbound bitswap streams of one peer: an honest peer uses one, some open one per message.
pub const BITSWAP_STREAMS_PER_PEER: usize = 32;

/// Opening a stream includes one negotiation; a peer that does not answer is given up.
pub const OPEN_TIMEOUT: Duration = Duration::from_secs(10);
/// A stream that we opened towards a connection which is just closing is tried again this often.
pub const OPEN_ATTEMPTS: u32 = 3;
/// A dial ends by then, whatever the transport does.
pub const DIAL_TIMEOUT: Duration = Duration::from_secs(20);
/// The most bytes of a multiaddr we read from a peer.
pub const ADDRESS_BYTES: usize = 256;

/// The whole member proof must be done by then.
pub const PROOF_TIMEOUT: Duration = Duration::from_secs(10);
/// Handler events of unproved peers held back, per peer: its subscription and a few more.
pub const HELD_EVENTS_PER_PEER: usize = 8;
/// The same over all peers: each may carry a 64 KiB message.
pub const HELD_EVENTS: usize = 256;
/// The longest frame of the member stream: a list of addresses.
pub const MEMBER_FRAME_BYTES: usize = 256 << 10;
/// Members whose addresses we remember and tell.
pub const MEMBERS: usize = 512;
/// Addresses remembered for one member.
pub const ADDRESSES_PER_MEMBER: usize = 8;
/// Tries of the proof on one connection before the peer is left alone as a stranger.
pub const PROOF_ATTEMPTS: u32 = 5;
/// First and last pause between dials of a lost member.
pub const REDIAL_FIRST: Duration = Duration::from_millis(500);
/// See `REDIAL_FIRST`.
pub const REDIAL_LAST: Duration = Duration::from_secs(60);
/// A member that could not be reached for this long is forgotten until it calls.
pub const REDIAL_FORGET: Duration = Duration::from_secs(24 * 60 * 60);
/// How often the swarm looks at its clocks.
pub const SWARM_TICK: Duration = Duration::from_millis(250);

/// The most bytes a caller may publish at once: sealed and wrapped it must stay under 64 KiB.
pub const GOSSIP_BYTES: usize = 48 << 10;
/// The most bytes of a gossip RPC; gossipsub's own default, stated because the seal relies on it.
pub const GOSSIP_RPC_BYTES: usize = 64 << 10;

/// Established connections from outside: strangers must not use up descriptors.
pub const CONNECTIONS_IN: u32 = 512;
/// Established connections to outside.
pub const CONNECTIONS_OUT: u32 = 512;
/// Connections with one peer: TCP and QUIC, each dialled from both ends, and some slack.
pub const CONNECTIONS_PER_PEER: u32 = 8;
/// Handshakes in progress, each way.
pub const CONNECTIONS_PENDING: u32 = 128;
/// A connection nobody uses is closed after this.
pub const CONNECTION_IDLE: Duration = Duration::from_secs(30);
/// Yamux: more streams than this are refused. It also keeps stream windows at 256 KiB, because
/// js-yamux sends frames over 1 MiB that the Rust side rejects when windows grow.
pub const YAMUX_STREAMS: usize = 4096;
/// How often a peer that mDNS knows and that is not connected is dialled again.
pub const MDNS_REDIAL: Duration = Duration::from_secs(3);
/// Peers found by mDNS that we dial without knowing whether they are members.
pub const MDNS_PEERS: usize = 64;
/// Two pings may fail before a connection counts as dead; this is the pause between them.
pub const PING_INTERVAL: Duration = Duration::from_secs(5);
/// See `PING_INTERVAL`.
pub const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// Commands from the handle that wait for the swarm.
pub const COMMANDS: usize = 256;
/// Events that wait for the node.
pub const EVENTS: usize = 4096;
/// Of these, places that gossip may not take, so that membership is always told.
pub const EVENTS_RESERVED: usize = 1024;
/// Streams of one plane that wait to be accepted; more are reset.
pub const PLANE_BACKLOG: usize = 256;
/// Streams of one plane that one member may have open.
pub const PLANE_STREAMS_PER_PEER: usize = 256;
/// Messages and answers that wait for the bitswap engine; readers slow down when it is full.
pub const BITSWAP_INPUTS: usize = 256;
/// How long `shutdown` lets connections say goodbye.
pub const GOODBYE: Duration = Duration::from_millis(500);
