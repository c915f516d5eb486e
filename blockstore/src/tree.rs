//! A folder and everything below it.
//!
//! As IPIP-499 has it: names sorted, hidden files left out, empty directories kept, symbolic links kept as links,
//! no modes and no times. Small files share fsyncs: the tree as a whole is durable when the call returns.

use std::path::{Path, PathBuf};

use crate::add::{Added, Ingest, SmallFile};
use crate::error::AddError;
use crate::store::Store;
use crate::unixfs::{CHUNK_BYTES, DirectoryEntry};

/// Deeper folders are refused: they are loops or mistakes, and each level is a stack frame.
const MAX_DEPTH: usize = 128;
/// Small files gathered before they are made durable together.
const BATCH_FILES: usize = 512;
const BATCH_BYTES: usize = 16 << 20;

impl Store {
    /// Adds a file or a folder. `on_entry` hears each path (relative to `path`, with `/`; the root is "") once its
    /// CID is known, children before parents; what it hears is durable when this returns.
    pub fn add_tree(&self, path: &Path, on_entry: &mut dyn FnMut(&str, &Added)) -> Result<Added, AddError> {
        let mut walk = Walk { store: self, on_entry, small: Vec::new(), small_bytes: 0 };
        let added = walk.entry(path, "", 0)?;
        walk.flush()?;
        Ok(added)
    }
}

struct Walk<'a> {
    store: &'a Store,
    on_entry: &'a mut dyn FnMut(&str, &Added),
    small: Vec<SmallFile>,
    small_bytes: usize,
}

impl Walk<'_> {
    fn entry(&mut self, path: &Path, relative: &str, depth: usize) -> Result<Added, AddError> {
        let metadata = std::fs::symlink_metadata(path).map_err(|e| AddError::io("read", path, e))?;
        let kind = metadata.file_type();
        let added = if kind.is_dir() {
            self.directory(path, relative, depth)?
        } else if kind.is_symlink() {
            self.symlink(path)?
        } else if kind.is_file() && metadata.len() <= CHUNK_BYTES as u64 {
            self.small(path)?
        } else if kind.is_file() {
            self.store.add_file(path, Ingest::Copy)?
        } else {
            let what = format!(
                "{} is neither a file, a folder nor a symbolic link; move it out of the folder",
                path.display()
            );
            return Err(AddError::Input(what));
        };
        (self.on_entry)(relative, &added);
        Ok(added)
    }

    fn directory(&mut self, path: &Path, above: &str, depth: usize) -> Result<Added, AddError> {
        if depth == MAX_DEPTH {
            let what = format!("{} lies more than {MAX_DEPTH} folders deep", path.display());
            return Err(AddError::Input(what));
        }
        let mut entries: Vec<DirectoryEntry> = Vec::new();
        for name in visible_names(path)? {
            let relative = match above {
                "" => name.clone(),
                above => format!("{above}/{name}"),
            };
            let added = self.entry(&path.join(&name), &relative, depth + 1)?;
            entries.push(added.entry(name));
        }
        self.store.add_directory(entries)
    }

    fn symlink(&mut self, path: &Path) -> Result<Added, AddError> {
        let target: PathBuf = std::fs::read_link(path).map_err(|e| AddError::io("read", path, e))?;
        let Some(target) = target.to_str() else {
            return Err(not_utf8(path));
        };
        self.store.add_symlink(target)
    }

    fn small(&mut self, path: &Path) -> Result<Added, AddError> {
        let bytes = std::fs::read(path).map_err(|e| AddError::io("read", path, e))?;
        if bytes.len() > CHUNK_BYTES {
            return self.store.add_file(path, Ingest::Copy); // it grew since we looked
        }
        let file = SmallFile::new(bytes)?;
        let added = file.added.clone();
        self.small_bytes += file.block.bytes().len();
        self.small.push(file);
        if self.small.len() >= BATCH_FILES || self.small_bytes >= BATCH_BYTES {
            self.flush()?;
        }
        Ok(added)
    }

    fn flush(&mut self) -> Result<(), AddError> {
        if self.small.is_empty() {
            return Ok(());
        }
        self.store.add_small(&self.small)?;
        self.small.clear();
        self.small_bytes = 0;
        Ok(())
    }
}

fn visible_names(path: &Path) -> Result<Vec<String>, AddError> {
    let fault = |error| AddError::io("list", path, error);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(path).map_err(fault)? {
        let name = entry.map_err(fault)?.file_name();
        match name.into_string() {
            Ok(name) if name.starts_with('.') => {}
            Ok(name) => names.push(name),
            Err(name) => return Err(not_utf8(&path.join(name))),
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn not_utf8(path: &Path) -> AddError {
    AddError::Input(format!("{} has a name that is not UTF-8; rename it", path.display()))
}
