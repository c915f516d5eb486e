//! redb: what may not be lost. The only file that names redb, the only handle on `state.redb`.
//!
//! All writes go through one thread that takes what has gathered, applies it in one transaction and commits
//! once: a group commit. [`State::commit`] returns when its change is durable. The writer also numbers the
//! journal, so numbers have no gaps and follow commit order.
//!
//! After an I/O error redb refuses every later transaction; the writer then closes and reopens the file, so
//! that a disk that was full for a minute does not end the node.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, RwLock};
use std::thread::JoinHandle;

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};

use crate::disk;
use crate::journal::{FileNote, JournalEntry};
use crate::stored;
use crate::thread;

/// Commits that may wait for the writer; a caller beyond that waits in line.
const QUEUE: usize = 1024;
/// Commits taken into one transaction: bounds how long the first of them waits.
const GROUP: usize = 512;
/// redb's page cache; the hot set (pins, recent results) is small.
const CACHE_BYTES: usize = 16 << 20;
/// The largest value a caller may store; larger things are blocks, not state.
const MAX_VALUE_BYTES: usize = 16 << 20;
/// Longer keys are a mistake.
const MAX_KEY_BYTES: usize = 4096;

type Bytes = &'static [u8];
/// A key and its value.
pub type Row = (Vec<u8>, Vec<u8>);

/// The tables a node may use. Pins, the public set and the journal belong to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Table {
    Records,
    Results,
    Runs,
    Names,
    Node,
}

/// One change to a node's table.
#[derive(Clone, Debug)]
pub enum Change {
    Put { table: Table, key: Vec<u8>, value: Vec<u8> },
    Delete { table: Table, key: Vec<u8> },
}

/// Why state could not be read or written.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StateError {
    #[error("no space left on the disk of {}: free some disk, then try again", dir.display())]
    NoSpace { dir: PathBuf },
    #[error("state.redb failed: {0}")]
    Failed(String),
    #[error("state.redb is damaged: {0}; restore it from a backup, or move it away and run `artdag-node repair`")]
    Damaged(String),
    #[error("a key of {key} bytes with a value of {value} bytes is larger than state allows")]
    TooLarge { key: usize, value: usize },
    #[error("the store is closing")]
    Closed,
}

/// Every table in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    Node(Table),
    /// journal number → container
    Journal,
    /// root CID → what we know of that file
    Files,
    /// CID → pin
    Pins,
    /// root CID → its place in the public set
    PublicRoots,
    /// multihash ‖ root id: the question "is this block public?"
    PublicBlocks,
    /// root id ‖ multihash: what to take away when a root leaves
    PublicClosures,
    /// retired pack number → bytes that are still good
    RetiredPacks,
    /// counters
    Meta,
}

const EVERY_SLOT: [Slot; 13] = [
    Slot::Node(Table::Records),
    Slot::Node(Table::Results),
    Slot::Node(Table::Runs),
    Slot::Node(Table::Names),
    Slot::Node(Table::Node),
    Slot::Journal,
    Slot::Files,
    Slot::Pins,
    Slot::PublicRoots,
    Slot::PublicBlocks,
    Slot::PublicClosures,
    Slot::RetiredPacks,
    Slot::Meta,
];

impl Slot {
    fn definition(self) -> TableDefinition<'static, Bytes, Bytes> {
        TableDefinition::new(match self {
            Slot::Node(Table::Records) => "records",
            Slot::Node(Table::Results) => "results",
            Slot::Node(Table::Runs) => "runs",
            Slot::Node(Table::Names) => "names",
            Slot::Node(Table::Node) => "node",
            Slot::Journal => "store/journal",
            Slot::Files => "store/files",
            Slot::Pins => "store/pins",
            Slot::PublicRoots => "store/public-roots",
            Slot::PublicBlocks => "store/public-blocks",
            Slot::PublicClosures => "store/public-closures",
            Slot::RetiredPacks => "store/retired-packs",
            Slot::Meta => "store/meta",
        })
    }
}

/// Counters in [`Slot::Meta`].
pub(crate) const BLOB_COUNT: &[u8] = b"blob-count";
pub(crate) const BLOB_BYTES: &[u8] = b"blob-bytes";

/// A change to any table.
#[derive(Clone, Debug)]
pub(crate) enum Write {
    Put(Slot, Vec<u8>, Vec<u8>),
    Delete(Slot, Vec<u8>),
    /// Appends to the journal under the next number.
    Append(JournalEntry),
    /// A new blob: journal entry, note and counters together; nothing if its root is known already.
    Blob(JournalEntry, FileNote),
}

type Reply = Result<Vec<u64>, StateError>;

struct Command {
    writes: Vec<Write>,
    reply: SyncSender<Reply>,
}

struct Shared {
    path: PathBuf,
    database: RwLock<Option<Database>>,
}

/// The node's durable tables.
pub struct State {
    shared: Arc<Shared>,
    commands: Option<SyncSender<Command>>,
    writer: Option<JoinHandle<()>>,
}

impl State {
    pub(crate) fn open(path: &Path) -> Result<State, StateError> {
        let database = open_database(path)?;
        let shared = Arc::new(Shared { path: path.to_owned(), database: RwLock::new(Some(database)) });
        let (commands, inbox) = sync_channel(QUEUE);
        let for_writer = Arc::clone(&shared);
        let writer = thread::start("state-writer", move || write_groups(&for_writer, &inbox))
            .map_err(|error| StateError::Failed(error.to_string()))?;
        Ok(State { shared, commands: Some(commands), writer: Some(writer) })
    }

    /// One value of a node's table.
    pub fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        self.shared.get(Slot::Node(table), key)
    }

    /// Applies all changes or none; they are durable on return. Blocks; calls from many threads share one fsync.
    pub fn commit(&self, changes: Vec<Change>) -> Result<(), StateError> {
        let writes = changes
            .into_iter()
            .map(|change| match change {
                Change::Put { table, key, value } => Write::Put(Slot::Node(table), key, value),
                Change::Delete { table, key } => Write::Delete(Slot::Node(table), key),
            })
            .collect();
        self.write(writes).map(|_| ())
    }

    /// Up to `limit` pairs with keys from `from` on, in key order.
    pub fn scan(&self, table: Table, from: &[u8], limit: usize) -> Result<Vec<Row>, StateError> {
        self.scan_slot(Slot::Node(table), from, limit)
    }

    pub(crate) fn get_slot(&self, slot: Slot, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        self.shared.get(slot, key)
    }

    pub(crate) fn scan_slot(&self, slot: Slot, from: &[u8], limit: usize) -> Result<Vec<Row>, StateError> {
        self.shared.read(|database| {
            let table = database.begin_read()?.open_table(slot.definition())?;
            let mut found = Vec::new();
            for pair in table.range::<&[u8]>(from..)?.take(limit) {
                let (key, value) = pair?;
                found.push((key.value().to_vec(), value.value().to_vec()));
            }
            Ok(found)
        })
    }

    /// The highest journal number, 0 when there is none.
    pub(crate) fn last_journal(&self) -> Result<u64, StateError> {
        self.shared.read(|database| {
            let table = database.begin_read()?.open_table(Slot::Journal.definition())?;
            Ok(match table.last()? {
                Some((key, _)) => journal_number(key.value()),
                None => 0,
            })
        })
    }

    /// Hands the writes to the writer and waits; returns the journal numbers given, in order.
    pub(crate) fn write(&self, writes: Vec<Write>) -> Reply {
        writes.iter().try_for_each(check_size)?;
        let (reply, answer) = sync_channel(1);
        let commands = self.commands.as_ref().ok_or(StateError::Closed)?;
        commands.send(Command { writes, reply }).map_err(|_| StateError::Closed)?;
        answer.recv().map_err(|_| StateError::Closed)?
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.commands = None;
        if let Some(writer) = self.writer.take() {
            // The writer only panics if redb does; there is nobody left to tell.
            let _ = writer.join();
        }
    }
}

fn check_size(write: &Write) -> Result<(), StateError> {
    let (key, value) = match write {
        Write::Put(_, key, value) => (key.len(), value.len()),
        Write::Delete(_, key) => (key.len(), 0),
        Write::Append(_) | Write::Blob(..) => (0, 0),
    };
    if key > MAX_KEY_BYTES || value > MAX_VALUE_BYTES {
        return Err(StateError::TooLarge { key, value });
    }
    Ok(())
}

impl Shared {
    fn get(&self, slot: Slot, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        self.read(|database| {
            let table = database.begin_read()?.open_table(slot.definition())?;
            Ok(table.get(key)?.map(|value| value.value().to_vec()))
        })
    }

    fn read<T>(&self, body: impl FnOnce(&Database) -> Result<T, redb::Error>) -> Result<T, StateError> {
        let guard = self.database.read().map_err(|_| StateError::Failed("an earlier panic".into()))?;
        let database = guard.as_ref().ok_or(StateError::Closed)?;
        body(database).map_err(|error| self.explain(error))
    }

    fn explain(&self, error: redb::Error) -> StateError {
        explain(&self.path, error)
    }

    /// Closes and reopens after an I/O error, because redb will not serve again otherwise.
    fn reopen(&self) {
        let Ok(mut guard) = self.database.write() else {
            return;
        };
        *guard = None;
        match open_database(&self.path) {
            Ok(database) => *guard = Some(database),
            Err(error) => tracing::error!(%error, "state.redb did not reopen"),
        }
    }
}

fn explain(path: &Path, error: redb::Error) -> StateError {
    match error {
        redb::Error::Io(io) if disk::is_full(&io) => {
            StateError::NoSpace { dir: path.parent().unwrap_or(path).to_owned() }
        }
        redb::Error::Corrupted(reason) => StateError::Damaged(reason),
        other => StateError::Failed(other.to_string()),
    }
}

fn open_database(path: &Path) -> Result<Database, StateError> {
    let attempt = || -> Result<Database, redb::Error> {
        let database = Database::builder().set_cache_size(CACHE_BYTES).create(path)?;
        let transaction = database.begin_write()?;
        for slot in EVERY_SLOT {
            transaction.open_table(slot.definition())?;
        }
        transaction.commit()?;
        Ok(database)
    };
    let database = attempt().map_err(|error| explain(path, error))?;
    let parent = path.parent().unwrap_or(path);
    disk::sync_directory(parent).map_err(|error: io::Error| explain(path, redb::Error::Io(error)))?;
    Ok(database)
}

fn write_groups(shared: &Shared, inbox: &Receiver<Command>) {
    while let Ok(first) = inbox.recv() {
        let mut group = vec![first];
        while group.len() < GROUP {
            match inbox.try_recv() {
                Ok(command) => group.push(command),
                Err(_) => break,
            }
        }
        let outcome = match shared.read(|database| commit_group(database, &group)) {
            Err(error) => {
                shared.reopen();
                Err(error)
            }
            done => done,
        };
        answer(group, outcome);
    }
}

fn answer(group: Vec<Command>, outcome: Result<Vec<Vec<u64>>, StateError>) {
    match outcome {
        Ok(numbers) => {
            for (command, numbers) in group.into_iter().zip(numbers) {
                // A caller that went away does not need its answer.
                let _ = command.reply.send(Ok(numbers));
            }
        }
        Err(error) => {
            for command in group {
                let _ = command.reply.send(Err(error.clone()));
            }
        }
    }
}

fn commit_group(database: &Database, group: &[Command]) -> Result<Vec<Vec<u64>>, redb::Error> {
    let transaction = database.begin_write()?;
    let mut numbers = Vec::with_capacity(group.len());
    for command in group {
        let mut given = Vec::new();
        for write in &command.writes {
            given.extend(apply(&transaction, write)?);
        }
        numbers.push(given);
    }
    transaction.commit()?;
    Ok(numbers)
}

fn apply(transaction: &WriteTransaction, write: &Write) -> Result<Option<u64>, redb::Error> {
    match write {
        Write::Put(slot, key, value) => {
            let mut table = transaction.open_table(slot.definition())?;
            table.insert(key.as_slice(), value.as_slice())?;
            Ok(None)
        }
        Write::Delete(slot, key) => {
            let mut table = transaction.open_table(slot.definition())?;
            table.remove(key.as_slice())?;
            Ok(None)
        }
        Write::Append(entry) => append(transaction, entry).map(Some),
        Write::Blob(entry, note) => add_blob(transaction, entry, note),
    }
}

fn append(transaction: &WriteTransaction, entry: &JournalEntry) -> Result<u64, redb::Error> {
    let mut journal = transaction.open_table(Slot::Journal.definition())?;
    let last = match journal.last()? {
        Some((key, _)) => journal_number(key.value()),
        None => 0,
    };
    let number = last + 1;
    journal.insert(number.to_be_bytes().as_slice(), stored::encode_entry(entry).as_slice())?;
    Ok(number)
}

fn add_blob(transaction: &WriteTransaction, entry: &JournalEntry, note: &FileNote) -> Result<Option<u64>, redb::Error> {
    let JournalEntry::BlobAdded { root, size, .. } = entry else {
        return append(transaction, entry).map(Some);
    };
    {
        let mut files = transaction.open_table(Slot::Files.definition())?;
        let key = root.to_bytes();
        if files.get(key.as_slice())?.is_some() {
            return Ok(None);
        }
        files.insert(key.as_slice(), stored::encode_note(note).as_slice())?;
    }
    let mut meta = transaction.open_table(Slot::Meta.definition())?;
    for (counter, step) in [(BLOB_COUNT, 1), (BLOB_BYTES, *size)] {
        let old = match meta.get(counter)? {
            Some(value) => stored::decode_number(value.value()).unwrap_or(0),
            None => 0,
        };
        let new = stored::encode_number(old.saturating_add(step));
        meta.insert(counter, new.as_slice())?;
    }
    append(transaction, entry).map(Some)
}

/// Journal keys are big-endian so that they sort; anything else counts as 0 and is replayed.
pub(crate) fn journal_number(key: &[u8]) -> u64 {
    key.try_into().map_or(0, u64::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &[u8], value: &[u8]) -> Change {
        Change::Put { table: Table::Results, key: key.to_vec(), value: value.to_vec() }
    }

    #[test]
    fn what_was_committed_is_there_after_reopening() {
        let dir = tempfile::tempdir().expect("a scratch directory");
        let path = dir.path().join("state.redb");
        let state = State::open(&path).expect("open");
        state.commit(vec![put(b"a", b"1"), put(b"b", b"2")]).expect("commit");
        state.commit(vec![Change::Delete { table: Table::Results, key: b"a".to_vec() }]).expect("commit");
        drop(state);
        let state = State::open(&path).expect("reopen");
        assert_eq!(state.get(Table::Results, b"a").expect("get"), None);
        assert_eq!(state.scan(Table::Results, b"", 10).expect("scan"), vec![(b"b".to_vec(), b"2".to_vec())]);
    }

    #[test]
    fn journal_numbers_have_no_gaps_under_many_threads() {
        let dir = tempfile::tempdir().expect("a scratch directory");
        let state = State::open(&dir.path().join("state.redb")).expect("open");
        let mut given: Vec<u64> = std::thread::scope(|scope| {
            let handles: Vec<_> = (0..8)
                .map(|number| {
                    let state = &state;
                    scope.spawn(move || {
                        let entry = JournalEntry::PackOpened { number };
                        let write = || Write::Append(entry.clone());
                        state.write(vec![write(), write()]).expect("write")
                    })
                })
                .collect();
            handles.into_iter().flat_map(|handle| handle.join().expect("no panic")).collect()
        });
        given.sort_unstable();
        assert_eq!(given, (1..=16).collect::<Vec<u64>>());
        assert_eq!(state.last_journal().expect("last"), 16);
    }

    #[test]
    fn an_oversized_value_is_refused_before_it_reaches_the_writer() {
        let dir = tempfile::tempdir().expect("a scratch directory");
        let state = State::open(&dir.path().join("state.redb")).expect("open");
        let error = state.commit(vec![put(b"k", &vec![0; MAX_VALUE_BYTES + 1])]);
        assert!(matches!(error, Err(StateError::TooLarge { .. })));
    }
}
