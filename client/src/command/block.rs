//! `artdag block get|put|stat`.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use anyhow::Context;
use artdag_client::{Block, Cid, blocking, parse_cid};
use clap::Subcommand;

use super::Session;

/// One byte more than a block may have, so that too much is noticed without reading all of it.
const READ_LIMIT: u64 = 2 * 1024 * 1024 + 1;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Print the bytes of a block
    Get {
        #[arg(value_parser = parse_cid)]
        cid: Cid,
        /// Write them to a file instead
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Put one block of at most 2 MiB
    Put {
        /// A file, or - for stdin
        #[arg(default_value = "-")]
        file: PathBuf,
        /// Name of the multicodec table
        #[arg(long, default_value = "")]
        codec: String,
        /// Name of the multicodec table
        #[arg(long, default_value = "")]
        multihash: String,
    },
    /// Say how large a block is
    Stat {
        #[arg(value_parser = parse_cid)]
        cid: Cid,
    },
}

impl Args {
    pub async fn run(self, session: &Session) -> anyhow::Result<()> {
        let (client, output) = (session.client().await?, &session.output);
        let block = match self.action {
            Action::Get { cid, output: None } => {
                return output.bytes(&client.get_block(&cid).await?);
            }
            Action::Get { cid, output: Some(file) } => {
                let data = client.get_block(&cid).await?;
                let at = || file.display().to_string();
                tokio::fs::write(&file, &data).await.with_context(at)?;
                Block { cid, size: data.len() as u64 }
            }
            Action::Put { file, codec, multihash } => client.put_block(read(&file).await?, &codec, &multihash).await?,
            Action::Stat { cid } => Block { cid, size: client.get_block(&cid).await?.len() as u64 },
        };
        output.show(&block, |block| format!("{} {}", block.cid, block.size))
    }
}

async fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    let (named, file) = (file.display().to_string(), file.to_owned());
    let reading = blocking(move || {
        let source: Box<dyn Read> =
            if file == Path::new("-") { Box::new(std::io::stdin()) } else { Box::new(std::fs::File::open(file)?) };
        let mut data = Vec::new();
        source.take(READ_LIMIT).read_to_end(&mut data)?;
        Ok::<_, std::io::Error>(data)
    });
    reading.await.context(named)
}
