//! Directories and symbolic links as blocks.
//!
//! Entries are sorted by name, so the same entries in any order give the same CID. Names are checked here: what
//! is stored can always be written back to a file system.

use std::collections::BTreeMap;

use cid::Cid;

use super::node::{directory_data, symlink_data};
use super::{DIRECTORY_BYTES, DirectoryEntry, hamt};
use crate::block::{Block, MAX_BLOCK_BYTES};
use crate::cid::dag_pb_cid;
use crate::dag::pb::{Link, Node};

/// The longest file name Linux takes.
const MAX_NAME_BYTES: usize = 255;
/// The longest path Linux takes.
const MAX_TARGET_BYTES: usize = 4095;

/// A directory or symlink that is ready to be stored.
#[derive(Debug)]
pub(crate) struct BuiltNode {
    pub cid: Cid,
    pub cumulative_bytes: u64,
    /// Children before parents; the root is last.
    pub blocks: Vec<Block>,
}

/// A flat directory, or a HAMT when its one block would be too large. The error says which name is wrong.
pub(crate) fn build_directory(entries: Vec<DirectoryEntry>) -> Result<BuiltNode, String> {
    let mut sorted = BTreeMap::new();
    for entry in entries {
        check_name(&entry.name)?;
        let link = Link { cid: entry.cid, name: entry.name.clone(), tsize: entry.size };
        if sorted.insert(entry.name.clone(), link).is_some() {
            return Err(format!("two entries are called {:?}", entry.name));
        }
    }
    let links: Vec<Link> = sorted.into_values().collect();
    let below = links
        .iter()
        .try_fold(0u64, |sum, link| sum.checked_add(link.tsize))
        .ok_or("the sizes of the entries overflow")?;
    let node = Node { links, data: directory_data() };
    let bytes = node.encode();
    if bytes.len() > DIRECTORY_BYTES {
        return hamt::build(node.links);
    }
    Ok(single(bytes, below))
}

pub(crate) fn build_symlink(target: &str) -> Result<BuiltNode, String> {
    if target.is_empty() || target.len() > MAX_TARGET_BYTES || target.contains('\0') {
        return Err(format!("{target:?} cannot be the target of a symbolic link"));
    }
    let node = Node { links: Vec::new(), data: symlink_data(target) };
    Ok(single(node.encode(), 0))
}

fn single(bytes: Vec<u8>, below: u64) -> BuiltNode {
    debug_assert!(bytes.len() <= MAX_BLOCK_BYTES);
    let cid = dag_pb_cid(&bytes);
    BuiltNode {
        cid,
        cumulative_bytes: below.saturating_add(bytes.len() as u64),
        blocks: vec![Block::trusted(cid, bytes)],
    }
}

fn check_name(name: &str) -> Result<(), String> {
    let wrong =
        name.is_empty() || name == "." || name == ".." || name.len() > MAX_NAME_BYTES || name.contains(['/', '\0']);
    match wrong {
        true => Err(format!("{name:?} cannot be a name in a directory")),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cid::raw_cid;
    use crate::unixfs::EntryKind;

    fn entry(name: &str) -> DirectoryEntry {
        DirectoryEntry {
            name: name.into(),
            cid: raw_cid(name.as_bytes()),
            size: name.len() as u64,
            kind: EntryKind::File,
        }
    }

    #[test]
    fn the_empty_directory_has_the_cid_everybody_knows() {
        let built = build_directory(Vec::new()).expect("empty");
        assert_eq!(built.cid.to_string(), "bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354");
    }

    #[test]
    fn order_does_not_matter_and_repetition_is_refused() {
        let one = build_directory(vec![entry("b"), entry("a")]).expect("two");
        let two = build_directory(vec![entry("a"), entry("b")]).expect("two");
        assert_eq!(one.cid, two.cid);
        assert!(build_directory(vec![entry("a"), entry("a")]).is_err());
    }

    #[test]
    fn names_that_cannot_be_written_back_are_refused() {
        for name in ["", ".", "..", "a/b", "a\0b", &"x".repeat(256)] {
            assert!(build_directory(vec![entry(name)]).is_err(), "{name:?}");
        }
    }
}
