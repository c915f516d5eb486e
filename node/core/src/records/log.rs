//! The log of one origin and incarnation: a chain without gaps, and a few batches that came early.
//!
//! What always holds: batch n is linked only after n-1, and only if it names the hash of n-1.
//! Of linked batches the log keeps hash and size; the bytes lie in the driver's table.
//! What this file does not do: read stored bytes. Where a batch contradicts a linked one it says
//! which stored batch the proof needs.

use std::collections::BTreeMap;

use super::batch::{NO_PREVIOUS, VerifiedBatch};
use super::evidence::Evidence;
use crate::identity::Origin;

/// How far ahead of the chain a batch may be parked: a second of batches at one per 15 ms.
/// What is further ahead comes again by reconcile.
pub const PARK_WINDOW: u64 = 64;

/// Which log: a node's key and the life of its disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogId {
    /// Who writes it.
    pub origin: Origin,
    /// A node that lost its disk starts a new one.
    pub incarnation: u64,
}

/// Where the bytes of a batch lie: log and number; number 0 is the evidence against the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchKey {
    /// The log.
    pub log: LogId,
    /// The batch's number, or 0 for evidence.
    pub number: u64,
}

/// The number under which evidence is stored: it sorts before the log's batches, so that a
/// restore in key order meets it first.
pub const EVIDENCE_NUMBER: u64 = 0;

impl BatchKey {
    /// origin (32) | incarnation (8, big endian) | number (8, big endian): byte order is log order.
    pub fn to_bytes(&self) -> [u8; 48] {
        let mut bytes = [0; 48];
        bytes[..32].copy_from_slice(&self.log.origin.0);
        bytes[32..40].copy_from_slice(&self.log.incarnation.to_be_bytes());
        bytes[40..].copy_from_slice(&self.number.to_be_bytes());
        bytes
    }

    /// Reads a key back.
    pub fn from_bytes(bytes: &[u8]) -> Option<BatchKey> {
        let bytes: &[u8; 48] = bytes.try_into().ok()?;
        let origin = Origin(bytes[..32].try_into().ok()?);
        let incarnation = u64::from_be_bytes(bytes[32..40].try_into().ok()?);
        let number = u64::from_be_bytes(bytes[40..].try_into().ok()?);
        Some(BatchKey { log: LogId { origin, incarnation }, number })
    }
}

/// What became of a batch.
#[derive(Debug, PartialEq, Eq)]
pub enum Insert {
    /// It continued the chain, and so did these that were parked behind it.
    Linked(Vec<VerifiedBatch>),
    /// We have it.
    Known,
    /// It came early.
    Parked,
    /// Too early to keep.
    Shed,
    /// It contradicts the stored batch of this number: the pair is a proof.
    Contradicts(u64, Box<VerifiedBatch>),
    /// It is half of a proof whose other half was at hand.
    Proof(Box<Evidence>),
}

#[derive(Debug, Clone, Copy)]
struct Link {
    hash: [u8; 32],
    size: u32,
}

/// One origin's chain.
#[derive(Debug, Default)]
pub struct Log {
    links: Vec<Link>,
    parked: BTreeMap<u64, VerifiedBatch>,
    parked_bytes: usize,
}

impl Log {
    /// The number of the last linked batch; 0 for none.
    pub fn number(&self) -> u64 {
        u64::try_from(self.links.len()).expect("a Vec is shorter than 2^64")
    }

    /// The hash of the last linked batch.
    pub fn head(&self) -> [u8; 32] {
        self.hash(self.number()).unwrap_or(NO_PREVIOUS)
    }

    /// The hash of a linked batch.
    pub fn hash(&self, number: u64) -> Option<[u8; 32]> {
        Some(self.link(number)?.hash)
    }

    /// The size of a linked batch, in bytes.
    pub fn size(&self, number: u64) -> Option<usize> {
        usize::try_from(self.link(number)?.size).ok()
    }

    /// Bytes of parked batches.
    pub fn parked_bytes(&self) -> usize {
        self.parked_bytes
    }

    /// Takes a batch of this log. `park_budget` is how many more bytes may be parked.
    pub fn insert(&mut self, batch: VerifiedBatch, park_budget: usize) -> Insert {
        let number = batch.batch().number;
        if let Some(hash) = self.hash(number) {
            return if hash == batch.hash() { Insert::Known } else { Insert::Contradicts(number, Box::new(batch)) };
        }
        if number == self.number() + 1 {
            return self.link_from(batch);
        }
        self.park(batch, park_budget)
    }

    fn link(&self, number: u64) -> Option<&Link> {
        let index = usize::try_from(number.checked_sub(1)?).ok()?;
        self.links.get(index)
    }

    fn link_from(&mut self, batch: VerifiedBatch) -> Insert {
        if batch.batch().previous != self.head() {
            return Insert::Contradicts(self.number(), Box::new(batch));
        }
        self.push(&batch);
        let mut linked = vec![batch];
        while let Some(next) = self.unpark(self.number() + 1) {
            if next.batch().previous != self.head() {
                let before = linked.pop().expect("the first was put in above and none taken out");
                let proof = Evidence::new(before, next).expect("the link between them is broken");
                return Insert::Proof(Box::new(proof));
            }
            self.push(&next);
            linked.push(next);
        }
        Insert::Linked(linked)
    }

    fn push(&mut self, batch: &VerifiedBatch) {
        let size = u32::try_from(batch.bytes().len()).expect("a batch is at most 48 KiB");
        self.links.push(Link { hash: batch.hash(), size });
    }

    fn park(&mut self, batch: VerifiedBatch, budget: usize) -> Insert {
        let number = batch.batch().number;
        if let Some(other) = self.parked.get(&number) {
            return match Evidence::new(other.clone(), batch) {
                Some(proof) => Insert::Proof(Box::new(proof)),
                None => Insert::Known,
            };
        }
        if number - self.number() > PARK_WINDOW || batch.bytes().len() > budget {
            return Insert::Shed;
        }
        self.parked_bytes += batch.bytes().len();
        self.parked.insert(number, batch);
        Insert::Parked
    }

    fn unpark(&mut self, number: u64) -> Option<VerifiedBatch> {
        let batch = self.parked.remove(&number)?;
        self.parked_bytes -= batch.bytes().len();
        Some(batch)
    }
}
