//! Who is there: this node, the members with what they offer, and other peers.
//!
//! Liveness is the connection; what a member offers is its record. Nothing is remembered here.

use std::sync::Arc;

use artdag_core::identity::Origin;
use artdag_network::{DialError, Network, PeerId};

use crate::{
    clock,
    lease::{origin_of, peer_of},
    records::RecordsHandle,
    scheduler::worker::Worker,
};

/// One node as seen from here.
#[derive(Clone, Debug)]
pub struct KnownNode {
    /// Its peer id.
    pub peer: PeerId,
    /// Multiaddresses it was reached at or told.
    pub addresses: Vec<String>,
    /// It is this node.
    pub own: bool,
    /// It proved the cluster key.
    pub member: bool,
    /// What its identify message says it is.
    pub agent: String,
    /// Toolsets of a member.
    pub toolsets: Vec<String>,
    /// Steps a member runs at once.
    pub slots: u32,
    /// Steps it is running, as it last said.
    pub running: u32,
    /// Version of this node's program; empty for others.
    pub version: String,
}

/// A member that can be given steps.
#[derive(Clone, Debug)]
pub struct Offer {
    /// Who.
    pub origin: Origin,
    /// What it can run.
    pub toolsets: Vec<String>,
    /// How many at once.
    pub slots: u32,
}

/// Answers who is there.
pub struct Directory {
    own: Origin,
    network: Network,
    records: RecordsHandle,
    worker: Arc<Worker>,
}

impl Directory {
    /// Of this node.
    #[must_use]
    pub fn new(own: Origin, network: Network, records: RecordsHandle, worker: Arc<Worker>) -> Self {
        Self { own, network, records, worker }
    }

    /// This node first, then every connected peer.
    pub async fn nodes(&self) -> Vec<KnownNode> {
        let mut nodes = vec![self.own_node().await];
        for peer in self.network.peers().await {
            let said = origin_of(&peer.peer).and_then(|origin| self.records.member(&origin, clock::unix_ms()));
            let said = said.filter(|_| peer.member);
            nodes.push(KnownNode {
                peer: peer.peer,
                addresses: peer.addresses,
                own: false,
                member: peer.member,
                agent: peer.agent,
                slots: said.as_ref().map_or(0, |said| said.slots),
                running: said.as_ref().map_or(0, |said| said.running),
                toolsets: said.map(|said| said.toolsets).unwrap_or_default(),
                version: String::new(),
            });
        }
        nodes
    }

    /// Members that are connected and said what they offer, this node among them.
    #[must_use]
    pub fn offers(&self) -> Vec<Offer> {
        let now_ms = clock::unix_ms();
        let connected = self.network.members();
        let live = std::iter::once(self.own).chain(connected.iter().filter_map(origin_of));
        live.filter_map(|origin| {
            let said = self.records.member(&origin, now_ms)?;
            Some(Offer { origin, toolsets: said.toolsets, slots: said.slots })
        })
        .collect()
    }

    /// Connects to a node.
    ///
    /// # Errors
    /// When nobody answers there.
    pub async fn dial(&self, address: &str) -> Result<PeerId, DialError> {
        self.network.dial(address).await
    }

    async fn own_node(&self) -> KnownNode {
        let said = self.records.member(&self.own, clock::unix_ms());
        KnownNode {
            peer: peer_of(&self.own),
            addresses: self.network.listen_addresses().await,
            own: true,
            member: true,
            agent: crate::AGENT.to_owned(),
            slots: said.as_ref().map_or(0, |said| said.slots),
            toolsets: said.map(|said| said.toolsets).unwrap_or_default(),
            running: self.worker.running(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}
