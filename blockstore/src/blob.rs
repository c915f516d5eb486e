//! Blobs: whole files under `blobs/ab/<blake3>` with their `.dag` beside them.
//!
//! [`Import`] hashes the bytes of a large file once and writes the `.dag` as it goes. [`Store::adopt`] then
//! makes it ours in the one order that survives a crash: data fsync, `.dag` fsync, renames, directory fsync,
//! journal commit; the index follows. Whatever fails before the commit leaves nothing behind.

use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use cid::Cid;
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use crate::add::Added;
use crate::cid::{key, raw_cid_of_digest};
use crate::dag::reference::{ReferenceError, ReferenceWriter, Referenced, read_reference};
use crate::disk;
use crate::error::AddError;
use crate::files::Places;
use crate::hash::FileHasher;
use crate::index::{Broken, Index};
use crate::journal::{FileNote, Home, JournalEntry};
use crate::location::{Container, Location};
use crate::state::{Slot, Write};
use crate::store::Store;
use crate::unixfs::Layout;

/// Nobody but root can write to a blob by accident.
const READ_ONLY: u32 = 0o444;
/// Adds of different files rarely share a lane, and may then wait for one fsync of each other.
pub(crate) const ADOPT_LANES: usize = 64;
/// Entries handed to the index at a time.
const INDEX_BATCH: usize = 100;

/// A large file that is being hashed.
pub(crate) struct Import {
    hasher: FileHasher,
    layout: Layout,
    dag: ReferenceWriter,
    dag_file: NamedTempFile,
    bytes: u64,
}

/// A large file that has been hashed; its `.dag` is durable under a temporary name.
pub(crate) struct Imported {
    root: Cid,
    note: FileNote,
    dag_file: NamedTempFile,
}

impl Import {
    pub fn start(places: &Places) -> io::Result<Import> {
        let dag_file = NamedTempFile::new_in(places.incoming())?;
        Ok(Import {
            hasher: FileHasher::start()?,
            layout: Layout::default(),
            dag: ReferenceWriter::create(dag_file.reopen()?)?,
            dag_file,
            bytes: 0,
        })
    }

    /// The next chunk of the file: a full one, except for the last.
    pub fn chunk(&mut self, chunk: &Arc<Vec<u8>>) -> io::Result<()> {
        self.hasher.update(chunk); // first, so that the SHA3 thread works while we do
        let digest: [u8; 32] = Sha256::digest(chunk.as_slice()).into();
        let cid = raw_cid_of_digest(&digest);
        let mut ready = Vec::new();
        self.layout.leaf(cid, chunk.len() as u64, &mut ready);
        self.dag.leaf(cid, self.bytes, chunk.len() as u32)?;
        self.bytes += chunk.len() as u64;
        ready.iter().try_for_each(|node| self.dag.node(&node.cid, &node.bytes))
    }

    pub fn finish(self) -> io::Result<Imported> {
        let Import { hasher, layout, mut dag, dag_file, bytes } = self;
        let mut ready = Vec::new();
        let root = layout.finish(&mut ready);
        for node in &ready {
            dag.node(&node.cid, &node.bytes)?;
        }
        dag.finish(&root.cid)?;
        let hashes = hasher.finish();
        debug_assert_eq!(root.file_bytes, bytes);
        Ok(Imported {
            root: root.cid,
            note: FileNote {
                size: bytes,
                cumulative_size: root.cumulative_bytes,
                blake3: hashes.blake3,
                content_hash: hashes.sha3,
                home: Home::Blob,
            },
            dag_file,
        })
    }
}

impl Imported {
    pub fn blake3(&self) -> &[u8; 32] {
        &self.note.blake3
    }

    /// Puts the `.dag` beside a blob that is in its place already; gives what the journal should say of it.
    pub fn restore_reference(self, places: &Places) -> io::Result<(JournalEntry, FileNote)> {
        let blake3 = self.note.blake3;
        name_dag(self.dag_file, &places.dag(&blake3, &self.root))?;
        disk::sync_directory(&places.blob_dir(&blake3))?;
        let entry = JournalEntry::BlobAdded { blake3, root: self.root, size: self.note.size };
        Ok((entry, self.note))
    }
}

/// Where the bytes of an imported file are now.
pub(crate) enum Bytes {
    /// In a scratch file of ours, which vanishes if it is not adopted.
    Scratch(NamedTempFile),
    /// In a user's file that is to be moved in; untouched if anything fails.
    Users { path: PathBuf, seen: Seen },
}

/// What a file looked like when we started to read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    links: u64,
}

impl Seen {
    pub fn of(metadata: &std::fs::Metadata) -> Seen {
        Seen {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            links: metadata.nlink(),
        }
    }

    pub fn links(&self) -> u64 {
        self.links
    }

    pub fn device(&self) -> u64 {
        self.device
    }
}

impl Store {
    /// Makes an imported file part of the store. Durable on return.
    pub(crate) fn adopt(&self, imported: Imported, bytes: Bytes) -> Result<Added, AddError> {
        let Imported { root, note, dag_file } = imported;
        // Two adds of one file must not undo each other's blob.
        let turn = &self.inner.adopting[usize::from(note.blake3[0]) % ADOPT_LANES];
        let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
        if self.holds_blob(&root, &note)? {
            if let Bytes::Users { path, .. } = &bytes {
                std::fs::remove_file(path).map_err(|e| AddError::io("remove", path, e))?;
            }
            return Ok(Added::file(root, &note));
        }
        let places = &self.inner.places;
        let blob = places.blob(&note.blake3);
        let dag = places.dag(&note.blake3, &root);
        let dir = places.blob_dir(&note.blake3);
        let fault = |error| AddError::io("store", &blob, error);
        disk::create_directory(&dir).map_err(fault)?;
        let undo = move_in(bytes, &blob).map_err(fault)?;
        let named = name_dag(dag_file, &dag).and_then(|()| disk::sync_directory(&dir));
        if let Err(error) = named {
            self.undo_unless_known(undo, &root, &dag);
            return Err(fault(error));
        }
        let entry = JournalEntry::BlobAdded { blake3: note.blake3, root, size: note.size };
        let numbers = match self.inner.state.write(vec![Write::Blob(entry, note.clone())]) {
            Ok(numbers) => numbers,
            Err(error) => {
                self.undo_unless_known(undo, &root, &dag);
                return Err(error.into());
            }
        };
        self.inner.files.forget(&Container::Blob(note.blake3));
        self.index_blob(&root, &note, &numbers);
        Ok(Added::file(root, &note))
    }

    /// A commit that failed may have reached the disk all the same, and an earlier add may have promised this
    /// blob: only a clear "never heard of it" lets us take it back.
    fn undo_unless_known(&self, undo: Undo, root: &Cid, dag: &Path) {
        if matches!(self.inner.state.get_slot(Slot::Files, &root.to_bytes()), Ok(None)) {
            undo.run(dag);
        }
    }

    /// Whether this very file is journalled, on disk and indexed.
    fn holds_blob(&self, root: &Cid, note: &FileNote) -> Result<bool, AddError> {
        if self.file_note(root)?.is_none() {
            return Ok(false);
        }
        let path = self.inner.places.blob(&note.blake3);
        let on_disk = std::fs::metadata(path).is_ok_and(|found| found.len() == note.size);
        let dag = self.inner.places.dag(&note.blake3, root);
        let indexed = matches!(self.inner.index.get(&key(root)), Ok(Some(_)));
        Ok(on_disk && dag.exists() && indexed)
    }

    /// The blob is durable; an index that fails here is rebuilt from the journal.
    fn index_blob(&self, root: &Cid, note: &FileNote, numbers: &[u64]) {
        let index = &self.inner.index;
        let done = index_reference(&self.inner.places, &note.blake3, root, note.size, index);
        let marked = done.and_then(|()| {
            numbers.iter().try_for_each(|number| index.mark_journal(*number)).map_err(ReferenceFault::Index)
        });
        if let Err(error) = marked {
            // Acknowledged and not findable must never be: the next look-up rebuilds from the journal.
            index.distrust(&error.to_string());
        }
    }
}

/// How to take back a blob that was not journalled.
enum Undo {
    Remove(PathBuf),
    MoveBack { blob: PathBuf, users: PathBuf },
}

impl Undo {
    fn run(self, dag: &Path) {
        let outcome = match &self {
            Undo::Remove(blob) => std::fs::remove_file(blob),
            Undo::MoveBack { blob, users } => std::fs::rename(blob, users),
        };
        if let Err(error) = outcome {
            tracing::warn!(%error, "could not take back an unfinished add");
        }
        let _ = std::fs::remove_file(dag);
    }
}

fn move_in(bytes: Bytes, blob: &Path) -> io::Result<Undo> {
    match bytes {
        Bytes::Scratch(scratch) => {
            let read_only = Permissions::from_mode(READ_ONLY);
            scratch.as_file().set_permissions(read_only)?;
            scratch.as_file().sync_all()?;
            scratch.persist(blob).map_err(|error| error.error)?;
            Ok(Undo::Remove(blob.to_owned()))
        }
        Bytes::Users { path, seen } => {
            move_users(&path, &seen, blob)?;
            Ok(Undo::MoveBack { blob: blob.to_owned(), users: path })
        }
    }
}

/// Renames a user's file to a blob if it is still the file we hashed.
fn move_users(path: &Path, seen: &Seen, blob: &Path) -> io::Result<()> {
    let changed = || io::Error::other("the file changed while it was being added; add it again");
    let file = File::open(path)?;
    let before = file.metadata()?;
    if Seen::of(&before) != *seen {
        return Err(changed());
    }
    file.set_permissions(Permissions::from_mode(READ_ONLY))?;
    let moved = file.sync_all().and_then(|()| std::fs::rename(path, blob)).and_then(|()| {
        let now = Seen::of(&std::fs::symlink_metadata(blob)?);
        if now == *seen {
            return Ok(());
        }
        std::fs::rename(blob, path)?;
        Err(changed())
    });
    if moved.is_err() {
        let _ = file.set_permissions(before.permissions());
    }
    moved
}

fn name_dag(dag_file: NamedTempFile, dag: &Path) -> io::Result<()> {
    let read_only = Permissions::from_mode(READ_ONLY);
    dag_file.as_file().set_permissions(read_only)?;
    dag_file.persist(dag).map_err(|error| error.error)?;
    Ok(())
}

/// Why the blocks of a blob did not get into the index.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReferenceFault {
    /// The `.dag` is damaged or gone: this blob is lost to the index, others are not.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    #[error(transparent)]
    Index(#[from] Broken),
}

/// Something block locations can be put into.
pub(crate) trait Locations {
    fn put(&self, entries: &[(Vec<u8>, Location)]) -> Result<(), Broken>;
}

impl Locations for Index {
    fn put(&self, entries: &[(Vec<u8>, Location)]) -> Result<(), Broken> {
        self.insert(entries)
    }
}

/// Puts every block of a blob into the index, as its `.dag` lists them.
pub(crate) fn index_reference(
    places: &Places,
    blake3: &[u8; 32],
    root: &Cid,
    size: u64,
    into: &dyn Locations,
) -> Result<(), ReferenceFault> {
    let mut batch = Vec::with_capacity(INDEX_BATCH);
    read_reference(&places.dag(blake3, root), root, size, &mut |found| {
        batch.push(place(blake3, root, found));
        if batch.len() == INDEX_BATCH {
            into.put(&batch)?;
            batch.clear();
        }
        Ok::<(), ReferenceFault>(())
    })?;
    Ok(into.put(&batch)?)
}

fn place(blake3: &[u8; 32], root: &Cid, found: Referenced) -> (Vec<u8>, Location) {
    let blake3 = *blake3;
    let (cid, container, offset, length) = match found {
        Referenced::Node { cid, offset, length } => {
            let root = *root;
            (cid, Container::Dag { blake3, root }, offset, length)
        }
        Referenced::Leaf { cid, offset, length } => (cid, Container::Blob(blake3), offset, length),
    };
    let location = Location { container, offset, length };
    (key(&cid), location)
}
