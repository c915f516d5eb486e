//! `artdag ls CID`.

use artdag_client::{ContentPath, EntryKind, ListEntry, printable};

use super::Session;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// CID or CID/name/name of a folder
    #[arg(value_name = "CID")]
    path: ContentPath,
}

impl Args {
    pub async fn run(self, session: &Session) -> anyhow::Result<()> {
        let mut entries = session.client().await?.ls(&self.path).await?;
        while let Some(entry) = entries.next().await? {
            session.output.show(&entry, text)?;
        }
        Ok(())
    }
}

fn text(entry: &ListEntry) -> String {
    let mark = match entry.kind {
        EntryKind::Directory => "/",
        EntryKind::Symlink => "@",
        EntryKind::Data => "?",
        EntryKind::File => "",
    };
    format!("{} {:>12} {}{mark}", entry.cid, entry.size, printable(&entry.name))
}
