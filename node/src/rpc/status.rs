//! The only place where an error of ours becomes a gRPC code. Inner words stay inside; what the
//! caller can do about it goes out.

use artdag_blockstore::{AddError, ReadError, StateError};
use tonic::Status;
use tracing::error;

use crate::{fetch::FetchError, records::RecordsError, scheduler::RunError};

/// Something of ours that failed, for a caller.
pub trait IntoStatus {
    /// The code tells the caller what to do next, the message says it.
    fn into_status(self) -> Status;
}

impl IntoStatus for ReadError {
    fn into_status(self) -> Status {
        match &self {
            ReadError::Missing(cid) => Status::not_found(format!("{cid} is not on this node and nobody served it")),
            ReadError::NotThere(_) => Status::not_found(self.to_string()),
            ReadError::Damaged { .. } => Status::data_loss(self.to_string()),
            ReadError::NoSpace { .. } => Status::resource_exhausted(self.to_string()),
            ReadError::Io { .. } | ReadError::Index(_) | ReadError::State(_) => internal(&self),
        }
    }
}

impl IntoStatus for AddError {
    fn into_status(self) -> Status {
        match &self {
            AddError::NoSpace { .. } => Status::resource_exhausted(self.to_string()),
            AddError::Input(_) | AddError::Block(_) => Status::invalid_argument(self.to_string()),
            AddError::Io { .. } | AddError::State(_) => internal(&self),
        }
    }
}

impl IntoStatus for StateError {
    fn into_status(self) -> Status {
        match self {
            StateError::NoSpace { .. } => Status::resource_exhausted(self.to_string()),
            other => internal(&other),
        }
    }
}

impl IntoStatus for FetchError {
    fn into_status(self) -> Status {
        match self {
            FetchError::NotFound(..) => Status::not_found(self.to_string()),
            FetchError::TooWide(_) | FetchError::Endless | FetchError::Links(_) => {
                Status::invalid_argument(self.to_string())
            }
            FetchError::Store(error) => error.into_status(),
            FetchError::Read(error) => error.into_status(),
        }
    }
}

impl IntoStatus for RecordsError {
    fn into_status(self) -> Status {
        match self {
            RecordsError::Stopping => Status::unavailable("the node is stopping"),
            RecordsError::State(error) => error.into_status(),
            RecordsError::Record(_) => internal(&self),
        }
    }
}

impl IntoStatus for RunError {
    fn into_status(self) -> Status {
        match self {
            RunError::Recipe(text) | RunError::Input(text) => Status::invalid_argument(text),
            RunError::Toolset(text) => Status::failed_precondition(text),
            RunError::Unknown(id) => {
                Status::not_found(format!("no run {id} on this node; `artdag runs ls` lists them"))
            }
            RunError::Full(max) => {
                Status::resource_exhausted(format!("{max} runs are under way on this node; wait for one to end"))
            }
            RunError::Add(error) => error.into_status(),
            RunError::State(error) => error.into_status(),
        }
    }
}

/// A message that is the caller's to mend.
pub fn invalid(message: impl Into<String>) -> Status {
    Status::invalid_argument(message)
}

/// Reads a CID that a caller sent.
///
/// # Errors
/// When it is none.
pub fn parse_cid(text: &str) -> Result<cid::Cid, Status> {
    text.trim().parse().map_err(|_| invalid(format!("`{text}` is no CID; it should look like bafy… or Qm…")))
}

fn internal(error: &dyn std::error::Error) -> Status {
    error!(error = error.to_string(), "a call failed inside");
    Status::internal(format!("this node has a problem of its own: {error}"))
}
