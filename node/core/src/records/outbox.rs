//! Collects what this node has to say into batches: one signature, one write and one message for
//! all records of some milliseconds.
//!
//! What always holds: records leave in the order they came, each once, in groups that fit a
//! batch; what is waiting is bounded and the caller is told when it is full.
//! What this file does not do: sign, persist or send. A record is acknowledged when its batch is
//! durable, not when it is in here.

use std::collections::VecDeque;

use super::batch::{ENVELOPE_BYTES, MAX_BATCH_BYTES, MAX_BATCH_RECORDS};
use super::record::{NotARecord, Record};

/// How long a record waits for company: within the 10–20 ms at which gossip loses nothing.
pub const LINGER_MS: u64 = 15;
/// Bytes that may wait: 85 full batches, more than a second of the fastest disk.
pub const MAX_WAITING_BYTES: usize = 4 * 1024 * 1024;

const GROUP_BYTES: usize = MAX_BATCH_BYTES - ENVELOPE_BYTES;
/// The dag-cbor head of a byte string of up to 64 KiB.
const RECORD_HEAD_BYTES: usize = 3;

/// Why a record was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// Try again when the disk has caught up.
    #[error("too many records wait to be published")]
    Full,
    /// Correct it.
    #[error(transparent)]
    Record(#[from] NotARecord),
}

#[derive(Debug)]
struct Waiting {
    since_ms: u64,
    bytes: usize,
    record: Record,
}

/// Records that wait for their batch.
#[derive(Debug, Default)]
pub struct Outbox {
    waiting: VecDeque<Waiting>,
    bytes: usize,
}

impl Outbox {
    /// Takes a record.
    ///
    /// # Errors
    /// It was not taken; see [`NotTaken`].
    pub fn push(&mut self, now_ms: u64, record: Record) -> Result<(), NotTaken> {
        let bytes = record.encode()?.len() + RECORD_HEAD_BYTES;
        if self.bytes + bytes > MAX_WAITING_BYTES {
            return Err(NotTaken::Full);
        }
        self.bytes += bytes;
        self.waiting.push_back(Waiting { since_ms: now_ms, bytes, record });
        Ok(())
    }

    /// When the next batch should leave; none when nothing waits.
    pub fn due_at(&self) -> Option<u64> {
        let oldest = self.waiting.front()?.since_ms;
        let full = self.bytes >= GROUP_BYTES || self.waiting.len() >= MAX_BATCH_RECORDS;
        Some(if full { oldest } else { oldest + LINGER_MS })
    }

    /// The records of the next batch, if it is due.
    pub fn take_due(&mut self, now_ms: u64) -> Option<Vec<Record>> {
        if self.due_at()? > now_ms {
            return None;
        }
        Some(self.take())
    }

    /// The records of the next batch, due or not; empty when nothing waits.
    pub fn take(&mut self) -> Vec<Record> {
        let mut records = Vec::new();
        let mut taken = 0;
        while let Some(next) = self.waiting.front() {
            if taken + next.bytes > GROUP_BYTES || records.len() == MAX_BATCH_RECORDS {
                break;
            }
            taken += next.bytes;
            let next = self.waiting.pop_front().expect("the front was just seen");
            records.push(next.record);
        }
        self.bytes -= taken;
        records
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}
