//! Closing a lost index tail on open, and repair.
//!
//! The index is a cache of the journal (blobs) and the packs (loose blocks). On open the difference to its marks
//! is applied; if it cannot be trusted at all it is built anew. [`Store::repair`] goes further: it believes
//! nothing but hashes, takes in blobs the journal does not know, and moves aside what does not verify.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cid::Cid;

use crate::blob::{Import, Imported, Locations, ReferenceFault, index_reference};
use crate::disk;
use crate::error::OpenError;
use crate::files::Places;
use crate::index::{Broken, Filler, Index};
use crate::journal::{Home, JournalEntry};
use crate::location::Location;
use crate::pack::{self, Check, FIRST_SECTION, ScanError};
use crate::state::{Slot, State, StateError, Write, journal_number};
use crate::store::{Inner, Options, Store, prepare};
use crate::stored;
use crate::unixfs::CHUNK_BYTES;

/// Journal entries read at a time.
const JOURNAL_PAGE: usize = 256;
/// Locations handed to the index at a time.
const BATCH: usize = 100;

/// What repair is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    Blob { path: PathBuf },
    Pack { number: u64 },
    Index,
}

/// What repair found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RepairReport {
    pub blobs: u64,
    pub packs: u64,
    /// Blobs that were on disk but not in the journal, and are now.
    pub adopted: u64,
    /// What could not be kept, in words; blobs were moved to `damaged/`.
    pub damaged: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum RecoverError {
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Index(#[from] Broken),
    #[error(transparent)]
    Scan(#[from] ScanError),
}

impl From<RecoverError> for OpenError {
    fn from(error: RecoverError) -> OpenError {
        match error {
            RecoverError::State(error) => error.into(),
            other => OpenError::Index(other.to_string()),
        }
    }
}

/// Brings the index up to the journal and the packs.
pub(crate) fn close_gap(inner: &Inner, usable: bool) -> Result<(), OpenError> {
    let reaches = |(number, end): &(u64, u64)| inner.index.pack_mark(*number) <= *end;
    if usable && inner.packs.extents().iter().all(reaches) {
        match apply(inner, &mut Standing(&inner.index)) {
            Ok(()) => return Ok(()),
            Err(RecoverError::State(error)) => return Err(error.into()),
            Err(error) => tracing::warn!(%error, "the block index is built anew"),
        }
    }
    rebuild(inner).map_err(OpenError::from)
}

/// Builds the index anew from the journal and the packs.
pub(crate) fn rebuild(inner: &Inner) -> Result<(), RecoverError> {
    tracing::info!("building the block index");
    inner.index.rebuild(|filler| apply(inner, &mut Fresh(filler)))?
}

/// What `apply` writes to: the index in use, or one that nobody can see yet.
trait Target: Locations {
    fn journal_mark(&self) -> u64;
    fn pack_mark(&self, pack: u64) -> u64;
    fn mark_journal(&mut self, number: u64) -> Result<(), Broken>;
    fn mark_pack(&mut self, pack: u64, from: u64, to: u64) -> Result<(), Broken>;
}

struct Standing<'a>(&'a Index);
struct Fresh<'a, 'b>(&'a mut Filler<'b>);

impl Locations for Standing<'_> {
    fn put(&self, entries: &[(Vec<u8>, Location)]) -> Result<(), Broken> {
        self.0.insert(entries)
    }
}

impl Target for Standing<'_> {
    fn journal_mark(&self) -> u64 {
        self.0.journal_mark()
    }

    fn pack_mark(&self, pack: u64) -> u64 {
        self.0.pack_mark(pack)
    }

    fn mark_journal(&mut self, number: u64) -> Result<(), Broken> {
        self.0.mark_journal(number)
    }

    fn mark_pack(&mut self, pack: u64, from: u64, to: u64) -> Result<(), Broken> {
        self.0.mark_pack(pack, from, to)
    }
}

impl Locations for Fresh<'_, '_> {
    fn put(&self, entries: &[(Vec<u8>, Location)]) -> Result<(), Broken> {
        self.0.insert(entries)
    }
}

impl Target for Fresh<'_, '_> {
    fn journal_mark(&self) -> u64 {
        0
    }

    fn pack_mark(&self, _pack: u64) -> u64 {
        0
    }

    fn mark_journal(&mut self, number: u64) -> Result<(), Broken> {
        self.0.mark_journal(number)
    }

    fn mark_pack(&mut self, pack: u64, _from: u64, to: u64) -> Result<(), Broken> {
        self.0.mark_pack(pack, to)
    }
}

fn apply(inner: &Inner, target: &mut dyn Target) -> Result<(), RecoverError> {
    apply_journal(inner, target)?;
    for (number, end) in inner.packs.extents() {
        apply_pack(inner, target, number, end)?;
    }
    Ok(())
}

fn apply_journal(inner: &Inner, target: &mut dyn Target) -> Result<(), RecoverError> {
    let mut next = target.journal_mark() + 1;
    loop {
        let from = next.to_be_bytes();
        let page = inner.state.scan_slot(Slot::Journal, &from, JOURNAL_PAGE)?;
        if page.is_empty() {
            return Ok(());
        }
        for (key, value) in page {
            let number = journal_number(&key);
            match stored::decode_entry(&value) {
                Ok(JournalEntry::BlobAdded { blake3, root, size }) => {
                    apply_blob(inner, target, &blake3, &root, size)?;
                }
                Ok(_) => {} // packs are scanned
                Err(error) => tracing::error!(%error, number, "a journal entry is damaged"),
            }
            target.mark_journal(number)?;
            next = number + 1;
        }
    }
}

/// One damaged `.dag` must not keep the rest of the store from opening.
fn apply_blob(
    inner: &Inner,
    target: &mut dyn Target,
    blake3: &[u8; 32],
    root: &Cid,
    size: u64,
) -> Result<(), RecoverError> {
    // Repair may have moved the bytes aside: then their blocks are missing, to be fetched or added again.
    if !std::fs::metadata(inner.places.blob(blake3)).is_ok_and(|found| found.len() == size) {
        tracing::error!(%root, "a blob is not there any more; add it again");
        return Ok(());
    }
    let sink: &dyn Locations = target;
    match index_reference(&inner.places, blake3, root, size, sink) {
        Ok(()) => Ok(()),
        Err(ReferenceFault::Index(error)) => Err(error.into()),
        Err(ReferenceFault::Reference(error)) => {
            tracing::error!(%error, %root, "a blob cannot be indexed; add it again");
            Ok(())
        }
    }
}

fn apply_pack(inner: &Inner, target: &mut dyn Target, number: u64, end: u64) -> Result<(), RecoverError> {
    let mark = target.pack_mark(number);
    if mark >= end {
        return Ok(());
    }
    let from = mark.max(FIRST_SECTION);
    let mut batch = Vec::with_capacity(BATCH);
    let path = inner.places.pack(number);
    let scanned = pack::scan(&path, number, from, end, Check::Framing, &mut |section, location| {
        batch.push((crate::cid::key(&section.cid), location));
        if batch.len() == BATCH {
            target.put(&batch)?;
            batch.clear();
        }
        Ok::<(), RecoverError>(())
    });
    match scanned {
        Err(RecoverError::Scan(error @ ScanError::Damaged { .. })) => {
            tracing::error!(%error, "the blocks behind it are lost to the index");
        }
        other => other?,
    }
    target.put(&batch)?;
    Ok(target.mark_pack(number, mark, end)?)
}

impl Store {
    /// Verifies every blob and pack by hash and rebuilds the index. The node must be down.
    pub fn repair(dir: &Path, options: Options, progress: &mut dyn FnMut(Progress)) -> Result<RepairReport, OpenError> {
        let places = Places::new(dir);
        let mut report = RepairReport::default();
        {
            let _lock = prepare(&places)?;
            let state = State::open(&places.state())?;
            repair_blobs(&places, &state, progress, &mut report)?;
        }
        progress(Progress::Index);
        let index = places.index();
        match std::fs::remove_dir_all(&index) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(OpenError::io("remove", &index, error));
            }
            _ => {}
        }
        let store = Store::open(dir, options)?;
        check_packs(&store.inner, progress, &mut report);
        Ok(report)
    }
}

fn check_packs(inner: &Inner, progress: &mut dyn FnMut(Progress), report: &mut RepairReport) {
    for (number, end) in inner.packs.extents() {
        progress(Progress::Pack { number });
        report.packs += 1;
        let path = inner.places.pack(number);
        let checked = pack::scan(&path, number, FIRST_SECTION, end, Check::Hashes, &mut |_, _| Ok::<(), ScanError>(()));
        if let Err(error) = checked {
            report.damaged.push(error.to_string());
        }
    }
}

fn repair_blobs(
    places: &Places,
    state: &State,
    progress: &mut dyn FnMut(Progress),
    report: &mut RepairReport,
) -> Result<(), OpenError> {
    for blob in blobs_on_disk(places)? {
        progress(Progress::Blob { path: blob.clone() });
        match rehash(places, &blob) {
            Ok(imported) if places.blob(imported.blake3()) == blob => {
                report.blobs += 1;
                let (entry, note) =
                    imported.restore_reference(places).map_err(|error| OpenError::io("repair", &blob, error))?;
                let numbers = state.write(vec![Write::Blob(entry, note)])?;
                report.adopted += numbers.len() as u64;
            }
            outcome => {
                let reason = match outcome {
                    Ok(_) => "its bytes are not what its name says".to_owned(),
                    Err(error) => error.to_string(),
                };
                report.damaged.push(format!("{}: {reason}", blob.display()));
                move_aside(places, &blob)?;
            }
        }
    }
    forget_lost_blobs(places, state, report)
}

/// Files whose blob is gone are no longer known, so that adding them again stores them again.
fn forget_lost_blobs(places: &Places, state: &State, report: &mut RepairReport) -> Result<(), OpenError> {
    let mut from = Vec::new();
    loop {
        let page = state.scan_slot(Slot::Files, &from, JOURNAL_PAGE)?;
        let Some((last, _)) = page.last() else {
            return Ok(());
        };
        from = [last.as_slice(), &[0]].concat();
        for (key, value) in page {
            let Ok(note) = stored::decode_note(&value) else {
                state.write(vec![Write::Delete(Slot::Files, key)])?;
                continue;
            };
            let blob = places.blob(&note.blake3);
            if note.home == Home::Blob && !blob.exists() {
                let name = blob.display().to_string();
                // One that was just moved aside has been told of.
                if !report.damaged.iter().any(|told| told.starts_with(&name)) {
                    report.damaged.push(format!("{name} is gone"));
                }
                state.write(vec![Write::Delete(Slot::Files, key)])?;
            }
        }
    }
}

/// Hashes a blob again, as an add would.
fn rehash(places: &Places, blob: &Path) -> std::io::Result<Imported> {
    let mut file = File::open(blob)?;
    if file.metadata()?.len() == 0 {
        return Err(std::io::Error::other("it is empty"));
    }
    let mut import = Import::start(places)?;
    loop {
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        let count = (&mut file).take(CHUNK_BYTES as u64).read_to_end(&mut chunk)?;
        if count == 0 {
            return import.finish();
        }
        import.chunk(&Arc::new(chunk))?;
    }
}

fn blobs_on_disk(places: &Places) -> Result<Vec<PathBuf>, OpenError> {
    let mut found = Vec::new();
    for dir in list(&places.blobs())? {
        if dir.is_dir() {
            found.extend(list(&dir)?);
        }
    }
    found.retain(|path| path.extension().is_none());
    found.sort();
    Ok(found)
}

fn list(dir: &Path) -> Result<Vec<PathBuf>, OpenError> {
    let fault = |error| OpenError::io("list", dir, error);
    std::fs::read_dir(dir).map_err(fault)?.map(|entry| Ok(entry.map_err(fault)?.path())).collect()
}

fn move_aside(places: &Places, path: &Path) -> Result<(), OpenError> {
    let damaged = places.damaged();
    disk::create_directory(&damaged).map_err(|e| OpenError::io("create", &damaged, e))?;
    let name = path.file_name().expect("a listed file has a name");
    std::fs::rename(path, damaged.join(name)).map_err(|e| OpenError::io("move aside", path, e))
}
