//! The store: opens the parts, holds them together, and answers the three questions about one block.
//!
//! One process per data directory, by a lock on `<dir>/lock`. Cloning is cheap; the last clone closes.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use cid::Cid;

use crate::blob::ADOPT_LANES;
use crate::block::{Block, MAX_IDENTITY_BYTES, verify};
use crate::cid::{IDENTITY, key};
use crate::disk;
use crate::error::{AddError, OpenError, ReadError};
use crate::files::{Files, Places};
use crate::index::Index;
use crate::location::{Container, Location};
use crate::pack::Packs;
use crate::recover;
use crate::state::{self, Slot, State, StateError};
use crate::stored;

/// How a store is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// A pack is sealed when it has grown to this many bytes.
    pub pack_bytes: u64,
    /// Adds are refused when less than this would stay free, so that state and index can still be written.
    pub reserve_bytes: u64,
    /// The block index's cache.
    pub index_cache_bytes: u64,
}

impl Default for Options {
    fn default() -> Options {
        Options { pack_bytes: 1 << 30, reserve_bytes: 64 << 20, index_cache_bytes: 32 << 20 }
    }
}

/// Who asks for a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Audience {
    /// This node.
    Local,
    /// A peer that proved membership.
    Member,
    /// Anybody else: sees the public set only.
    Public,
}

/// Numbers for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub blobs: u64,
    pub packs: u64,
    /// Bytes in blobs and packs.
    pub bytes: u64,
    /// Bytes still free on the disk.
    pub free_bytes: u64,
}

/// Content on this disk.
#[derive(Clone)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub places: Places,
    pub options: Options,
    pub packs: Packs,
    pub index: Index,
    pub state: State,
    pub files: Files,
    /// One add of a blob at a time, by the first byte of its BLAKE3.
    pub adopting: [Mutex<()>; ADOPT_LANES],
    /// One change of the public set at a time.
    pub publishing: Mutex<()>,
    rebuilding: Mutex<()>,
    /// Held as long as the store is open.
    _lock: File,
}

impl Store {
    /// Opens or creates the store in `dir` and closes whatever gap a crash left.
    pub fn open(dir: &Path, options: Options) -> Result<Store, OpenError> {
        let places = Places::new(dir);
        let lock = prepare(&places)?;
        let state = State::open(&places.state())?;
        let index = Index::open(&places.index(), options.index_cache_bytes);
        let usable = index.is_usable() && index.journal_mark() <= state.last_journal()?;
        let mark = |pack| match usable {
            true => index.pack_mark(pack),
            false => 0,
        };
        let packs = Packs::open(&places, options.pack_bytes, &state, &mark)?;
        let store = Store {
            inner: Arc::new(Inner {
                files: Files::new(places.clone()),
                places,
                options,
                packs,
                index,
                state,
                adopting: std::array::from_fn(|_| Mutex::new(())),
                publishing: Mutex::new(()),
                rebuilding: Mutex::new(()),
                _lock: lock,
            }),
        };
        recover::close_gap(&store.inner, usable)?;
        store.finish_public_changes()?;
        Ok(store)
    }

    /// The node's own durable tables.
    pub fn state(&self) -> &State {
        &self.inner.state
    }

    /// One block, if it is here and the audience may see it.
    pub fn read(&self, cid: &Cid, audience: Audience) -> Result<Option<Block>, ReadError> {
        if let Some(block) = inline_block(cid) {
            return Ok(Some(block));
        }
        match self.locate(cid, audience)? {
            Some(location) => self.load(cid, &location).map(Some),
            None => Ok(None),
        }
    }

    /// Whether [`Store::read`] would find it.
    pub fn has(&self, cid: &Cid, audience: Audience) -> Result<bool, ReadError> {
        Ok(inline_block(cid).is_some() || self.locate(cid, audience)?.is_some())
    }

    /// The size of a block without loading it.
    pub fn block_size(&self, cid: &Cid, audience: Audience) -> Result<Option<u32>, ReadError> {
        if let Some(block) = inline_block(cid) {
            return Ok(Some(block.bytes().len() as u32));
        }
        Ok(self.locate(cid, audience)?.map(|location| location.length))
    }

    /// Cheap numbers for metrics.
    pub fn usage(&self) -> Result<Usage, ReadError> {
        let places = &self.inner.places;
        let extents = self.inner.packs.extents();
        let pack_bytes: u64 = extents.iter().map(|(_, end)| end).sum();
        Ok(Usage {
            blobs: self.counter(state::BLOB_COUNT)?,
            packs: extents.len() as u64,
            bytes: self.counter(state::BLOB_BYTES)?.saturating_add(pack_bytes),
            free_bytes: disk::free_bytes(places.root())
                .map_err(|error| ReadError::io("measure", places.root(), error))?,
        })
    }

    /// A block this node needs now.
    pub(crate) fn require(&self, cid: &Cid) -> Result<Block, ReadError> {
        self.read(cid, Audience::Local)?.ok_or(ReadError::Missing(*cid))
    }

    /// Refuses an add that would eat the reserve.
    pub(crate) fn check_room(&self, bytes: u64) -> Result<(), AddError> {
        let root = self.inner.places.root();
        let free = disk::free_bytes(root).map_err(|e| AddError::io("measure", root, e))?;
        match free < bytes.saturating_add(self.inner.options.reserve_bytes) {
            true => Err(AddError::io("add to", root, disk::full())),
            false => Ok(()),
        }
    }

    fn locate(&self, cid: &Cid, audience: Audience) -> Result<Option<Location>, ReadError> {
        let key = key(cid);
        if audience == Audience::Public && !self.is_public(&key)? {
            return Ok(None);
        }
        self.look_up(&key)
    }

    fn look_up(&self, key: &[u8]) -> Result<Option<Location>, ReadError> {
        if let Ok(found) = self.inner.index.get(key) {
            return Ok(found);
        }
        self.rebuild_index()?;
        let again = self.inner.index.get(key);
        again.map_err(|error| ReadError::Index(error.to_string()))
    }

    fn rebuild_index(&self) -> Result<(), ReadError> {
        let _one = self.inner.rebuilding.lock().unwrap_or_else(PoisonError::into_inner);
        if self.inner.index.is_usable() {
            return Ok(());
        }
        recover::rebuild(&self.inner).map_err(|error| ReadError::Index(error.to_string()))
    }

    fn load(&self, cid: &Cid, location: &Location) -> Result<Block, ReadError> {
        let bytes = self.inner.files.read(location).map_err(|error| {
            let reason = format!("its place in {:?} cannot be read: {error}", location.container);
            ReadError::damaged(cid, reason)
        })?;
        match location.container {
            // Ours, immutable, hashed on the way in.
            Container::Blob(_) | Container::Dag { .. } | Container::Pack(_) => {}
            // The user's: may have changed under us.
            Container::Shard(_) | Container::InPlace(_) => {
                verify(cid, &bytes).map_err(|e| ReadError::damaged(cid, e.to_string()))?;
            }
        }
        Ok(Block::trusted(*cid, bytes))
    }

    fn counter(&self, name: &[u8]) -> Result<u64, StateError> {
        let value = self.inner.state.get_slot(Slot::Meta, name)?;
        Ok(value.map_or(0, |bytes| stored::decode_number(&bytes).unwrap_or(0)))
    }
}

/// The block that an identity CID carries in itself.
fn inline_block(cid: &Cid) -> Option<Block> {
    let hash = cid.hash();
    let inline = hash.code() == IDENTITY && hash.digest().len() <= MAX_IDENTITY_BYTES;
    inline.then(|| Block::trusted(*cid, hash.digest().to_vec()))
}

/// Makes the directories, takes the lock and sweeps what was on its way in when the last process ended.
pub(crate) fn prepare(places: &Places) -> Result<File, OpenError> {
    let root = places.root();
    std::fs::create_dir_all(root).map_err(|e| OpenError::io("create", root, e))?;
    let path = places.lock();
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|error| OpenError::io("open", &path, error))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(OpenError::InUse { dir: root.to_owned() });
        }
        Err(TryLockError::Error(error)) => return Err(OpenError::io("lock", &path, error)),
    }
    for dir in [places.blobs(), places.packs()] {
        disk::create_directory(&dir).map_err(|e| OpenError::io("create", &dir, e))?;
    }
    let incoming = places.incoming();
    let swept = match std::fs::remove_dir_all(&incoming) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => disk::create_directory(&incoming),
    };
    swept.map_err(|error| OpenError::io("sweep", &incoming, error))?;
    Ok(lock)
}
