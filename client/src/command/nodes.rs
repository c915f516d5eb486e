//! `artdag nodes [join MULTIADDR]`.

use artdag_client::{Node, printable};
use clap::Subcommand;
use serde_json::json;

use super::Session;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make the node dial a multiaddr
    Join { address: String },
}

impl Args {
    pub async fn run(self, session: &Session) -> anyhow::Result<()> {
        let client = session.client().await?;
        if let Some(Action::Join { address }) = self.action {
            let peer_id = client.join(&address).await?;
            return session.output.show(&json!({ "peer_id": peer_id }), |_| format!("connected to {peer_id}"));
        }
        for node in client.nodes().await? {
            session.output.show(&node, text)?;
        }
        Ok(())
    }
}

fn text(node: &Node) -> String {
    let circle = match (node.is_self, node.member) {
        (true, _) => "self",
        (false, true) => "member",
        (false, false) => "peer",
    };
    let work = if node.member || node.is_self {
        format!("{}/{} running  {}", node.running, node.slots, node.toolsets.join(" "))
    } else {
        node.agent.clone()
    };
    printable(&format!("{} {circle:6} {work}", node.peer_id)).trim_end().to_owned()
}
