//! Keys of this node: its identity, the cluster key and what is derived from it.
//!
//! Files are made once, mode 0600, written under a temporary name and renamed. The namespace is
//! made with the first key and kept apart, since it enters every id and must outlive the key.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use argon2::Argon2;
use hkdf::Hkdf;
use sha2::Sha256;
use tracing::warn;

use crate::{clock, entropy};

/// A cluster key is any 1–1024 bytes.
const KEY_BYTES_MAX: usize = 1024;
/// Below this a person probably typed it, and it can be guessed.
const KEY_BYTES_STRONG: usize = 32;

/// What a member of the cluster holds.
#[derive(Clone)]
pub struct Secrets {
    /// Ed25519 seed of this node.
    pub identity: [u8; 32],
    /// The cluster key as given or made.
    pub cluster_key: Vec<u8>,
    /// Proves membership; rotates with the key.
    pub membership: [u8; 32],
    /// Seals gossip; rotates with the key.
    pub gossip: [u8; 32],
    /// Enters every id; never rotates.
    pub namespace: [u8; 32],
}

/// Where the cluster key comes from.
#[derive(Clone, Debug)]
pub enum KeySource {
    /// The bytes themselves, as from `ARTDAG_CLUSTER_KEY`.
    Bytes(Vec<u8>),
    /// A file whose content, less one trailing newline, is the key.
    File(PathBuf),
    /// From an invite, with the namespace of the cluster.
    Invite {
        /// The cluster key.
        key: Vec<u8>,
        /// The cluster's namespace.
        namespace: [u8; 32],
    },
    /// The one kept in the data directory, made on the first start.
    Kept,
}

/// Why the keys could not be had.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    /// A key file cannot be read or written.
    #[error("cannot use {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is there but is not what it should be.
    #[error("{path} is damaged: {reason}; restore it from a backup or remove it to get a new one")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The cluster key is empty or too long.
    #[error("the cluster key has {length} bytes; give 1 to {KEY_BYTES_MAX}")]
    KeyLength {
        /// Bytes given.
        length: usize,
    },
    /// The invite belongs to a cluster other than the one whose results lie here.
    #[error("this data directory belongs to another cluster; use an empty --data-dir to join this one")]
    OtherNamespace,
}

impl Secrets {
    /// Reads or makes the keys of the node in `data_dir`.
    ///
    /// # Errors
    /// See [`SecretsError`]; nothing is overwritten.
    pub fn open(data_dir: &Path, source: &KeySource) -> Result<Self, SecretsError> {
        let identity = fixed_file(&data_dir.join("identity.key"), entropy::random)?;
        let cluster_key = cluster_key(data_dir, source)?;
        if cluster_key.is_empty() || cluster_key.len() > KEY_BYTES_MAX {
            return Err(SecretsError::KeyLength { length: cluster_key.len() });
        }
        if cluster_key.len() < KEY_BYTES_STRONG {
            warn!(bytes = cluster_key.len(), "the cluster key is short; 32 random bytes cannot be guessed");
        }
        let root = stretch(&cluster_key);
        let first = match source {
            KeySource::Invite { namespace, .. } => *namespace,
            _ => derive(&root, "artdag/namespace/1"),
        };
        let namespace = fixed_file(&data_dir.join("namespace"), || first)?;
        if matches!(source, KeySource::Invite { .. }) && namespace != first {
            return Err(SecretsError::OtherNamespace);
        }
        Ok(Self {
            identity,
            membership: derive(&root, "artdag/membership/1"),
            gossip: derive(&root, "artdag/gossip/1"),
            namespace,
            cluster_key,
        })
    }
}

impl Secrets {
    /// A name of the circle that these secrets open: the same for all its members, and no help to
    /// anyone who wants in.
    #[must_use]
    pub fn circle(&self) -> String {
        hex::encode(&derive(&self.membership, "artdag/circle/1")[..8])
    }
}

fn cluster_key(data_dir: &Path, source: &KeySource) -> Result<Vec<u8>, SecretsError> {
    let kept = data_dir.join("cluster.key");
    match source {
        KeySource::Bytes(key) => Ok(key.clone()),
        KeySource::Invite { key, .. } => {
            // Kept, so that the next start needs no invite.
            if !kept.exists() {
                write_private(&kept, key).map_err(|source| SecretsError::File { path: kept.clone(), source })?;
            }
            Ok(key.clone())
        }
        KeySource::File(path) => {
            let mut key = fs::read(path).map_err(|source| SecretsError::File { path: path.clone(), source })?;
            if key.last() == Some(&b'\n') {
                key.pop();
            }
            Ok(key)
        }
        KeySource::Kept if kept.exists() => {
            fs::read(&kept).map_err(|source| SecretsError::File { path: kept.clone(), source })
        }
        KeySource::Kept => Ok(fixed_file::<32>(&kept, entropy::random)?.to_vec()),
    }
}

/// Reads a file of exactly `N` bytes, or makes it.
fn fixed_file<const N: usize>(path: &Path, make: impl FnOnce() -> [u8; N]) -> Result<[u8; N], SecretsError> {
    let broken = |source| SecretsError::File { path: path.to_owned(), source };
    match fs::read(path) {
        Ok(bytes) => bytes
            .try_into()
            .map_err(|_| SecretsError::Damaged { path: path.to_owned(), reason: "it has the wrong length" }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let bytes = make();
            write_private(path, &bytes).map_err(broken)?;
            Ok(bytes)
        }
        Err(error) => Err(broken(error)),
    }
}

/// Writes a file that only the owner reads, so that it is either whole or absent.
///
/// # Errors
/// What the system said.
pub fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension(format!("tmp-{}", std::process::id()));
    let written = (|| {
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// Argon2id with its recommended cost, since a cluster key may be a sentence somebody typed. The
/// salt is fixed: every member must come to the same secret without talking first.
fn stretch(key: &[u8]) -> [u8; 32] {
    let watch = clock::Stopwatch::start();
    let mut root = [0; 32];
    Argon2::default()
        .hash_password_into(key, b"artdag/cluster-key/1", &mut root)
        .expect("the salt and output lengths are within Argon2's limits");
    tracing::debug!(ms = watch.elapsed_ms(), "stretched the cluster key");
    root
}

fn derive(root: &[u8; 32], label: &str) -> [u8; 32] {
    let mut out = [0; 32];
    Hkdf::<Sha256>::new(None, root)
        .expand(label.as_bytes(), &mut out)
        .expect("32 bytes are within what HKDF-SHA256 can give");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lone_node_keeps_its_random_key() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let first = Secrets::open(dir.path(), &KeySource::Kept).expect("keys are made");
        let again = Secrets::open(dir.path(), &KeySource::Kept).expect("keys are read");
        assert_eq!(first.cluster_key, again.cluster_key);
        assert_eq!(first.identity, again.identity);
        let mode = fs::metadata(dir.path().join("cluster.key")).expect("kept").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn one_key_gives_one_circle_and_a_new_key_keeps_the_namespace() {
        let (a, b) = (tempfile::tempdir().expect("dir"), tempfile::tempdir().expect("dir"));
        let source = KeySource::Bytes(b"a sentence that the studio agreed on".to_vec());
        let one = Secrets::open(a.path(), &source).expect("keys");
        let two = Secrets::open(b.path(), &source).expect("keys");
        assert_eq!((one.membership, one.gossip, one.namespace), (two.membership, two.gossip, two.namespace));
        assert_ne!(one.identity, two.identity);
        assert_eq!(one.circle(), two.circle());
        let rotated = Secrets::open(a.path(), &KeySource::Bytes(b"another".to_vec())).expect("keys");
        assert_eq!(rotated.namespace, one.namespace);
        assert_ne!(rotated.membership, one.membership);
        assert_ne!(rotated.circle(), one.circle());
    }

    #[test]
    fn an_empty_key_and_a_damaged_identity_are_refused() {
        let dir = tempfile::tempdir().expect("dir");
        assert!(matches!(
            Secrets::open(dir.path(), &KeySource::Bytes(vec![])),
            Err(SecretsError::KeyLength { length: 0 })
        ));
        fs::write(dir.path().join("identity.key"), b"short").expect("written");
        assert!(matches!(Secrets::open(dir.path(), &KeySource::Kept), Err(SecretsError::Damaged { .. })));
    }
}
