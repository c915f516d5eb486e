//! A file out of the store and into the world.
//!
//! Never a hard link: root writes through read-only modes, and a blob must not change. A reflink where the file
//! system has them, else a copy; under a temporary name until it is whole.

use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use cid::Cid;

use crate::error::ReadError;
use crate::journal::Home;
use crate::location::Container;
use crate::store::Store;

/// Bytes copied at a time.
const COPY_BYTES: usize = 1 << 20;

impl Store {
    /// Writes the file `cid` to `to`, replacing what is there; returns its size. On an error `to` is untouched.
    pub fn export_file(&self, cid: &Cid, to: &Path) -> Result<u64, ReadError> {
        let fault = |error| ReadError::io("write", to, error);
        let dir = match to.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let scratch = tempfile::Builder::new()
            .prefix(".artdag-")
            .permissions(Permissions::from_mode(0o666)) // the umask takes its part
            .tempfile_in(dir)
            .map_err(fault)?;
        let size = match self.clone_blob(cid, scratch.as_file())? {
            Some(size) => size,
            None => self.copy_out(cid, scratch.as_file(), to)?,
        };
        scratch.as_file().sync_data().map_err(fault)?;
        scratch.persist(to).map_err(|error| fault(error.error))?;
        Ok(size)
    }

    /// Shares the blob's extents, where the file system can.
    fn clone_blob(&self, cid: &Cid, to: &File) -> Result<Option<u64>, ReadError> {
        let Some(note) = self.file_note(cid)? else {
            return Ok(None);
        };
        if note.home != Home::Blob {
            return Ok(None);
        }
        let Ok(blob) = self.inner.files.handle(&Container::Blob(note.blake3)) else {
            return Ok(None);
        };
        let cloned = rustix::fs::ioctl_ficlone(to, blob.as_ref()).is_ok();
        let whole = cloned && to.metadata().is_ok_and(|found| found.len() == note.size);
        Ok(whole.then_some(note.size))
    }

    fn copy_out(&self, cid: &Cid, mut to: &File, path: &Path) -> Result<u64, ReadError> {
        let fault = |error: io::Error| ReadError::io("write", path, error);
        let reader = self.open_file(cid)?;
        let mut buffer = vec![0; COPY_BYTES];
        let mut offset = 0;
        while offset < reader.len() {
            let count = reader.read_at(offset, &mut buffer)?;
            to.write_all(&buffer[..count]).map_err(fault)?;
            offset += count as u64;
        }
        Ok(offset)
    }
}
