//! The way in: files, streams, directories, symbolic links and loose blocks.
//!
//! Everything that returns `Ok` is durable. Everything that returns `Err`, or is dropped, has left nothing
//! behind.

use std::fs::File;
use std::io::{self, Read, Write as _};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use cid::Cid;
use tempfile::NamedTempFile;

use crate::blob::{Bytes, Import, Seen};
use crate::block::Block;
use crate::cid::IDENTITY;
use crate::error::{AddError, ReadError};
use crate::hash::hash_small;
use crate::journal::{FileNote, Home};
use crate::pack::Ticket;
use crate::state::{Slot, Write};
use crate::store::{Audience, Store};
use crate::stored;
use crate::unixfs::directory::BuiltNode;
use crate::unixfs::{CHUNK_BYTES, DirectoryEntry, EntryKind, build_directory, build_symlink};

/// Bytes appended to a pack before one fsync when a large slice of blocks is put.
const PUT_BYTES: usize = 32 << 20;

/// What to do with a file that is added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ingest {
    /// Leave it where it is.
    Copy,
    /// It is ours now, and gone from its old place. Whoever wrote it must have closed it. It is renamed where
    /// that is safe (same file system, one link, a regular file), else copied and removed.
    Move,
}

/// What was added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Added {
    pub cid: Cid,
    pub kind: EntryKind,
    /// Bytes of the file; for a directory, 0.
    pub size: u64,
    /// Bytes of all blocks: what a directory entry carries as its size.
    pub cumulative_size: u64,
    /// SHA3-256 of a file's bytes.
    pub content_hash: Option<[u8; 32]>,
    /// BLAKE3 of a file's bytes.
    pub blake3: Option<[u8; 32]>,
}

impl Added {
    pub(crate) fn file(cid: Cid, note: &FileNote) -> Added {
        Added {
            cid,
            kind: EntryKind::File,
            size: note.size,
            cumulative_size: note.cumulative_size,
            content_hash: Some(note.content_hash),
            blake3: Some(note.blake3),
        }
    }

    fn node(built: &BuiltNode, kind: EntryKind, size: u64) -> Added {
        Added { cid: built.cid, kind, size, cumulative_size: built.cumulative_bytes, content_hash: None, blake3: None }
    }

    /// This as an entry of a directory.
    pub fn entry(&self, name: impl Into<String>) -> DirectoryEntry {
        DirectoryEntry { name: name.into(), cid: self.cid, size: self.cumulative_size, kind: self.kind }
    }
}

/// A file of one block, ready to be stored.
pub(crate) struct SmallFile {
    pub block: Block,
    pub added: Added,
    pub note: FileNote,
}

impl SmallFile {
    pub fn new(bytes: Vec<u8>) -> Result<SmallFile, AddError> {
        let hashes = hash_small(&bytes);
        let size = bytes.len() as u64;
        let note = FileNote {
            size,
            cumulative_size: size,
            blake3: hashes.blake3,
            content_hash: hashes.sha3,
            home: Home::Pack,
        };
        let block = Block::raw(bytes)?;
        let added = Added::file(*block.cid(), &note);
        Ok(SmallFile { block, added, note })
    }
}

impl Store {
    /// Adds a regular file.
    pub fn add_file(&self, path: &Path, ingest: Ingest) -> Result<Added, AddError> {
        let metadata = std::fs::symlink_metadata(path).map_err(|e| AddError::io("read", path, e))?;
        if !metadata.is_file() {
            let what = format!("{} is not a regular file", path.display());
            return Err(AddError::Input(what));
        }
        if ingest == Ingest::Move && self.may_rename(&metadata)? {
            return self.move_file(path);
        }
        self.check_room(metadata.len())?;
        let added = self.copy_file(path)?;
        if ingest == Ingest::Move {
            std::fs::remove_file(path).map_err(|e| AddError::io("remove", path, e))?;
        }
        Ok(added)
    }

    /// A stream that becomes a file when it is finished, and nothing when it is dropped.
    pub fn file_writer(&self) -> Result<FileWriter, AddError> {
        self.check_room(0)?;
        Ok(FileWriter { store: self.clone(), buffer: Vec::new(), large: None, failed: None })
    }

    /// Makes a directory of things that have been added (their blocks need not be here).
    pub fn add_directory(&self, entries: Vec<DirectoryEntry>) -> Result<Added, AddError> {
        let built = build_directory(entries).map_err(AddError::Input)?;
        self.put(&built.blocks)?;
        Ok(Added::node(&built, EntryKind::Directory, 0))
    }

    /// Makes a symbolic link.
    pub fn add_symlink(&self, target: &str) -> Result<Added, AddError> {
        let built = build_symlink(target).map_err(AddError::Input)?;
        self.put(&built.blocks)?;
        let size = target.len() as u64;
        Ok(Added::node(&built, EntryKind::Symlink, size))
    }

    /// Stores loose blocks; all are durable on return. Blocks that are here already cost nothing.
    pub fn put(&self, blocks: &[Block]) -> Result<(), AddError> {
        let mut last = None;
        let mut group = Vec::new();
        let mut bytes = 0;
        for block in blocks {
            if block.cid().hash().code() == IDENTITY || self.holds(block.cid())? {
                continue;
            }
            bytes += block.bytes().len();
            group.push(block.clone());
            if bytes >= PUT_BYTES {
                last = Some(self.append(&group, bytes)?);
                group.clear();
                bytes = 0;
            }
        }
        if !group.is_empty() {
            last = Some(self.append(&group, bytes)?);
        }
        match last {
            Some(ticket) => self.sync(ticket),
            None => Ok(()),
        }
    }

    /// Stores a file of one block with what we know of it.
    pub(crate) fn add_small(&self, files: &[SmallFile]) -> Result<(), AddError> {
        let blocks: Vec<Block> = files.iter().map(|file| file.block.clone()).collect();
        self.put(&blocks)?;
        let notes = files.iter().map(|file| {
            let key = file.added.cid.to_bytes();
            Write::Put(Slot::Files, key, stored::encode_note(&file.note))
        });
        self.inner.state.write(notes.collect())?;
        Ok(())
    }

    fn append(&self, group: &[Block], bytes: usize) -> Result<Ticket, AddError> {
        self.check_room(bytes as u64)?;
        self.inner.packs.append(group, &self.inner.state)
    }

    fn sync(&self, ticket: Ticket) -> Result<(), AddError> {
        let inner = &self.inner;
        inner.packs.sync(ticket, &inner.index, &inner.state)
    }

    /// Whether a block is here and durable. An index that cannot say counts as "no": storing twice is harmless.
    fn holds(&self, cid: &Cid) -> Result<bool, AddError> {
        match self.has(cid, Audience::Local) {
            Ok(held) => Ok(held),
            Err(ReadError::State(error)) => Err(error.into()),
            Err(_) => Ok(false),
        }
    }

    fn copy_file(&self, path: &Path) -> Result<Added, AddError> {
        let read = |error| AddError::io("read", path, error);
        let mut source = File::open(path).map_err(read)?;
        let mut writer = self.file_writer()?;
        loop {
            let mut chunk = Vec::with_capacity(CHUNK_BYTES);
            let count = (&mut source).take(CHUNK_BYTES as u64).read_to_end(&mut chunk).map_err(read)?;
            if count == 0 {
                return writer.finish();
            }
            if writer.write_all(&chunk).is_err() {
                return writer.finish(); // which knows why
            }
        }
    }

    /// Whether a rename would give us the only name of the file, on our own file system.
    fn may_rename(&self, metadata: &std::fs::Metadata) -> Result<bool, AddError> {
        let blobs = self.inner.places.blobs();
        let ours = std::fs::metadata(&blobs).map_err(|e| AddError::io("read", &blobs, e))?;
        let seen = Seen::of(metadata);
        let large = metadata.len() > CHUNK_BYTES as u64;
        Ok(large && seen.links() == 1 && seen.device() == ours.dev())
    }

    fn move_file(&self, path: &Path) -> Result<Added, AddError> {
        self.check_room(0)?;
        let fault = |error| AddError::io("add", path, error);
        let mut import = Import::start(&self.inner.places).map_err(fault)?;
        let mut source = File::open(path).map_err(fault)?;
        let seen = Seen::of(&source.metadata().map_err(fault)?);
        loop {
            let mut chunk = Vec::with_capacity(CHUNK_BYTES);
            let limit = CHUNK_BYTES as u64;
            let count = (&mut source).take(limit).read_to_end(&mut chunk).map_err(fault)?;
            if count == 0 {
                break;
            }
            import.chunk(&Arc::new(chunk)).map_err(fault)?;
        }
        let imported = import.finish().map_err(fault)?;
        let bytes = Bytes::Users { path: path.to_owned(), seen };
        self.adopt(imported, bytes)
    }
}

/// A file being written. Dropping it leaves nothing behind.
pub struct FileWriter {
    store: Store,
    /// Bytes of the chunk that is being filled.
    buffer: Vec<u8>,
    /// Present from the second chunk on.
    large: Option<Large>,
    failed: Option<AddError>,
}

struct Large {
    import: Import,
    scratch: NamedTempFile,
}

impl FileWriter {
    /// Makes the file durable and names it.
    pub fn finish(mut self) -> Result<Added, AddError> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        if self.large.is_none() {
            let file = SmallFile::new(std::mem::take(&mut self.buffer))?;
            let added = file.added.clone();
            self.store.add_small(&[file])?;
            return Ok(added);
        }
        if !self.buffer.is_empty() {
            self.flush_chunk()?;
        }
        let Large { import, scratch } = self.large.take().expect("checked above");
        let fault = |error| AddError::io("store", self.store.inner.places.root(), error);
        let imported = import.finish().map_err(fault)?;
        self.store.adopt(imported, Bytes::Scratch(scratch))
    }

    fn flush_chunk(&mut self) -> Result<(), AddError> {
        let chunk = Arc::new(std::mem::take(&mut self.buffer));
        self.store.check_room(chunk.len() as u64)?;
        let places = &self.store.inner.places;
        let fault = |error| AddError::io("write", places.root(), error);
        if self.large.is_none() {
            let import = Import::start(places).map_err(fault)?;
            let scratch = NamedTempFile::new_in(places.incoming()).map_err(fault)?;
            self.large = Some(Large { import, scratch });
        }
        let large = self.large.as_mut().expect("set just above");
        large.scratch.write_all(&chunk).and_then(|()| large.import.chunk(&chunk)).map_err(fault)
    }
}

impl io::Write for FileWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.failed.is_some() {
            return Err(io::Error::other("an earlier write failed"));
        }
        // A full chunk waits for one byte more: a file of exactly one chunk is a single block.
        if self.buffer.len() == CHUNK_BYTES
            && !bytes.is_empty()
            && let Err(error) = self.flush_chunk()
        {
            let kind = match &error {
                AddError::NoSpace { .. } => io::ErrorKind::StorageFull,
                _ => io::ErrorKind::Other,
            };
            let told = io::Error::new(kind, error.to_string());
            self.failed = Some(error);
            return Err(told);
        }
        let room = CHUNK_BYTES - self.buffer.len();
        let taken = room.min(bytes.len());
        self.buffer.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    /// Nothing is durable before [`FileWriter::finish`]; this does nothing.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
