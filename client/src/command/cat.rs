//! `artdag cat CID [--offset N] [--length N]`.

use artdag_client::ContentPath;

use super::Session;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// CID or CID/name/name of a file
    #[arg(value_name = "CID")]
    path: ContentPath,
    /// First byte
    #[arg(long, default_value_t = 0, value_name = "BYTES")]
    offset: u64,
    /// How many bytes [default: to the end]
    #[arg(long, value_name = "BYTES")]
    length: Option<u64>,
}

impl Args {
    pub async fn run(self, session: &Session) -> anyhow::Result<()> {
        let client = session.client().await?;
        let mut chunks = client.cat(&self.path, self.offset, self.length).await?;
        while let Some(chunk) = chunks.next().await? {
            session.output.bytes(&chunk)?;
        }
        Ok(())
    }
}
