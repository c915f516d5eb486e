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

#[cfg(test)]
mod tests {
    //! The expected bytes were made by another implementation: Python's hashlib and a dag-cbor
    //! encoder written from the specification, not by this code.

    use multihash_codetable::{Code, MultihashDigest};

    use super::*;

    const NAMESPACE: Namespace = Namespace([7; 32]);

    fn content(text: &str) -> Cid {
        Cid::new_v1(0x55, Code::Sha2_256.digest(text.as_bytes()))
    }

    fn segment() -> Action {
        Action {
            kind: "SEGMENT".parse().expect("a type"),
            executor: "SEGMENT/1+t2+ffmpeg-5.1".to_owned(),
            config: map([("offset", Ipld::Float(0.0)), ("duration", Ipld::Float(2.5)), ("precise", Ipld::Bool(true))]),
            inputs: vec![content("clip")],
        }
    }

    #[test]
    fn parts_are_length_prefixed() {
        let golden = "d7555fd871a8fd2d0d8c82bf96f2d4641ee4f8bcd3a08284907c25a967832ba1";
        assert_eq!(hex::encode(tagged("a", &[b"", b"bc"])), golden);
        assert_ne!(tagged("a", &[b"", b"bc"]), tagged("a", &[b"b", b"c"]));
        assert_ne!(tagged("a", &[b""]), tagged("a", &[]));
        assert_ne!(tagged("ab", &[b"c"]), tagged("a", &[b"bc"]));
    }

    #[test]
    fn an_action_has_these_bytes_and_this_id() {
        let bytes = concat!(
            "a46474797065675345474d454e5466636f6e666967a3666f6666736574fb0000000000000000",
            "6770726563697365f5686475726174696f6efb400400000000000066696e7075747381d82a58",
            "25000155122067905ad3cc2dd52b1f5f6a6d2814de0396618b29b4238b9af5207aeb69936e6d",
            "686578656375746f72775345474d454e542f312b74322b66666d7065672d352e31",
        );
        assert_eq!(hex::encode(segment().encode()), bytes);
        let id = "06cad1244cc41c8a6358b52d25147aa3bf18197bea776fdae488569181a3c489";
        assert_eq!(action_id(&NAMESPACE, &segment()).to_string(), id);
    }

    #[test]
    fn steps_have_these_ids() {
        let Action { executor, config, .. } = segment();
        let source = [InputKey::Source(content("clip"))];
        let first = cache_id(&NAMESPACE, "SEGMENT", &executor, &config, &source);
        let golden = "23950fb773c75db9c525c614f555783aa87cfce737acc111d8a8dcf80e26594e";
        assert_eq!(first.to_string(), golden);
        let config = map([
            ("width", Ipld::Integer(64)),
            ("height", Ipld::Integer(32)),
            ("mode", Ipld::String("fit".to_owned())),
            ("background", Ipld::String("#000000".to_owned())),
        ]);
        let executor = "RESIZE/1+t2+ffmpeg-5.1";
        let second = cache_id(&NAMESPACE, "RESIZE", executor, &config, &[InputKey::Step(first)]);
        let golden = "3248bf006e7c2f46cbe42721a7c0df0181101d1d8ff2f0045cb6fe9872617212";
        assert_eq!(second.to_string(), golden);
    }

    #[test]
    fn plans_and_runs_have_these_ids() {
        let recipe = content("recipe");
        let inputs = [("clip".to_owned(), content("clip"))].into();
        let parameters = [("warmth".to_owned(), Ipld::Float(1.25)), ("n".to_owned(), Ipld::Integer(3))].into();
        let plan = plan_id(&PlanBasis {
            recipe: &recipe,
            inputs: &inputs,
            parameters: &parameters,
            analysis: &[[9; 32]],
            seed: u64::MAX,
            toolset: "ffmpeg-5.1",
            threads: 2,
            planner: 1,
        });
        let golden = "94275240793378a32ff4ce0f02417d442f5ae7a9d1eaeb6cfb0e421fc0b7e65f";
        assert_eq!(plan.to_string(), golden);
        let run = run_id(&NAMESPACE, &recipe, &inputs, &parameters, u64::MAX);
        let golden = "e5619776f9d5bdd6da5971b5a4dd66ee20cc6594907f583795c4c460bf54cd39";
        assert_eq!(run.to_string(), golden);
    }

    /// The key is the one of the libp2p peer-id specification's test vectors.
    #[test]
    fn an_origin_is_a_peer_id() {
        let key = bytes_of_hex("1ed1e8fae2c4a144b8be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fce27e", "a key");
        let origin = Origin(key.expect("hex"));
        let text = "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq";
        assert_eq!(origin.to_string(), text);
        assert_eq!(text.parse(), Ok(origin));
        let bytes = origin.to_peer_id_bytes();
        assert_eq!(Origin::from_peer_id_bytes(&bytes), Some(origin));
        for length in 0..bytes.len() {
            assert_eq!(Origin::from_peer_id_bytes(&bytes[..length]), None);
        }
        assert!("QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N".parse::<Origin>().is_err());
        assert!("1".repeat(100_000).parse::<Origin>().is_err());
    }

    #[test]
    fn ids_survive_text_and_bytes() {
        let id = CacheId([0xab; 32]);
        assert_eq!(id.to_string().parse(), Ok(id));
        let bytes = serde_ipld_dagcbor::to_vec(&id).expect("encodes");
        assert_eq!((bytes[0], bytes.len()), (0x58, 34));
        assert_eq!(serde_ipld_dagcbor::from_slice::<CacheId>(&bytes).expect("decodes"), id);
        assert!("ab".parse::<CacheId>().is_err());
        assert!(RunId::try_from([0; 31].as_slice()).is_err());
        assert_eq!(format!("{NAMESPACE:?}"), "Namespace(..)");
    }
}
