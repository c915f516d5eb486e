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
