//! Counters of the network, for the node's metrics page. They only ever grow and steer nothing.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Shared by the tasks that count.
#[derive(Default)]
pub struct Counters {
    blocks_sent: AtomicU64,
    blocks_received: AtomicU64,
    bytes_sent: AtomicU64,
    bytes_received: AtomicU64,
    duplicate_blocks: AtomicU64,
    gossip_rejected: AtomicU64,
    events_dropped: AtomicU64,
}

/// One reading.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    pub blocks_sent: u64,
    pub blocks_received: u64,
    /// Bytes of blocks, without framing.
    pub bytes_sent: u64,
    /// Bytes of blocks, without framing.
    pub bytes_received: u64,
    /// Verified blocks that nobody waited for.
    pub duplicate_blocks: u64,
    /// Gossip that did not open, or came from a stranger.
    pub gossip_rejected: u64,
    /// Gossip that the node was too slow to take; reconciling brings it.
    pub events_dropped: u64,
    pub members: u64,
    pub peers: u64,
}

impl Counters {
    pub fn sent(&self, blocks: usize, bytes: usize) {
        self.blocks_sent.fetch_add(blocks as u64, Relaxed);
        self.bytes_sent.fetch_add(bytes as u64, Relaxed);
    }

    pub fn received(&self, bytes: usize) {
        self.blocks_received.fetch_add(1, Relaxed);
        self.bytes_received.fetch_add(bytes as u64, Relaxed);
    }

    pub fn duplicate(&self) {
        self.duplicate_blocks.fetch_add(1, Relaxed);
    }

    pub fn gossip_rejected(&self) {
        self.gossip_rejected.fetch_add(1, Relaxed);
    }

    pub fn event_dropped(&self) {
        self.events_dropped.fetch_add(1, Relaxed);
    }

    pub fn read(&self, members: usize, peers: usize) -> Metrics {
        Metrics {
            blocks_sent: self.blocks_sent.load(Relaxed),
            blocks_received: self.blocks_received.load(Relaxed),
            bytes_sent: self.bytes_sent.load(Relaxed),
            bytes_received: self.bytes_received.load(Relaxed),
            duplicate_blocks: self.duplicate_blocks.load(Relaxed),
            gossip_rejected: self.gossip_rejected.load(Relaxed),
            events_dropped: self.events_dropped.load(Relaxed),
            members: members as u64,
            peers: peers as u64,
        }
    }
}
