//! The one way an outside process is started.
//!
//! The node starts *itself* again with [`LAUNCH_ARGUMENT`]; that process reads a [`Spec`] from
//! its standard input, gives up what the tool does not need ([`confine`]), says in one line what
//! it could enforce, and becomes the tool. So no code of ours runs between fork and exec, and the
//! tool is confined from its first instruction.
//! What always holds: its own process group, resource limits, no sockets but Unix ones, an empty
//! environment, the workspace as its directory, and its end with ours: a killed node leaves none
//! behind. Landlock and a network namespace are best effort and reported. Never a shell.

mod confine;
mod log;
#[cfg(test)]
mod tests;
mod watch;

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

pub use confine::launch_main;

/// The first argument that makes the node's binary the launcher.
pub const LAUNCH_ARGUMENT: &str = "launch";
/// Begins the line in which the launcher says what it enforced. Before it, standard output is
/// not the tool's.
const REPORT_MARK: &str = "artdag-launch/1 ";
/// The launcher could not confine itself and ran nothing.
const EXIT_NOT_CONFINED: u8 = 126;
/// The tool could not be executed.
const EXIT_NOT_EXECUTED: u8 = 127;
/// A spec: 64 inputs and their arguments at the longest path there is, as JSON.
const MAX_SPEC_BYTES: u64 = 4 << 20;

/// What one outside process may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Of all its threads together.
    pub cpu_seconds: u64,
    /// Generous: it stops a runaway, it is not a budget.
    pub address_space_bytes: u64,
    /// Of one file, and of the workspace together.
    pub disk_bytes: u64,
    /// Descriptors.
    pub open_files: u64,
}

/// What to run, and what it may touch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// An absolute path.
    pub program: PathBuf,
    /// One by one, as the tool gets them.
    pub arguments: Vec<OsString>,
    /// Its directory, which it may write.
    pub workspace: PathBuf,
    /// Files it may read, besides the system's libraries.
    pub readable: Vec<PathBuf>,
    /// What it may use.
    pub limits: Limits,
    /// Wall clock.
    pub timeout: Duration,
}

/// [`Command`] as it goes to the launcher; paths as bytes, since they need not be UTF-8.
#[derive(Debug, Serialize, Deserialize)]
struct Spec {
    program: OsString,
    arguments: Vec<OsString>,
    workspace: OsString,
    readable: Vec<OsString>,
    limits: Limits,
    /// Who started us: if it is gone before we can ask to die with it, we must not start.
    parent: i32,
}

/// How far a means of confinement holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Enforcement {
    /// All of it.
    Full,
    /// What this kernel knows of it.
    Partial,
    /// Nothing: the kernel has it not, or refuses it.
    None,
}

/// What held a tool in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enforced {
    /// Files: inputs read-only, workspace, system libraries, nothing else.
    pub landlock: Enforcement,
    /// No sockets but Unix ones. Never less than full: the launcher refuses to go on.
    pub seccomp: Enforcement,
    /// A network namespace of its own, with no way out.
    pub network_namespace: Enforcement,
    /// Resource limits. Never less than full.
    pub limits: Enforcement,
}

impl Enforced {
    /// Of a process that was stopped before it could say.
    const UNKNOWN: Self = Self {
        landlock: Enforcement::None,
        seccomp: Enforcement::None,
        network_namespace: Enforcement::None,
        limits: Enforcement::None,
    };
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// With this exit code.
    Code(i32),
    /// By this signal, which was not ours.
    Signal(i32),
    /// By us, because the caller asked.
    Cancelled,
    /// By us or the kernel, because its time was over.
    TimedOut,
    /// By us or the kernel, because it wrote too much.
    DiskLimit,
}

/// A process that has ended, with every other of its group.
#[derive(Debug, Clone)]
pub struct Ended {
    /// How.
    pub ending: Ending,
    /// The last of its standard error.
    pub log: String,
    /// What held it in.
    pub enforced: Enforced,
}

/// Why nothing ran.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The launcher itself could not be started or watched.
    #[error("the launcher does not start: {0}")]
    Start(#[from] std::io::Error),
    /// It started but ran nothing.
    #[error("the launcher ran nothing: {0}")]
    Refused(String),
    /// The program cannot be executed.
    #[error("{program} cannot be executed: {message}")]
    NotExecutable { program: PathBuf, message: String },
}

/// How to start the launcher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launcher {
    program: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
}

impl Launcher {
    /// This very binary, even when its file was replaced meanwhile.
    #[cfg(not(test))]
    pub fn this_program() -> Self {
        Self::of("/proc/self/exe")
    }

    /// The test binary, whose one test [`tests::launched`] becomes the launcher.
    #[cfg(test)]
    pub fn this_program() -> Self {
        tests::launcher()
    }

    /// An `artdag-node` binary elsewhere, for programs that use this library.
    pub fn of(program: impl Into<PathBuf>) -> Self {
        Self { program: program.into(), arguments: vec![LAUNCH_ARGUMENT.into()], environment: Vec::new() }
    }

    /// Runs `command` to its end. `on_stdout` gets its standard output in pieces, on a thread of
    /// its own. Dropping the future ends the process as `cancel` does, without waiting for it.
    pub async fn run<F>(&self, command: Command, on_stdout: F, cancel: &CancellationToken) -> Result<Ended, LaunchError>
    where
        F: FnMut(&[u8]) + Send + 'static,
    {
        let stop = cancel.child_token();
        let _stop_when_dropped = stop.clone().drop_guard();
        let launcher = self.clone();
        // One thread starts the process and stays until its end: the kernel sends the signal of
        // `PR_SET_PDEATHSIG` when the *thread* that started it is gone, and a thread of the
        // runtime may go sooner than the process.
        tokio::task::spawn_blocking(move || watch::run(&launcher, &command, on_stdout, &stop))
            .await
            .map_err(std::io::Error::other)?
    }

    /// Runs `command` and keeps the first `at_most` bytes of its standard output.
    pub async fn capture(
        &self,
        command: Command,
        at_most: usize,
        cancel: &CancellationToken,
    ) -> Result<(Ended, Vec<u8>), LaunchError> {
        let kept = Arc::new(Mutex::new(Vec::new()));
        let keep = Arc::clone(&kept);
        let on_stdout = move |piece: &[u8]| {
            let mut kept = keep.lock().unwrap_or_else(PoisonError::into_inner);
            let room = at_most.saturating_sub(kept.len());
            kept.extend_from_slice(&piece[..piece.len().min(room)]);
        };
        let ended = self.run(command, on_stdout, cancel).await?;
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        Ok((ended, std::mem::take(&mut kept)))
    }
}
