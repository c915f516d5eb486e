//! Where a block lies: a container, an offset and a length.
//!
//! There are four containers and the encoding knows them all, so that an index written today still reads when
//! shards and files in place can be registered.

use cid::Cid;

/// A file that holds blocks.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Container {
    /// A whole file (`blobs/ab/<blake3>`): leaves lie in it as ranges.
    Blob([u8; 32]),
    /// The reference CAR beside a blob: the interior nodes of one root lie in it in full.
    Dag { blake3: [u8; 32], root: Cid },
    /// A pack, by number.
    Pack(u64),
    /// A CAR that a user registered, by its number in the journal.
    Shard(u64),
    /// A user's file left where it is, by its number in the journal.
    InPlace(u64),
}

/// A block's bytes on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Location {
    pub container: Container,
    /// Where the block's bytes start in the container's file.
    pub offset: u64,
    /// Bytes; at most [`crate::MAX_BLOCK_BYTES`].
    pub length: u32,
}
