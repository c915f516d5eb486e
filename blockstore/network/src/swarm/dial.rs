//! The driver's dials: those somebody waits for, those the circle wants, and those mDNS suggests.
//!
//! Each goes out from a port of its own. From the listening port, two nodes that dial each other at one moment
//! would open one TCP connection from both ends (RFC 9293 §3.5, simultaneous open), each as the dialler, and the
//! handshake would fail on both.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::{Multiaddr, PeerId as Libp2pPeerId};
use tracing::debug;

use super::{Dial, Driver};
use crate::limits::{MDNS_PEERS, MDNS_REDIAL};
use crate::member::circle::Standing;

impl Driver {
    pub(super) fn dial(&mut self, dial: Dial) {
        let opts = match dial.peer {
            Some(peer) if self.args.swarm.is_connected(&peer.0) => {
                let _ = dial.reply.send(Ok(peer));
                return;
            }
            Some(peer) => DialOpts::peer_id(peer.0)
                .condition(PeerCondition::Always)
                .addresses(dial.addresses)
                .allocate_new_port()
                .build(),
            None => {
                let Some(address) = dial.addresses.into_iter().next() else {
                    return;
                };
                DialOpts::unknown_peer_id().address(address).allocate_new_port().build()
            }
        };
        let connection = opts.connection_id();
        match self.args.swarm.dial(opts) {
            Ok(()) => {
                self.dials.insert(connection, dial.reply);
            }
            Err(error) => {
                let _ = dial.reply.send(Err(error.to_string()));
            }
        }
    }

    pub(super) fn dial_known(&mut self, peer: Libp2pPeerId, addresses: Vec<Multiaddr>) {
        let opts = DialOpts::peer_id(peer)
            .condition(PeerCondition::DisconnectedAndNotDialing)
            .addresses(addresses)
            // Beside these, what mDNS knows of the peer.
            .extend_addresses_through_behaviour()
            .allocate_new_port();
        if let Err(error) = self.args.swarm.dial(opts.build()) {
            debug!(%peer, %error, "known peer was not dialled");
        }
    }

    /// mDNS tells of a node once, and the first dial may meet it before it is ready.
    pub(super) fn rediscover(&mut self) {
        if Instant::now() < self.rediscover_at {
            return;
        }
        self.rediscover_at = Instant::now() + MDNS_REDIAL;
        let known = self.args.swarm.behaviour().mdns.as_ref().map(|mdns| mdns.discovered_nodes().copied());
        let known: BTreeSet<Libp2pPeerId> = known.into_iter().flatten().collect();
        let missing = known.into_iter().filter(|peer| !self.args.swarm.is_connected(peer));
        for peer in missing.take(MDNS_PEERS).collect::<Vec<_>>() {
            self.dial_known(peer, Vec::new());
        }
    }

    pub(super) fn discovered(&mut self, found: Vec<(Libp2pPeerId, Multiaddr)>) {
        let strangers = self.circle.connected().filter(|(_, it)| *it == Standing::Stranger);
        let room = MDNS_PEERS.saturating_sub(strangers.count());
        let mut peers: BTreeMap<Libp2pPeerId, Vec<Multiaddr>> = BTreeMap::new();
        for (peer, address) in found {
            if peer != self.args.local.0 && !self.args.swarm.is_connected(&peer) {
                peers.entry(peer).or_default().push(crate::peer::split_peer(address).0);
            }
        }
        for (peer, addresses) in peers.into_iter().take(room) {
            debug!(%peer, "found on the local network");
            self.dial_known(peer, addresses);
        }
    }
}
