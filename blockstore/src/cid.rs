//! The CIDs this crate makes, and the multihash that keys every table.
//!
//! One rule: content is found by its multihash, so a CIDv0 and a CIDv1 of the same bytes are one block.

use ::cid::Cid;
use multihash_codetable::{Code, Multihash, MultihashDigest};

/// Multicodec of plain bytes.
pub const RAW: u64 = 0x55;
/// Multicodec of dag-pb, the nodes of UnixFS.
pub const DAG_PB: u64 = 0x70;
/// Multicodec of dag-cbor.
pub const DAG_CBOR: u64 = 0x71;
/// Multicodec of dag-json.
pub(crate) const DAG_JSON: u64 = 0x0129;
/// Multihash code of bytes that are carried in the CID itself.
pub(crate) const IDENTITY: u64 = 0x00;
/// The hash of everything we make (multihash code of sha2-256).
pub(crate) const SHA2_256: u64 = 0x12;

/// CIDv1, raw, sha2-256 of the bytes.
pub fn raw_cid(bytes: &[u8]) -> Cid {
    Cid::new_v1(RAW, Code::Sha2_256.digest(bytes))
}

/// CIDv1, dag-pb, sha2-256 of an encoded node.
pub fn dag_pb_cid(bytes: &[u8]) -> Cid {
    Cid::new_v1(DAG_PB, Code::Sha2_256.digest(bytes))
}

/// CIDv1, dag-cbor, sha2-256 of an encoded node.
pub fn dag_cbor_cid(bytes: &[u8]) -> Cid {
    Cid::new_v1(DAG_CBOR, Code::Sha2_256.digest(bytes))
}

/// CIDv1, raw, from a sha2-256 that was computed on the way.
pub(crate) fn raw_cid_of_digest(digest: &[u8; 32]) -> Cid {
    Cid::new_v1(RAW, sha2_multihash(digest))
}

fn sha2_multihash(digest: &[u8; 32]) -> Multihash {
    Multihash::wrap(SHA2_256, digest).expect("32 bytes fit a 64-byte multihash")
}

/// The key of a block in the index and in the public set.
pub(crate) fn key(cid: &Cid) -> Vec<u8> {
    cid.hash().to_bytes()
}
