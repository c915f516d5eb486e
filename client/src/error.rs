//! Why a call failed, split by what the caller does next.
//!
//! gRPC codes are read here and nowhere else; the node's own text always comes through.

use std::{io, path::PathBuf};

use tonic::{Code, Status};

/// What went wrong; each variant is one next action.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Start a node, or name another one.
    #[error("no node answers at {url} ({reason}); start one with: artdag-node run")]
    NodeUnreachable { url: String, reason: String },
    /// Name something else: the node and its peers do not have it.
    #[error("not found: {0}")]
    NotFound(String),
    /// Change what was asked; the text says how.
    #[error("{0}")]
    InvalidInput(String),
    /// Get a token, or a better one.
    #[error("the node refuses: {0}")]
    Refused(String),
    /// The same call may succeed later.
    #[error("try again later: {0}")]
    TryLater(String),
    /// Look at the file or folder on this machine.
    #[error("{}: {source}", path.display())]
    Local { path: PathBuf, source: io::Error },
    /// Look at the node's log.
    #[error("the node failed: {0}")]
    Node(String),
    /// Client and node do not understand each other: use the same version of both.
    #[error("the node's answer makes no sense: {0}; is it the same version as this client?")]
    Answer(String),
}

impl Error {
    /// One word for `--json`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NodeUnreachable { .. } => "node_unreachable",
            Self::NotFound(_) => "not_found",
            Self::InvalidInput(_) => "invalid_input",
            Self::Refused(_) => "refused",
            Self::TryLater(_) => "try_later",
            Self::Local { .. } => "local",
            Self::Node(_) => "node",
            Self::Answer(_) => "answer",
        }
    }

    pub(crate) fn local(path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Local { path: path.into(), source }
    }

    pub(crate) fn from_status(url: &str, status: &Status) -> Self {
        // A status made on this side carries its cause, one that a node sent does not.
        if let Some(cause) = std::error::Error::source(status) {
            return Self::NodeUnreachable { url: url.to_owned(), reason: innermost(cause) };
        }
        let text = status.message().to_owned();
        match status.code() {
            Code::NotFound => Self::NotFound(text),
            Code::InvalidArgument | Code::OutOfRange | Code::FailedPrecondition | Code::AlreadyExists => {
                Self::InvalidInput(text)
            }
            Code::Unauthenticated | Code::PermissionDenied => Self::Refused(text),
            Code::Unavailable | Code::ResourceExhausted | Code::Aborted => Self::TryLater(text),
            Code::DeadlineExceeded => Self::TryLater(text),
            Code::Unimplemented => Self::Answer(format!("it does not offer this call ({text})")),
            code => Self::Node(if text.is_empty() { code.to_string() } else { text }),
        }
    }
}

/// The last cause of a chain: the operating system's own words.
pub(crate) fn innermost(cause: &(dyn std::error::Error + 'static)) -> String {
    let mut last = cause;
    while let Some(next) = last.source() {
        last = next;
    }
    last.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_becomes_one_next_action() {
        let cases = [
            (Code::NotFound, "not_found"),
            (Code::InvalidArgument, "invalid_input"),
            (Code::FailedPrecondition, "invalid_input"),
            (Code::Unauthenticated, "refused"),
            (Code::PermissionDenied, "refused"),
            (Code::Unavailable, "try_later"),
            (Code::ResourceExhausted, "try_later"),
            (Code::Internal, "node"),
            (Code::DataLoss, "node"),
            (Code::Unimplemented, "answer"),
        ];
        for (code, kind) in cases {
            let error = Error::from_status("http://h", &Status::new(code, "the text"));
            assert_eq!(error.kind(), kind, "{code:?}");
            assert!(error.to_string().contains("the text"), "{error}");
        }
    }

    #[test]
    fn a_status_with_a_cause_was_made_here_and_says_how_to_start_a_node() {
        let refused = io::Error::new(io::ErrorKind::ConnectionRefused, "connection refused");
        let status = Status::from_error(Box::new(refused));
        let error = Error::from_status("http://127.0.0.1:1", &status);
        assert_eq!(
            error.to_string(),
            "no node answers at http://127.0.0.1:1 (connection refused); \
             start one with: artdag-node run"
        );
    }
}
