//! Packs: append-only CARv2 files of loose blocks.
//!
//! Appending and making durable are two steps, so that many threads share one fsync: [`Packs::append`] writes
//! under a short lock and gives a [`Ticket`]; [`Packs::sync`] returns when the bytes of the ticket are durable
//! and indexed. The index learns of blocks only after their fsync, in the order they stand in the pack.
//!
//! A pack whose fsync failed is retired at its last durable byte and never written again: the kernel may show
//! pages that the disk never saw, so a retry would prove nothing.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cid::Cid;

use crate::block::{self, Block};
use crate::car::{self, EMPTY_V1_HEADER, PAYLOAD_OFFSET, Section, SectionError, Sections};
use crate::cid::key;
use crate::disk;
use crate::error::{AddError, OpenError};
use crate::files::Places;
use crate::index::Index;
use crate::journal::JournalEntry;
use crate::location::{Container, Location};
use crate::state::{Slot, State, Write, journal_number};
use crate::stored;

/// Where the first section of a pack starts.
pub(crate) const FIRST_SECTION: u64 = PAYLOAD_OFFSET + EMPTY_V1_HEADER.len() as u64;

/// What a writer holds until its blocks are durable.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticket {
    pack: u64,
    end: u64,
}

struct OpenPack {
    number: u64,
    file: Arc<File>,
    /// Bytes written.
    length: u64,
    /// Bytes known to be durable.
    synced: u64,
    /// Blocks between `synced` and `length`.
    pending: Vec<(Vec<u8>, Location)>,
}

struct Tail {
    current: Option<OpenPack>,
    next_number: u64,
    /// Packs that take no more blocks → where their payload ends.
    closed: BTreeMap<u64, u64>,
    /// Packs retired after a failed fsync, a subset of `closed`.
    retired: BTreeMap<u64, u64>,
    /// Journal numbers the index has not been told yet.
    journalled: Vec<u64>,
}

pub(crate) struct Packs {
    places: Places,
    limit_bytes: u64,
    tail: Mutex<Tail>,
    /// Held by the one thread that is syncing.
    turn: Mutex<()>,
}

impl Packs {
    /// Finds the packs and cuts torn tails. `marks` says how far the index has each pack: up to there the
    /// sections were verified before.
    pub fn open(
        places: &Places,
        limit_bytes: u64,
        state: &State,
        mark: &dyn Fn(u64) -> u64,
    ) -> Result<Packs, OpenError> {
        let retired = read_retired(state)?;
        let mut tail = Tail { current: None, next_number: 1, closed: BTreeMap::new(), retired, journalled: Vec::new() };
        let dir = places.packs();
        let numbers = list_packs(&dir).map_err(|error| OpenError::io("list packs in", &dir, error))?;
        for number in numbers {
            let path = places.pack(number);
            let fault = |error| OpenError::io("recover pack", &path, error);
            tail.next_number = number + 1;
            tail.close_current(); // only the newest pack may grow
            if let Some(valid) = tail.retired.get(&number).copied() {
                tail.closed.insert(number, valid);
            } else if let Some(end) = sealed_end(&path).map_err(fault)? {
                tail.closed.insert(number, end);
            } else {
                tail.current = Some(recover(&path, number, mark(number)).map_err(fault)?);
            }
        }
        Ok(Packs { places: places.clone(), limit_bytes, tail: Mutex::new(tail), turn: Mutex::new(()) })
    }

    /// Writes the blocks behind the open pack. Nothing is durable before [`Packs::sync`].
    pub fn append(&self, blocks: &[Block], state: &State) -> Result<Ticket, AddError> {
        let mut tail = self.lock();
        if tail.current.is_none() {
            let pack = self.start_pack(&mut tail, state)?;
            tail.current = Some(pack);
        }
        let pack = tail.current.as_mut().expect("set just above");
        let mut bytes = Vec::with_capacity(blocks.iter().map(|b| b.bytes().len() + 64).sum());
        let mut entries = Vec::with_capacity(blocks.len());
        for block in blocks {
            let at = car::push_section(&mut bytes, block.cid(), block.bytes());
            let location = Location {
                container: Container::Pack(pack.number),
                offset: pack.length + at as u64,
                length: block.bytes().len() as u32,
            };
            entries.push((key(block.cid()), location));
        }
        if let Err(error) = pack.file.write_all_at(&bytes, pack.length) {
            let path = self.places.pack(pack.number);
            if pack.file.set_len(pack.length).is_err() {
                self.retire(&mut tail, state);
            }
            return Err(AddError::io("write pack", &path, error));
        }
        pack.length += bytes.len() as u64;
        pack.pending.extend(entries);
        Ok(Ticket { pack: pack.number, end: pack.length })
    }

    /// Returns when the ticket's blocks are durable and in the index.
    pub fn sync(&self, ticket: Ticket, index: &Index, state: &State) -> Result<(), AddError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(work) = self.take_pending(ticket)? else {
            return Ok(());
        };
        let synced = work.file.sync_data();
        let mut tail = self.lock();
        if let Err(error) = synced {
            self.retire(&mut tail, state);
            let path = self.places.pack(work.number);
            return Err(AddError::io("make durable", &path, error));
        }
        match tail.current.as_mut() {
            // Before the index learns of them: a rebuild that starts now must see these bytes as good.
            Some(pack) if pack.number == work.number => pack.synced = work.to,
            _ => return Err(self.gone(work.number)),
        }
        let full = work.to >= self.limit_bytes;
        let journalled = std::mem::take(&mut tail.journalled);
        drop(tail);
        tell_index(index, &work, &journalled);
        if full {
            self.seal(work.number, index, state);
        }
        Ok(())
    }

    /// Every pack and where its trustworthy payload ends.
    pub fn extents(&self) -> Vec<(u64, u64)> {
        let tail = self.lock();
        let closed = tail.closed.iter().map(|(number, end)| (*number, *end));
        let current = tail.current.iter().map(|pack| (pack.number, pack.synced));
        closed.chain(current).collect()
    }

    fn take_pending(&self, ticket: Ticket) -> Result<Option<Work>, AddError> {
        let mut tail = self.lock();
        if let Some(valid) = tail.retired.get(&ticket.pack) {
            return match ticket.end <= *valid {
                true => Ok(None),
                false => Err(self.gone(ticket.pack)),
            };
        }
        let Some(pack) = tail.current.as_mut() else {
            return Ok(None);
        };
        if pack.number != ticket.pack || pack.synced >= ticket.end {
            return Ok(None); // another thread's sync covered us
        }
        Ok(Some(Work {
            number: pack.number,
            file: Arc::clone(&pack.file),
            from: pack.synced,
            to: pack.length,
            entries: std::mem::take(&mut pack.pending),
        }))
    }

    fn gone(&self, number: u64) -> AddError {
        let reason = io::Error::other("the pack was retired after a failed write; add again");
        AddError::io("write pack", &self.places.pack(number), reason)
    }

    fn start_pack(&self, tail: &mut Tail, state: &State) -> Result<OpenPack, AddError> {
        let number = tail.next_number;
        let path = self.places.pack(number);
        let file = create_pack(&path).map_err(|error| {
            // A half-made pack would be found on the next open; an empty one is harmless, a leftover is litter.
            let _ = std::fs::remove_file(&path);
            AddError::io("create pack", &path, error)
        })?;
        let entry = JournalEntry::PackOpened { number };
        match state.write(vec![Write::Append(entry)]) {
            Ok(numbers) => tail.journalled.extend(numbers),
            Err(error) => {
                let _ = std::fs::remove_file(&path);
                return Err(error.into());
            }
        }
        tail.next_number = number + 1;
        Ok(OpenPack { number, file: Arc::new(file), length: FIRST_SECTION, synced: FIRST_SECTION, pending: Vec::new() })
    }

    /// Gives up the current pack at its last durable byte.
    fn retire(&self, tail: &mut Tail, state: &State) {
        let Some(pack) = tail.current.take() else {
            return;
        };
        let (number, valid_bytes) = (pack.number, pack.synced);
        tracing::error!(pack = number, valid_bytes, "pack retired after a failed write");
        tail.closed.insert(number, valid_bytes);
        tail.retired.insert(number, valid_bytes);
        let entry = JournalEntry::PackRetired { number, valid_bytes };
        let writes = vec![
            Write::Append(entry),
            Write::Put(Slot::RetiredPacks, number.to_be_bytes().to_vec(), stored::encode_number(valid_bytes)),
        ];
        match state.write(writes) {
            Ok(numbers) => tail.journalled.extend(numbers),
            // Then a restart verifies the tail by hash; only the page cache could still fool it.
            Err(error) => tracing::error!(%error, pack = number, "the retirement was not recorded"),
        }
    }

    /// Closes a full pack. Failing to write its index costs nothing but the index: ours is elsewhere.
    fn seal(&self, number: u64, index: &Index, state: &State) {
        let pack = {
            let mut tail = self.lock();
            match tail.current.take() {
                Some(pack) if pack.number == number && pack.length == pack.synced => pack,
                other => {
                    tail.current = other; // somebody appended meanwhile; the next sync seals
                    return;
                }
            }
        };
        self.lock().closed.insert(number, pack.synced);
        let path = self.places.pack(number);
        if let Err(error) = write_index(&path, number, pack.synced, &pack.file) {
            tracing::warn!(%error, pack = number, "the pack stays without its own index");
            return;
        }
        let bytes = pack.synced;
        match state.write(vec![Write::Append(JournalEntry::PackSealed { number, bytes })]) {
            Ok(numbers) => mark_all(index, &numbers),
            Err(error) => tracing::warn!(%error, pack = number, "the seal was not journalled"),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Tail> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tail {
    fn close_current(&mut self) {
        if let Some(older) = self.current.take() {
            self.closed.insert(older.number, older.synced);
        }
    }
}

struct Work {
    number: u64,
    file: Arc<File>,
    from: u64,
    to: u64,
    entries: Vec<(Vec<u8>, Location)>,
}

/// The bytes are durable already; an index that fails here is rebuilt from them.
fn tell_index(index: &Index, work: &Work, journalled: &[u64]) {
    let from = match work.from {
        FIRST_SECTION => 0, // a new pack: the mark stands at nothing
        other => other,
    };
    let told = index.insert(&work.entries).and_then(|()| index.mark_pack(work.number, from, work.to));
    if let Err(error) = told {
        tracing::warn!(%error, "the block index will be rebuilt");
    }
    mark_all(index, journalled);
}

fn mark_all(index: &Index, numbers: &[u64]) {
    for number in numbers {
        if let Err(error) = index.mark_journal(*number) {
            tracing::warn!(%error, "the block index will be rebuilt");
        }
    }
}

fn create_pack(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
    file.write_all_at(&car::v2_header(0, 0), 0)?;
    file.write_all_at(&EMPTY_V1_HEADER, PAYLOAD_OFFSET)?;
    file.sync_all()?;
    disk::sync_directory(path.parent().expect("a pack lies in a directory"))?;
    Ok(file)
}

fn write_index(path: &Path, number: u64, end: u64, file: &File) -> io::Result<()> {
    let mut entries: Vec<(Cid, u64)> = Vec::new();
    scan(path, number, FIRST_SECTION, end, Check::Framing, &mut |found, _| {
        entries.push((found.cid, found.start - PAYLOAD_OFFSET));
        Ok::<(), ScanError>(())
    })
    .map_err(io::Error::other)?;
    let written = file
        .write_all_at(&car::sorted_index(&entries), end)
        .and_then(|()| file.sync_all())
        .and_then(|()| file.write_all_at(&car::v2_header(end - PAYLOAD_OFFSET, end), 0))
        .and_then(|()| file.sync_all());
    if written.is_err() {
        // Without the index the payload stands as it did; the header may only promise what is there.
        let _ = file.write_all_at(&car::v2_header(0, 0), 0);
        let _ = file.set_len(end);
    }
    written
}

fn read_retired(state: &State) -> Result<BTreeMap<u64, u64>, OpenError> {
    let mut retired = BTreeMap::new();
    for (number, valid) in state.scan_slot(Slot::RetiredPacks, &[], usize::MAX)? {
        let valid = stored::decode_number(&valid).unwrap_or(FIRST_SECTION);
        retired.insert(journal_number(&number), valid);
    }
    Ok(retired)
}

fn list_packs(dir: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".car"));
        numbers.extend(number.and_then(|number| number.parse::<u64>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

fn sealed_end(path: &Path) -> io::Result<Option<u64>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut header = [0; PAYLOAD_OFFSET as usize];
    match file.read_exact(&mut header) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let end = car::sealed_data_size(&header).and_then(|size| size.checked_add(PAYLOAD_OFFSET));
    Ok(end.filter(|end| *end <= length))
}

/// Verifies the tail of an open pack from `mark` on and cuts it at the first byte that is not a good section.
fn recover(path: &Path, number: u64, mark: u64) -> io::Result<OpenPack> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let length = file.metadata()?.len();
    let mut head = [0; EMPTY_V1_HEADER.len()];
    let headed =
        length >= FIRST_SECTION && file.read_exact_at(&mut head, PAYLOAD_OFFSET).is_ok() && head == EMPTY_V1_HEADER;
    let end = match headed {
        true => good_end(path, number, mark.clamp(FIRST_SECTION, length), length)?,
        false => FIRST_SECTION,
    };
    if !headed {
        file.write_all_at(&EMPTY_V1_HEADER, PAYLOAD_OFFSET)?;
    }
    if end < length {
        tracing::warn!(pack = number, cut = length - end, "cut a torn tail");
        file.set_len(end)?;
    }
    file.write_all_at(&car::v2_header(0, 0), 0)?;
    file.sync_all()?;
    Ok(OpenPack { number, file: Arc::new(file), length: end, synced: end, pending: Vec::new() })
}

fn good_end(path: &Path, number: u64, from: u64, length: u64) -> io::Result<u64> {
    let mut end = from;
    let scanned = scan(path, number, from, length, Check::Hashes, &mut |_, location| {
        end = location.offset + u64::from(location.length);
        Ok::<(), ScanError>(())
    });
    match scanned {
        Ok(()) | Err(ScanError::Damaged { .. }) => Ok(end),
        Err(ScanError::Io { source, .. }) => Err(source),
    }
}

/// How closely a scan looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Check {
    /// Sections must follow each other.
    Framing,
    /// And every block must hash to its CID.
    Hashes,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum ScanError {
    #[error("pack {pack} is damaged at byte {at}")]
    Damaged { pack: u64, at: u64 },
    #[error("cannot read pack {pack}: {source}")]
    Io { pack: u64, source: io::Error },
}

/// Walks the sections of a pack between two offsets; `from` must be the start of a section.
pub(crate) fn scan<E: From<ScanError>>(
    path: &Path,
    pack: u64,
    from: u64,
    end: u64,
    check: Check,
    visit: &mut dyn FnMut(&Section, Location) -> Result<(), E>,
) -> Result<(), E> {
    let io = |source| ScanError::Io { pack, source };
    let mut file = File::open(path).map_err(io)?;
    file.seek(SeekFrom::Start(from)).map_err(io)?;
    let mut sections = Sections::new(BufReader::with_capacity(1 << 20, file), from, end);
    loop {
        let at = sections.position();
        let section = match sections.next() {
            Ok(Some(section)) => section,
            Ok(None) => return Ok(()),
            Err(SectionError::Torn { at }) => return Err(ScanError::Damaged { pack, at }.into()),
            Err(SectionError::Io(source)) => return Err(io(source).into()),
        };
        if check == Check::Hashes && block::verify(&section.cid, &section.data).is_err() {
            return Err(ScanError::Damaged { pack, at }.into());
        }
        let location = Location {
            container: Container::Pack(pack),
            offset: section.data_offset,
            length: section.data.len() as u32,
        };
        visit(&section, location)?;
    }
}

#[cfg(test)]
mod tests;
