//! What a run is told and what it asks for.
//!
//! A step is named by its index in [`Plan::steps`](crate::planner::Plan::steps), an attempt by the
//! step and a number from 1. All times are milliseconds of one clock of the driver.

use std::collections::BTreeSet;

use cid::Cid;
use serde::{Deserialize, Serialize};

use crate::action::Action;
use crate::identity::{CacheId, Origin};
use crate::limits;
use crate::recipe::NodeType;

/// Everything that can happen to a run.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// Nodes, hits and locations known so far have been told: begin.
    Start,
    /// The result of a step is known already. After [`Input::Start`] too, for a step that has not
    /// been handed to a node.
    Hit {
        /// Which.
        step: usize,
        /// Its output.
        cid: Cid,
        /// Whose result it is.
        node: Origin,
        /// Of the output, where the record has it.
        content_hash: Option<[u8; 32]>,
        /// Of the output in bytes, where the record has it.
        size: Option<u64>,
    },
    /// Content that these nodes hold, sources above all. Adds to what is known.
    Located {
        /// The content.
        cid: Cid,
        /// In bytes, where it is known.
        size: Option<u64>,
        /// Who holds it.
        nodes: Vec<Origin>,
    },
    /// A node is there, or says something new about itself.
    NodeUp(NodeInfo),
    /// A node is gone, with everything that ran on it.
    NodeDown(Origin),
    /// What a node has to do for others.
    NodeLoad {
        /// Which.
        node: Origin,
        /// How long a new step would wait there, not counting this run's.
        queue_ms: u64,
    },
    /// News of an attempt. News of one that is over is passed over.
    Event {
        /// Which.
        step: usize,
        /// Which attempt.
        attempt: u32,
        /// What happened.
        event: StepEvent,
    },
    /// Stop: a person wants no more of it.
    Cancel,
    /// The time that was asked for by [`Output::WakeAt`] has come.
    Tick,
}

/// What a node offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeInfo {
    /// Which.
    pub id: Origin,
    /// Steps at the same time; 0 runs none.
    pub slots: u32,
    /// As it writes them: `ffmpeg-5.1`.
    pub toolsets: BTreeSet<String>,
    /// Measured, in bytes per second.
    pub bandwidth: Option<u64>,
}

/// News of an attempt, in the order in which a node sends them.
#[derive(Debug, Clone, PartialEq)]
pub enum StepEvent {
    /// Inputs are on their way to the node.
    Fetching,
    /// The tool runs.
    Running {
        /// 0 to 1.
        progress: f64,
        /// A line of its log.
        message: String,
    },
    /// Another execution of the same action is under way there.
    Following {
        /// Where.
        node: Origin,
    },
    /// The attempt is over and there is a result.
    Done {
        /// The output.
        cid: Cid,
        /// Wall time in milliseconds.
        ms: u64,
        /// SHA3-256 of the output.
        content_hash: Option<[u8; 32]>,
        /// Of the output in bytes.
        size: u64,
        /// Whether anything ran for it.
        reused: Reuse,
        /// Where it ran.
        node: Origin,
    },
    /// The attempt is over without a result.
    Failed {
        /// What to do about it.
        class: FailureClass,
        /// Why, for people.
        message: String,
    },
}

/// Whether a result was made for this attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reuse {
    /// It ran.
    Executed,
    /// The result was known, or another's execution was followed.
    Reused,
}

/// Failures by what is done about them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FailureClass {
    /// The input is not what the step needs: nobody would do better, the step fails at once.
    Input,
    /// The tool failed or took too long: another node is tried.
    Executor,
    /// The node is unwell: another node is tried.
    Node,
    /// Nobody could serve these inputs: they are made again. None named: all that steps made.
    LostBytes {
        /// CIDs of inputs.
        missing: Vec<Cid>,
    },
    /// No slot was free: tried later, costs no attempt.
    Busy,
    /// The connection broke: costs an attempt, the node is not blamed.
    Disconnected,
}

/// Everything a run asks for, to be done in order.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Run a step on a node.
    Execute {
        /// Which.
        step: usize,
        /// From 1.
        attempt: u32,
        /// Where.
        node: Origin,
        /// What.
        action: Action,
        /// For each input, nodes that are known to have it.
        holders: Vec<Vec<Origin>>,
        /// After which the node gives up.
        timeout_ms: u64,
    },
    /// Stop an attempt; its news will be passed over.
    Abort {
        /// Which.
        step: usize,
        /// Which attempt.
        attempt: u32,
        /// Where it was.
        node: Origin,
    },
    /// A step is in another state, or further.
    StepChanged(StepStatus),
    /// The run is over; nothing comes after it.
    Finished(RunOutcome),
    /// Send [`Input::Tick`] then. Replaces the time asked for before.
    WakeAt(u64),
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunOutcome {
    /// There is an output.
    Succeeded {
        /// The output.
        cid: Cid,
        /// SHA3-256 of it, where it is known.
        content_hash: Option<[u8; 32]>,
    },
    /// There is none.
    Failed {
        /// Why, and what to do.
        message: String,
    },
    /// Somebody wanted no more of it.
    Cancelled,
}

/// Where a step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StepState {
    /// For its inputs.
    Waiting,
    /// Inputs are at hand, no node yet.
    Ready,
    /// With a node that fetches its inputs.
    Fetching,
    /// With a node, its tool runs.
    Running,
    /// With a node that follows another execution of the same action.
    Following,
    /// A node ran it.
    Succeeded,
    /// The result was known; nothing ran.
    Hit,
    /// No result, and no attempt left.
    Failed,
    /// Not needed, or something it needs failed, or the run was cancelled.
    Skipped,
}

impl StepState {
    /// Whether a node has it.
    pub const fn is_active(self) -> bool {
        matches!(self, Self::Fetching | Self::Running | Self::Following)
    }

    /// Whether it waits for inputs or for a node.
    pub const fn is_pending(self) -> bool {
        matches!(self, Self::Waiting | Self::Ready)
    }
}

/// All there is to show of a step.
#[derive(Debug, Clone, PartialEq)]
pub struct StepStatus {
    /// Its index.
    pub step: usize,
    /// Its id in the recipe.
    pub id: String,
    /// What it does.
    pub kind: NodeType,
    /// Its name.
    pub cache_id: CacheId,
    /// Where it is.
    pub state: StepState,
    /// Who runs or ran it, or whose result was taken.
    pub node: Option<Origin>,
    /// The last attempt, from 1; 0 when none was made.
    pub attempt: u32,
    /// Its output.
    pub cid: Option<Cid>,
    /// SHA3-256 of the output, where it is known.
    pub content_hash: Option<[u8; 32]>,
    /// Of the output in bytes, where it is known.
    pub size: Option<u64>,
    /// Wall time of the successful attempt.
    pub ms: u64,
    /// 0 to 1.
    pub progress: f64,
    /// A line of the log, or why it failed or waits.
    pub message: String,
}

/// The bounds of one run; [`Default`] gives those of [`limits`], which has the reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// See [`limits::MAX_STEP_FAILURES`].
    pub step_failures: u32,
    /// See [`limits::MAX_NODE_FAILURES`].
    pub node_failures: usize,
    /// See [`limits::MAX_REGENERATIONS`].
    pub regenerations: u32,
    /// See [`limits::STEP_TIMEOUT_MS`].
    pub step_timeout_ms: u64,
    /// See [`limits::STEP_TIMEOUT_MARGIN_MS`].
    pub timeout_margin_ms: u64,
    /// See [`limits::BUSY_FIRST_MS`].
    pub busy_first_ms: u64,
    /// See [`limits::BUSY_MOST_MS`].
    pub busy_most_ms: u64,
    /// See [`limits::NODE_GRACE_MS`].
    pub node_grace_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            step_failures: limits::MAX_STEP_FAILURES,
            node_failures: limits::MAX_NODE_FAILURES,
            regenerations: limits::MAX_REGENERATIONS,
            step_timeout_ms: limits::STEP_TIMEOUT_MS,
            timeout_margin_ms: limits::STEP_TIMEOUT_MARGIN_MS,
            busy_first_ms: limits::BUSY_FIRST_MS,
            busy_most_ms: limits::BUSY_MOST_MS,
            node_grace_ms: limits::NODE_GRACE_MS,
        }
    }
}
