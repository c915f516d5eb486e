//! `artdag stat CID`.

use artdag_client::{ContentPath, EntryKind, Stat};

use super::Session;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// CID or CID/name/name
    #[arg(value_name = "CID")]
    path: ContentPath,
}

impl Args {
    pub async fn run(self, session: &Session) -> anyhow::Result<()> {
        let stat = session.client().await?.stat(&self.path).await?;
        session.output.show(&stat, text)
    }
}

fn text(stat: &Stat) -> String {
    let kind = match stat.kind {
        EntryKind::File => "file",
        EntryKind::Directory => "folder",
        EntryKind::Symlink => "symlink",
        EntryKind::Data => "data",
    };
    let hash = stat.content_hash.map_or("unknown".to_owned(), |hash| hash.to_string());
    format!(
        "cid          {}\nkind         {kind}\nsize         {}\ncumulative   {}\n\
         blocks       {}\nlocal        {}\ncontent hash {hash}",
        stat.cid,
        stat.size,
        stat.cumulative_size,
        stat.blocks,
        if stat.local { "yes" } else { "no" },
    )
}
