//! UnixFS on the way out: byte ranges of files, listings, paths and sizes.
//!
//! A block that is not here is [`ReadError::Missing`], with its CID, so that the caller can fetch it and ask
//! again. Blocks may come from peers: sizes they claim are held against what is really there, and depth and
//! total are bounded.

use std::collections::HashSet;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};

use cid::Cid;

use crate::block::Block;
use crate::cid::{DAG_PB, RAW, key};
use crate::dag::{LinksError, links};
use crate::error::ReadError;
use crate::journal::{FileNote, Home};
use crate::location::Container;
use crate::state::{Slot, StateError};
use crate::store::{Audience, Store};
use crate::stored;
use crate::unixfs::{EntryKind, FileNode, UnixFs, hamt};

/// A balanced file of 1024 links reaches 2^60 bytes at depth 4; this leaves room for other layouts.
const MAX_FILE_DEPTH: usize = 32;
/// The hash of a HAMT has 64 bits and each level takes at least three.
const MAX_HAMT_DEPTH: u32 = 22;
/// Entries and shards in one listing: bounds what a hostile directory makes us hold or visit.
const MAX_LIST_ENTRIES: usize = 1 << 20;
/// Blocks in one walk: about 16 TiB of 1 MiB leaves.
const MAX_WALK_BLOCKS: usize = 16 << 20;
/// Nodes a reader keeps: one path from root to leaf.
const CACHED_NODES: usize = 6;
/// Names in a path.
const MAX_PATH_NAMES: usize = 1024;

/// Hears of each block in a walk: its CID, and its length if it is here.
type Visit<'a> = dyn FnMut(&Cid, Option<u32>) -> Result<(), ReadError> + 'a;
/// What a reader has parsed lately.
type NodeCache = Mutex<Vec<(Cid, Arc<FileNode>)>>;

/// One entry of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListEntry {
    pub name: String,
    pub cid: Cid,
    /// [`EntryKind::Unfetched`] when the entry's own block is not here.
    pub kind: EntryKind,
    /// Bytes of a file; for a directory or an unfetched entry, the cumulative size its parent claims.
    pub size: u64,
}

/// No file system takes longer names, and a shard that is linked many times must not multiply megabytes.
const MAX_LISTED_NAME: usize = 255;

/// What is known of a CID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    pub cid: Cid,
    pub kind: EntryKind,
    /// Bytes of a file, of a symlink's target, or of a data block; 0 for a directory.
    pub size: u64,
    /// Bytes of all distinct blocks that are here.
    pub cumulative_size: u64,
    /// Distinct blocks that are here.
    pub blocks: u64,
    /// Whether nothing is missing.
    pub local: bool,
    pub content_hash: Option<[u8; 32]>,
}

impl Store {
    /// A file for reading at any offset. Its root must be here; leaves may be missing.
    pub fn open_file(&self, cid: &Cid) -> Result<FileReader, ReadError> {
        if let Some(note) = self.file_note(cid)?
            && note.home == Home::Blob
            && let Ok(file) = self.inner.files.handle(&Container::Blob(note.blake3))
            && file.metadata().is_ok_and(|found| found.len() == note.size)
        {
            return Ok(FileReader { length: note.size, source: Source::Blob(file), cid: *cid });
        }
        let root = file_node(&self.require(cid)?)?;
        Ok(FileReader {
            length: root.size,
            source: Source::Dag { store: self.clone(), nodes: Mutex::new(vec![(*cid, Arc::new(root))]) },
            cid: *cid,
        })
    }

    /// The entries of a directory, sorted by name.
    pub fn list(&self, cid: &Cid) -> Result<Vec<ListEntry>, ReadError> {
        let mut found = Vec::new();
        match self.unixfs(cid)? {
            Some(UnixFs::Directory(links)) => {
                if links.iter().any(|link| link.name.len() > MAX_LISTED_NAME) {
                    return Err(ReadError::damaged(cid, "a name is too long"));
                }
                found.extend(links.into_iter().map(|l| (l.name, l.cid, l.tsize)));
            }
            Some(UnixFs::Hamt { .. }) => {
                let mut budget = MAX_LIST_ENTRIES;
                self.list_hamt(cid, 0, &mut budget, &mut found)?;
            }
            _ => return Err(ReadError::NotThere(format!("{cid} is not a directory"))),
        }
        found.sort();
        found.into_iter().map(|(name, cid, tsize)| self.list_entry(name, cid, tsize)).collect()
    }

    /// The CID that a path names: `CID[/name...]`, with or without `/ipfs/` in front.
    pub fn resolve(&self, path: &str) -> Result<Cid, ReadError> {
        let trimmed = path.trim_start_matches('/');
        let trimmed = trimmed.strip_prefix("ipfs/").unwrap_or(trimmed);
        let mut names = trimmed.split('/').filter(|name| !name.is_empty());
        let first = names.next().unwrap_or_default();
        let mut cid =
            Cid::try_from(first).map_err(|_| ReadError::NotThere(format!("{path:?} does not start with a CID")))?;
        for (depth, name) in names.enumerate() {
            if depth == MAX_PATH_NAMES {
                return Err(ReadError::NotThere(format!("{path:?} has too many names")));
            }
            cid = self.child(&cid, name)?;
        }
        Ok(cid)
    }

    /// What a CID is, and the bytes of a file. Reads one block, where [`Store::stat`] walks them all.
    pub fn kind(&self, cid: &Cid) -> Result<(EntryKind, u64), ReadError> {
        kind_and_size(&self.require(cid)?)
    }

    /// Where a symlink points.
    pub fn symlink_target(&self, cid: &Cid) -> Result<String, ReadError> {
        match self.unixfs(cid)? {
            Some(UnixFs::Symlink(target)) => String::from_utf8(target)
                .map_err(|_| ReadError::NotThere(format!("the target of the symlink {cid} is no text"))),
            _ => Err(ReadError::NotThere(format!("{cid} is not a symlink"))),
        }
    }

    /// Kind, sizes and completeness. Only the root's own block must be here.
    pub fn stat(&self, cid: &Cid) -> Result<Stat, ReadError> {
        let root = self.require(cid)?;
        let (kind, size) = kind_and_size(&root)?;
        let mut stat = Stat {
            cid: *cid,
            kind,
            size,
            cumulative_size: 0,
            blocks: 0,
            local: true,
            content_hash: self.content_hash(cid)?,
        };
        self.walk(cid, &mut |_, length| match length {
            Some(length) => {
                stat.blocks += 1;
                stat.cumulative_size += u64::from(length);
                Ok(())
            }
            None => {
                stat.local = false;
                Ok(())
            }
        })?;
        Ok(stat)
    }

    /// SHA3-256 of a file's bytes, if this store hashed it on the way in.
    pub fn content_hash(&self, root: &Cid) -> Result<Option<[u8; 32]>, ReadError> {
        Ok(self.file_note(root)?.map(|note| note.content_hash))
    }

    pub(crate) fn file_note(&self, root: &Cid) -> Result<Option<FileNote>, StateError> {
        let bytes = self.inner.state.get_slot(Slot::Files, &root.to_bytes())?;
        // A note that does not parse is a note we do not have: everything in it can be found out again.
        Ok(bytes.and_then(|bytes| stored::decode_note(&bytes).ok()))
    }

    /// Visits every distinct block reachable from `root` once, with its length if it is here.
    pub(crate) fn walk(&self, root: &Cid, visit: &mut Visit<'_>) -> Result<(), ReadError> {
        let mut seen = HashSet::from([key(root)]);
        let mut stack = vec![*root];
        while let Some(cid) = stack.pop() {
            if cid.codec() == RAW {
                visit(&cid, self.block_size(&cid, Audience::Local)?)?;
                continue;
            }
            let Some(block) = self.read(&cid, Audience::Local)? else {
                visit(&cid, None)?;
                continue;
            };
            visit(&cid, Some(block.bytes().len() as u32))?;
            let children = match links(&block) {
                Ok(children) => children,
                // Links we cannot read are links we do not follow; the block itself is sound.
                Err(LinksError::UnknownCodec { .. }) => Vec::new(),
                Err(error) => return Err(ReadError::damaged(&cid, error.to_string())),
            };
            for child in children.into_iter().rev() {
                if seen.insert(key(&child)) {
                    stack.push(child);
                }
            }
            if seen.len() > MAX_WALK_BLOCKS {
                let reason = format!("it has more than {MAX_WALK_BLOCKS} blocks");
                return Err(ReadError::damaged(root, reason));
            }
        }
        Ok(())
    }

    fn unixfs(&self, cid: &Cid) -> Result<Option<UnixFs>, ReadError> {
        let block = self.require(cid)?;
        unixfs_of(&block)
    }

    fn list_entry(&self, name: String, cid: Cid, tsize: u64) -> Result<ListEntry, ReadError> {
        if cid.codec() == RAW {
            let size = self.block_size(&cid, Audience::Local)?.map_or(tsize, u64::from);
            return Ok(ListEntry { name, cid, kind: EntryKind::File, size });
        }
        let (kind, size) = match self.read(&cid, Audience::Local)? {
            Some(block) => kind_and_size(&block)?,
            None => (EntryKind::Unfetched, tsize),
        };
        let size = match kind {
            EntryKind::Directory => tsize,
            _ => size,
        };
        Ok(ListEntry { name, cid, kind, size })
    }

    fn list_hamt(
        &self,
        cid: &Cid,
        depth: u32,
        budget: &mut usize,
        found: &mut Vec<(String, Cid, u64)>,
    ) -> Result<(), ReadError> {
        let Some(UnixFs::Hamt { fanout, links }) = self.unixfs(cid)? else {
            return Err(ReadError::damaged(cid, "a HAMT shard was expected here"));
        };
        if depth > MAX_HAMT_DEPTH {
            return Err(ReadError::damaged(cid, "the HAMT is too deep"));
        }
        let digits = hamt::prefix_length(fanout);
        for link in links {
            let Some(name) = link.name.get(digits..) else {
                return Err(ReadError::damaged(cid, "a HAMT link without its slot"));
            };
            match name {
                "" => self.list_hamt(&link.cid, depth + 1, budget, found)?,
                name if name.len() > MAX_LISTED_NAME => return Err(ReadError::damaged(cid, "a name is too long")),
                name => found.push((name.to_owned(), link.cid, link.tsize)),
            }
            // Shards count too: a tree of equal shards that hold nothing has 256^n paths and yields no name.
            *budget =
                budget.checked_sub(1).ok_or_else(|| ReadError::damaged(cid, "the directory is too large to list"))?;
        }
        Ok(())
    }

    fn child(&self, cid: &Cid, name: &str) -> Result<Cid, ReadError> {
        let absent = || ReadError::NotThere(format!("there is no {name:?} in {cid}"));
        let (mut at, mut depth) = (*cid, 0);
        loop {
            let (fanout, links) = match self.unixfs(&at)? {
                Some(UnixFs::Directory(links)) if depth == 0 => {
                    let found = links.into_iter().find(|link| link.name == name);
                    return found.map(|link| link.cid).ok_or_else(absent);
                }
                Some(UnixFs::Hamt { fanout, links }) => (fanout, links),
                _ if depth > 0 => return Err(ReadError::damaged(&at, "not a HAMT shard")),
                _ => return Err(ReadError::NotThere(format!("{cid} is not a directory"))),
            };
            let prefix = hamt::slot_prefix(name, fanout, depth).ok_or_else(absent)?;
            let full = format!("{prefix}{name}");
            if let Some(link) = links.iter().find(|link| link.name == full) {
                return Ok(link.cid);
            }
            let deeper = links.iter().find(|link| link.name == prefix);
            at = deeper.ok_or_else(absent)?.cid;
            depth += 1;
        }
    }
}

fn unixfs_of(block: &Block) -> Result<Option<UnixFs>, ReadError> {
    if block.cid().codec() != DAG_PB {
        return Ok(None);
    }
    let node = UnixFs::decode(block.bytes());
    node.map(Some).map_err(|error| ReadError::damaged(block.cid(), error.to_string()))
}

fn kind_and_size(block: &Block) -> Result<(EntryKind, u64), ReadError> {
    let length = block.bytes().len() as u64;
    if block.cid().codec() == RAW {
        return Ok((EntryKind::File, length));
    }
    if block.cid().codec() != DAG_PB {
        return Ok((EntryKind::Data, length));
    }
    Ok(match UnixFs::decode(block.bytes()) {
        Ok(UnixFs::File(node)) => (EntryKind::File, node.size),
        Ok(UnixFs::Symlink(target)) => (EntryKind::Symlink, target.len() as u64),
        Ok(UnixFs::Directory(_) | UnixFs::Hamt { .. }) => (EntryKind::Directory, 0),
        Err(_) => (EntryKind::Data, length), // dag-pb that is not UnixFS is still data
    })
}

fn file_node(block: &Block) -> Result<FileNode, ReadError> {
    if block.cid().codec() == RAW {
        return Ok(FileNode::of_bytes(block.bytes().to_vec()));
    }
    match unixfs_of(block)? {
        Some(UnixFs::File(node)) => Ok(node),
        _ => Err(ReadError::NotThere(format!("{} is not a file", block.cid()))),
    }
}

/// A file that can be read at any offset, by many threads.
pub struct FileReader {
    cid: Cid,
    length: u64,
    source: Source,
}

enum Source {
    /// The whole file lies in one piece.
    Blob(Arc<File>),
    /// It is put together from blocks.
    Dag { store: Store, nodes: NodeCache },
}

impl FileReader {
    /// Bytes in the file.
    #[allow(clippy::len_without_is_empty)] // a file of no bytes is nothing special
    pub fn len(&self) -> u64 {
        self.length
    }

    pub fn cid(&self) -> &Cid {
        &self.cid
    }

    /// Fills `buffer` from `offset`; fewer bytes only at the end of the file or before a missing block. When
    /// the very first byte is missing, the error names the block to fetch.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, ReadError> {
        let left = self.length.saturating_sub(offset);
        let want = left.min(buffer.len() as u64) as usize;
        let buffer = &mut buffer[..want];
        match &self.source {
            Source::Blob(file) => file
                .read_exact_at(buffer, offset)
                .map(|()| want)
                .map_err(|error| ReadError::damaged(&self.cid, error.to_string())),
            Source::Dag { store, nodes } => self.read_dag(store, nodes, offset, buffer),
        }
    }

    fn read_dag(&self, store: &Store, nodes: &NodeCache, offset: u64, buffer: &mut [u8]) -> Result<usize, ReadError> {
        let mut done = 0;
        while done < buffer.len() {
            match self.read_piece(store, nodes, offset + done as u64, &mut buffer[done..]) {
                Ok(count) => done += count,
                Err(_) if done > 0 => return Ok(done), // the next call says what is wrong
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    /// Reads from the one leaf that holds `offset`.
    fn read_piece(&self, store: &Store, nodes: &NodeCache, offset: u64, buffer: &mut [u8]) -> Result<usize, ReadError> {
        let (mut cid, mut at, mut expected) = (self.cid, offset, self.length);
        for _ in 0..MAX_FILE_DEPTH {
            let node = cached_node(store, nodes, &cid)?;
            if node.size != expected {
                let reason = format!("{} bytes where {expected} were promised", node.size);
                return Err(ReadError::damaged(&cid, reason));
            }
            if let Some(bytes) = node.inline.get(at as usize..).filter(|b| !b.is_empty()) {
                let count = bytes.len().min(buffer.len());
                buffer[..count].copy_from_slice(&bytes[..count]);
                return Ok(count);
            }
            let part = node.part_at(at).ok_or_else(|| ReadError::damaged(&cid, "its parts do not add up"))?;
            (cid, expected) = (part.cid, part.size);
            at -= part.start;
        }
        Err(ReadError::damaged(&self.cid, "the file's tree is too deep"))
    }
}

fn cached_node(store: &Store, nodes: &NodeCache, cid: &Cid) -> Result<Arc<FileNode>, ReadError> {
    {
        let mut cache = nodes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = cache.iter().position(|(held, _)| held == cid) {
            let hit = cache.remove(at);
            let node = Arc::clone(&hit.1);
            cache.push(hit);
            return Ok(node);
        }
    }
    let node = Arc::new(file_node(&store.require(cid)?)?);
    let mut cache = nodes.lock().unwrap_or_else(PoisonError::into_inner);
    if cache.len() >= CACHED_NODES {
        cache.remove(0);
    }
    cache.push((*cid, Arc::clone(&node)));
    Ok(node)
}
