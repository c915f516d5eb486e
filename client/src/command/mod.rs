//! The commands: one file each, and one line in the list below.

mod add;
mod block;
mod cat;
mod follow;
mod get;
mod ls;
mod nodes;
mod pin;
mod public;
mod records;
mod run;
mod runs;
mod stat;

use artdag_client::Client;
use clap::Subcommand;
use std::sync::{Mutex, PoisonError};

use crate::output::Output;

/// What every command has at hand.
pub struct Session {
    pub url: String,
    pub output: Output,
    /// Said on stderr if the command is interrupted: what became of it, what to do next.
    parting: Mutex<String>,
}

impl Session {
    pub fn new(url: String, output: Output) -> Self {
        Self { url, output, parting: Mutex::default() }
    }

    pub fn if_interrupted_say(&self, words: impl Into<String>) {
        *self.parting.lock().unwrap_or_else(PoisonError::into_inner) = words.into();
    }

    pub fn parting_words(&self) -> String {
        self.parting.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub async fn client(&self) -> anyhow::Result<Client> {
        Ok(Client::connect(&self.url).await?)
    }
}

macro_rules! commands {
    ($($(#[$about:meta])* $name:ident: $file:ident,)*) => {
        #[derive(Debug, Subcommand)]
        pub enum Command {
            $($(#[$about])* $name($file::Args),)*
        }

        impl Command {
            pub async fn run(self, session: &Session) -> anyhow::Result<()> {
                match self {
                    $(Self::$name(args) => args.run(session).await,)*
                }
            }
        }
    };
}

commands! {
    /// Add a file, or with -r a folder
    Add: add,
    /// Fetch a file or folder to a path
    Get: get,
    /// Print the bytes of a file, or a range of them
    Cat: cat,
    /// List a folder
    Ls: ls,
    /// Say what a CID is and whether it is all here
    Stat: stat,
    /// Keep content from being collected
    Pin: pin,
    /// Put and get single blocks
    Block: block,
    /// Choose what any IPFS peer may read
    Public: public,
    /// Submit a recipe
    Run: run,
    /// List, show, watch and cancel runs
    Runs: runs,
    /// List the nodes of the cluster
    Nodes: nodes,
    /// Look up replicated results
    Records: records,
}
