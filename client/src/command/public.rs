//! `artdag public add|rm|ls`.

use artdag_client::{Cid, parse_cid};
use clap::Subcommand;
use serde_json::json;

use super::Session;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Let any IPFS peer read a root and all it links to
    Add {
        #[arg(value_parser = parse_cid)]
        cid: Cid,
    },
    /// Take it back; what peers have fetched they keep
    Rm {
        #[arg(value_parser = parse_cid)]
        cid: Cid,
    },
    /// List the public roots
    Ls,
}

impl Args {
    pub async fn run(self, session: &Session) -> anyhow::Result<()> {
        let (client, output) = (session.client().await?, &session.output);
        let (cid, blocks, state) = match self.action {
            Action::Add { cid } => (cid, client.publish_root(&cid).await?, "public"),
            Action::Rm { cid } => (cid, client.withdraw_root(&cid).await?, "private"),
            Action::Ls => {
                let mut roots = client.public_roots().await?;
                while let Some(cid) = roots.next().await? {
                    output.show(&json!({ "cid": cid.to_string() }), |_| cid.to_string())?;
                }
                return Ok(());
            }
        };
        let line = json!({ "cid": cid.to_string(), "blocks": blocks });
        output.show(&line, |_| format!("{cid} is {state}: {blocks} blocks"))
    }
}
