//! What a node has of every log: the version vector that two nodes compare.
//!
//! Beside the number it carries the hash of that batch, so that two forks of one length are seen.
//!
//! # Bytes
//!
//! dag-cbor list of `[origin: bytes(32), incarnation, number, head: bytes(32)]` in log order;
//! a disowned log has number 0 (an honest entry never has).
//!
//! What always holds: entries are unique and at most [`MAX_LOGS`].
//! What this file does not do: know which batches are stored; see `Records::missing_for`.

use std::collections::BTreeMap;

use serde_bytes::ByteArray;

use super::log::LogId;
use super::record::exact;
use crate::identity::Origin;

/// Logs one node follows: 200 nodes with 20 lost disks each. A vector of so many is 400 KB.
pub const MAX_LOGS: usize = 4096;

/// How far one log is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Position {
    /// Linked up to this batch.
    At {
        /// Its number, from 1.
        number: u64,
        /// Its hash.
        head: [u8; 32],
    },
    /// The log is proved a lie; the proof is at hand.
    Disowned,
}

/// How far every log is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VersionVector {
    positions: BTreeMap<LogId, Position>,
}

/// Why bytes are no version vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a version vector")]
pub struct NotAVector;

type Entry = (Origin, u64, u64, ByteArray<32>);

impl VersionVector {
    /// How far a log is known, if at all.
    pub fn get(&self, log: &LogId) -> Option<Position> {
        self.positions.get(log).copied()
    }

    /// Notes how far a log is known now.
    pub fn set(&mut self, log: LogId, position: Position) {
        self.positions.insert(log, position);
    }

    /// All logs in order.
    pub fn iter(&self) -> impl Iterator<Item = (&LogId, &Position)> {
        self.positions.iter()
    }

    /// How many logs are known.
    pub fn len(&self) -> usize {
        self.positions.len()
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.positions.is_empty()
    }

    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let entries: Vec<Entry> = self
            .positions
            .iter()
            .map(|(log, position)| {
                let (number, head) = match *position {
                    Position::At { number, head } => (number, head),
                    Position::Disowned => (0, [0; 32]),
                };
                (log.origin, log.incarnation, number, ByteArray::new(head))
            })
            .collect();
        serde_ipld_dagcbor::to_vec(&entries).expect("a list of tuples has a dag-cbor form")
    }

    /// Reads a peer's vector.
    ///
    /// # Errors
    /// Not such bytes, out of order, or too many logs.
    pub fn decode(bytes: &[u8]) -> Result<VersionVector, NotAVector> {
        let entries: Vec<Entry> = exact(bytes).map_err(|_| NotAVector)?;
        if entries.len() > MAX_LOGS {
            return Err(NotAVector);
        }
        let mut vector = VersionVector::default();
        let mut last = None;
        for (origin, incarnation, number, head) in entries {
            let log = LogId { origin, incarnation };
            if last.is_some_and(|last| last >= log) {
                return Err(NotAVector);
            }
            last = Some(log);
            let head = head.into_array();
            let position = match number {
                0 if head == [0; 32] => Position::Disowned,
                0 => return Err(NotAVector),
                _ => Position::At { number, head },
            };
            vector.set(log, position);
        }
        Ok(vector)
    }
}
