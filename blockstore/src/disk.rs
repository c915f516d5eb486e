//! The few things we ask of a file system: making a rename durable, free space, and telling "full" apart.

use std::fs::File;
use std::io;
use std::path::Path;

/// Makes the names in a directory durable.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Creates a directory and makes its name durable; an existing one is fine, but its name is made durable too:
/// whoever created it may have died before doing so.
pub(crate) fn create_directory(path: &Path) -> io::Result<()> {
    match std::fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_directory(parent),
        _ => Ok(()),
    }
}

/// Bytes an ordinary user may still write to this file system.
pub(crate) fn free_bytes(path: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(path)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Whether an error means that the disk or a quota is full.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// A fresh "disk full" error, for when we refuse before the disk does.
pub(crate) fn full() -> io::Error {
    io::Error::from(io::ErrorKind::StorageFull)
}
