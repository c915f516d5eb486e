//! `artdag-node demo`: three nodes as three processes render a film, then one of them gives it
//! back from what it learned of the others.
//!
//! The demo is a user of its cluster: it speaks to the nodes through the client library only.
//! Whatever happens (failure, Ctrl-C, SIGTERM) the nodes are stopped and their data removed; the
//! film stays. With `--keep` a demo that succeeded leaves both up. Only SIGKILL of the demo itself
//! leaves nodes behind: they are processes of their own and nobody may clean up for it.

mod clip;
mod cluster;
mod film;
mod home;
mod report;

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use artdag_client::ContentPath;
use tokio::signal::unix::{SignalKind, signal};

use cluster::{Cluster, Ending};
use film::Script;
use home::Home;
use report::Report;

/// Options of `artdag-node demo`.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct DemoArgs {
    /// Render this clip instead of one made here (20 s, 1280x720, with sound)
    #[arg(long, value_name = "FILE")]
    pub clip: Option<PathBuf>,
    /// Where the film goes [default: a new folder among the temporary files]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Leave the nodes up and say how to use them
    #[arg(long)]
    pub keep: bool,
    /// Print one JSON object as the last line of stdout
    #[arg(long)]
    pub json: bool,
}

/// Runs the demo to its end.
///
/// # Errors
/// What failed and what to do about it; by then the nodes are stopped.
pub async fn run(args: DemoArgs) -> anyhow::Result<()> {
    check(&args)?;
    let home = Home::make()?;
    let ending = if args.keep { Ending::StayUp } else { Ending::GoDown };
    let mut cluster = Cluster::new(home.path(), ending);
    let played = tokio::select! {
        played = play(&args, &home, &mut cluster) => played,
        name = stop_signal() => Err(anyhow::anyhow!("stopped by {name}; nothing is left behind")),
    };
    let report = match played {
        Ok(report) => report,
        Err(error) => {
            cluster.tell_of_the_dead();
            cluster.stop().await;
            return Err(error);
        }
    };
    if args.keep {
        let root = home.keep_all();
        say_how_to_use(&args, &cluster.usage(&report, &root));
        cluster.release();
    } else {
        cluster.stop().await;
        home.keep_only(&report.file)?;
    }
    print(&args, &report)
}

/// What can be said before three nodes are started for nothing.
fn check(args: &DemoArgs) -> anyhow::Result<()> {
    if let Some(clip) = &args.clip
        && !clip.is_file()
    {
        bail!("--clip {}: no such file", clip.display());
    }
    let Some(out) = &args.out else { return Ok(()) };
    let out = std::path::absolute(out)?;
    if out.is_dir() {
        bail!("--out {}: that is a folder; name a file in it", out.display());
    }
    if !out.parent().is_some_and(Path::is_dir) {
        bail!("--out {}: its folder does not exist; make it first", out.display());
    }
    Ok(())
}

async fn play(args: &DemoArgs, home: &Home, cluster: &mut Cluster) -> anyhow::Result<Report> {
    let script = choose(args, home).await?;
    tell("starting three nodes");
    cluster.start().await?;
    let submission = film::submission(cluster, &script).await?;
    tell(&format!("rendering {}", script.recipe_name));
    let run = film::first_run(cluster, &submission).await?;
    let output = run.output_cid.context("the run succeeded and has no output; this is a fault of the node")?;
    let second_run = film::second_run(cluster, &submission, &run).await?;

    let file = match &args.out {
        Some(out) => std::path::absolute(out)?,
        None => home.path().join(script.file_name),
    };
    let first = cluster.first();
    first.client.get(&ContentPath::from(output), &file, &mut |_| {}).await?;
    let content_hash = report::verified_hash(&file, run.content_hash).await?;
    let url = format!("http://{}/ipfs/{output}", first.gateway);
    let report = Report::new(&run, output, content_hash, file, url, second_run);
    for node in cluster.idle_nodes(&report.busy_nodes()) {
        tell(&format!("node {node} ran no step"));
    }
    Ok(report)
}

/// The film if ffmpeg is here, else what needs no outside tool.
async fn choose(args: &DemoArgs, home: &Home) -> anyhow::Result<Script> {
    if !clip::ffmpeg_is_here().await {
        tell(
            "ffmpeg is not here: install it with `apt-get install ffmpeg` (or `brew install ffmpeg`) for the film; \
             rendering built-in pictures and sound instead",
        );
        return Ok(Script::builtin());
    }
    match &args.clip {
        Some(clip) => Ok(Script::film_of(clip.clone(), clip::seconds(clip).await?)),
        None => {
            tell("making a clip of 20 s at 1280x720 with sound");
            Ok(Script::film(clip::make(home.path()).await?))
        }
    }
}

/// Resolves with the name of the signal that wants us to stop.
async fn stop_signal() -> &'static str {
    let handlers = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()), signal(SignalKind::hangup()));
    let (Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)) = handlers else {
        // Without handlers the signals keep their usual effect.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => "Ctrl-C",
        _ = terminate.recv() => "SIGTERM",
        _ = hangup.recv() => "SIGHUP",
    }
}

/// Progress goes to stderr; a closed stderr is no reason to fail.
fn tell(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// stdout ends with the JSON line, so with `--json` everything else goes to stderr.
fn say_how_to_use(args: &DemoArgs, usage: &str) {
    if args.json {
        tell(usage);
    } else {
        // A reader that went away does not need it any more.
        let _ = writeln!(std::io::stdout(), "{usage}");
    }
}

fn print(args: &DemoArgs, report: &Report) -> anyhow::Result<()> {
    let text = if args.json { serde_json::to_string(report)? } else { report.text() };
    match writeln!(std::io::stdout(), "{text}") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error).context("stdout"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_work_is_said_before_anything_starts() {
        let scratch = tempfile::tempdir().expect("a scratch folder");
        let missing = scratch.path().join("missing");
        let clip = DemoArgs { clip: Some(missing.clone()), ..DemoArgs::default() };
        assert!(check(&clip).expect_err("no clip").to_string().contains("no such file"));
        let folder = DemoArgs { out: Some(scratch.path().to_owned()), ..DemoArgs::default() };
        assert!(check(&folder).expect_err("a folder").to_string().contains("name a file in it"));
        let nowhere = DemoArgs { out: Some(missing.join("film.mp4")), ..DemoArgs::default() };
        assert!(check(&nowhere).expect_err("no folder").to_string().contains("make it first"));
        let good = DemoArgs { out: Some(missing), ..DemoArgs::default() };
        check(&good).expect("a new file in a folder that exists");
    }
}
