//! The typed client of a node: what `artdag` the command, the demo and the tests speak through.
//!
//! One file per service of `artdag.v1`; each method makes one call and parses the answer into a
//! type that cannot be wrong. CIDs are [`Cid`], hashes are [`Digest`], times are unix
//! milliseconds, sizes are bytes. The same types, serialised, are the command's `--json`.
//! An [`Error`] says what the caller does next. Nothing here retries: who calls knows better.

mod answers;
mod blocks;
pub mod board;
mod cluster;
mod connection;
mod content;
mod error;
mod names;
mod pins;
mod progress;
mod records;
mod runs;
mod task;

pub use answers::Answers;
pub use blocks::Block;
pub use cid::Cid;
pub use cluster::Node;
pub use connection::{Client, DEFAULT_NODE, NODE_VARIABLE, TOKEN_VARIABLE, TRACE_VARIABLE};
pub use content::{AddEvent, AddOptions, Added, EntryKind, Fetched, Folders, Hidden, ListEntry, Pinning, Stat};
pub use error::Error;
pub use names::{ContentPath, Digest, parse_cid};
pub use pins::{Pin, PinKind};
pub use progress::{duration_text, printable, short_peer, size_text, step_line};
pub use records::ResultRecord;
pub use runs::{News, Run, RunEvent, RunState, StepState, StepStatus, Submission, Submitted};
pub use task::blocking;
