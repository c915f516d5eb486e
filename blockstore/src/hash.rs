//! BLAKE3 and SHA3-256 of a whole file in the one pass that also hashes its leaves.
//!
//! SHA3-256 is the slow one (a third of a GB/s), so from the second chunk on it runs on a thread of its own,
//! behind a bounded channel of shared chunks. Small files are hashed where they stand.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use sha3::{Digest, Sha3_256};

use crate::thread;

/// Chunks in flight to the SHA3 thread: enough to never starve it, 4 MiB of memory.
const CHUNKS_IN_FLIGHT: usize = 4;

/// The two whole-file hashes.
pub(crate) struct FileHashes {
    pub blake3: [u8; 32],
    pub sha3: [u8; 32],
}

/// Hashes a small file at once.
pub(crate) fn hash_small(bytes: &[u8]) -> FileHashes {
    FileHashes { blake3: *blake3::hash(bytes).as_bytes(), sha3: Sha3_256::digest(bytes).into() }
}

/// Hashes a large file chunk by chunk.
pub(crate) struct FileHasher {
    blake3: blake3::Hasher,
    chunks: Option<SyncSender<Arc<Vec<u8>>>>,
    sha3: Option<JoinHandle<[u8; 32]>>,
}

impl FileHasher {
    pub fn start() -> io::Result<FileHasher> {
        let (chunks, inbox) = sync_channel(CHUNKS_IN_FLIGHT);
        let sha3 = thread::start("sha3", move || sha3_of(&inbox))?;
        Ok(FileHasher { blake3: blake3::Hasher::new(), chunks: Some(chunks), sha3: Some(sha3) })
    }

    pub fn update(&mut self, chunk: &Arc<Vec<u8>>) {
        if let Some(chunks) = &self.chunks {
            // The receiver only goes away when we drop the sender.
            let _ = chunks.send(Arc::clone(chunk));
        }
        self.blake3.update(chunk);
    }

    pub fn finish(mut self) -> FileHashes {
        self.chunks = None;
        let thread = self.sha3.take().expect("taken once, here or in drop");
        FileHashes {
            blake3: *self.blake3.finalize().as_bytes(),
            sha3: thread.join().expect("hashing bytes does not panic"),
        }
    }
}

impl Drop for FileHasher {
    fn drop(&mut self) {
        self.chunks = None;
        if let Some(thread) = self.sha3.take() {
            let _ = thread.join();
        }
    }
}

fn sha3_of(inbox: &Receiver<Arc<Vec<u8>>>) -> [u8; 32] {
    let mut hasher = Sha3_256::new();
    while let Ok(chunk) = inbox.recv() {
        hasher.update(chunk.as_slice());
    }
    hasher.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunked_and_whole_agree() {
        let chunk = Arc::new(vec![5; 100_000]);
        let mut hasher = FileHasher::start().expect("thread");
        (0..7).for_each(|_| hasher.update(&chunk));
        let chunked = hasher.finish();
        let whole = hash_small(&vec![5; 700_000]);
        assert_eq!((chunked.blake3, chunked.sha3), (whole.blake3, whole.sha3));
    }

    #[test]
    fn sha3_256_of_nothing_is_the_one_of_fips_202() {
        assert_eq!(
            hex::encode(hash_small(b"").sha3),
            "a7ffc6f8bf1ed76651c14756a061d662f580ff4de43b49fa82d80a4b80f8434a"
        );
    }
}
