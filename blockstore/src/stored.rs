//! The bytes of our own values in redb and sled: the only file that names bincode.
//!
//! Every value is one version byte and then one frozen struct of that version. Decoding has a size limit (a
//! hostile length would otherwise panic in the allocator) and all bytes must be consumed. A struct here is
//! never edited: a change is a new version beside the old one.

use bincode::{Decode, Encode};
use cid::Cid;

use crate::block::MAX_BLOCK_BYTES;
use crate::journal::{FileNote, Home, JournalEntry};
use crate::location::{Container, Location};
use crate::pins::PinKind;

/// No value of ours comes near this; it bounds what a damaged length can make us allocate.
const MAX_STORED_BYTES: usize = 4096;
const VERSION_1: u8 = 1;

/// A stored value that does not parse; the caller treats its table as damaged.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("stored value does not parse: {0}")]
pub(crate) struct StoredError(String);

fn encode<T: Encode>(value: T) -> Vec<u8> {
    let mut bytes = vec![VERSION_1];
    let body = bincode::encode_to_vec(value, bincode::config::standard())
        .expect("encoding plain structs to memory cannot fail");
    bytes.extend_from_slice(&body);
    bytes
}

fn decode<T: Decode<()>>(bytes: &[u8]) -> Result<T, StoredError> {
    let (version, body) = bytes.split_first().ok_or_else(|| StoredError("empty".into()))?;
    if *version != VERSION_1 {
        return Err(StoredError(format!("unknown version {version}")));
    }
    let config = bincode::config::standard().with_limit::<MAX_STORED_BYTES>();
    let (value, used) =
        bincode::decode_from_slice::<T, _>(body, config).map_err(|error| StoredError(error.to_string()))?;
    match used == body.len() {
        true => Ok(value),
        false => Err(StoredError(format!("{} bytes left over", body.len() - used))),
    }
}

fn cid_of(bytes: &[u8]) -> Result<Cid, StoredError> {
    Cid::try_from(bytes).map_err(|error| StoredError(error.to_string()))
}

#[derive(Encode, Decode)]
enum ContainerV1 {
    Blob([u8; 32]),
    Dag([u8; 32], Vec<u8>),
    Pack(u64),
    Shard(u64),
    InPlace(u64),
}

#[derive(Encode, Decode)]
struct LocationV1 {
    container: ContainerV1,
    offset: u64,
    length: u32,
}

pub(crate) fn encode_location(location: &Location) -> Vec<u8> {
    let container = match &location.container {
        Container::Blob(blake3) => ContainerV1::Blob(*blake3),
        Container::Dag { blake3, root } => ContainerV1::Dag(*blake3, root.to_bytes()),
        Container::Pack(number) => ContainerV1::Pack(*number),
        Container::Shard(number) => ContainerV1::Shard(*number),
        Container::InPlace(number) => ContainerV1::InPlace(*number),
    };
    encode(LocationV1 { container, offset: location.offset, length: location.length })
}

pub(crate) fn decode_location(bytes: &[u8]) -> Result<Location, StoredError> {
    let stored: LocationV1 = decode(bytes)?;
    if stored.length as usize > MAX_BLOCK_BYTES {
        return Err(StoredError(format!("length {}", stored.length)));
    }
    if stored.offset.checked_add(stored.length.into()).is_none() {
        return Err(StoredError(format!("offset {}", stored.offset)));
    }
    let container = match stored.container {
        ContainerV1::Blob(blake3) => Container::Blob(blake3),
        ContainerV1::Dag(blake3, root) => Container::Dag { blake3, root: cid_of(&root)? },
        ContainerV1::Pack(number) => Container::Pack(number),
        ContainerV1::Shard(number) => Container::Shard(number),
        ContainerV1::InPlace(number) => Container::InPlace(number),
    };
    Ok(Location { container, offset: stored.offset, length: stored.length })
}

#[derive(Encode, Decode)]
enum JournalEntryV1 {
    BlobAdded([u8; 32], Vec<u8>, u64),
    PackOpened(u64),
    PackSealed(u64, u64),
    PackRetired(u64, u64),
}

pub(crate) fn encode_entry(entry: &JournalEntry) -> Vec<u8> {
    encode(match entry {
        JournalEntry::BlobAdded { blake3, root, size } => JournalEntryV1::BlobAdded(*blake3, root.to_bytes(), *size),
        JournalEntry::PackOpened { number } => JournalEntryV1::PackOpened(*number),
        JournalEntry::PackSealed { number, bytes } => JournalEntryV1::PackSealed(*number, *bytes),
        JournalEntry::PackRetired { number, valid_bytes } => JournalEntryV1::PackRetired(*number, *valid_bytes),
    })
}

pub(crate) fn decode_entry(bytes: &[u8]) -> Result<JournalEntry, StoredError> {
    Ok(match decode(bytes)? {
        JournalEntryV1::BlobAdded(blake3, root, size) => JournalEntry::BlobAdded { blake3, root: cid_of(&root)?, size },
        JournalEntryV1::PackOpened(number) => JournalEntry::PackOpened { number },
        JournalEntryV1::PackSealed(number, bytes) => JournalEntry::PackSealed { number, bytes },
        JournalEntryV1::PackRetired(number, valid_bytes) => JournalEntry::PackRetired { number, valid_bytes },
    })
}

#[derive(Encode, Decode)]
struct FileNoteV1 {
    size: u64,
    cumulative_size: u64,
    blake3: [u8; 32],
    content_hash: [u8; 32],
    in_pack: bool,
}

pub(crate) fn encode_note(note: &FileNote) -> Vec<u8> {
    encode(FileNoteV1 {
        size: note.size,
        cumulative_size: note.cumulative_size,
        blake3: note.blake3,
        content_hash: note.content_hash,
        in_pack: note.home == Home::Pack,
    })
}

pub(crate) fn decode_note(bytes: &[u8]) -> Result<FileNote, StoredError> {
    let note: FileNoteV1 = decode(bytes)?;
    Ok(FileNote {
        size: note.size,
        cumulative_size: note.cumulative_size,
        blake3: note.blake3,
        content_hash: note.content_hash,
        home: match note.in_pack {
            true => Home::Pack,
            false => Home::Blob,
        },
    })
}

#[derive(Encode, Decode)]
struct PinV1 {
    recursive: bool,
    name: String,
}

pub(crate) fn encode_pin(kind: PinKind, name: &str) -> Vec<u8> {
    encode(PinV1 { recursive: kind == PinKind::Recursive, name: name.to_owned() })
}

pub(crate) fn decode_pin(bytes: &[u8]) -> Result<(PinKind, String), StoredError> {
    let pin: PinV1 = decode(bytes)?;
    let kind = match pin.recursive {
        true => PinKind::Recursive,
        false => PinKind::Direct,
    };
    Ok((kind, pin.name))
}

/// How far a root is on its way into or out of the public set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PublicPhase {
    Entering,
    Public,
    Leaving,
}

#[derive(Encode, Decode)]
struct PublicRootV1 {
    id: u64,
    blocks: u64,
    phase: u8,
}

pub(crate) fn encode_public_root(id: u64, blocks: u64, phase: PublicPhase) -> Vec<u8> {
    let phase = match phase {
        PublicPhase::Entering => 0,
        PublicPhase::Public => 1,
        PublicPhase::Leaving => 2,
    };
    encode(PublicRootV1 { id, blocks, phase })
}

pub(crate) fn decode_public_root(bytes: &[u8]) -> Result<(u64, u64, PublicPhase), StoredError> {
    let root: PublicRootV1 = decode(bytes)?;
    let phase = match root.phase {
        0 => PublicPhase::Entering,
        1 => PublicPhase::Public,
        2 => PublicPhase::Leaving,
        other => return Err(StoredError(format!("public phase {other}"))),
    };
    Ok((root.id, root.blocks, phase))
}

/// A bare counter or mark.
pub(crate) fn encode_number(number: u64) -> Vec<u8> {
    encode(number)
}

pub(crate) fn decode_number(bytes: &[u8]) -> Result<u64, StoredError> {
    decode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cid::raw_cid;
    use proptest::prelude::*;

    fn containers() -> Vec<Container> {
        let root = raw_cid(b"root");
        vec![
            Container::Blob([3; 32]),
            Container::Dag { blake3: [4; 32], root },
            Container::Pack(7),
            Container::Shard(u64::MAX),
            Container::InPlace(0),
        ]
    }

    #[test]
    fn all_four_kinds_of_container_survive_a_round_trip() {
        for container in containers() {
            let location = Location { container, offset: 1 << 40, length: MAX_BLOCK_BYTES as u32 };
            assert_eq!(decode_location(&encode_location(&location)), Ok(location));
        }
    }

    /// The format is frozen: these bytes are on people's disks.
    #[test]
    fn version_one_bytes_are_golden() {
        let location = Location { container: Container::Pack(300), offset: 51, length: 11 };
        assert_eq!(hex::encode(encode_location(&location)), "0102fb2c01330b");
        assert_eq!(hex::encode(encode_entry(&JournalEntry::PackOpened { number: 1 })), "010101");
        assert_eq!(hex::encode(encode_pin(PinKind::Recursive, "film")), "01010466696c6d");
        assert_eq!(hex::encode(encode_public_root(1, 2, PublicPhase::Public)), "01010201");
    }

    #[test]
    fn leftover_bytes_other_versions_and_wild_lengths_are_refused() {
        let good = encode_number(5);
        let mut long = good.clone();
        long.push(0);
        assert!(decode_number(&long).is_err());
        assert!(decode_number(&[2, 5]).is_err());
        assert!(decode_number(&[]).is_err());
        // A string of 2^60 bytes must be refused, not allocated.
        assert!(decode_pin(&[1, 1, 253, 0, 0, 0, 0, 0, 0, 0, 16]).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_decoders_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode_location(&bytes);
            let _ = decode_entry(&bytes);
            let _ = decode_note(&bytes);
            let _ = decode_pin(&bytes);
            let _ = decode_public_root(&bytes);
        }
    }
}
