//! `artdag add [-r] PATH`.

use std::{path::PathBuf, time::Instant};

use artdag_client::{
    AddEvent, AddOptions, Added, Client, Folders, Hidden, Pinning,
    board::{ByteMeter, summary},
};

use super::Session;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// File or folder; if it is a symlink it is followed, symlinks inside a folder stay links
    path: PathBuf,
    /// Add a folder with all that is in it
    #[arg(short, long)]
    recursive: bool,
    /// Include names that begin with a dot
    #[arg(long)]
    hidden: bool,
    /// Do not pin the root: it may be collected
    #[arg(long)]
    no_pin: bool,
}

impl Args {
    pub async fn run(self, session: &Session) -> anyhow::Result<()> {
        let options = AddOptions {
            pinning: if self.no_pin { Pinning::Leave } else { Pinning::Pin },
            folders: if self.recursive { Folders::Walk } else { Folders::Refuse },
            hidden: if self.hidden { Hidden::Include } else { Hidden::Skip },
        };
        options.check(&self.path)?;
        let client = session.client().await?;
        session.if_interrupted_say("interrupted: nothing was added");
        let started = Instant::now();
        let mut tally = Tally::default();
        add(&client, &self.path, &options, &mut |added| {
            tally.count(added);
            session.output.show(added, |added| format!("added {} {}", added.cid, added.path))
        })
        .await?;
        eprintln_quietly(&summary(tally.files, tally.bytes, started.elapsed()));
        Ok(())
    }
}

/// Adds with a meter on stderr; also how `run` adds its inputs.
pub(super) async fn add(
    client: &Client,
    path: &std::path::Path,
    options: &AddOptions,
    on_added: &mut (dyn FnMut(&Added) -> anyhow::Result<()> + Send),
) -> anyhow::Result<Added> {
    let meter = ByteMeter::new("adding");
    let mut refused = None;
    let outcome = client
        .add_path(path, options, &mut |event| match event {
            AddEvent::Sent { bytes } => {
                meter.set(bytes);
                Ok(())
            }
            AddEvent::Added(added) => meter.suspend(|| on_added(added)).map_err(|error| {
                refused = Some(error);
                artdag_client::Error::InvalidInput("the output was refused".to_owned())
            }),
        })
        .await;
    match refused {
        Some(error) => Err(error),
        None => Ok(outcome?),
    }
}

/// What the summary counts: files have hashes, folders and links have not.
#[derive(Default)]
struct Tally {
    files: u64,
    bytes: u64,
}

impl Tally {
    fn count(&mut self, added: &Added) {
        if added.content_hash.is_some() {
            self.files += 1;
            self.bytes += added.size;
        }
    }
}

/// Closed stderr is no reason to fail.
pub(super) fn eprintln_quietly(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{text}");
}
