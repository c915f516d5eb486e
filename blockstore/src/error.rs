//! What can go wrong, split by what the caller does next.

use std::io;
use std::path::{Path, PathBuf};

use cid::Cid;

use crate::block::BlockError;
use crate::disk;
use crate::state::StateError;

/// The store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("{} is already in use by another node: stop it, or choose another data directory", dir.display())]
    InUse { dir: PathBuf },
    #[error("no space left on the disk of {}: free some disk, then start again", dir.display())]
    NoSpace { dir: PathBuf },
    #[error("cannot {action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error(transparent)]
    State(StateError),
    #[error("the block index cannot be built: {0}")]
    Index(String),
}

impl OpenError {
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> OpenError {
        match disk::is_full(&source) {
            true => OpenError::NoSpace { dir: path.to_owned() },
            false => OpenError::Io { action, path: path.to_owned(), source },
        }
    }
}

impl From<StateError> for OpenError {
    fn from(error: StateError) -> OpenError {
        match error {
            StateError::NoSpace { dir } => OpenError::NoSpace { dir },
            other => OpenError::State(other),
        }
    }
}

/// Content was not taken in; nothing of it is left behind.
#[derive(Debug, thiserror::Error)]
pub enum AddError {
    #[error("no space left on the disk of {}: free some disk or move the data directory, then add again", dir.display())]
    NoSpace { dir: PathBuf },
    /// What was handed in cannot be added; the message says what to change.
    #[error("{0}")]
    Input(String),
    #[error("cannot {action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error(transparent)]
    Block(#[from] BlockError),
    #[error(transparent)]
    State(StateError),
}

impl AddError {
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> AddError {
        match disk::is_full(&source) {
            true => AddError::NoSpace { dir: path.to_owned() },
            false => AddError::Io { action, path: path.to_owned(), source },
        }
    }
}

impl From<StateError> for AddError {
    fn from(error: StateError) -> AddError {
        match error {
            StateError::NoSpace { dir } => AddError::NoSpace { dir },
            other => AddError::State(other),
        }
    }
}

/// Content could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A block is not here: fetch it and try again.
    #[error("block {0} is not in this store")]
    Missing(Cid),
    /// What is here is not what was asked for (a directory where a file was wanted, a name that is not there).
    #[error("{0}")]
    NotThere(String),
    /// The bytes on disk or in a fetched block are wrong; asking again will not help.
    #[error("{cid} is damaged: {reason}")]
    Damaged { cid: Cid, reason: String },
    #[error("no space left on the disk of {}: free some disk, then try again", dir.display())]
    NoSpace { dir: PathBuf },
    #[error("cannot {action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("the block index cannot be rebuilt: {0}; stop the node and run `artdag-node repair`")]
    Index(String),
    #[error(transparent)]
    State(StateError),
}

impl ReadError {
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> ReadError {
        match disk::is_full(&source) {
            true => ReadError::NoSpace { dir: path.to_owned() },
            false => ReadError::Io { action, path: path.to_owned(), source },
        }
    }

    pub(crate) fn damaged(cid: &Cid, reason: impl Into<String>) -> ReadError {
        ReadError::Damaged { cid: *cid, reason: reason.into() }
    }
}

impl From<StateError> for ReadError {
    fn from(error: StateError) -> ReadError {
        match error {
            StateError::NoSpace { dir } => ReadError::NoSpace { dir },
            other => ReadError::State(other),
        }
    }
}
