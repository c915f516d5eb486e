//! The Cluster service: this node and the others.

use artdag_proto::v1;
use serde::Serialize;

use crate::{Client, Error};

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Node {
    pub peer_id: String,
    pub addresses: Vec<String>,
    /// The node that answers.
    #[serde(rename = "self")]
    pub is_self: bool,
    /// It proved the cluster key; otherwise an ordinary IPFS peer.
    pub member: bool,
    pub agent: String,
    pub version: String,
    pub toolsets: Vec<String>,
    pub slots: u32,
    pub running: u32,
}

impl Client {
    /// The answering node first, then the others by peer id.
    pub async fn nodes(&self) -> Result<Vec<Node>, Error> {
        let answer = self.cluster_service().list_nodes(v1::ListNodesRequest {}).await;
        let answer = answer.map_err(|status| self.failed(&status))?.into_inner();
        let mut nodes: Vec<Node> = answer.nodes.into_iter().map(parse).collect();
        nodes.sort_by(|a, b| (!a.is_self, &a.peer_id).cmp(&(!b.is_self, &b.peer_id)));
        Ok(nodes)
    }

    /// Makes the node dial a multiaddr; the peer id it found there.
    pub async fn join(&self, address: &str) -> Result<String, Error> {
        let request = v1::JoinRequest { address: address.to_owned() };
        let answer = self.cluster_service().join(request).await;
        Ok(answer.map_err(|status| self.failed(&status))?.into_inner().peer_id)
    }
}

fn parse(node: v1::Node) -> Node {
    Node {
        peer_id: node.peer_id,
        addresses: node.addresses,
        is_self: node.self_,
        member: node.member,
        agent: node.agent,
        version: node.version,
        toolsets: node.toolsets,
        slots: node.slots,
        running: node.running,
    }
}
