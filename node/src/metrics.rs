//! What this node counts. One registry, shown on `/metrics`; names follow the Prometheus habit.

use std::sync::atomic::AtomicU64;

use prometheus_client::{
    encoding::text::encode,
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};

/// The counters of one node.
pub struct Metrics {
    registry: Registry,
    fetched_blocks: Counter,
    fetched_bytes: Counter,
    /// Steps this node executed to the end.
    pub steps_executed: Counter,
    /// Steps that failed here.
    pub steps_failed: Counter,
    /// Steps found in the cache when a run was planned or when they became ready.
    pub step_hits: Counter,
    /// Runs submitted here.
    pub runs_submitted: Counter,
    /// Leases that this node, as arbiter, granted.
    pub leases_granted: Counter,
    /// Requests that this node, as arbiter, sent to follow a holder.
    pub leases_merged: Counter,
    /// Batches of records published here.
    pub batches_published: Counter,
    /// Batches of records taken from others.
    pub batches_received: Counter,
    /// Batches refused.
    pub batches_refused: Counter,
    /// Calls at the edge.
    pub calls: Counter,
    /// Calls refused for want of a token.
    pub calls_refused: Counter,
    members: Gauge,
    peers: Gauge,
    stored_bytes: Gauge<u64, AtomicU64>,
    free_bytes: Gauge<u64, AtomicU64>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("artdag");
        let mut counter = |name: &str, help: &str| {
            let counter = Counter::default();
            registry.register(name, help, counter.clone());
            counter
        };
        let fetched_blocks = counter("fetched_blocks", "Blocks fetched from peers");
        let fetched_bytes = counter("fetched_bytes", "Bytes fetched from peers");
        let steps_executed = counter("steps_executed", "Steps executed to the end on this node");
        let steps_failed = counter("steps_failed", "Steps that failed on this node");
        let step_hits = counter("step_hits", "Steps found in the cache");
        let runs_submitted = counter("runs_submitted", "Runs submitted to this node");
        let leases_granted = counter("leases_granted", "Leases granted by this node as arbiter");
        let leases_merged = counter("leases_merged", "Requests told to follow a holder");
        let batches_published = counter("batches_published", "Record batches published by this node");
        let batches_received = counter("batches_received", "Record batches taken from other nodes");
        let batches_refused = counter("batches_refused", "Record batches refused");
        let calls = counter("calls", "Calls at the edge");
        let calls_refused = counter("calls_refused", "Calls refused for want of a token");
        let (members, peers) = (Gauge::default(), Gauge::default());
        let (stored_bytes, free_bytes) = (Gauge::default(), Gauge::default());
        registry.register("members", "Proved members connected, this node apart", members.clone());
        registry.register("peers", "Peers connected", peers.clone());
        registry.register("stored_bytes", "Bytes in blobs and packs", stored_bytes.clone());
        registry.register("free_bytes", "Free bytes on the disk of the data directory", free_bytes.clone());
        Self {
            registry,
            fetched_blocks,
            fetched_bytes,
            steps_executed,
            steps_failed,
            step_hits,
            runs_submitted,
            leases_granted,
            leases_merged,
            batches_published,
            batches_received,
            batches_refused,
            calls,
            calls_refused,
            members,
            peers,
            stored_bytes,
            free_bytes,
        }
    }
}

impl Metrics {
    /// One block of this size arrived.
    pub fn fetched(&self, bytes: usize) {
        self.fetched_blocks.inc();
        self.fetched_bytes.inc_by(bytes as u64);
    }

    /// Sets the connections seen now.
    pub fn connections(&self, members: usize, peers: usize) {
        self.members.set(i64::try_from(members).unwrap_or(i64::MAX));
        self.peers.set(i64::try_from(peers).unwrap_or(i64::MAX));
    }

    /// Sets the bytes stored and free now.
    pub fn storage(&self, stored: u64, free: u64) {
        self.stored_bytes.set(stored);
        self.free_bytes.set(free);
    }

    /// The text that Prometheus scrapes.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("writing to a string cannot fail");
        text
    }
}
