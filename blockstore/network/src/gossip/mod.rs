//! Gossip between members: gossipsub under a protocol id of the cluster's own, sealed and validated here.
//!
//! The protocol id and the topic carry eight bytes of a hash of the namespace, so that two clusters in
//! one network never speak to each other. Always: only proved members take part (`gate`), what does not
//! open is rejected and its forwarder scored (`seal`), and nothing is forwarded before it opened.
//! It does not order, repeat or store: what is lost comes by reconciling.

pub mod gate;
pub mod seal;

use std::collections::HashSet;
use std::time::Duration;

use libp2p::gossipsub::{
    self, ConfigBuilder, IdentTopic, IdentityTransform, MessageAuthenticity, PeerScoreParams, PeerScoreThresholds,
    TopicScoreParams, ValidationMode, Version, WhitelistSubscriptionFilter,
};
use libp2p::identity::Keypair;
use sha2::{Digest, Sha256};

use crate::limits::GOSSIP_RPC_BYTES;
use gate::{Gate, Inner};

/// Eight bytes of H(namespace), as hex: names the cluster without telling its namespace.
pub fn namespace_mark(namespace: &[u8; 32]) -> String {
    let mut hash = Sha256::new();
    hash.update(b"artdag/gossip/1");
    hash.update(namespace);
    let digest = hash.finalize();
    digest[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The one topic of a cluster.
pub fn topic(namespace: &[u8; 32]) -> IdentTopic {
    IdentTopic::new(format!("artdag/records/1/{}", namespace_mark(namespace)))
}

/// Gossipsub behind its gate, subscribed.
pub fn behaviour(keypair: &Keypair, namespace: &[u8; 32]) -> Result<Gate, String> {
    let topic = topic(namespace);
    let protocol = format!("/artdag/gossip/1/{}", namespace_mark(namespace));
    let config = ConfigBuilder::default()
        .protocol_id(protocol, Version::V1_1)
        .validation_mode(ValidationMode::Strict)
        .validate_messages()
        .max_transmit_size(GOSSIP_RPC_BYTES)
        // Clusters are small and news is urgent: what we publish goes to every member we see.
        .flood_publish(true)
        .heartbeat_initial_delay(Duration::from_millis(200))
        .build()
        .map_err(|error| error.to_string())?;
    let filter = WhitelistSubscriptionFilter(HashSet::from([topic.hash()]));
    let signed = MessageAuthenticity::Signed(keypair.clone());
    let mut inner: Inner =
        gossipsub::Behaviour::new_with_subscription_filter_and_transform(signed, config, filter, IdentityTransform)?;
    inner.with_peer_score(score(&topic), PeerScoreThresholds::default())?;
    inner.subscribe(&topic).map_err(|error| error.to_string())?;
    Ok(Gate::new(inner))
}

/// Scores for what is provably wrong only. The defaults also punish quiet topics (a cluster may be idle)
/// and many peers at one address (all of a test, or of a site behind one gateway).
fn score(topic: &IdentTopic) -> PeerScoreParams {
    let quiet = TopicScoreParams {
        mesh_message_deliveries_weight: 0.0,
        mesh_failure_penalty_weight: 0.0,
        invalid_message_deliveries_weight: -10.0,
        ..TopicScoreParams::default()
    };
    PeerScoreParams {
        topics: std::iter::once((topic.hash(), quiet)).collect(),
        ip_colocation_factor_weight: 0.0,
        ..PeerScoreParams::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clusters_have_their_own_topic_and_protocol() {
        assert_ne!(namespace_mark(&[1; 32]), namespace_mark(&[2; 32]));
        assert_eq!(namespace_mark(&[1; 32]).len(), 16);
    }

    #[test]
    fn the_behaviour_can_be_built() {
        let keypair = crate::peer::keypair(&[3; 32]);
        assert!(behaviour(&keypair, &[1; 32]).is_ok());
    }
}
