//! The Cluster service: decode, one call, encode.

use std::sync::Arc;

use artdag_network::DialError;
use artdag_proto::v1 as wire;
use tonic::{Request, Response, Status};

use super::status::invalid;
use crate::members::{Directory, KnownNode};

/// Serves what this node knows of itself and of others.
pub struct ClusterService {
    directory: Arc<Directory>,
}

impl ClusterService {
    /// Over this directory.
    #[must_use]
    pub fn new(directory: Arc<Directory>) -> Self {
        Self { directory }
    }
}

#[tonic::async_trait]
impl wire::cluster_server::Cluster for ClusterService {
    async fn list_nodes(
        &self,
        _: Request<wire::ListNodesRequest>,
    ) -> Result<Response<wire::ListNodesResponse>, Status> {
        let nodes = self.directory.nodes().await.into_iter().map(encode).collect();
        Ok(Response::new(wire::ListNodesResponse { nodes }))
    }

    async fn join(&self, request: Request<wire::JoinRequest>) -> Result<Response<wire::JoinResponse>, Status> {
        let address = request.into_inner().address;
        let peer = self.directory.dial(&address).await;
        let peer = peer.map_err(|error| match error {
            DialError::BadAddress(_) => invalid(error.to_string()),
            other => Status::unavailable(format!("cannot reach {address}: {other}")),
        })?;
        Ok(Response::new(wire::JoinResponse { peer_id: peer.to_string() }))
    }
}

fn encode(node: KnownNode) -> wire::Node {
    wire::Node {
        peer_id: node.peer.to_string(),
        addresses: node.addresses,
        self_: node.own,
        member: node.member,
        agent: node.agent,
        toolsets: node.toolsets,
        slots: node.slots,
        running: node.running,
        version: node.version,
    }
}
