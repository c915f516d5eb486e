//! UnixFS (specs, src/unixfs.md) as profile `unixfs-v1-2025` of IPIP-499 writes it: CIDv1, sha2-256, raw leaves,
//! 1 MiB chunks, 1024 links, balanced; directories become a HAMT of fanout 256 above 256 KiB.
//!
//! Pure: bytes in, blocks out. Reading accepts what other profiles wrote (dag-pb leaves, any chunking).

pub(crate) mod directory;
pub(crate) mod hamt;
pub(crate) mod layout;
pub(crate) mod node;
#[cfg(test)]
mod vectors;

use cid::Cid;

pub(crate) use directory::{build_directory, build_symlink};
pub(crate) use layout::Layout;
pub(crate) use node::{FileNode, UnixFs};

/// Bytes in a leaf, and the largest file that is one block.
pub const CHUNK_BYTES: usize = 1 << 20;
/// Links in an interior node of a file.
pub(crate) const FILE_LINKS: usize = 1024;
/// A directory whose one block would be larger than this becomes a HAMT.
pub(crate) const DIRECTORY_BYTES: usize = 256 << 10;

/// What a CID names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EntryKind {
    File,
    Directory,
    Symlink,
    /// IPLD data that is not UnixFS (a plan, a record of provenance).
    Data,
    /// Its block is not here, so we cannot tell.
    Unfetched,
}

/// One entry of a directory to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryEntry {
    pub name: String,
    pub cid: Cid,
    /// The cumulative size (`Tsize`): the bytes of all blocks below, as [`crate::Added`] gives it.
    pub size: u64,
    pub kind: EntryKind,
}
