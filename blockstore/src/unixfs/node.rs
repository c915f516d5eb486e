//! The UnixFS message inside a dag-pb node, and what kind of node it makes.
//!
//! [`UnixFs::decode`] turns untrusted bytes into one of the node types with their numbers checked against the
//! links; code behind it may rely on parts that add up without overflow.

use cid::Cid;
use prost::Message;

use crate::dag::pb::{Link, Node};

/// Multicodec of the hash that places names in a HAMT.
pub(crate) const MURMUR3_X64_64: u64 = 0x22;
/// Fanouts peers may use (IPIP-499: a power of two, 8 to 1024).
const FANOUTS: std::ops::RangeInclusive<u64> = 8..=1024;

const RAW: i32 = 0;
const DIRECTORY: i32 = 1;
const FILE: i32 = 2;
const SYMLINK: i32 = 4;
const HAMT_SHARD: i32 = 5;

/// `message Data` of the specification; mode and mtime are not written by this profile and ignored on reading.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Data {
    #[prost(int32, required, tag = "1")]
    kind: i32,
    #[prost(bytes = "vec", optional, tag = "2")]
    data: Option<Vec<u8>>,
    #[prost(uint64, optional, tag = "3")]
    filesize: Option<u64>,
    #[prost(uint64, repeated, packed = "false", tag = "4")]
    blocksizes: Vec<u64>,
    #[prost(uint64, optional, tag = "5")]
    hash_type: Option<u64>,
    #[prost(uint64, optional, tag = "6")]
    fanout: Option<u64>,
}

/// The part of a file below one link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub cid: Cid,
    /// Where it starts, counted from the start of its parent.
    pub start: u64,
    pub size: u64,
}

/// A file node: bytes of its own, then parts, in order and without gaps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileNode {
    pub size: u64,
    pub inline: Vec<u8>,
    pub parts: Vec<Part>,
}

impl FileNode {
    /// A file that is these bytes and nothing else.
    pub fn of_bytes(inline: Vec<u8>) -> FileNode {
        FileNode { size: inline.len() as u64, inline, parts: Vec::new() }
    }

    /// The part that holds byte `at` of this node; none for the node's own bytes and behind the end.
    pub fn part_at(&self, at: u64) -> Option<&Part> {
        let behind = self.parts.partition_point(|part| part.start + part.size <= at);
        self.parts.get(behind).filter(|part| part.start <= at)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum UnixFs {
    File(FileNode),
    Directory(Vec<Link>),
    Hamt { fanout: u64, links: Vec<Link> },
    Symlink(Vec<u8>),
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not a UnixFS node: {0}")]
pub(crate) struct UnixFsError(String);

impl UnixFs {
    /// Parses a dag-pb block.
    pub fn decode(bytes: &[u8]) -> Result<UnixFs, UnixFsError> {
        let node = Node::decode(bytes).map_err(|error| UnixFsError(error.to_string()))?;
        let data = Data::decode(node.data.as_slice()).map_err(|e| UnixFsError(e.to_string()))?;
        match data.kind {
            RAW | FILE => file_node(data, node.links).map(UnixFs::File),
            DIRECTORY => Ok(UnixFs::Directory(node.links)),
            SYMLINK => Ok(UnixFs::Symlink(data.data.unwrap_or_default())),
            HAMT_SHARD => hamt_node(&data, node.links),
            other => Err(UnixFsError(format!("type {other}"))),
        }
    }
}

fn file_node(data: Data, links: Vec<Link>) -> Result<FileNode, UnixFsError> {
    if data.blocksizes.len() != links.len() {
        return Err(UnixFsError(format!("{} block sizes for {} links", data.blocksizes.len(), links.len())));
    }
    let inline = data.data.unwrap_or_default();
    let mut size = inline.len() as u64;
    let mut parts = Vec::with_capacity(links.len());
    for (link, part_size) in links.into_iter().zip(data.blocksizes) {
        parts.push(Part { cid: link.cid, start: size, size: part_size });
        size = size.checked_add(part_size).ok_or_else(|| UnixFsError("block sizes overflow".into()))?;
    }
    Ok(FileNode { size, inline, parts })
}

fn hamt_node(data: &Data, links: Vec<Link>) -> Result<UnixFs, UnixFsError> {
    let fanout = data.fanout.unwrap_or(0);
    if !FANOUTS.contains(&fanout) || !fanout.is_power_of_two() {
        return Err(UnixFsError(format!("HAMT fanout {fanout}")));
    }
    if data.hash_type != Some(MURMUR3_X64_64) {
        return Err(UnixFsError("HAMT hash function is not murmur3".into()));
    }
    Ok(UnixFs::Hamt { fanout, links })
}

fn empty(kind: i32) -> Data {
    Data { kind, data: None, filesize: None, blocksizes: Vec::new(), hash_type: None, fanout: None }
}

/// The data of an interior node of a file.
pub(crate) fn file_data(sizes: Vec<u64>) -> Vec<u8> {
    Data { filesize: Some(sizes.iter().sum()), blocksizes: sizes, ..empty(FILE) }.encode_to_vec()
}

pub(crate) fn directory_data() -> Vec<u8> {
    empty(DIRECTORY).encode_to_vec()
}

pub(crate) fn symlink_data(target: &str) -> Vec<u8> {
    Data { data: Some(target.as_bytes().to_vec()), ..empty(SYMLINK) }.encode_to_vec()
}

pub(crate) fn hamt_data(bitfield: Vec<u8>, fanout: u64) -> Vec<u8> {
    Data { data: Some(bitfield), hash_type: Some(MURMUR3_X64_64), fanout: Some(fanout), ..empty(HAMT_SHARD) }
        .encode_to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cid::raw_cid;
    use proptest::prelude::*;

    fn wrapped(data: Vec<u8>, links: usize) -> Vec<u8> {
        let link = Link { cid: raw_cid(b"x"), name: String::new(), tsize: 1 };
        Node { links: vec![link; links], data }.encode()
    }

    #[test]
    fn sizes_that_do_not_match_the_links_are_refused() {
        assert!(UnixFs::decode(&wrapped(file_data(vec![1, 2]), 2)).is_ok());
        assert!(UnixFs::decode(&wrapped(file_data(vec![1]), 2)).is_err());
        let huge = Data { blocksizes: vec![u64::MAX, 1], ..empty(FILE) };
        assert!(UnixFs::decode(&wrapped(huge.encode_to_vec(), 2)).is_err());
    }

    #[test]
    fn a_fanout_nobody_may_use_is_refused() {
        assert!(UnixFs::decode(&wrapped(hamt_data(vec![1], 256), 1)).is_ok());
        for fanout in [0, 4, 100, 2048, u64::MAX] {
            assert!(UnixFs::decode(&wrapped(hamt_data(vec![1], fanout), 1)).is_err());
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = UnixFs::decode(&bytes);
            let _ = UnixFs::decode(&wrapped(bytes, 1));
        }
    }
}
