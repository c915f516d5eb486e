//! A block: bytes that were proved to hash to their CID.
//!
//! [`Block::new`] is the only way in from untrusted bytes and it verifies; there is no unchecked public door.
//! Larger than 2 MiB is refused because no IPFS peer is bound to accept more.

use std::sync::Arc;

use cid::Cid;
use multihash_codetable::{Code, MultihashDigest};

use crate::cid::{DAG_CBOR, DAG_JSON, DAG_PB, IDENTITY, RAW, raw_cid};

/// The largest block bitswap peers must support (specs, bitswap 1.2.0 "block sizes").
pub const MAX_BLOCK_BYTES: usize = 2 << 20;
/// The longest identity digest peers accept (IPIP-512).
pub(crate) const MAX_IDENTITY_BYTES: usize = 128;

/// Why bytes are not a block.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BlockError {
    #[error("block {cid} has {bytes} bytes, the limit is {MAX_BLOCK_BYTES}")]
    TooLarge { cid: Cid, bytes: usize },
    #[error("the bytes do not hash to {cid}")]
    WrongHash { cid: Cid },
    #[error("cannot verify {cid}: hash function {code:#x} is not one we accept")]
    UnsupportedHash { cid: Cid, code: u64 },
}

/// Why a block could not be made under a name.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NameError {
    #[error("unknown codec {0:?}: write raw, dag-pb, dag-cbor or dag-json")]
    Codec(String),
    #[error("unknown hash function {0:?}: write sha2-256, sha2-512, sha3-256 or blake3")]
    Hash(String),
    #[error(transparent)]
    Block(#[from] BlockError),
}

/// Bytes with the CID they hash to. Cloning shares the bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Block {
    cid: Cid,
    bytes: Arc<Vec<u8>>,
}

impl Block {
    /// Verifies the size limit and the hash.
    pub fn new(cid: Cid, bytes: impl Into<Vec<u8>>) -> Result<Block, BlockError> {
        let bytes = bytes.into();
        verify(&cid, &bytes)?;
        Ok(Block::trusted(cid, bytes))
    }

    /// A raw block of these bytes.
    pub fn raw(bytes: impl Into<Vec<u8>>) -> Result<Block, BlockError> {
        let bytes = bytes.into();
        let cid = raw_cid(&bytes);
        check_size(&cid, bytes.len())?;
        Ok(Block::trusted(cid, bytes))
    }

    /// A block of these bytes under a codec and a hash function, named as in the multicodec table. Empty names
    /// stand for `raw` and `sha2-256`.
    pub fn named(codec: &str, multihash: &str, bytes: impl Into<Vec<u8>>) -> Result<Block, NameError> {
        let bytes = bytes.into();
        let cid = Cid::new_v1(codec_of(codec)?, hash_of(multihash)?.digest(&bytes));
        check_size(&cid, bytes.len())?;
        Ok(Block::trusted(cid, bytes))
    }

    /// For bytes this crate hashed itself, or reads back from a container that cannot change.
    pub(crate) fn trusted(cid: Cid, bytes: Vec<u8>) -> Block {
        Block { cid, bytes: Arc::new(bytes) }
    }

    pub fn cid(&self) -> &Cid {
        &self.cid
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes, shared.
    pub fn shared(&self) -> Arc<Vec<u8>> {
        Arc::clone(&self.bytes)
    }
}

fn codec_of(name: &str) -> Result<u64, NameError> {
    match name {
        "" | "raw" => Ok(RAW),
        "dag-pb" => Ok(DAG_PB),
        "dag-cbor" => Ok(DAG_CBOR),
        "dag-json" => Ok(DAG_JSON),
        other => Err(NameError::Codec(other.to_owned())),
    }
}

fn hash_of(name: &str) -> Result<Code, NameError> {
    match name {
        "" | "sha2-256" => Ok(Code::Sha2_256),
        "sha2-512" => Ok(Code::Sha2_512),
        "sha3-256" => Ok(Code::Sha3_256),
        "blake3" => Ok(Code::Blake3_256),
        other => Err(NameError::Hash(other.to_owned())),
    }
}

impl std::fmt::Debug for Block {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Block({}, {} bytes)", self.cid, self.bytes.len())
    }
}

fn check_size(cid: &Cid, bytes: usize) -> Result<(), BlockError> {
    if bytes > MAX_BLOCK_BYTES {
        return Err(BlockError::TooLarge { cid: *cid, bytes });
    }
    Ok(())
}

/// Checks that the bytes hash to the CID, with one of the hash functions peers accept (boxo `verifcid`).
pub(crate) fn verify(cid: &Cid, bytes: &[u8]) -> Result<(), BlockError> {
    check_size(cid, bytes.len())?;
    let code = cid.hash().code();
    if code == IDENTITY {
        return match cid.hash().digest() == bytes && bytes.len() <= MAX_IDENTITY_BYTES {
            true => Ok(()),
            false => Err(BlockError::WrongHash { cid: *cid }),
        };
    }
    let function = Code::try_from(code).map_err(|_| BlockError::UnsupportedHash { cid: *cid, code })?;
    match function.digest(bytes) == *cid.hash() {
        true => Ok(()),
        false => Err(BlockError::WrongHash { cid: *cid }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bytes_that_hash_to_the_cid_become_a_block() {
        let cid = raw_cid(b"hello world");
        assert_eq!(cid.to_string(), "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e");
        assert!(Block::new(cid, *b"hello world").is_ok());
        assert_eq!(Block::new(cid, *b"hello worle"), Err(BlockError::WrongHash { cid }));
    }

    #[test]
    fn the_size_limit_is_exact() {
        assert!(Block::raw(vec![7; MAX_BLOCK_BYTES]).is_ok());
        assert!(matches!(Block::raw(vec![7; MAX_BLOCK_BYTES + 1]), Err(BlockError::TooLarge { .. })));
    }

    #[test]
    fn an_unknown_hash_function_is_refused() {
        // 0xd5 is md5, which peers reject too.
        let hash = multihash_codetable::Multihash::wrap(0xd5, &[1; 16]).expect("16 bytes fit");
        let cid = Cid::new_v1(crate::cid::RAW, hash);
        assert!(matches!(Block::new(cid, vec![1]), Err(BlockError::UnsupportedHash { code: 0xd5, .. })));
    }

    #[test]
    fn a_truncated_digest_proves_nothing() {
        let full = raw_cid(b"x");
        let hash = multihash_codetable::Multihash::wrap(0x12, &full.hash().digest()[..20]).expect("20 bytes fit");
        assert!(Block::new(Cid::new_v1(0x55, hash), *b"x").is_err());
    }
}
