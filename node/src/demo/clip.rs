//! The clip that the demo renders when it is given none: a moving test picture with a beep.

use std::{
    path::{Path, PathBuf},
    process::{Output, Stdio},
};

use anyhow::{Context, bail};
use tokio::process::Command;

use crate::clock;

/// Takes about two seconds on two cores.
const MAKE_LIMIT_MS: u64 = 120_000;
const VERSION_LIMIT_MS: u64 = 10_000;
/// Less cannot be cut into pieces with crossfades between them.
const SHORTEST_SECONDS: f64 = 1.0;
/// Lines of ffmpeg's complaint that are worth showing.
const COMPLAINT_LINES: usize = 5;

/// The picture counts frames, so that a wrong cut can be seen; the sound beeps every second.
/// Fixed threads and `bitexact` give the same bytes, and so the same CID, each time.
const ARGUMENTS: &str = "-v error -nostdin -y \
    -f lavfi -i testsrc2=size=1280x720:rate=25 \
    -f lavfi -i sine=frequency=220:beep_factor=4:sample_rate=48000 \
    -t 20 -threads 2 -c:v libx264 -preset ultrafast -pix_fmt yuv420p -c:a aac -shortest \
    -fflags +bitexact -flags:v +bitexact -flags:a +bitexact -map_metadata -1";

/// Whether an `ffmpeg` can be started from here.
pub(super) async fn ffmpeg_is_here() -> bool {
    let asked = ffmpeg(&["-version"], VERSION_LIMIT_MS).await;
    asked.is_ok_and(|output| output.status.success())
}

/// Makes the clip in `folder`.
pub(super) async fn make(folder: &Path) -> anyhow::Result<PathBuf> {
    let clip = folder.join("clip.mp4");
    let mut arguments: Vec<&str> = ARGUMENTS.split_whitespace().collect();
    let target = clip.to_str().context("the temporary folder's name is not UTF-8; set TMPDIR to another")?;
    arguments.push(target);
    let output = ffmpeg(&arguments, MAKE_LIMIT_MS).await.context("making the clip")?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        let lines: Vec<&str> = complaint.lines().rev().take(COMPLAINT_LINES).collect();
        let last: Vec<&str> = lines.into_iter().rev().collect();
        bail!("ffmpeg could not make the clip (give one with --clip FILE): {}", last.join("; "));
    }
    Ok(clip)
}

/// How long a clip of the user's is; it must have picture and sound, since the film mixes both.
pub(super) async fn seconds(clip: &Path) -> anyhow::Result<f64> {
    let name = clip.to_str().context("the clip's name is not UTF-8; give it another")?;
    // The protocol is named, so that a file name cannot be taken for an address.
    let name = format!("file:{name}");
    let arguments = ["-v", "error", "-show_entries", "stream=codec_type:format=duration", "-of", "csv=p=0", &name];
    let output = tool("ffprobe", &arguments, VERSION_LIMIT_MS).await.context("looking at the clip")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let has = |kind| text.lines().any(|line| line.trim() == kind);
    let seconds: Option<f64> = text.lines().find_map(|line| line.trim().parse().ok());
    if output.status.success() && !(has("video") && has("audio")) {
        bail!("--clip {}: it has no picture or no sound; give a clip with both", clip.display());
    }
    match seconds.filter(|seconds| output.status.success() && *seconds >= SHORTEST_SECONDS) {
        Some(seconds) => Ok(seconds),
        None => bail!(
            "--clip {}: not a film of at least {SHORTEST_SECONDS} s that ffmpeg can read; give another",
            clip.display()
        ),
    }
}

async fn ffmpeg(arguments: &[&str], limit_ms: u64) -> anyhow::Result<Output> {
    tool("ffmpeg", arguments, limit_ms).await
}

/// Dropping the future kills the process.
async fn tool(name: &str, arguments: &[&str], limit_ms: u64) -> anyhow::Result<Output> {
    let mut command = Command::new(name);
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    match clock::within_ms(limit_ms, command.output()).await {
        Some(output) => Ok(output?),
        None => bail!("{name} did not end within {} s", limit_ms / 1000),
    }
}
