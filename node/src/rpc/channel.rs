//! gRPC to a member over the peer connection that is already there: no second port, no second
//! identity. A channel connects when first used and again after it broke.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use artdag_network::{Network, PeerId, Plane};
use hyper_util::rt::TokioIo;
use tonic::transport::{Channel, Endpoint, Uri};

/// Channels to members, one each.
pub struct MemberChannels {
    network: Network,
    open: Mutex<HashMap<PeerId, Channel>>,
}

impl MemberChannels {
    /// None open yet.
    #[must_use]
    pub fn new(network: Network) -> Self {
        Self { network, open: Mutex::default() }
    }

    /// The channel to this member; calls on it fail when the member is gone.
    #[must_use]
    pub fn to(&self, peer: &PeerId) -> Channel {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.entry(*peer).or_insert_with(|| self.connect(*peer)).clone()
    }

    /// Forgets a member that left, so that the map holds live members only.
    pub fn forget(&self, peer: &PeerId) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(peer);
    }

    fn connect(&self, peer: PeerId) -> Channel {
        let network = self.network.clone();
        // The address is a formality: the connector ignores it.
        Endpoint::from_static("http://member.artdag").connect_with_connector_lazy(tower::service_fn(move |_: Uri| {
            let network = network.clone();
            async move { network.open(&peer, Plane::Grpc).await.map(TokioIo::new) }
        }))
    }
}
