//! What a batch says: results, members, runs.
//!
//! # Bytes
//!
//! A record is a byte string: kind (1 byte), version of that kind (1 byte), then the dag-cbor of
//! the struct below (a map with its field names; ids as 32 bytes, CIDs as links, absent as null).
//!
//! | kind | versions | struct |
//! |---|---|---|
//! | 1 | 1 | [`ResultRecord`] |
//! | 2 | 1 | [`MemberRecord`] |
//! | 3 | 1 | [`RunRecord`] |
//!
//! A changed struct is a new version: freeze the old one, keep decoding it. The golden bytes in
//! `golden/` fail when a version changes by accident.
//!
//! What always holds: a decoded record is within the bounds below and encodes to the bytes it
//! came from. A kind or version we do not know is kept as [`Record::Unknown`], so that an old
//! node still passes on what a new one wrote.
//! What this file does not do: believe a record. Who said it is in the batch.

use cid::Cid;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::identity::{ActionId, CacheId, RunId};

/// Bytes of one record; leaves room for the envelope in a batch of 48 KiB.
pub const MAX_RECORD_BYTES: usize = 40 * 1024;
/// Producers of one result: the widest sequence a plan may join.
pub const MAX_INPUTS: usize = 512;
/// Bytes of one text field: names of types, toolsets, builds, executions and addresses are short.
pub const MAX_TEXT_BYTES: usize = 512;
/// Entries in a list of toolsets or addresses.
pub const MAX_LIST: usize = 32;

const RESULT: u8 = 1;
const MEMBER: u8 = 2;
const RUN: u8 = 3;

/// One fact that a node publishes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// An action gave a CID.
    Result(ResultRecord),
    /// What a member is and can do, until it expires.
    Member(MemberRecord),
    /// How far a run is.
    Run(RunRecord),
    /// Written by a newer node: kept and passed on, not understood.
    Unknown(UnknownRecord),
}

/// Where an input of a result came from; `State` follows these when a producer is disowned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Producer {
    /// Another action's result.
    Action(ActionId),
    /// Content that a user gave.
    Source(Cid),
}

/// The fact that an action gave a CID. Never taken back; bytes that are gone make it a miss.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResultRecord {
    /// The step as the planner names it.
    pub cache_id: CacheId,
    /// The action that ran.
    pub action_id: ActionId,
    /// What it gave.
    pub cid: Cid,
    /// The node type, `SEGMENT` and so on.
    pub kind: String,
    /// The producers of its inputs, in order.
    pub inputs: Vec<Producer>,
    /// Bytes of the file.
    pub size: u64,
    /// SHA3-256 of the file, where the result is one file.
    #[serde(with = "optional_hash")]
    pub content_hash: Option<[u8; 32]>,
    /// How long it ran, in milliseconds.
    pub duration_ms: u64,
    /// The pinned toolset, `ffmpeg-5.1`.
    pub toolset: String,
    /// The exact build that ran.
    pub exact_build: String,
}

/// What a member is and can do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemberRecord {
    /// The toolsets it can run, `ffmpeg-5.1`.
    pub toolsets: Vec<String>,
    /// Steps it runs at once.
    pub slots: u32,
    /// Steps it is running.
    pub running: u32,
    /// Multiaddrs where it listens.
    pub addresses: Vec<String>,
    /// Free bytes on its data disk.
    pub free_disk: u64,
    /// Unix milliseconds after which it no longer counts.
    pub expires_ms: u64,
}

/// How far a run is: a lattice in which terminal absorbs. The order of the variants is the join.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunState {
    /// Acknowledged and not ended.
    Running,
    /// Ended without an output.
    Failed,
    /// Ended because someone asked. Above failed: the failure was the cancelling.
    Cancelled,
    /// Ended with an output. The top: an output that exists is not undone.
    Succeeded,
}

/// One execution of one plan. The derived order decides between equal states, so the state of
/// a run is the same whatever came first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunRecord {
    /// How far it is; first, because the derived order compares it first.
    pub state: RunState,
    /// Made at submission; one per submission.
    pub execution_id: String,
    /// The same for the same recipe, inputs, parameters and seed.
    pub run_id: RunId,
    /// The plan, once there is one.
    pub plan: Option<Cid>,
    /// The output, once there is one.
    pub output: Option<Cid>,
}

/// A record of a kind or version that this build does not know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownRecord {
    /// Its bytes, kind and version first.
    bytes: Vec<u8>,
}

/// Why bytes are no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a record: {0}")]
pub struct NotARecord(&'static str);

impl Record {
    /// The record's bytes.
    ///
    /// # Errors
    /// A field is out of bounds.
    pub fn encode(&self) -> Result<Vec<u8>, NotARecord> {
        self.check()?;
        let bytes = match self {
            Record::Result(record) => versioned(RESULT, 1, record),
            Record::Member(record) => versioned(MEMBER, 1, record),
            Record::Run(record) => versioned(RUN, 1, record),
            Record::Unknown(record) => record.bytes.clone(),
        };
        if bytes.len() > MAX_RECORD_BYTES {
            return Err(NotARecord("too large"));
        }
        Ok(bytes)
    }

    /// Reads a record; all bytes, canonical, within the bounds.
    ///
    /// # Errors
    /// What is wrong with the bytes.
    pub fn decode(bytes: &[u8]) -> Result<Record, NotARecord> {
        if bytes.len() > MAX_RECORD_BYTES {
            return Err(NotARecord("too large"));
        }
        let [kind, version, payload @ ..] = bytes else {
            return Err(NotARecord("no kind and version"));
        };
        let record = match (*kind, *version) {
            (RESULT, 1) => Record::Result(exact(payload)?),
            (MEMBER, 1) => Record::Member(exact(payload)?),
            (RUN, 1) => Record::Run(exact(payload)?),
            _ => Record::Unknown(UnknownRecord { bytes: bytes.to_vec() }),
        };
        record.check()?;
        Ok(record)
    }

    fn check(&self) -> Result<(), NotARecord> {
        let fits = match self {
            Record::Result(record) => {
                record.inputs.len() <= MAX_INPUTS
                    && short(&record.kind)
                    && short(&record.toolset)
                    && short(&record.exact_build)
            }
            Record::Member(record) => all_short(&record.toolsets) && all_short(&record.addresses),
            Record::Run(record) => short(&record.execution_id),
            Record::Unknown(_) => true,
        };
        if fits { Ok(()) } else { Err(NotARecord("a field is out of bounds")) }
    }
}

impl RunState {
    /// Whether the run has ended.
    pub fn is_terminal(self) -> bool {
        self != RunState::Running
    }
}

impl UnknownRecord {
    /// The kind and version bytes.
    pub fn kind_and_version(&self) -> (u8, u8) {
        (self.bytes[0], self.bytes[1])
    }
}

fn short(text: &str) -> bool {
    text.len() <= MAX_TEXT_BYTES
}

fn all_short(texts: &[String]) -> bool {
    texts.len() <= MAX_LIST && texts.iter().all(|text| short(text))
}

fn versioned<T: Serialize>(kind: u8, version: u8, record: &T) -> Vec<u8> {
    let mut bytes = vec![kind, version];
    serde_ipld_dagcbor::to_writer(&mut bytes, record)
        .expect("plain structs have a dag-cbor form and a Vec takes every write");
    bytes
}

/// Decodes and refuses every other spelling of the same value: one record, one encoding.
pub(super) fn exact<T: DeserializeOwned + Serialize>(bytes: &[u8]) -> Result<T, NotARecord> {
    let value: T = serde_ipld_dagcbor::from_slice(bytes).map_err(|_| NotARecord("not its dag-cbor"))?;
    let again = serde_ipld_dagcbor::to_vec(&value).map_err(|_| NotARecord("not its dag-cbor"))?;
    if again != bytes {
        return Err(NotARecord("not canonical"));
    }
    Ok(value)
}

mod optional_hash {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use serde_bytes::ByteArray;

    pub fn serialize<S: Serializer>(hash: &Option<[u8; 32]>, to: S) -> Result<S::Ok, S::Error> {
        hash.map(ByteArray::new).serialize(to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<[u8; 32]>, D::Error> {
        Ok(Option::<ByteArray<32>>::deserialize(from)?.map(ByteArray::into_array))
    }
}
