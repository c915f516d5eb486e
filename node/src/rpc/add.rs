//! One `Add` call: a sequence of entries and data becomes files, symlinks and folders.
//!
//! It runs on a blocking thread, fed through a bounded channel. What was begun and not finished
//! when the channel breaks is dropped, so nothing is left half added.

use std::{collections::BTreeMap, io::Write, sync::Arc};

use artdag_blockstore::{Added, DirectoryEntry, FileWriter, PinKind, Store};
use artdag_proto::v1::{AddOptions, AddRequest, AddResponse, Entry, add_request::Part};
use tokio::sync::mpsc;
use tonic::Status;

use super::status::{IntoStatus, invalid};

/// A path deeper than this is a mistake or an attack.
const DEPTH_MAX: usize = 128;
/// Longer names than any file system gives.
const NAME_BYTES_MAX: usize = 255;
/// Entries of one call; each costs some hundred bytes of memory until its folder is written.
const ENTRIES_MAX: usize = 2_000_000;

/// What travels from the call to the thread: a part, or that the caller finished in good order.
pub enum Step {
    /// The next message.
    Part(AddRequest),
    /// The caller closed its side.
    End,
}

/// Consumes a call to its end. A channel that closes without [`Step::End`] was cut off.
pub fn run(store: &Store, mut parts: mpsc::Receiver<Step>, answers: &mpsc::Sender<Result<AddResponse, Status>>) {
    let mut session =
        Session { store, options: AddOptions::default(), open: None, root: Folder::default(), entries: 0 };
    loop {
        let outcome = match parts.blocking_recv() {
            Some(Step::Part(part)) => session.part(part),
            Some(Step::End) => {
                let done = session.finish();
                for answer in done.unwrap_or_else(|status| vec![Err(status)]) {
                    if answers.blocking_send(answer).is_err() {
                        return;
                    }
                }
                return;
            }
            None => return,
        };
        match outcome {
            Ok(None) => {}
            Ok(Some(answer)) => {
                if answers.blocking_send(Ok(answer)).is_err() {
                    return;
                }
            }
            Err(status) => {
                // First gone, then told: who hears of the failure finds nothing half written.
                drop(session);
                // A caller that went away does not hear why, and need not.
                let _ = answers.blocking_send(Err(status));
                return;
            }
        }
    }
}

/// A folder while its entries arrive.
#[derive(Default)]
struct Folder {
    children: BTreeMap<String, Child>,
}

enum Child {
    Folder(Folder),
    Leaf(Arc<Added>),
}

struct Session<'a> {
    store: &'a Store,
    options: AddOptions,
    open: Option<(String, FileWriter)>,
    root: Folder,
    entries: usize,
}

impl Session<'_> {
    fn part(&mut self, request: AddRequest) -> Result<Option<AddResponse>, Status> {
        match request.part {
            Some(Part::Options(options)) => {
                self.options = options;
                Ok(None)
            }
            Some(Part::Entry(entry)) => {
                let finished = self.close()?;
                self.begin(entry)?;
                Ok(finished)
            }
            Some(Part::Data(data)) => {
                let Some((_, writer)) = &mut self.open else {
                    return Err(invalid("data came before a file entry"));
                };
                writer.write_all(&data).map_err(|error| written(&error))?;
                Ok(None)
            }
            None => Err(invalid("an empty message")),
        }
    }

    fn begin(&mut self, entry: Entry) -> Result<(), Status> {
        self.entries += 1;
        if self.entries > ENTRIES_MAX {
            return Err(Status::resource_exhausted(format!(
                "more than {ENTRIES_MAX} entries in one call; add sub-folders apart"
            )));
        }
        check_path(&entry.path)?;
        match entry.kind() {
            artdag_proto::v1::EntryKind::File => {
                let writer = self.store.file_writer().map_err(IntoStatus::into_status)?;
                self.open = Some((entry.path, writer));
            }
            artdag_proto::v1::EntryKind::Directory => self.root.folder(&entry.path)?,
            artdag_proto::v1::EntryKind::Symlink => {
                let added = self.store.add_symlink(&entry.target).map_err(IntoStatus::into_status)?;
                self.root.leaf(&entry.path, added)?;
            }
            artdag_proto::v1::EntryKind::Data | artdag_proto::v1::EntryKind::Unspecified => {
                return Err(invalid("an entry that is no file, folder or symlink"));
            }
        }
        Ok(())
    }

    /// Finishes the file that is open, and answers for it.
    fn close(&mut self) -> Result<Option<AddResponse>, Status> {
        let Some((path, writer)) = self.open.take() else { return Ok(None) };
        let added = writer.finish().map_err(IntoStatus::into_status)?;
        let answer = answer(&path, &added);
        self.root.leaf(&path, added)?;
        Ok(Some(answer))
    }

    fn finish(mut self) -> Result<Vec<Result<AddResponse, Status>>, Status> {
        let mut answers: Vec<_> = self.close()?.into_iter().map(Ok).collect();
        let single = match self.root.children.get("") {
            Some(Child::Leaf(added)) if !self.options.wrap => Some(added.clone()),
            _ => None,
        };
        let root = match single {
            Some(added) => added,
            None => {
                self.root.children.remove("");
                let root = std::mem::take(&mut self.root);
                Arc::new(self.write(root, "", &mut answers)?)
            }
        };
        if self.options.pin {
            self.store.pin(&root.cid, PinKind::Recursive, "").map_err(IntoStatus::into_status)?;
        }
        answers.push(Ok(AddResponse { root: true, ..answer("", &root) }));
        Ok(answers)
    }

    /// Writes a folder after its sub-folders. The depth is bounded by [`DEPTH_MAX`].
    fn write(
        &self,
        folder: Folder,
        path: &str,
        answers: &mut Vec<Result<AddResponse, Status>>,
    ) -> Result<Added, Status> {
        let mut entries = Vec::with_capacity(folder.children.len());
        for (name, child) in folder.children {
            let below = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
            let added = match child {
                Child::Leaf(added) => added,
                Child::Folder(folder) => {
                    let added = self.write(folder, &below, answers)?;
                    answers.push(Ok(answer(&below, &added)));
                    Arc::new(added)
                }
            };
            entries.push(DirectoryEntry { name, cid: added.cid, size: added.cumulative_size, kind: added.kind });
        }
        self.store.add_directory(entries).map_err(IntoStatus::into_status)
    }
}

impl Folder {
    fn folder(&mut self, path: &str) -> Result<(), Status> {
        self.descend(path.split('/').filter(|name| !name.is_empty())).map(drop)
    }

    fn leaf(&mut self, path: &str, added: Added) -> Result<(), Status> {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let folder = self.descend(parent.split('/').filter(|name| !name.is_empty()))?;
        if folder.children.insert(name.to_owned(), Child::Leaf(Arc::new(added))).is_some() {
            return Err(invalid(format!("`{path}` was sent twice")));
        }
        Ok(())
    }

    fn descend<'a>(&mut self, names: impl Iterator<Item = &'a str>) -> Result<&mut Self, Status> {
        let mut folder = self;
        for name in names {
            let child = folder.children.entry(name.to_owned()).or_insert_with(|| Child::Folder(Self::default()));
            folder = match child {
                Child::Folder(folder) => folder,
                Child::Leaf(_) => return Err(invalid(format!("`{name}` is a file and a folder at once"))),
            };
        }
        Ok(folder)
    }
}

fn written(error: &std::io::Error) -> Status {
    match error.kind() {
        std::io::ErrorKind::StorageFull => Status::resource_exhausted(
            "this node has no space left; free some or move its data directory, then add again",
        ),
        _ => Status::internal(format!("this node could not write: {error}")),
    }
}

fn check_path(path: &str) -> Result<(), Status> {
    if path.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = path.split('/').collect();
    if names.len() > DEPTH_MAX {
        return Err(invalid(format!("`{path}` is deeper than {DEPTH_MAX} folders")));
    }
    for name in names {
        if name.is_empty() || name == "." || name == ".." || name.len() > NAME_BYTES_MAX || name.contains('\0') {
            return Err(invalid(format!("`{path}` has a name that cannot stand in a folder")));
        }
    }
    Ok(())
}

fn answer(path: &str, added: &Added) -> AddResponse {
    AddResponse {
        path: path.to_owned(),
        cid: added.cid.to_string(),
        size: added.size,
        content_hash: added.content_hash.map(Vec::from).unwrap_or_default(),
        blake3: added.blake3.map(Vec::from).unwrap_or_default(),
        root: false,
    }
}

#[cfg(test)]
mod tests {
    use artdag_blockstore::Options;
    use artdag_proto::v1::EntryKind;

    use super::*;

    fn entry(path: &str, kind: EntryKind) -> AddRequest {
        let entry = Entry { path: path.into(), kind: kind.into(), size: 0, target: "elsewhere".into() };
        AddRequest { part: Some(Part::Entry(entry)) }
    }

    fn data(bytes: &[u8]) -> AddRequest {
        AddRequest { part: Some(Part::Data(bytes.to_vec())) }
    }

    fn pinned() -> AddRequest {
        AddRequest { part: Some(Part::Options(AddOptions { pin: true, wrap: false })) }
    }

    /// Sends the parts and, unless the call is cut off, its end; gives the answers.
    fn call(store: &Store, parts: Vec<AddRequest>, end: Option<Step>) -> Vec<Result<AddResponse, Status>> {
        let (to_worker, from_caller) = mpsc::channel(parts.len() + 1);
        let (answers, mut heard) = mpsc::channel(100);
        for part in parts.into_iter().map(Step::Part).chain(end) {
            to_worker.try_send(part).map_err(|_| "full").expect("the channel has room for all parts");
        }
        drop(to_worker);
        run(store, from_caller, &answers);
        drop(answers);
        std::iter::from_fn(|| heard.blocking_recv()).collect()
    }

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store = Store::open(dir.path(), Options::default()).expect("a fresh store opens");
        (dir, store)
    }

    #[test]
    fn one_file_is_its_own_root() {
        let (_dir, store) = store();
        let parts = vec![pinned(), entry("", EntryKind::File), data(b"hello "), data(b"world")];
        let answers = call(&store, parts, Some(Step::End));
        let root = answers.last().expect("an answer").as_ref().expect("added");
        assert!(root.root);
        // IPIP-499, profile unixfs-v1-2025.
        assert_eq!(root.cid, "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e");
        assert_eq!(store.pins(None, 10).expect("readable").len(), 1);
    }

    #[test]
    fn a_folder_comes_after_what_is_in_it() {
        let (_dir, store) = store();
        let parts = vec![
            entry("", EntryKind::Directory),
            entry("a/b", EntryKind::File),
            data(b"x"),
            entry("a/link", EntryKind::Symlink),
            entry("empty", EntryKind::Directory),
        ];
        let answers = call(&store, parts, Some(Step::End));
        let paths: Vec<_> = answers.iter().map(|answer| answer.as_ref().expect("added").path.as_str()).collect();
        assert_eq!(paths, ["a/b", "a", "empty", ""]);
    }

    #[test]
    fn a_call_that_was_cut_off_leaves_nothing() {
        let (dir, store) = store();
        let large = vec![7; 3 << 20];
        let answers = call(&store, vec![pinned(), entry("", EntryKind::File), data(&large)], None);
        assert!(answers.is_empty());
        assert!(store.pins(None, 10).expect("readable").is_empty());
        let incoming = std::fs::read_dir(dir.path().join("incoming")).expect("there");
        assert_eq!(incoming.count(), 0, "a half file was left behind");
    }

    #[test]
    fn paths_that_cannot_stand_are_refused() {
        let (_dir, store) = store();
        let deep = vec!["d"; DEPTH_MAX + 1].join("/");
        let long = "n".repeat(NAME_BYTES_MAX + 1);
        for path in ["../up", "a//b", "/root", "a/.", "nul\0", deep.as_str(), long.as_str()] {
            let answers = call(&store, vec![entry(path, EntryKind::File)], Some(Step::End));
            let refused = answers[0].as_ref().expect_err(path);
            assert_eq!(refused.code(), tonic::Code::InvalidArgument, "{path}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let (_dir, store) = store();
        for parts in [
            vec![data(b"before any entry")],
            vec![AddRequest { part: None }],
            vec![entry("a", EntryKind::Unspecified)],
            vec![entry("a", EntryKind::File), entry("a", EntryKind::File)],
            vec![entry("a", EntryKind::File), entry("a/b", EntryKind::File)],
        ] {
            let answers = call(&store, parts.clone(), Some(Step::End));
            assert!(answers.iter().any(Result::is_err), "{parts:?}");
            assert!(!answers.iter().flatten().any(|answer| answer.root), "{parts:?}");
        }
    }
}
