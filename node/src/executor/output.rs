//! What a step left behind: the one file that is taken in, or why it is not.
//!
//! The tool may have been talked into anything by a hostile input, so its output counts only as
//! a regular file with one link, in the workspace itself, and not empty.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{Failure, FailureClass};

/// Entries of a workspace that are looked at; ours have fewer than five.
const MAX_WORKSPACE_ENTRIES: usize = 1024;

/// The file `name` of `workspace`, if it may be taken in.
pub(super) fn accept(workspace: &Path, name: &str, disk_bytes: u64) -> Result<PathBuf, Failure> {
    let path = workspace.join(name);
    let refuse =
        |what: &str| Failure::new(FailureClass::Executor, format!("the step's output {what}, so it is not taken"));
    let metadata = match fs::symlink_metadata(&path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(refuse("was never written"));
        }
        Err(error) => return Err(Failure::io("looking at the step's output", &error)),
    };
    if !metadata.file_type().is_file() {
        return Err(refuse("is not a regular file"));
    }
    if metadata.nlink() != 1 {
        return Err(refuse("has another name elsewhere"));
    }
    if metadata.len() == 0 {
        return Err(refuse("is empty"));
    }
    if metadata.len() > disk_bytes {
        return Err(too_large(disk_bytes));
    }
    Ok(path)
}

/// The failure of a step that wrote more than it may.
pub(super) fn too_large(disk_bytes: u64) -> Failure {
    Failure::new(FailureClass::Executor, format!("the step wrote more than the {disk_bytes} bytes it may"))
}

/// Bytes of the workspace's files, or `None` when it holds more entries than any step makes.
/// Directories inside are not entered: our tools make none.
pub(super) fn used_bytes(workspace: &Path) -> Option<u64> {
    let mut total = 0u64;
    for (count, entry) in fs::read_dir(workspace).ok()?.enumerate() {
        if count >= MAX_WORKSPACE_ENTRIES {
            return None;
        }
        // A file may be gone between the listing and the look: it holds nothing then.
        let length = entry.and_then(|entry| entry.metadata()).map(|m| m.len());
        total = total.saturating_add(length.unwrap_or(0));
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn only_a_plain_file_with_one_name_is_taken() {
        let directory = tempfile::tempdir().expect("a scratch directory can be made");
        let root = directory.path();
        fs::write(root.join("good"), b"12").expect("scratch is writable");
        fs::write(root.join("empty"), b"").expect("scratch is writable");
        symlink(root.join("good"), root.join("link")).expect("scratch is writable");
        fs::create_dir(root.join("folder")).expect("scratch is writable");
        assert!(accept(root, "good", 2).is_ok());
        for (name, why) in [("gone", "never written"), ("empty", "empty"), ("link", "regular"), ("folder", "regular")] {
            let failure = accept(root, name, 100).expect_err("refused");
            assert!(failure.message.contains(why), "{name}: {failure}");
        }
        assert!(accept(root, "good", 1).expect_err("too large").message.contains("1 bytes"));
        fs::hard_link(root.join("good"), root.join("twin")).expect("scratch is writable");
        let failure = accept(root, "good", 100).expect_err("two names");
        assert!(failure.message.contains("another name"));
        assert!(used_bytes(root).is_some_and(|used| used >= 4));
    }
}
