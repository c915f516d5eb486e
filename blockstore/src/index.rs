//! sled: multihash → location. The only file that names sled, and all of it may be lost.
//!
//! sled reopens with a silently shorter prefix after damage, and may panic inside a read. So every call goes
//! through a guard that turns a panic or an error into [`Broken`], which means "rebuild me", and the index
//! carries its own marks: the last journal number and, for each pack, the byte up to which it has been applied.
//! A mark is written after the entries it speaks for, so a lost tail loses the mark too.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, RwLock};

use crate::location::Location;
use crate::stored;

/// sled grew without bound on batches of 10,000 entries; 100 was fine.
const BATCH: usize = 100;
/// Marks live in their own tree so that no multihash can collide with them.
const MARKS: &str = "marks";
const BLOCKS: &str = "blocks";
const JOURNAL_MARK: &[u8] = b"journal";

/// The index failed and must be rebuilt.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Broken(pub String);

struct Trees {
    database: sled::Db,
    blocks: sled::Tree,
    marks: sled::Tree,
}

/// Journal numbers that were applied out of order wait here for the gap before them to close.
struct Applied {
    journal: u64,
    ahead: BTreeSet<u64>,
    packs: BTreeMap<u64, u64>,
}

pub(crate) struct Index {
    dir: PathBuf,
    cache_bytes: u64,
    trees: RwLock<Option<Trees>>,
    applied: Mutex<Applied>,
}

impl Index {
    /// Opens what is there. A failure leaves an index that answers [`Broken`] until it is rebuilt.
    pub fn open(dir: &Path, cache_bytes: u64) -> Index {
        let index =
            Index { dir: dir.to_owned(), cache_bytes, trees: RwLock::new(None), applied: Mutex::new(Applied::none()) };
        match guarded(|| open_trees(dir, cache_bytes)) {
            Ok((trees, applied)) => {
                *index.trees.write().unwrap_or_else(PoisonError::into_inner) = Some(trees);
                *index.lock_applied() = applied;
            }
            Err(error) => tracing::warn!(%error, "the block index did not open"),
        }
        index
    }

    pub fn get(&self, key: &[u8]) -> Result<Option<Location>, Broken> {
        let found = self.with(|trees| trees.blocks.get(key))?;
        match found {
            None => Ok(None),
            Some(bytes) => match stored::decode_location(&bytes) {
                Ok(location) => Ok(Some(location)),
                Err(error) => Err(self.fail(Broken(error.to_string()))),
            },
        }
    }

    pub fn insert(&self, entries: &[(Vec<u8>, Location)]) -> Result<(), Broken> {
        for part in entries.chunks(BATCH) {
            self.with(|trees| {
                let mut batch = sled::Batch::default();
                for (key, location) in part {
                    batch.insert(key.as_slice(), stored::encode_location(location));
                }
                trees.blocks.apply_batch(batch)
            })?;
        }
        Ok(())
    }

    /// Says that everything journal entry `number` brought is inserted.
    pub fn mark_journal(&self, number: u64) -> Result<(), Broken> {
        let mut applied = self.lock_applied();
        if number > applied.journal {
            applied.ahead.insert(number);
        }
        let before = applied.journal;
        while applied.ahead.first() == Some(&(applied.journal + 1)) {
            applied.ahead.pop_first();
            applied.journal += 1;
        }
        if applied.journal == before {
            return Ok(());
        }
        let value = stored::encode_number(applied.journal);
        self.with(|trees| trees.marks.insert(JOURNAL_MARK, value.as_slice()))?;
        Ok(())
    }

    /// Says that the bytes `from..to` of a pack are inserted. Kept only if nothing before `from` is missing.
    pub fn mark_pack(&self, pack: u64, from: u64, to: u64) -> Result<(), Broken> {
        let mut applied = self.lock_applied();
        let mark = applied.packs.entry(pack).or_insert(0);
        if from > *mark || to <= *mark {
            return Ok(());
        }
        *mark = to;
        let value = stored::encode_number(to);
        self.with(|trees| trees.marks.insert(pack_key(pack), value.as_slice()))?;
        Ok(())
    }

    pub fn journal_mark(&self) -> u64 {
        self.lock_applied().journal
    }

    pub fn pack_mark(&self, pack: u64) -> u64 {
        self.lock_applied().packs.get(&pack).copied().unwrap_or(0)
    }

    pub fn is_usable(&self) -> bool {
        let trees = self.trees.read().unwrap_or_else(PoisonError::into_inner);
        trees.is_some()
    }

    /// Closes the index because its owner knows that something is missing from it.
    pub fn distrust(&self, reason: &str) {
        self.fail(Broken(reason.to_owned()));
    }

    /// Throws the index away and lets `fill` build it anew. Readers and adders wait meanwhile, because a half
    /// filled index would call present blocks missing.
    pub fn rebuild<E>(&self, fill: impl FnOnce(&mut Filler<'_>) -> Result<(), E>) -> Result<Result<(), E>, Broken> {
        // Always marks before trees, as in `mark_journal`, or the two would wait for each other.
        let mut applied = self.lock_applied();
        let mut trees = self.trees.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(old) = trees.take() {
            // A broken sled may panic on its way out; its files are deleted next in any case.
            let _ = guarded(move || {
                drop(old);
                Ok(())
            });
        }
        remove_dir(&self.dir).map_err(|error| Broken(error.to_string()))?;
        let (fresh, empty) = guarded(|| open_trees(&self.dir, self.cache_bytes))?;
        *applied = empty;
        let outcome = fill(&mut Filler { trees: &fresh, applied: &mut applied });
        if outcome.is_ok() {
            guarded(|| fresh.database.flush())?;
            *trees = Some(fresh);
        }
        Ok(outcome)
    }

    fn lock_applied(&self) -> std::sync::MutexGuard<'_, Applied> {
        self.applied.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, body: impl FnOnce(&Trees) -> sled::Result<T>) -> Result<T, Broken> {
        let outcome = {
            let trees = self.trees.read().unwrap_or_else(PoisonError::into_inner);
            match trees.as_ref() {
                Some(trees) => guarded(|| body(trees)),
                None => return Err(Broken("the index is not open".into())),
            }
        };
        outcome.map_err(|error| self.fail(error))
    }

    /// Closes the index after a failure, so that nobody reads from what is left of it.
    fn fail(&self, error: Broken) -> Broken {
        tracing::error!(%error, "the block index failed and will be rebuilt");
        let mut trees = self.trees.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(old) = trees.take() {
            let _ = guarded(move || {
                drop(old);
                Ok(())
            });
        }
        error
    }
}

/// Writes into an index that nobody else can see yet.
pub(crate) struct Filler<'a> {
    trees: &'a Trees,
    applied: &'a mut Applied,
}

impl Filler<'_> {
    pub fn insert(&self, entries: &[(Vec<u8>, Location)]) -> Result<(), Broken> {
        for part in entries.chunks(BATCH) {
            guarded(|| {
                let mut batch = sled::Batch::default();
                for (key, location) in part {
                    batch.insert(key.as_slice(), stored::encode_location(location));
                }
                self.trees.blocks.apply_batch(batch)
            })?;
        }
        Ok(())
    }

    pub fn mark_journal(&mut self, number: u64) -> Result<(), Broken> {
        self.applied.journal = number;
        let value = stored::encode_number(number);
        guarded(|| self.trees.marks.insert(JOURNAL_MARK, value.as_slice()))?;
        Ok(())
    }

    pub fn mark_pack(&mut self, pack: u64, to: u64) -> Result<(), Broken> {
        self.applied.packs.insert(pack, to);
        let value = stored::encode_number(to);
        guarded(|| self.trees.marks.insert(pack_key(pack), value.as_slice()))?;
        Ok(())
    }
}

impl Applied {
    fn none() -> Applied {
        Applied { journal: 0, ahead: BTreeSet::new(), packs: BTreeMap::new() }
    }
}

fn pack_key(pack: u64) -> Vec<u8> {
    let mut key = b"pack".to_vec();
    key.extend_from_slice(&pack.to_be_bytes());
    key
}

fn remove_dir(dir: &Path) -> std::io::Result<()> {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            // Something that is not a directory may stand in the way.
            std::fs::remove_file(dir)
        }
        _ => Ok(()),
    }
}

fn open_trees(dir: &Path, cache_bytes: u64) -> sled::Result<(Trees, Applied)> {
    let database = sled::Config::new().path(dir).cache_capacity(cache_bytes).open()?;
    let blocks = database.open_tree(BLOCKS)?;
    let marks = database.open_tree(MARKS)?;
    let mut applied = Applied::none();
    for mark in marks.iter() {
        let (key, value) = mark?;
        let number = stored::decode_number(&value).map_err(|error| sled::Error::Unsupported(error.to_string()))?;
        if key == JOURNAL_MARK {
            applied.journal = number;
        } else if let Some(pack) = key.strip_prefix(b"pack") {
            let pack = pack.try_into().map_or(0, u64::from_be_bytes);
            applied.packs.insert(pack, number);
        }
    }
    let trees = Trees { database, blocks, marks };
    Ok((trees, applied))
}

/// Runs a piece of sled so that neither its errors nor its panics get out.
fn guarded<T>(body: impl FnOnce() -> sled::Result<T>) -> Result<T, Broken> {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(Broken(error.to_string())),
        Err(panic) => {
            let text = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied())
                .unwrap_or("no message");
            Err(Broken(format!("sled panicked: {text}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::location::Container;

    fn location(offset: u64) -> Location {
        Location { container: Container::Pack(1), offset, length: 5 }
    }

    #[test]
    fn the_journal_mark_never_jumps_a_gap() {
        let dir = tempfile::tempdir().expect("a scratch directory");
        let index = Index::open(&dir.path().join("index"), 1 << 20);
        for number in [2, 3, 5] {
            index.mark_journal(number).expect("mark");
        }
        assert_eq!(index.journal_mark(), 0);
        index.mark_journal(1).expect("mark");
        assert_eq!(index.journal_mark(), 3);
        index.mark_journal(4).expect("mark");
        assert_eq!(index.journal_mark(), 5);
    }

    #[test]
    fn a_pack_mark_is_only_moved_from_where_it_stands() {
        let dir = tempfile::tempdir().expect("a scratch directory");
        let index = Index::open(&dir.path().join("index"), 1 << 20);
        index.mark_pack(1, 10, 20).expect("mark");
        assert_eq!(index.pack_mark(1), 0);
        index.mark_pack(1, 0, 10).expect("mark");
        index.mark_pack(1, 10, 20).expect("mark");
        assert_eq!(index.pack_mark(1), 20);
    }

    #[test]
    fn garbage_in_the_directory_is_a_rebuild_and_not_a_panic() {
        let dir = tempfile::tempdir().expect("a scratch directory");
        let path = dir.path().join("index");
        {
            let index = Index::open(&path, 1 << 20);
            index.insert(&[(b"k".to_vec(), location(1))]).expect("insert");
        }
        std::fs::write(path.join("conf"), b"not a sled configuration").expect("damage");
        let index = Index::open(&path, 1 << 20);
        assert!(!index.is_usable());
        assert!(index.get(b"k").is_err());
        let filled: Result<(), Broken> =
            index.rebuild(|filler| filler.insert(&[(b"k".to_vec(), location(9))])).expect("rebuild");
        filled.expect("fill");
        assert_eq!(index.get(b"k").expect("get"), Some(location(9)));
    }
}
