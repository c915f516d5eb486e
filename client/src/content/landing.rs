//! Puts what a node sends onto the disk: written beside the target under a temporary name, then
//! renamed, so the target is there in full or not at all.
//!
//! The node's names are guilty until proved: one plain name per folder, each entry directly under
//! a folder that this landing itself made and that is still open. So nothing is written outside
//! the target, and nothing through a symlink. Dropping an unfinished landing removes it.

use std::{
    ffi::OsStr,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Component, Path, PathBuf},
    process,
    sync::atomic::{AtomicU64, Ordering},
};

use artdag_proto::v1;
use serde::Serialize;

use super::walk::MAX_DEPTH;
use crate::Error;

/// What arrived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Fetched {
    pub files: u64,
    pub directories: u64,
    pub symlinks: u64,
    /// Bytes of the files.
    pub size: u64,
}

pub(super) struct Landing {
    target: PathBuf,
    temporary: PathBuf,
    /// Names of the folders that are open, below the root.
    open_folders: Vec<String>,
    /// The file that is being filled and how many of its bytes are missing.
    open_file: Option<(File, u64)>,
    root: Option<v1::EntryKind>,
    fetched: Fetched,
}

impl Landing {
    pub(super) fn new(target: &Path) -> Result<Self, Error> {
        let target = std::path::absolute(target).map_err(|error| Error::local(target, error))?;
        let (Some(folder), Some(name)) = (target.parent(), target.file_name()) else {
            let text = format!("{} cannot be written; name a file or folder", target.display());
            return Err(Error::InvalidInput(text));
        };
        if !folder.is_dir() {
            let text = format!("{} is not a folder; make it first", folder.display());
            return Err(Error::InvalidInput(text));
        }
        let temporary = folder.join(temporary_name(name));
        Ok(Self {
            target,
            temporary,
            open_folders: Vec::new(),
            open_file: None,
            root: None,
            fetched: Fetched::default(),
        })
    }

    /// Begins the next entry.
    pub(super) fn entry(&mut self, entry: &v1::Entry) -> Result<(), Error> {
        self.close_file()?;
        let kind = entry.kind();
        let place = if self.root.is_none() { self.root_place(entry)? } else { self.place(entry)? };
        let made = match kind {
            v1::EntryKind::Directory => {
                self.fetched.directories += 1;
                fs::create_dir(&place)
            }
            v1::EntryKind::Symlink => {
                self.fetched.symlinks += 1;
                std::os::unix::fs::symlink(&entry.target, &place)
            }
            v1::EntryKind::File => {
                self.fetched.files += 1;
                self.fetched.size += entry.size;
                self.open(&place, entry.size)
            }
            v1::EntryKind::Unspecified | v1::EntryKind::Data => {
                return Err(Error::Answer(format!("{:?} is of no kind", entry.path)));
            }
        };
        made.map_err(|error| self.landed_badly(&place, error))
    }

    /// More bytes of the file that was begun last.
    pub(super) fn data(&mut self, data: &[u8]) -> Result<(), Error> {
        let Some((file, missing)) = &mut self.open_file else {
            return Err(Error::Answer("bytes that belong to no file".to_owned()));
        };
        *missing = missing
            .checked_sub(data.len() as u64)
            .ok_or_else(|| Error::Answer("a file longer than announced".to_owned()))?;
        file.write_all(data).map_err(|error| Error::local(&self.target, error))
    }

    /// All has arrived: the target appears.
    pub(super) fn finish(mut self) -> Result<Fetched, Error> {
        self.close_file()?;
        if self.root.is_none() {
            return Err(Error::Answer("it sent nothing".to_owned()));
        }
        fs::rename(&self.temporary, &self.target).map_err(|error| Error::local(&self.target, error))?;
        // The temporary name is gone, so dropping finds nothing to remove.
        Ok(self.fetched)
    }

    fn root_place(&mut self, entry: &v1::Entry) -> Result<PathBuf, Error> {
        if !entry.path.is_empty() {
            return Err(Error::Answer(format!("{:?} came before the root", entry.path)));
        }
        refuse_to_replace(&self.target, entry.kind())?;
        self.root = Some(entry.kind());
        Ok(self.temporary.clone())
    }

    /// Where an entry below the root goes; opens and closes folders on the way.
    fn place(&mut self, entry: &v1::Entry) -> Result<PathBuf, Error> {
        let refused = |why| Error::Answer(format!("the path {:?} {why}", entry.path));
        if self.root != Some(v1::EntryKind::Directory) {
            return Err(refused("is below something that is no folder"));
        }
        let mut names: Vec<&str> = entry.path.split('/').collect();
        if names.len() > MAX_DEPTH {
            return Err(refused("is too deep"));
        }
        if !names.iter().all(|name| is_plain(name)) {
            return Err(refused("has a name that could lead elsewhere"));
        }
        let own = names.pop().expect("split gives at least one piece");
        if self.open_folders.len() < names.len()
            || self.open_folders.iter().zip(&names).any(|(open, name)| open != name)
        {
            return Err(refused("is not in a folder that was sent before it"));
        }
        self.open_folders.truncate(names.len());
        let folder = self.open_folders.iter().fold(self.temporary.clone(), |at, n| at.join(n));
        if entry.kind() == v1::EntryKind::Directory {
            self.open_folders.push(own.to_owned());
        }
        Ok(folder.join(own))
    }

    fn open(&mut self, place: &Path, size: u64) -> io::Result<()> {
        let file = OpenOptions::new().write(true).create_new(true).open(place)?;
        self.open_file = Some((file, size));
        Ok(())
    }

    fn close_file(&mut self) -> Result<(), Error> {
        match self.open_file.take() {
            Some((_, missing)) if missing > 0 => Err(Error::Answer(format!("a file that ends {missing} bytes early"))),
            _ => Ok(()),
        }
    }

    /// Says the name the user knows, not the temporary one.
    fn landed_badly(&self, place: &Path, error: io::Error) -> Error {
        let below = place.strip_prefix(&self.temporary).unwrap_or(Path::new(""));
        let shown = if below == Path::new("") { self.target.clone() } else { self.target.join(below) };
        Error::local(shown, error)
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        let removed = match self.root {
            Some(v1::EntryKind::Directory) => fs::remove_dir_all(&self.temporary),
            Some(_) => fs::remove_file(&self.temporary),
            None => Ok(()),
        };
        // Nothing is left to do about it here; the name says what it was.
        drop(removed);
    }
}

/// A file may be replaced by a file; a folder only if it is empty, and never by a file.
fn refuse_to_replace(target: &Path, kind: v1::EntryKind) -> Result<(), Error> {
    let Ok(there) = fs::symlink_metadata(target) else {
        return Ok(());
    };
    let shown = target.display();
    if kind != v1::EntryKind::Directory {
        if there.is_dir() {
            return Err(Error::InvalidInput(format!("{shown} is a folder; name a file in it")));
        }
        return Ok(());
    }
    let empty = there.is_dir() && fs::read_dir(target).is_ok_and(|mut list| list.next().is_none());
    if empty {
        return Ok(());
    }
    Err(Error::InvalidInput(format!("{shown} is there already; name a new folder")))
}

/// Exactly one ordinary component: not empty, no separator, neither `.` nor `..`, no NUL.
fn is_plain(name: &str) -> bool {
    let mut components = Path::new(name).components();
    let one = components.next() == Some(Component::Normal(OsStr::new(name)));
    one && components.next().is_none() && !name.contains(['\0', '\\'])
}

/// Differs between processes and between calls, and begins with a dot.
fn temporary_name(name: &OsStr) -> PathBuf {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    // A long name with a suffix could exceed what the file system takes.
    let shown: String = name.to_string_lossy().chars().take(40).collect();
    PathBuf::from(format!(".{shown}.artdag-{}-{count}", process::id()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: v1::EntryKind = v1::EntryKind::File;
    const FOLDER: v1::EntryKind = v1::EntryKind::Directory;
    const LINK: v1::EntryKind = v1::EntryKind::Symlink;

    fn entry(path: &str, kind: v1::EntryKind, size: u64) -> v1::Entry {
        let target = if kind == LINK { "/etc".to_owned() } else { String::new() };
        v1::Entry { path: path.to_owned(), kind: kind.into(), size, target }
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .expect("readable")
            .map(|e| e.expect("readable").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_appears_whole_and_replaces_one() {
        let scratch = tempfile::tempdir().expect("a scratch folder");
        let target = scratch.path().join("film.mp4");
        fs::write(&target, "old").expect("written");
        let mut landing = Landing::new(&target).expect("begun");
        landing.entry(&entry("", FILE, 4)).expect("entry");
        landing.data(b"ab").expect("data");
        assert_eq!(fs::read(&target).expect("readable"), b"old");
        landing.data(b"cd").expect("data");
        let fetched = landing.finish().expect("finished");
        assert_eq!(fs::read(&target).expect("readable"), b"abcd");
        assert_eq!(fetched, Fetched { files: 1, size: 4, ..Fetched::default() });
        assert_eq!(names(scratch.path()), ["film.mp4"]);
    }

    #[test]
    fn a_folders_root_becomes_the_target() {
        let scratch = tempfile::tempdir().expect("a scratch folder");
        let target = scratch.path().join("out");
        fs::create_dir(&target).expect("an empty folder may be there");
        let mut landing = Landing::new(&target).expect("begun");
        for (path, kind) in [("", FOLDER), ("a", FOLDER), ("a/b", FOLDER), ("a/b/c", FILE)] {
            landing.entry(&entry(path, kind, u64::from(kind == FILE))).expect("entry");
        }
        landing.data(b"x").expect("data");
        landing.entry(&entry("a/link", LINK, 4)).expect("back up one folder");
        landing.entry(&entry("z", FILE, 0)).expect("back to the root");
        let fetched = landing.finish().expect("finished");
        assert_eq!(fetched, Fetched { files: 2, directories: 3, symlinks: 1, size: 1 });
        assert_eq!(fs::read(target.join("a/b/c")).expect("readable"), b"x");
        assert_eq!(fs::read_link(target.join("a/link")).expect("a link"), Path::new("/etc"));
        assert_eq!(names(scratch.path()), ["out"]);
    }

    #[test]
    fn no_name_leads_out_of_the_target() {
        let hostile = ["..", "../x", "a/../../x", "/etc/passwd", "a//b", "a/", "/", ".", "./x", "a\0b", "a\\b", ""];
        for path in hostile {
            let scratch = tempfile::tempdir().expect("a scratch folder");
            let mut landing = Landing::new(&scratch.path().join("out")).expect("begun");
            landing.entry(&entry("", FOLDER, 0)).expect("root");
            landing.entry(&entry("a", FOLDER, 0)).expect("folder");
            let refused = landing.entry(&entry(path, FILE, 0));
            assert_eq!(refused.expect_err("refused").kind(), "answer", "{path:?}");
            drop(landing);
            assert!(names(scratch.path()).is_empty(), "{path:?} left something");
        }
    }

    #[test]
    fn nothing_is_written_through_a_link_or_into_a_folder_not_sent() {
        let scratch = tempfile::tempdir().expect("a scratch folder");
        let mut landing = Landing::new(&scratch.path().join("out")).expect("begun");
        landing.entry(&entry("", FOLDER, 0)).expect("root");
        landing.entry(&entry("link", LINK, 0)).expect("link");
        for path in ["link/passwd", "unsent/x"] {
            landing.entry(&entry(path, FILE, 0)).expect_err("refused");
        }
        landing.entry(&entry("a", FOLDER, 0)).expect("folder");
        landing.entry(&entry("b", FOLDER, 0)).expect("folder");
        landing.entry(&entry("a/late", FILE, 0)).expect_err("its folder is closed");
        landing.entry(&entry("b", FOLDER, 0)).expect_err("sent twice");
        let deep = vec!["d"; MAX_DEPTH + 1].join("/");
        landing.entry(&entry(&deep, FILE, 0)).expect_err("too deep");
    }

    #[test]
    fn a_root_that_is_a_file_has_nothing_below_it() {
        let scratch = tempfile::tempdir().expect("a scratch folder");
        let mut landing = Landing::new(&scratch.path().join("out")).expect("begun");
        landing.entry(&entry("x", FILE, 0)).expect_err("before the root");
        landing.entry(&entry("", LINK, 0)).expect("root");
        landing.entry(&entry("passwd", FILE, 0)).expect_err("below a link");
        landing.data(b"x").expect_err("belongs to no file");
    }

    #[test]
    fn a_file_of_another_length_than_announced_is_not_left_behind() {
        for bytes in [&b"abc"[..], b"abcde"] {
            let scratch = tempfile::tempdir().expect("a scratch folder");
            let mut landing = Landing::new(&scratch.path().join("out")).expect("begun");
            landing.entry(&entry("", FILE, 4)).expect("root");
            let outcome = landing.data(bytes).and_then(|()| landing.finish().map(drop));
            assert_eq!(outcome.expect_err("refused").kind(), "answer");
            assert!(names(scratch.path()).is_empty());
        }
    }

    #[test]
    fn what_is_there_is_not_lost() {
        let scratch = tempfile::tempdir().expect("a scratch folder");
        let full = scratch.path().join("full");
        fs::create_dir(&full).expect("created");
        fs::write(full.join("keep"), "me").expect("written");
        for kind in [FILE, FOLDER, LINK] {
            let mut landing = Landing::new(&full).expect("begun");
            landing.entry(&entry("", kind, 0)).expect_err("refused");
        }
        let mut landing = Landing::new(&full.join("keep")).expect("begun");
        landing.entry(&entry("", FOLDER, 0)).expect_err("a folder over a file");
        drop(landing);
        assert_eq!(fs::read(full.join("keep")).expect("readable"), b"me");
        Landing::new(&scratch.path().join("missing/out")).map(drop).expect_err("no such folder");
        Landing::new(Path::new("/")).map(drop).expect_err("no name");
    }
}
