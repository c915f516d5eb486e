//! The names under a data directory, and open handles on the files that hold blocks.
//!
//! Handles are kept because a peer asks for many blocks of one file in a row; an unlinked file stays readable
//! through its handle, which is what we want while a reader is in it.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use cid::Cid;

use crate::location::{Container, Location};

/// Handles kept open; far below the usual limit of 1024 descriptors.
const MAX_HANDLES: usize = 128;

/// Where things lie under the data directory.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    root: PathBuf,
}

impl Places {
    pub fn new(root: &Path) -> Places {
        Places { root: root.to_owned() }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    pub fn state(&self) -> PathBuf {
        self.root.join("state.redb")
    }

    pub fn index(&self) -> PathBuf {
        self.root.join("index")
    }

    pub fn blobs(&self) -> PathBuf {
        self.root.join("blobs")
    }

    pub fn packs(&self) -> PathBuf {
        self.root.join("packs")
    }

    /// Files on their way in; emptied on open.
    pub fn incoming(&self) -> PathBuf {
        self.root.join("incoming")
    }

    /// Where repair puts what it cannot vouch for.
    pub fn damaged(&self) -> PathBuf {
        self.root.join("damaged")
    }

    pub fn blob_dir(&self, blake3: &[u8; 32]) -> PathBuf {
        self.blobs().join(hex::encode(&blake3[..1]))
    }

    pub fn blob(&self, blake3: &[u8; 32]) -> PathBuf {
        self.blob_dir(blake3).join(hex::encode(blake3))
    }

    pub fn dag(&self, blake3: &[u8; 32], root: &Cid) -> PathBuf {
        let name = format!("{}.{root}.dag", hex::encode(blake3));
        self.blob_dir(blake3).join(name)
    }

    pub fn pack(&self, number: u64) -> PathBuf {
        self.packs().join(format!("{number}.car"))
    }

    /// The file of a container, if it is one that lies under the data directory.
    fn container(&self, container: &Container) -> Option<PathBuf> {
        match container {
            Container::Blob(blake3) => Some(self.blob(blake3)),
            Container::Dag { blake3, root } => Some(self.dag(blake3, root)),
            Container::Pack(number) => Some(self.pack(*number)),
            Container::Shard(_) | Container::InPlace(_) => None,
        }
    }
}

/// Reads blocks out of containers.
pub(crate) struct Files {
    places: Places,
    handles: Mutex<HashMap<Container, Arc<File>>>,
}

impl Files {
    pub fn new(places: Places) -> Files {
        Files { places, handles: Mutex::new(HashMap::new()) }
    }

    pub fn read(&self, location: &Location) -> io::Result<Vec<u8>> {
        let file = self.handle(&location.container)?;
        let mut bytes = vec![0; location.length as usize];
        file.read_exact_at(&mut bytes, location.offset)?;
        Ok(bytes)
    }

    pub fn handle(&self, container: &Container) -> io::Result<Arc<File>> {
        if let Some(file) = self.lock().get(container) {
            return Ok(Arc::clone(file));
        }
        let Some(path) = self.places.container(container) else {
            return Err(io::Error::other("this version cannot read registered shards and files in place"));
        };
        let file = Arc::new(File::open(path)?);
        let mut handles = self.lock();
        if handles.len() >= MAX_HANDLES {
            // Any victim will do: opening again costs microseconds.
            if let Some(victim) = handles.keys().next().cloned() {
                handles.remove(&victim);
            }
        }
        handles.insert(container.clone(), Arc::clone(&file));
        Ok(file)
    }

    /// Forgets a handle, after its file was replaced.
    pub fn forget(&self, container: &Container) {
        self.lock().remove(container);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Container, Arc<File>>> {
        self.handles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
