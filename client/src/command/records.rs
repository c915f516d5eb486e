//! `artdag records get|ls`.

use artdag_client::{Digest, ResultRecord, short_peer};
use clap::Subcommand;

use super::Session;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// The result under a cache_id or an action_id
    Get {
        /// 64 hex digits
        id: Digest,
    },
    /// List the results this node knows
    Ls {
        /// At most so many
        #[arg(long, value_name = "N")]
        limit: Option<std::num::NonZeroU32>,
    },
}

impl Args {
    pub async fn run(self, session: &Session) -> anyhow::Result<()> {
        let client = session.client().await?;
        match self.action {
            Action::Get { id } => session.output.show(&client.get_record(&id).await?, text),
            Action::Ls { limit } => {
                let mut records = client.list_records(limit.map(Into::into)).await?;
                while let Some(record) = records.next().await? {
                    session.output.show(&record, text)?;
                }
                Ok(())
            }
        }
    }
}

fn text(record: &ResultRecord) -> String {
    let id = record.action_id.or(record.cache_id).map_or(String::new(), |id| id.to_string());
    let conflict = if record.candidates > 1 { "  conflict" } else { "" };
    format!("{id} {} from {}{conflict}", record.cid, short_peer(&record.origin))
}
