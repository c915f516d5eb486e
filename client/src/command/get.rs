//! `artdag get CID [-o PATH]`.

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use artdag_client::{
    ContentPath, Fetched,
    board::{ByteMeter, summary},
};
use serde::Serialize;

use super::{Session, add::eprintln_quietly};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// CID or CID/name/name
    #[arg(value_name = "CID")]
    path: ContentPath,
    /// Where it goes: a folder's root becomes PATH [default: the last name, here]
    #[arg(short, long, value_name = "PATH")]
    output: Option<PathBuf>,
}

#[derive(Serialize)]
struct Line<'a> {
    path: &'a Path,
    #[serde(flatten)]
    fetched: Fetched,
}

impl Args {
    pub async fn run(self, session: &Session) -> anyhow::Result<()> {
        let to = self.output.unwrap_or_else(|| last_name(&self.path));
        let client = session.client().await?;
        session.if_interrupted_say("interrupted: nothing was written");
        let started = Instant::now();
        let meter = ByteMeter::new("fetching");
        let fetched = client.get(&self.path, &to, &mut |bytes| meter.set(bytes)).await?;
        drop(meter);
        let line = Line { path: &to, fetched };
        session.output.show(&line, |line| format!("{}", line.path.display()))?;
        eprintln_quietly(&summary(fetched.files, fetched.size, started.elapsed()));
        Ok(())
    }
}

fn last_name(path: &ContentPath) -> PathBuf {
    let text = path.as_str();
    PathBuf::from(text.rsplit_once('/').map_or(text, |(_, name)| name))
}
