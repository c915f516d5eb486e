//! What is sent of a file or folder, in order: each entry, then its bytes in bounded chunks.
//!
//! A folder comes before what is in it and names come in the order of their bytes, so the same
//! tree is the same stream. Inside a folder a symlink stays a symlink; the path that was named is
//! followed. Hidden files are left out unless asked for. A file that changes its length while it
//! is read is an error: half of the old and half of the new is nobody's file.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use artdag_proto::v1;

use super::{Folders, Hidden};
use crate::Error;

/// Bytes per message: large enough to keep a link busy, small enough to keep memory flat.
pub(super) const CHUNK: usize = 256 * 1024;
/// Deeper trees are refused; no sane tree is, and each level keeps its listing in memory.
pub(super) const MAX_DEPTH: usize = 256;

/// Takes one part of the stream; an error ends the walk.
pub(super) type Sink<'a> = &'a mut dyn FnMut(v1::add_request::Part) -> Result<(), Error>;

/// What the root is called when it is printed.
pub(super) fn root_name(path: &Path) -> Result<String, Error> {
    let named = match path.file_name() {
        Some(name) => name.to_owned(),
        None => {
            let full = fs::canonicalize(path).map_err(|e| Error::local(path, e))?;
            full.file_name().unwrap_or(full.as_os_str()).to_owned()
        }
    };
    Ok(named.to_string_lossy().into_owned())
}

/// Refuses before the node is asked: a missing path, a folder nobody asked to walk, a device.
pub(super) fn check(path: &Path, folders: Folders) -> Result<(), Error> {
    let facts = fs::metadata(path).map_err(|error| Error::local(path, error))?;
    if facts.is_dir() {
        return match folders {
            Folders::Walk => Ok(()),
            Folders::Refuse => Err(Error::InvalidInput(format!(
                "{} is a folder; use -r to add it with all that is in it",
                path.display()
            ))),
        };
    }
    if facts.is_file() { Ok(()) } else { Err(unsuitable(path)) }
}

/// Sends the file or folder at `path` as the root.
pub(super) fn walk(path: &Path, hidden: Hidden, sink: Sink<'_>) -> Result<(), Error> {
    let facts = fs::metadata(path).map_err(|error| Error::local(path, error))?;
    if facts.is_dir() {
        send_directory(String::new(), sink)?;
        return walk_directory(path, hidden, sink);
    }
    if !facts.is_file() {
        return Err(unsuitable(path));
    }
    send_file(path, String::new(), sink)
}

/// Depth first without recursion: the stack holds the rest of each open folder's listing.
fn walk_directory(root: &Path, hidden: Hidden, sink: Sink<'_>) -> Result<(), Error> {
    let mut open = vec![listing(root, "", hidden)?];
    while let Some(top) = open.last_mut() {
        let Some(Child { local, path }) = top.next() else {
            open.pop();
            continue;
        };
        let facts = fs::symlink_metadata(&local).map_err(|error| Error::local(&local, error))?;
        if facts.is_dir() {
            if open.len() >= MAX_DEPTH {
                let text = format!("{} is more than {MAX_DEPTH} folders deep", local.display());
                return Err(Error::InvalidInput(text));
            }
            let children = listing(&local, &path, hidden)?;
            send_directory(path, sink)?;
            open.push(children);
        } else if facts.is_symlink() {
            send_symlink(&local, path, sink)?;
        } else if facts.is_file() {
            send_file(&local, path, sink)?;
        } else {
            return Err(unsuitable(&local));
        }
    }
    Ok(())
}

struct Child {
    local: PathBuf,
    /// Relative to the root, with "/" between names.
    path: String,
}

fn listing(folder: &Path, prefix: &str, hidden: Hidden) -> Result<std::vec::IntoIter<Child>, Error> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(|error| Error::local(folder, error))? {
        let name = entry.map_err(|error| Error::local(folder, error))?.file_name();
        let Some(name) = name.to_str() else {
            let text = format!("{}: the name is not UTF-8", folder.join(&name).display());
            return Err(Error::InvalidInput(text));
        };
        if hidden == Hidden::Include || !name.starts_with('.') {
            names.push(name.to_owned());
        }
    }
    names.sort_unstable();
    let child = |name: String| Child {
        local: folder.join(&name),
        path: if prefix.is_empty() { name } else { format!("{prefix}/{name}") },
    };
    Ok(names.into_iter().map(child).collect::<Vec<_>>().into_iter())
}

fn send_directory(path: String, sink: Sink<'_>) -> Result<(), Error> {
    let kind = v1::EntryKind::Directory.into();
    sink(entry(v1::Entry { path, kind, size: 0, target: String::new() }))
}

fn send_symlink(local: &Path, path: String, sink: Sink<'_>) -> Result<(), Error> {
    let target = fs::read_link(local).map_err(|error| Error::local(local, error))?;
    let Some(target) = target.to_str() else {
        let text = format!("{}: the link's target is not UTF-8", local.display());
        return Err(Error::InvalidInput(text));
    };
    let (kind, size) = (v1::EntryKind::Symlink.into(), target.len() as u64);
    sink(entry(v1::Entry { path, kind, size, target: target.to_owned() }))
}

fn send_file(local: &Path, path: String, sink: Sink<'_>) -> Result<(), Error> {
    let failed = |error: io::Error| Error::local(local, error);
    let mut file = File::open(local).map_err(failed)?;
    let size = file.metadata().map_err(failed)?.len();
    let kind = v1::EntryKind::File.into();
    sink(entry(v1::Entry { path, kind, size, target: String::new() }))?;
    let mut left = size;
    loop {
        let data = read_chunk(&mut file).map_err(failed)?;
        if data.is_empty() {
            break;
        }
        left = left.checked_sub(data.len() as u64).ok_or_else(|| changed(local))?;
        sink(v1::add_request::Part::Data(data))?;
    }
    if left > 0 { Err(changed(local)) } else { Ok(()) }
}

fn read_chunk(file: &mut File) -> io::Result<Vec<u8>> {
    let mut data = Vec::with_capacity(CHUNK);
    file.take(CHUNK as u64).read_to_end(&mut data)?;
    Ok(data)
}

fn entry(entry: v1::Entry) -> v1::add_request::Part {
    v1::add_request::Part::Entry(entry)
}

fn changed(local: &Path) -> Error {
    Error::InvalidInput(format!("{} changed while it was read; add it again", local.display()))
}

fn unsuitable(local: &Path) -> Error {
    Error::InvalidInput(format!("{} is neither a file, a folder nor a symlink", local.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Seen = Vec<(String, i32, u64)>;

    fn seen(root: &Path, hidden: Hidden) -> Result<(Seen, u64), Error> {
        let (mut entries, mut bytes) = (Vec::new(), 0);
        walk(root, hidden, &mut |part| {
            match part {
                v1::add_request::Part::Entry(e) => entries.push((e.path, e.kind, e.size)),
                v1::add_request::Part::Data(data) => {
                    assert!(!data.is_empty() && data.len() <= CHUNK);
                    bytes += data.len() as u64;
                }
                v1::add_request::Part::Options(_) => panic!("the walk sends no options"),
            }
            Ok(())
        })?;
        Ok((entries, bytes))
    }

    #[test]
    fn a_tree_comes_sorted_with_folders_first_and_links_as_links() {
        let root = tempfile::tempdir().expect("a scratch folder");
        let at = |name: &str| root.path().join(name);
        fs::create_dir_all(at("b/deep")).expect("created");
        fs::write(at("b/deep/x"), vec![7; CHUNK + 1]).expect("written");
        fs::write(at("b-side"), "").expect("written");
        fs::write(at("a"), "hello").expect("written");
        fs::write(at(".secret"), "no").expect("written");
        std::os::unix::fs::symlink("/nowhere", at("c")).expect("linked");

        let (entries, bytes) = seen(root.path(), Hidden::Skip).expect("walked");
        let (dir, file, link) = (2, 1, 3);
        let expected = [
            ("", dir, 0),
            ("a", file, 5),
            ("b", dir, 0),
            ("b/deep", dir, 0),
            ("b/deep/x", file, CHUNK as u64 + 1),
            ("b-side", file, 0),
            ("c", link, 8),
        ];
        let expected: Seen = expected.iter().map(|(p, k, s)| ((*p).to_owned(), *k, *s)).collect();
        assert_eq!(entries, expected);
        assert_eq!(bytes, 5 + CHUNK as u64 + 1);

        let (with_hidden, _) = seen(root.path(), Hidden::Include).expect("walked");
        assert_eq!(with_hidden[1].0, ".secret");
    }

    #[test]
    fn one_file_is_the_root_itself() {
        let root = tempfile::tempdir().expect("a scratch folder");
        let file = root.path().join(".hidden-but-named");
        fs::write(&file, "x").expect("written");
        let (entries, _) = seen(&file, Hidden::Skip).expect("walked");
        assert_eq!(entries, [(String::new(), 1, 1)]);
        assert_eq!(root_name(&file).expect("named"), ".hidden-but-named");
    }

    #[test]
    fn a_folder_needs_to_be_asked_for() {
        let root = tempfile::tempdir().expect("a scratch folder");
        let error = check(root.path(), Folders::Refuse).expect_err("refused");
        assert!(error.to_string().contains("use -r"), "{error}");
        check(root.path(), Folders::Walk).expect("asked for");
        let missing = root.path().join("missing");
        assert_eq!(check(&missing, Folders::Walk).expect_err("missing").kind(), "local");
    }

    #[test]
    fn what_is_no_file_is_refused_by_name() {
        let root = tempfile::tempdir().expect("a scratch folder");
        let socket = root.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).expect("bound");
        for path in [socket.as_path(), root.path()] {
            let error = seen(path, Hidden::Skip).expect_err("refused").to_string();
            assert!(error.contains("socket is neither"), "{error}");
        }
    }

    #[test]
    fn a_tree_without_end_is_refused() {
        let root = tempfile::tempdir().expect("a scratch folder");
        let deep: PathBuf = std::iter::repeat_n("d", MAX_DEPTH).collect();
        fs::create_dir_all(root.path().join(&deep)).expect("created");
        let error = seen(root.path(), Hidden::Skip).expect_err("refused").to_string();
        assert!(error.contains("folders deep"), "{error}");
    }

    #[test]
    fn a_file_that_changes_while_it_is_read_is_an_error() {
        let root = tempfile::tempdir().expect("a scratch folder");
        let file = root.path().join("log");
        for longer in [true, false] {
            fs::write(&file, vec![1; CHUNK + 10]).expect("written");
            let mut touched = false;
            let result = walk(&file, Hidden::Skip, &mut |_| {
                if !std::mem::replace(&mut touched, true) {
                    fs::write(&file, vec![2; if longer { CHUNK + 20 } else { 5 }]).expect("written");
                }
                Ok(())
            });
            let error = result.expect_err("refused").to_string();
            assert!(error.contains("changed while it was read"), "{error}");
        }
    }
}
