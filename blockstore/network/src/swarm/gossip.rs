//! The driver's gossip: publishes what is sealed, and opens what comes before it is believed or forwarded.

use libp2p::PeerId as Libp2pPeerId;
use libp2p::gossipsub::{self, MessageAcceptance};
use tracing::warn;

use super::Driver;
use crate::event::Event;
use crate::gossip::seal::OpenFailure;
use crate::peer::PeerId;

impl Driver {
    pub(super) fn publish(&mut self, sealed: Vec<u8>) -> bool {
        let gossip = &mut self.args.swarm.behaviour_mut().gossip.inner;
        match gossip.publish(self.args.topic.clone(), sealed) {
            // Alone there is nobody to tell, and who comes later reconciles.
            Ok(_) | Err(gossipsub::PublishError::NoPeersSubscribedToTopic) => true,
            Err(error) => {
                warn!(%error, "gossip was not published");
                false
            }
        }
    }

    pub(super) fn gossip(&mut self, forwarder: Libp2pPeerId, id: &gossipsub::MessageId, message: gossipsub::Message) {
        let opened = match message.source {
            Some(source) => self.args.seal.open(&PeerId(source), &message.data).map(|it| (it, source)),
            None => Err(OpenFailure::Malformed),
        };
        let acceptance = match opened {
            Ok((data, source)) => {
                self.args.events.send(Event::Gossip { from: PeerId(source), data });
                MessageAcceptance::Accept
            }
            Err(error) => {
                self.args.counters.gossip_rejected();
                warn!(%forwarder, %error, "gossip was rejected");
                match error {
                    OpenFailure::OtherEpoch(_) => MessageAcceptance::Ignore,
                    OpenFailure::Malformed | OpenFailure::Forged => MessageAcceptance::Reject,
                }
            }
        };
        let gossip = &mut self.args.swarm.behaviour_mut().gossip.inner;
        gossip.report_message_validation_result(id, &forwarder, acceptance);
    }
}
