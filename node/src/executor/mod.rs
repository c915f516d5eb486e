//! Executors: what turns input files and a config into one output file.
//!
//! An executor never knows why it runs: it gets a [`Job`], an empty directory of its own and a
//! token that stops it, and gives back one file in that directory or a classed [`Failure`].
//! What always holds: the same job on the same toolset gives the same bytes; a failure is never
//! turned into another result; nothing outlives `execute`, dropped or not.
//! Caching, staging of inputs, retries and removal of the workspace are the caller's.
//!
//! A new executor is one file (or folder) and one line in [`all`].

mod builtin;
#[cfg(test)]
mod contract;
mod ffmpeg;
#[cfg(test)]
mod films;
pub mod launcher;
mod output;
mod progress;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use artdag_core::recipe::NodeType;
use async_trait::async_trait;
use ipld_core::ipld::Ipld;
use tokio_util::sync::CancellationToken;

pub use artdag_core::action::Toolset;
pub use builtin::Builtin;
pub use ffmpeg::Ffmpeg;
pub use launcher::{Enforced, LAUNCH_ARGUMENT, Launcher, launch_main};
pub use progress::{ProgressSender, channel as progress};

/// Log text kept of one step, from its end: enough for the last words of a tool.
pub const MAX_LOG_BYTES: usize = 64 * 1024;

/// One step to run. Inputs are readable files outside the workspace, in the order of the step.
#[derive(Debug, Clone)]
pub struct Job {
    /// What is done.
    pub kind: NodeType,
    /// Normalised by the type's schema.
    pub config: Ipld,
    /// Pinned by the plan: another number gives other bytes.
    pub threads: u32,
    /// In the order of the step.
    pub inputs: Vec<PathBuf>,
    /// Empty, and of this step alone. The caller removes it.
    pub workspace: PathBuf,
    /// Wall clock.
    pub timeout: Duration,
    /// All that the step may write.
    pub disk_bytes: u64,
}

/// What a step gave.
#[derive(Debug, Clone)]
pub struct Output {
    /// One regular file inside the workspace, with one link, not empty.
    pub path: PathBuf,
    /// The last words of the tool, [`MAX_LOG_BYTES`] at most.
    pub log: String,
    /// The exact build of the tool.
    pub build: String,
    /// What held the tool in; `None` when no outside process ran.
    pub enforced: Option<Enforced>,
}

/// Who has to do something about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureClass {
    /// The step's inputs or config: it fails the same way everywhere.
    Input,
    /// The tool: another node may be luckier.
    Executor,
    /// This node: no space, no tool. Another node should take the step.
    Node,
    /// Somebody asked for it.
    Cancelled,
    /// Ran longer than the job allows.
    TimedOut,
}

/// Why a step gave nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// Who has to act.
    pub class: FailureClass,
    /// One sentence for a person.
    pub message: String,
    /// The last words of the tool; kept for time-outs and cancels too.
    pub log: String,
}

impl Failure {
    /// A failure without a log.
    pub fn new(class: FailureClass, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { class, message, log: String::new() }
    }

    fn input(message: impl Into<String>) -> Self {
        Self::new(FailureClass::Input, message)
    }

    /// A full disk is this node's trouble, and so is any other error of its files.
    fn io(doing: &str, error: &std::io::Error) -> Self {
        let full = error.kind() == std::io::ErrorKind::StorageFull;
        let message = if full {
            format!("no space left on this node while {doing}: free some, or add a disk")
        } else {
            format!("{doing}: {error}")
        };
        Self::new(FailureClass::Node, message)
    }
}

/// A toolset that is not on this node. The message says how to get it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unavailable(pub String);

/// One toolset's way to run steps.
#[async_trait]
pub trait Executor: Send + Sync {
    /// The toolset's name, `ffmpeg` or `builtin`: what a recipe's `toolset` says.
    fn name(&self) -> &str;

    /// What is here. Asked once; the answer is kept until the executor is made anew.
    async fn probe(&self) -> Result<Toolset, Unavailable>;

    /// Runs one step. Dropping the future stops the step as `cancel` does, without waiting for
    /// its end; await it to know that nothing writes to the workspace any more.
    async fn execute(
        &self,
        job: &Job,
        progress: &ProgressSender,
        cancel: &CancellationToken,
    ) -> Result<Output, Failure>;
}

/// Every executor of this build.
pub fn all() -> Vec<Arc<dyn Executor>> {
    vec![Arc::new(Ffmpeg::new(Launcher::this_program())), Arc::new(Builtin)]
}
