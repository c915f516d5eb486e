//! `artdag pin add|rm|ls`.

use artdag_client::{Cid, Pin, PinKind, parse_cid, printable};
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
    /// Fetch what is missing, then pin
    Add {
        #[arg(value_parser = parse_cid)]
        cid: Cid,
        /// Only this one block, not what it links to
        #[arg(long)]
        direct: bool,
        /// What it is called in the list
        #[arg(long, default_value = "")]
        name: String,
    },
    /// Let it be collected
    Rm {
        #[arg(value_parser = parse_cid)]
        cid: Cid,
    },
    /// List the pins
    Ls,
}

impl Args {
    pub async fn run(self, session: &Session) -> anyhow::Result<()> {
        let (client, output) = (session.client().await?, &session.output);
        match self.action {
            Action::Add { cid, direct, name } => {
                let kind = if direct { PinKind::Direct } else { PinKind::Recursive };
                output.show(&client.add_pin(&cid, kind, &name).await?, text)
            }
            Action::Rm { cid } => {
                client.remove_pin(&cid).await?;
                output.show(&json!({ "cid": cid.to_string() }), |_| format!("unpinned {cid}"))
            }
            Action::Ls => {
                let mut pins = client.list_pins().await?;
                while let Some(pin) = pins.next().await? {
                    output.show(&pin, text)?;
                }
                Ok(())
            }
        }
    }
}

fn text(pin: &Pin) -> String {
    let kind = match pin.kind {
        PinKind::Recursive => "recursive",
        PinKind::Direct => "direct",
    };
    format!("{} {kind:9} {}", pin.cid, printable(&pin.name)).trim_end().to_owned()
}
