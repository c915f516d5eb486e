//! A batch: some records of one node, numbered, chained to the one before, signed once.
//!
//! # Bytes
//!
//! ```text
//! envelope  = dag-cbor ["artdag/batch/1", body: bytes, signature: bytes(64)]
//! body      = dag-cbor {clock: {wall_ms, counter}, number, origin: bytes(32),
//!                       records: [bytes, ...], previous: bytes(32), incarnation}
//! signature = ed25519 over u64_le(len(tag)) tag u64_le(len(body)) body, tag = "artdag/batch/1"
//! hash      = tagged("artdag/batch-hash/1", [body]); the next batch's `previous`
//! ```
//! Numbers start at 1; `previous` of number 1 is 32 zeros.
//!
//! What always holds: a [`VerifiedBatch`] was signed by its origin, is canonical, within its
//! bounds, and re-encodes to the bytes it carries. There is no other way to get one than
//! [`Batch::seal`] with the origin's key or [`VerifiedBatch::decode`].
//! What this file does not do: know other batches. The chain is checked in `log`.

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use serde_bytes::{ByteArray, ByteBuf};

use super::hlc::Stamp;
use super::log::{BatchKey, LogId};
use super::record::{NotARecord, Record, exact};
use crate::identity::{Origin, tagged};

/// Bytes of one batch: gossip payloads are at most this (gossipsub caps its RPCs at 64 KiB).
pub const MAX_BATCH_BYTES: usize = 48 * 1024;
/// Records of one batch; the smallest useful record is about 100 bytes.
pub const MAX_BATCH_RECORDS: usize = 1024;
/// What the envelope and the body's own fields take at most, so that a sender can fill the rest.
pub const ENVELOPE_BYTES: usize = 512;

const TAG: &str = "artdag/batch/1";
const HASH_TAG: &str = "artdag/batch-hash/1";

/// The hash before the first batch of a log.
pub const NO_PREVIOUS: [u8; 32] = [0; 32];

/// What a batch says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Who says it.
    pub origin: Origin,
    /// Which life of its disk.
    pub incarnation: u64,
    /// Place in the log, from 1.
    pub number: u64,
    /// Hash of the batch before.
    pub previous: [u8; 32],
    /// When, by the origin's hybrid clock.
    pub clock: Stamp,
    /// What; at least one.
    pub records: Vec<Record>,
}

/// A batch that its origin signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedBatch {
    batch: Batch,
    hash: [u8; 32],
    bytes: Vec<u8>,
}

/// Why bytes are no batch. All of these are the sender's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotABatch {
    /// Longer than any batch.
    #[error("more than {MAX_BATCH_BYTES} bytes")]
    TooLarge,
    /// Not the bytes described above.
    #[error("malformed: {0}")]
    Malformed(&'static str),
    /// A record in it is wrong.
    #[error(transparent)]
    Record(#[from] NotARecord),
    /// The origin did not sign it.
    #[error("not signed by its origin")]
    BadSignature,
}

/// Why a batch cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CannotSeal {
    /// Split it.
    #[error("no records, or too many for one batch")]
    Size,
    /// Correct it.
    #[error(transparent)]
    Record(#[from] NotARecord),
    /// The key is not the origin's, or number and previous contradict each other.
    #[error("the batch is not this key's to sign")]
    Foreign,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    origin: Origin,
    incarnation: u64,
    number: u64,
    previous: ByteArray<32>,
    clock: Stamp,
    records: Vec<ByteBuf>,
}

type Envelope = (String, ByteBuf, ByteArray<64>);

impl Batch {
    /// Signs the batch. Pure and deterministic (RFC 8032).
    ///
    /// # Errors
    /// Nothing was signed; see [`CannotSeal`].
    pub fn seal(self, key: &SigningKey) -> Result<VerifiedBatch, CannotSeal> {
        if key.verifying_key().to_bytes() != self.origin.0 || !self.starts_right() {
            return Err(CannotSeal::Foreign);
        }
        if self.records.is_empty() || self.records.len() > MAX_BATCH_RECORDS {
            return Err(CannotSeal::Size);
        }
        let body = self.encode_body()?;
        let signature = key.sign(&signed_bytes(&body)).to_bytes();
        let hash = tagged(HASH_TAG, &[&body]);
        let bytes = encode(&(TAG, ByteBuf::from(body), ByteArray::new(signature)));
        if bytes.len() > MAX_BATCH_BYTES {
            return Err(CannotSeal::Size);
        }
        Ok(VerifiedBatch { batch: self, hash, bytes })
    }

    fn encode_body(&self) -> Result<Vec<u8>, NotARecord> {
        let encoded: Result<Vec<_>, _> = self.records.iter().map(|record| record.encode().map(ByteBuf::from)).collect();
        Ok(encode(&Body {
            origin: self.origin,
            incarnation: self.incarnation,
            number: self.number,
            previous: ByteArray::new(self.previous),
            clock: self.clock,
            records: encoded?,
        }))
    }

    fn decode_body(body: &[u8]) -> Result<Batch, NotABatch> {
        let body: Body = exact(body)?;
        if body.records.is_empty() || body.records.len() > MAX_BATCH_RECORDS {
            return Err(NotABatch::Malformed("number of records"));
        }
        let records: Result<Vec<_>, _> = body.records.iter().map(|bytes| Record::decode(bytes)).collect();
        let batch = Batch {
            origin: body.origin,
            incarnation: body.incarnation,
            number: body.number,
            previous: body.previous.into_array(),
            clock: body.clock,
            records: records?,
        };
        if !batch.starts_right() {
            return Err(NotABatch::Malformed("number and previous contradict each other"));
        }
        Ok(batch)
    }

    fn starts_right(&self) -> bool {
        self.number >= 1 && (self.number == 1) == (self.previous == NO_PREVIOUS)
    }
}

impl VerifiedBatch {
    /// Reads a batch and checks its signature.
    ///
    /// # Errors
    /// See [`NotABatch`].
    pub fn decode(bytes: &[u8]) -> Result<VerifiedBatch, NotABatch> {
        if bytes.len() > MAX_BATCH_BYTES {
            return Err(NotABatch::TooLarge);
        }
        let (tag, body, signature): Envelope = exact(bytes)?;
        if tag != TAG {
            return Err(NotABatch::Malformed("not tagged as a batch"));
        }
        let batch = Batch::decode_body(&body)?;
        let key = VerifyingKey::from_bytes(&batch.origin.0).map_err(|_| NotABatch::BadSignature)?;
        key.verify_strict(&signed_bytes(&body), &Signature::from_bytes(&signature))
            .map_err(|_| NotABatch::BadSignature)?;
        let hash = tagged(HASH_TAG, &[&body]);
        Ok(VerifiedBatch { batch, hash, bytes: bytes.to_vec() })
    }

    /// What it says.
    pub fn batch(&self) -> &Batch {
        &self.batch
    }

    /// The hash that the next batch names.
    pub fn hash(&self) -> [u8; 32] {
        self.hash
    }

    /// Its bytes, as they travel and lie on disk.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The log it is in.
    pub fn log(&self) -> LogId {
        LogId { origin: self.batch.origin, incarnation: self.batch.incarnation }
    }

    /// Its key in the driver's table.
    pub fn key(&self) -> BatchKey {
        BatchKey { log: self.log(), number: self.batch.number }
    }

    /// Takes it apart.
    pub fn into_parts(self) -> (Batch, Vec<u8>) {
        (self.batch, self.bytes)
    }
}

fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    serde_ipld_dagcbor::to_vec(value).expect("plain structs have a dag-cbor form")
}

/// The tag and the length keep these bytes apart from all else that the node's key signs.
fn signed_bytes(body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(body.len() + TAG.len() + 16);
    for part in [TAG.as_bytes(), body] {
        let length = u64::try_from(part.len()).expect("a slice is shorter than 2^64 bytes");
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(part);
    }
    bytes
}
