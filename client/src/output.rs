//! What goes to stdout, and the shapes of `--json`.
//!
//! # JSON shapes
//!
//! With `--json` every command prints one object per line (NDJSON). A list is one line per item,
//! so an empty list prints nothing. CIDs are strings, hashes and ids 64 hex digits, times unix
//! milliseconds, sizes bytes, durations milliseconds; what is not there is `null` (a hash, a CID)
//! or `""` (a text). An error is one line on stderr:
//! `{"error":{"kind":"not_found","message":"…"}}`.
//!
//! | command | lines |
//! |---|---|
//! | `add` | `{path, cid, size, content_hash, blake3, root}` per entry; the last is the root (`root: true`) |
//! | `get` | `{path, files, directories, symlinks, size}` |
//! | `cat`, `block get` | the bytes themselves; with `block get -o`: `{cid, size}` |
//! | `ls` | `{name, cid, kind: file\|directory\|symlink, size}` |
//! | `stat` | `{cid, kind, size, cumulative_size, blocks, local, content_hash}` |
//! | `pin add`, `pin ls` | `{cid, kind: recursive\|direct, name}` |
//! | `pin rm` | `{cid}` |
//! | `block put`, `block stat` | `{cid, size}` |
//! | `public add`, `public rm` | `{cid, blocks}` |
//! | `public ls` | `{cid}` |
//! | `run` | `{execution_id, run_id, plan_cid, durability}` |
//! | `run --follow`, `runs watch` | events, and last the run |
//! | `runs ls`, `runs show` | a run |
//! | `runs cancel` | `{execution_id, state}` |
//! | `nodes` | `{peer_id, addresses, self, member, agent, version, toolsets, slots, running}` |
//! | `nodes join` | `{peer_id}` |
//! | `records get`, `records ls` | `{cache_id, action_id, cid, origin, incarnation, number, unix_ms, size, duration_ms, toolset, candidates}` |
//!
//! A step: `{id, type, state, node, attempt, cid, ms, progress, message, cache_id, action_id}`;
//! its state is one of `waiting ready fetching running following succeeded hit failed skipped`.
//! A run: `{execution_id, run_id, state, recipe_name, plan_cid, output_cid, content_hash,
//! created_unix_ms, finished_unix_ms, message, steps: [step…], hits, coordinator}`; its state is
//! one of `running succeeded failed cancelled`.
//! An event: `{event: "step", execution_id, sequence, unix_ms, step}` or `{event: "run", …run}`.

use std::io::{self, Write};

use serde::Serialize;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Text,
    Json,
}

/// Whoever read our stdout has gone: no failure, but nothing more to do.
#[derive(Debug, thiserror::Error)]
#[error("nobody reads the output any more")]
pub struct ReaderGone;

/// stdout, in the chosen format.
pub struct Output {
    format: Format,
}

impl Output {
    pub fn new(format: Format) -> Self {
        Self { format }
    }

    pub fn format(&self) -> Format {
        self.format
    }

    /// One value: as JSON, or as `text` says it.
    pub fn show<T: Serialize>(&self, value: &T, text: impl FnOnce(&T) -> String) -> anyhow::Result<()> {
        let mut line = match self.format {
            Format::Json => serde_json::to_string(value)?,
            Format::Text => text(value),
        };
        line.push('\n');
        self.bytes(line.as_bytes())
    }

    /// Data as it is, in either format.
    pub fn bytes(&self, data: &[u8]) -> anyhow::Result<()> {
        let mut stdout = io::stdout().lock();
        match stdout.write_all(data).and_then(|()| stdout.flush()) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(ReaderGone.into()),
            Err(error) => Err(anyhow::Error::new(error).context("stdout")),
        }
    }
}
