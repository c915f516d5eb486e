//! The driver's dials: those somebody waits for, those the circle wants, and those mDNS suggests.

use std::collections::BTreeMap;

use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::{Multiaddr, PeerId as Libp2pPeerId};
use tracing::debug;

use super::{Dial, Driver};
use crate::limits::MDNS_PEERS;
use crate::member::circle::Standing;

impl Driver {
    pub(super) fn dial(&mut self, dial: Dial) {
        let opts = match dial.peer {
            Some(peer) if self.args.swarm.is_connected(&peer.0) => {
                let _ = dial.reply.send(Ok(peer));
                return;
            }
            Some(peer) => DialOpts::peer_id(peer.0).condition(PeerCondition::Always).addresses(dial.addresses).build(),
            None => {
                let Some(address) = dial.addresses.into_iter().next() else {
                    return;
                };
                DialOpts::unknown_peer_id().address(address).build()
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
        let opts = DialOpts::peer_id(peer).condition(PeerCondition::DisconnectedAndNotDialing).addresses(addresses);
        if let Err(error) = self.args.swarm.dial(opts.build()) {
            debug!(%peer, %error, "known peer was not dialled");
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
