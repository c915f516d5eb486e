//! The journal of containers: what came to be on this disk, numbered from 1 in the order it was committed.
//!
//! It is the truth the block index is rebuilt from. The index remembers the last number it applied; on open the
//! difference is replayed. Loose blocks are not journalled one by one: their packs are scanned instead.

use cid::Cid;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum JournalEntry {
    BlobAdded {
        blake3: [u8; 32],
        root: Cid,
        size: u64,
    },
    PackOpened {
        number: u64,
    },
    PackSealed {
        number: u64,
        bytes: u64,
    },
    /// An fsync of this pack failed: nothing from `valid_bytes` on may be believed, whatever the page cache shows.
    PackRetired {
        number: u64,
        valid_bytes: u64,
    },
}

/// What we know of a file by its root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileNote {
    pub size: u64,
    pub cumulative_size: u64,
    pub blake3: [u8; 32],
    /// SHA3-256 of the bytes.
    pub content_hash: [u8; 32],
    pub home: Home,
}

/// Where a file's bytes live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Home {
    /// A file of its own under `blobs/`.
    Blob,
    /// One block in a pack.
    Pack,
}
