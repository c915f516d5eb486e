//! The proof that an origin lied: two batches it signed that cannot both be in one log.
//!
//! Either two different batches carry one number, or a batch names a previous hash that is not
//! the hash of the batch before it. An honest node persists a batch before it tells anyone and
//! so never signs either pair.
//!
//! # Bytes
//!
//! dag-cbor `["artdag/evidence/1", batch: bytes, batch: bytes]`, the batch with the lower hash
//! first, so that one pair has one encoding.
//!
//! What always holds: an [`Evidence`] convinces a stranger; it holds both signatures.
//! What this file does not do: say what follows. `Records` drops the log.

use serde_bytes::ByteBuf;

use super::batch::{MAX_BATCH_BYTES, NotABatch, VerifiedBatch};
use super::log::LogId;
use super::record::exact;

/// Bytes of one evidence: two batches and their envelope.
pub const MAX_EVIDENCE_BYTES: usize = 2 * MAX_BATCH_BYTES + 64;

const TAG: &str = "artdag/evidence/1";

/// Two signed batches that contradict each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    first: VerifiedBatch,
    second: VerifiedBatch,
}

impl Evidence {
    /// The pair, if it proves anything.
    pub fn new(one: VerifiedBatch, other: VerifiedBatch) -> Option<Evidence> {
        if !contradict(&one, &other) {
            return None;
        }
        let (first, second) = if one.hash() < other.hash() { (one, other) } else { (other, one) };
        Some(Evidence { first, second })
    }

    /// Whether bytes say that they are evidence and not a batch.
    pub fn claimed_by(bytes: &[u8]) -> bool {
        // 0x83: a list of three; then the head of a text of fewer than 24 bytes.
        bytes.get(2..).is_some_and(|rest| rest.starts_with(TAG.as_bytes()))
    }

    /// The proof's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let pair = [&self.first, &self.second].map(|batch| ByteBuf::from(batch.bytes()));
        let [first, second] = pair;
        serde_ipld_dagcbor::to_vec(&(TAG, first, second)).expect("a text and two byte strings have a dag-cbor form")
    }

    /// Reads and checks a proof.
    ///
    /// # Errors
    /// It proves nothing.
    pub fn decode(bytes: &[u8]) -> Result<Evidence, NotABatch> {
        if bytes.len() > MAX_EVIDENCE_BYTES {
            return Err(NotABatch::TooLarge);
        }
        let (tag, first, second): (String, ByteBuf, ByteBuf) = exact(bytes)?;
        if tag != TAG {
            return Err(NotABatch::Malformed("not tagged as evidence"));
        }
        let first = VerifiedBatch::decode(&first)?;
        let second = VerifiedBatch::decode(&second)?;
        if first.hash() >= second.hash() {
            return Err(NotABatch::Malformed("the pair is out of order"));
        }
        Evidence::new(first, second).ok_or(NotABatch::Malformed("the pair proves nothing"))
    }

    /// Whose lie it is.
    pub fn log(&self) -> LogId {
        self.first.log()
    }
}

fn contradict(one: &VerifiedBatch, other: &VerifiedBatch) -> bool {
    if one.log() != other.log() {
        return false;
    }
    let (a, b) = (one.batch(), other.batch());
    let twice = a.number == b.number && one.hash() != other.hash();
    let unlinked = (a.number.checked_add(1) == Some(b.number) && b.previous != one.hash())
        || (b.number.checked_add(1) == Some(a.number) && a.previous != other.hash());
    twice || unlinked
}
