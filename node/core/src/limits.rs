//! Every bound of the core, each with its reason. What is over a bound is refused by name; no
//! bound is applied by cutting something off in silence.

/// A recipe file. The largest written by hand is a few KiB; generated ones hold thousands of nodes.
pub const MAX_RECIPE_BYTES: usize = 1 << 20;
/// Nodes of one recipe, so that a plan stays one object that gossip and tables can carry.
pub const MAX_NODES: usize = 4096;
/// Inputs of one node: ffmpeg opens a file and a decoder for each.
pub const MAX_STEP_INPUTS: usize = 64;
/// Declared inputs and parameters, each.
pub const MAX_DECLARED: usize = 256;
/// A node id, an input's or parameter's name: they stand in tables and progress lines.
pub const MAX_NAME_BYTES: usize = 64;
/// A text given as a parameter, which a recipe may use very often.
pub const MAX_CONFIG_TEXT: usize = 256;
/// A recipe's name, version and descriptions: they are shown in tables.
pub const MAX_DESCRIPTION_BYTES: usize = 1024;
/// Errors reported for one recipe; beyond these the first ones tell enough.
pub const MAX_RECIPE_ERRORS: usize = 20;
/// How deep a recipe nests. Ours need seven levels; recursion over it must not reach the stack's end.
pub const MAX_RECIPE_DEPTH: usize = 32;
/// Values in a recipe after aliases are followed: the bound on alias bombs.
pub const MAX_RECIPE_VALUES: usize = 200_000;

/// An encoded action: 64 inputs of 40 bytes and a config of fixed keys need under 8 KiB.
pub const MAX_ACTION_BYTES: usize = 64 * 1024;
/// An encoded plan: one block must hold it.
pub const MAX_PLAN_BYTES: usize = 2 << 20;
/// Threads a plan may pin for one step.
pub const MAX_THREADS: u32 = 64;
/// A toolset such as `ffmpeg-5.1`.
pub const MAX_TOOLSET_BYTES: usize = 64;

/// Attempts of one step that may fail before the step does: three nodes are enough to know.
pub const MAX_STEP_FAILURES: u32 = 3;
/// Steps that may fail on a node before the run puts it aside.
pub const MAX_NODE_FAILURES: usize = 3;
/// Times one step is run again because nobody could serve its output, and times one step may
/// find its inputs gone; beyond that the bytes are being lost faster than made.
pub const MAX_REGENERATIONS: u32 = 3;
/// How long an attempt may take by the coordinator's clock.
pub const STEP_TIMEOUT_MS: u64 = 30 * 60 * 1000;
/// What the coordinator waits beyond an attempt's own time-out, so that the node's answer and its
/// log come first.
pub const STEP_TIMEOUT_MARGIN_MS: u64 = 15_000;
/// The first wait after a node said that it is busy.
pub const BUSY_FIRST_MS: u64 = 50;
/// The longest wait after a node said that it is busy again and again.
pub const BUSY_MOST_MS: u64 = 2_000;
/// How long a run waits for nodes that have its toolset, when none is known or all have gone.
pub const NODE_GRACE_MS: u64 = 10_000;
/// Slots one node may offer, so that a wrong number cannot flood it.
pub const MAX_SLOTS: u32 = 64;
/// Holders named for one input of an action: hints, the fetcher asks on its own beyond them.
pub const MAX_HOLDERS: usize = 8;
/// Assumed for a link nobody has measured, in bytes per second: half of a gigabit line.
pub const DEFAULT_BANDWIDTH: u64 = 60_000_000;
/// Assumed for content whose size is not known.
pub const ASSUMED_SIZE_BYTES: u64 = 4 << 20;
/// A message of a step, kept for people; the whole log lies where the step ran.
pub const MAX_STEP_MESSAGE: usize = 4096;
