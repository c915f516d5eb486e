//! Where ffmpeg and ffprobe are on this node, and which.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{ADDRESS_SPACE_BYTES, OPEN_FILES};
use crate::executor::Unavailable;
use crate::executor::launcher::{Command, Ending, Launcher, Limits};

/// Printing a version takes milliseconds; a cold disk takes seconds.
const VERSION_TIMEOUT: Duration = Duration::from_secs(20);
/// The first lines of `-version`; the list of configure options after it is not needed.
const MAX_VERSION_BYTES: usize = 64 * 1024;

/// The two programs and their version.
#[derive(Debug, Clone)]
pub(super) struct Tools {
    pub ffmpeg: PathBuf,
    pub ffprobe: PathBuf,
    /// Major and minor: `5.1`. Builds of one minor version give the same bytes.
    pub version: String,
    /// The whole version word, as `5.1.9-0+deb12u1`.
    pub build: String,
}

/// Finds both and asks for the version.
pub(super) async fn find(launcher: &Launcher, search: &OsStr) -> Result<Tools, Unavailable> {
    let ffmpeg = on_path(search, "ffmpeg").ok_or_else(|| missing("ffmpeg"))?;
    let ffprobe = on_path(search, "ffprobe").ok_or_else(|| missing("ffprobe"))?;
    let text = ask_version(launcher, &ffmpeg).await?;
    let build = build(&text).ok_or_else(|| Unavailable(format!("{} does not say its version", ffmpeg.display())))?;
    Ok(Tools { version: version(&build), build, ffmpeg, ffprobe })
}

fn missing(tool: &str) -> Unavailable {
    Unavailable(format!(
        "{tool} is not installed: run `apt-get install ffmpeg` (or your system's equivalent) and try again"
    ))
}

/// The real file behind the first executable of that name.
fn on_path(search: &OsStr, name: &str) -> Option<PathBuf> {
    std::env::split_paths(search)
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join(name))
        .find(|candidate| is_executable(candidate))
        .and_then(|candidate| candidate.canonicalize().ok())
}

fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

async fn ask_version(launcher: &Launcher, ffmpeg: &Path) -> Result<String, Unavailable> {
    let unusable = |why: String| Unavailable(format!("{} cannot be used: {why}", ffmpeg.display()));
    let workspace = tempfile::tempdir().map_err(|error| unusable(error.to_string()))?;
    let command = Command {
        program: ffmpeg.to_path_buf(),
        arguments: vec!["-version".into()],
        workspace: workspace.path().to_path_buf(),
        readable: Vec::new(),
        limits: Limits {
            cpu_seconds: VERSION_TIMEOUT.as_secs(),
            address_space_bytes: ADDRESS_SPACE_BYTES,
            disk_bytes: 0,
            open_files: OPEN_FILES,
        },
        timeout: VERSION_TIMEOUT,
    };
    let cancel = CancellationToken::new();
    let said = launcher.capture(command, MAX_VERSION_BYTES, &cancel);
    let (ended, text) = said.await.map_err(|error| unusable(error.to_string()))?;
    if ended.ending != Ending::Code(0) {
        return Err(unusable(format!("{:?} {}", ended.ending, ended.log)));
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// The word after `ffmpeg version`.
fn build(text: &str) -> Option<String> {
    let word = text.strip_prefix("ffmpeg version ")?.split_whitespace();
    word.take(1).next().map(str::to_owned)
}

/// Major and minor of a release; of anything else, the whole word in the letters a toolset may have.
fn version(build: &str) -> String {
    let numbers = build.trim_start_matches('n');
    let mut parts = numbers.split(|c: char| !c.is_ascii_digit());
    match (parts.next(), parts.next()) {
        (Some(major), Some(minor)) if !major.is_empty() && !minor.is_empty() => {
            format!("{major}.{minor}")
        }
        _ => {
            let word = build.chars().take(32);
            word.map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_releases_and_of_others() {
        let line = "ffmpeg version 5.1.9-0+deb12u1 Copyright (c) 2000-2026 the FFmpeg developers";
        assert_eq!(build(line).as_deref(), Some("5.1.9-0+deb12u1"));
        for (build, expected) in
            [("5.1.9-0+deb12u1", "5.1"), ("n6.0", "6.0"), ("7.1", "7.1"), ("N-112233-gabcdef", "N_112233_gabcdef")]
        {
            assert_eq!(version(build), expected);
        }
        assert_eq!(super::build("sh: not found"), None);
    }
}
