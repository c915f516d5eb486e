//! Names of what artdag computes: every id that is not a content hash is made here.
//!
//! # Bytes
//!
//! `tagged(tag, parts)` is SHA3-256 over the tag and then each part, every one of them as a
//! `u64` length (little endian) followed by its bytes. No two lists of parts share an encoding.
//!
//! | id | tag | parts |
//! |---|---|---|
//! | `cache_id`  | `artdag/step/1`   | namespace (32) · dag-cbor `{type, config, inputs, executor}` with inputs = the cache id (32 bytes) of an input step or the CID (a link) of a source, in order |
//! | `action_id` | `artdag/action/1` | namespace (32) · dag-cbor of the [`Action`]: the same map over the CIDs of the actual inputs |
//! | `plan_id`   | `artdag/plan/1`   | dag-cbor `{recipe, inputs, parameters, analysis, seed, toolset, threads, planner}` |
//! | `run_id`    | `artdag/run/1`    | namespace (32) · dag-cbor `{recipe, inputs, parameters, seed}` |
//!
//! dag-cbor maps are ordered by key length, then bytewise; numbers are in the one form that
//! config normalisation gives them (`recipe`), so equal meaning is equal bytes.
//!
//! What always holds: a name of a step or node in a recipe enters no id; the order of inputs
//! does. No node type is commutative today, so no inputs are sorted anywhere.
//! What this file does not do: hash files (`content_hash` is the blockstore's).

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use cid::Cid;
use cid::multibase::Base;
use ipld_core::ipld::Ipld;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha3::{Digest, Sha3_256};

use crate::action::Action;

/// A text or byte form that is not an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not {expected}")]
pub struct NotAnId {
    expected: &'static str,
}

/// SHA3-256 over the tag and each part, length-prefixed: see the module's table.
pub fn tagged(tag: &str, parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Sha3_256::new();
    for part in std::iter::once(tag.as_bytes()).chain(parts.iter().copied()) {
        let length = u64::try_from(part.len()).expect("a slice is shorter than 2^64 bytes");
        hasher.update(length.to_le_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}

macro_rules! hash_id {
    ($(#[$doc:meta])* $name:ident, $expected:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 32]);

        impl $name {
            /// The 32 bytes.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_bytes(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let bytes = serde_bytes::ByteArray::<32>::deserialize(deserializer)?;
                Ok(Self(bytes.into_array()))
            }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = NotAnId;
            fn try_from(bytes: &[u8]) -> Result<Self, NotAnId> {
                let bytes = bytes.try_into().map_err(|_| NotAnId { expected: $expected })?;
                Ok(Self(bytes))
            }
        }
    };
}

macro_rules! hex_text {
    ($name:ident, $expected:literal) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = NotAnId;
            fn from_str(text: &str) -> Result<Self, NotAnId> {
                Ok(Self(bytes_of_hex(text, $expected)?))
            }
        }
    };
}

fn bytes_of_hex(text: &str, expected: &'static str) -> Result<[u8; 32], NotAnId> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes).map_err(|_| NotAnId { expected })?;
    Ok(bytes)
}

hash_id!(
    /// What separates one cluster's ids from another's. A secret: it prints nothing of itself.
    Namespace,
    "a namespace of 32 bytes"
);
hash_id!(
    /// The name of a step, known before anything runs.
    CacheId,
    "a cache id of 32 bytes"
);
hash_id!(
    /// The name of a step whose inputs are at hand: what is leased and executed.
    ActionId,
    "an action id of 32 bytes"
);
hash_id!(
    /// The name of a plan.
    PlanId,
    "a plan id of 32 bytes"
);
hash_id!(
    /// The name of what a submission asks for; each submission has its own execution id besides.
    RunId,
    "a run id of 32 bytes"
);
hash_id!(
    /// The ed25519 public key of a node: who signed, who ran, who holds.
    Origin,
    "a node's public key of 32 bytes"
);

hex_text!(CacheId, "a cache id: 64 hex digits");
hex_text!(ActionId, "an action id: 64 hex digits");
hex_text!(PlanId, "a plan id: 64 hex digits");
hex_text!(RunId, "a run id: 64 hex digits");

impl fmt::Debug for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Namespace(..)")
    }
}

impl FromStr for Namespace {
    type Err = NotAnId;
    fn from_str(text: &str) -> Result<Self, NotAnId> {
        Ok(Self(bytes_of_hex(text, "a namespace: 64 hex digits")?))
    }
}

/// What stands before the key in the bytes of an ed25519 peer id: an identity multihash of 36
/// bytes, then a protobuf with key type 1 (ed25519) and 32 bytes of data (libp2p peer-id spec).
const PEER_ID_PREFIX: [u8; 6] = [0x00, 0x24, 0x08, 0x01, 0x12, 0x20];

impl Origin {
    /// The bytes of the libp2p peer id of this key.
    pub fn to_peer_id_bytes(&self) -> Vec<u8> {
        [PEER_ID_PREFIX.as_slice(), &self.0].concat()
    }

    /// The key inside an ed25519 peer id; `None` for any other kind of peer id.
    pub fn from_peer_id_bytes(bytes: &[u8]) -> Option<Self> {
        let key = bytes.strip_prefix(&PEER_ID_PREFIX)?;
        Some(Self(key.try_into().ok()?))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&Base::Base58Btc.encode(self.to_peer_id_bytes()))
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Origin({self})")
    }
}

impl FromStr for Origin {
    type Err = NotAnId;
    fn from_str(text: &str) -> Result<Self, NotAnId> {
        const EXPECTED: NotAnId = NotAnId { expected: "the peer id of an ed25519 key: it begins with 12D3Koo" };
        // Base58 takes quadratic time, so the length is looked at first.
        if text.len() > MAX_PEER_ID_TEXT {
            return Err(EXPECTED);
        }
        let bytes = Base::Base58Btc.decode(text).map_err(|_| EXPECTED)?;
        Self::from_peer_id_bytes(&bytes).ok_or(EXPECTED)
    }
}

/// An ed25519 peer id is 52 characters.
const MAX_PEER_ID_TEXT: usize = 64;

/// What a step's cache id knows of one of its inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InputKey {
    /// The output of another step, by that step's name.
    Step(CacheId),
    /// A source, by its content.
    Source(Cid),
}

impl InputKey {
    fn to_ipld(self) -> Ipld {
        match self {
            Self::Step(id) => Ipld::Bytes(id.0.to_vec()),
            Self::Source(cid) => Ipld::Link(cid),
        }
    }
}

/// The name of a step. `kind` is the node type's name, `executor` the whole executor version,
/// `config` normalised, `inputs` in order.
pub fn cache_id(namespace: &Namespace, kind: &str, executor: &str, config: &Ipld, inputs: &[InputKey]) -> CacheId {
    let inputs = inputs.iter().map(|input| input.to_ipld()).collect();
    let body = encode(&computation(kind, executor, config, inputs));
    CacheId(tagged("artdag/step/1", &[&namespace.0, &body]))
}

/// The name of an action.
pub fn action_id(namespace: &Namespace, action: &Action) -> ActionId {
    ActionId(tagged("artdag/action/1", &[&namespace.0, &action.encode()]))
}

/// The map under `cache_id` and `action_id`, and the encoding of an action.
pub(crate) fn computation(kind: &str, executor: &str, config: &Ipld, inputs: Vec<Ipld>) -> Ipld {
    map([
        ("type", Ipld::String(kind.to_owned())),
        ("executor", Ipld::String(executor.to_owned())),
        ("config", config.clone()),
        ("inputs", Ipld::List(inputs)),
    ])
}

/// What a plan follows from.
#[derive(Debug, Clone, Copy)]
pub struct PlanBasis<'a> {
    /// The recipe file's CID.
    pub recipe: &'a Cid,
    /// Input name to content.
    pub inputs: &'a BTreeMap<String, Cid>,
    /// Parameters with their defaults filled in, numbers in one form.
    pub parameters: &'a BTreeMap<String, Ipld>,
    /// Ids of the analyses the plan was made from.
    pub analysis: &'a [[u8; 32]],
    /// The seed of what is random in it.
    pub seed: u64,
    /// The pinned toolset, for example `ffmpeg-5.1`.
    pub toolset: &'a str,
    /// The pinned number of threads.
    pub threads: u32,
    /// The version of the planner that made it.
    pub planner: u32,
}

/// The name of a plan. The toolset and the threads are in it because the planner pins both and
/// every step's name follows from them.
pub fn plan_id(basis: &PlanBasis<'_>) -> PlanId {
    let analysis = basis.analysis.iter().map(|id| Ipld::Bytes(id.to_vec()));
    let body = encode(&map([
        ("recipe", Ipld::Link(*basis.recipe)),
        ("inputs", links(basis.inputs)),
        ("parameters", Ipld::Map(basis.parameters.clone())),
        ("analysis", Ipld::List(analysis.collect())),
        ("seed", Ipld::Integer(basis.seed.into())),
        ("toolset", Ipld::String(basis.toolset.to_owned())),
        ("threads", Ipld::Integer(basis.threads.into())),
        ("planner", Ipld::Integer(basis.planner.into())),
    ]));
    PlanId(tagged("artdag/plan/1", &[&body]))
}

/// The name of what a submission asks for.
pub fn run_id(
    namespace: &Namespace,
    recipe: &Cid,
    inputs: &BTreeMap<String, Cid>,
    parameters: &BTreeMap<String, Ipld>,
    seed: u64,
) -> RunId {
    let body = encode(&map([
        ("recipe", Ipld::Link(*recipe)),
        ("inputs", links(inputs)),
        ("parameters", Ipld::Map(parameters.clone())),
        ("seed", Ipld::Integer(seed.into())),
    ]));
    RunId(tagged("artdag/run/1", &[&namespace.0, &body]))
}

fn links(inputs: &BTreeMap<String, Cid>) -> Ipld {
    let links = inputs.iter().map(|(name, cid)| (name.clone(), Ipld::Link(*cid)));
    Ipld::Map(links.collect())
}

pub(crate) fn map<const N: usize>(entries: [(&str, Ipld); N]) -> Ipld {
    Ipld::Map(entries.map(|(key, value)| (key.to_owned(), value)).into())
}

/// Canonical dag-cbor. The values come from parsers that let no NaN or infinity through and no
/// integer beyond 64 bits, the only things dag-cbor cannot say.
pub(crate) fn encode(value: &Ipld) -> Vec<u8> {
    serde_ipld_dagcbor::to_vec(value).expect("finite floats and 64-bit integers have a dag-cbor form")
}
