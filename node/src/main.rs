//! `artdag-node`: run a node, show the demo, repair a data directory, invite another node.

use std::{
    io::IsTerminal,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, bail};
use artdag_blockstore::{Options, Progress, Store};
use artdag_node::{
    config::{Config, RunArgs, default_data_dir},
    demo, executor,
    invite::Invite,
    node::{Node, read_ready},
    secrets::{KeySource, Secrets},
};
use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// What is left of the five seconds in which a node stops.
const BLOCKING_TIMEOUT: Duration = Duration::from_millis(300);
/// Shown when nothing is asked for by `ARTDAG_LOG`.
const DEFAULT_LOG: &str = "info,libp2p=warn,libp2p_swarm=warn,libp2p_mdns=error,sled=warn";

#[derive(Parser)]
#[command(name = "artdag-node", version, about = "A peer that renders media as a graph of content-addressed steps")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a node until SIGINT or SIGTERM
    Run(Box<RunArgs>),
    /// Start three nodes, render a film on them, show that it is cached
    Demo(demo::DemoArgs),
    /// Rebuild the block index from the files; the node must not run
    Repair {
        /// Where the node's data lies
        #[arg(long, value_name = "DIR")]
        data_dir: Option<PathBuf>,
    },
    /// Print one string with which another node joins as a member
    Invite {
        /// Where the node's data lies
        #[arg(long, value_name = "DIR")]
        data_dir: Option<PathBuf>,
        /// The file the node was given with the same option
        #[arg(long, value_name = "FILE")]
        cluster_key_file: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    // Before anything else: a launched step must not inherit a runtime or a log.
    if std::env::args_os().nth(1).is_some_and(|argument| argument == executor::LAUNCH_ARGUMENT) {
        return executor::launch_main();
    }
    let filter = EnvFilter::try_from_env("ARTDAG_LOG").unwrap_or_else(|_| EnvFilter::new(DEFAULT_LOG));
    let ansi = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(ansi).init();
    match act(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("artdag-node: {}", sentence(&error));
            ExitCode::FAILURE
        }
    }
}

/// The error with those of its causes that it does not name itself.
fn sentence(error: &anyhow::Error) -> String {
    error
        .chain()
        .skip(1)
        .map(ToString::to_string)
        .fold(error.to_string(), |text, cause| if text.contains(&cause) { text } else { format!("{text}: {cause}") })
}

fn act(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Run(args) => {
            let key = std::env::var_os("ARTDAG_CLUSTER_KEY").map(OsStringExt::into_vec);
            let config = Config::load(&args, key)?;
            let runtime = runtime()?;
            let ended = runtime.block_on(run(config));
            // Files being hashed or copied are not waited for: what was not acknowledged may be lost.
            runtime.shutdown_timeout(BLOCKING_TIMEOUT);
            ended
        }
        Command::Demo(args) => runtime()?.block_on(demo::run(args)),
        Command::Repair { data_dir } => repair(&data_dir.unwrap_or_else(default_data_dir)),
        Command::Invite { data_dir, cluster_key_file } => {
            invite(&data_dir.unwrap_or_else(default_data_dir), cluster_key_file)
        }
    }
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the runtime")
}

async fn run(config: Config) -> anyhow::Result<()> {
    // Caught from the start, so that a node stopped while it starts leaves nothing half done.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let node = tokio::select! {
        node = Node::start(config) => node?,
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    node.stop().await;
    Ok(())
}

fn repair(data_dir: &Path) -> anyhow::Result<()> {
    if !data_dir.is_dir() {
        bail!("{} is no data directory; give one with --data-dir", data_dir.display());
    }
    let options = Options::default();
    let report = Store::repair(data_dir, options, &mut |progress| match progress {
        Progress::Blob { path } => eprintln!("checking {}", path.display()),
        Progress::Pack { number } => eprintln!("checking pack {number}"),
        Progress::Index => eprintln!("rebuilding the index"),
    })?;
    println!("{} blobs and {} packs are indexed, {} blobs were adopted", report.blobs, report.packs, report.adopted);
    for damage in &report.damaged {
        println!("damaged: {damage}");
    }
    if !report.damaged.is_empty() {
        bail!("{} damaged; what is named above must be added or fetched again", report.damaged.len());
    }
    Ok(())
}

fn invite(data_dir: &Path, key_file: Option<PathBuf>) -> anyhow::Result<()> {
    let ready = read_ready(data_dir).with_context(|| {
        format!("no node runs in {}; start it with: artdag-node run --data-dir {0}", data_dir.display())
    })?;
    if !ready.is_alive() {
        bail!("the node of {} was killed; start it again with: artdag-node run --data-dir {0}", data_dir.display());
    }
    let key = match (key_file, std::env::var_os("ARTDAG_CLUSTER_KEY")) {
        (Some(file), _) => KeySource::File(file),
        (None, Some(key)) => KeySource::Bytes(OsStringExt::into_vec(key)),
        (None, None) if data_dir.join("cluster.key").exists() => KeySource::Kept,
        (None, None) => bail!(
            "the cluster key is not kept here; give it as the node got it: --cluster-key-file or ARTDAG_CLUSTER_KEY"
        ),
    };
    let secrets = Secrets::open(data_dir, &key)?;
    if secrets.circle() != ready.circle {
        bail!(
            "the node runs with another cluster key; give it as the node got it: --cluster-key-file or ARTDAG_CLUSTER_KEY"
        );
    }
    let invite = Invite {
        peer: ready.peer_id,
        addresses: ready.listen,
        key: secrets.cluster_key,
        namespace: secrets.namespace.to_vec(),
    };
    println!("{invite}");
    Ok(())
}
