//! An action: a step whose inputs are at hand, ready to be leased and executed anywhere.
//!
//! # Bytes
//!
//! dag-cbor `{type, config, inputs, executor}` (map keys by length, then bytewise): `type` the
//! node type's name, `executor` the text of an [`Executor`], `config` normalised by the type's
//! schema, `inputs` the CIDs in order as links.
//!
//! What always holds: [`Action::decode`] takes only the bytes that [`Action::encode`] would make
//! and only a config that normalisation leaves as it is, so an action has one encoding and one id,
//! and an executor never meets a config that its schema would refuse.
//! What this file does not do: say what an action means (`executor/` of the node) or name it
//! (`identity`).

use std::fmt;
use std::str::FromStr;

use cid::Cid;
use ipld_core::ipld::Ipld;

use crate::identity;
use crate::limits::{MAX_ACTION_BYTES, MAX_STEP_INPUTS, MAX_THREADS, MAX_TOOLSET_BYTES};
use crate::recipe::NodeType;

/// A step whose inputs are at hand.
#[derive(Debug, Clone, PartialEq)]
pub struct Action {
    /// What is done.
    pub kind: NodeType,
    /// By what: the text of an [`Executor`].
    pub executor: String,
    /// Normalised.
    pub config: Ipld,
    /// In order.
    pub inputs: Vec<Cid>,
}

/// Why bytes are not an action.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ActionError {
    /// Longer than any action.
    #[error("an action is at most {MAX_ACTION_BYTES} bytes, this is {0}")]
    TooLong(usize),
    /// Not dag-cbor, not canonical, or a field is missing, unknown or of another kind.
    #[error("not an action: {0}")]
    Malformed(String),
    /// A node type this node does not know.
    #[error("unknown node type {0:?}")]
    UnknownType(String),
    /// The executor text, the config or the inputs are not what the type allows.
    #[error("{kind} refuses this action: {message}")]
    Refused {
        /// The action's type.
        kind: NodeType,
        /// What is wrong.
        message: String,
    },
}

impl Action {
    /// The canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        let inputs = self.inputs.iter().copied().map(Ipld::Link).collect();
        identity::encode(&identity::computation(self.kind.name(), &self.executor, &self.config, inputs))
    }

    /// The action in bytes that a peer sent.
    pub fn decode(bytes: &[u8]) -> Result<Self, ActionError> {
        if bytes.len() > MAX_ACTION_BYTES {
            return Err(ActionError::TooLong(bytes.len()));
        }
        let fields: Ipld =
            serde_ipld_dagcbor::from_slice(bytes).map_err(|error| ActionError::Malformed(error.to_string()))?;
        let action = Self::from_ipld(fields)?;
        action.check()?;
        if action.encode() != bytes {
            return Err(malformed("the encoding is not the canonical one"));
        }
        Ok(action)
    }

    fn from_ipld(fields: Ipld) -> Result<Self, ActionError> {
        let Ipld::Map(mut fields) = fields else {
            return Err(malformed("not a map"));
        };
        let mut take = |name: &str| {
            let missing = || ActionError::Malformed(format!("field {name:?} is missing"));
            fields.remove(name).ok_or_else(missing)
        };
        let (kind, executor, config, inputs) = (take("type")?, take("executor")?, take("config")?, take("inputs")?);
        if !fields.is_empty() {
            return Err(malformed("an unknown field"));
        }
        let (Ipld::String(kind), Ipld::String(executor), Ipld::List(inputs)) = (kind, executor, inputs) else {
            return Err(malformed("a field is of another kind"));
        };
        let inputs = inputs.into_iter().map(|input| match input {
            Ipld::Link(cid) => Ok(cid),
            _ => Err(malformed("an input is not a link")),
        });
        Ok(Self {
            kind: kind.parse().map_err(|_| ActionError::UnknownType(kind.clone()))?,
            executor,
            config,
            inputs: inputs.collect::<Result<_, _>>()?,
        })
    }

    /// Whether the type's schema allows this config and so many inputs, and the executor is one
    /// of the type.
    pub fn check(&self) -> Result<(), ActionError> {
        let refused = |message: String| ActionError::Refused { kind: self.kind, message };
        if self.inputs.len() > MAX_STEP_INPUTS {
            return Err(refused(format!("more than {MAX_STEP_INPUTS} inputs")));
        }
        let executor: Executor = self.executor.parse().map_err(|error: NotAnExecutor| refused(error.to_string()))?;
        if self.kind == NodeType::Source {
            return Err(refused("a source is not executed".to_owned()));
        }
        if executor.kind != self.kind {
            return Err(refused(format!("the executor is for {}", executor.kind)));
        }
        self.kind.check_normalised(&self.config, self.inputs.len(), &executor.toolset.name).map_err(refused)
    }
}

fn malformed(message: &str) -> ActionError {
    ActionError::Malformed(message.to_owned())
}

/// A set of tools of one version, as one node has it: `ffmpeg-5.1`, `builtin-1`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Toolset {
    /// Lower case letters and digits: `ffmpeg`.
    pub name: String,
    /// Letters, digits, dots and underscores: `5.1`. Two builds with one version must give the
    /// same bytes; the exact build stands in the result.
    pub version: String,
}

impl fmt::Display for Toolset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.name, self.version)
    }
}

/// A text that does not name a toolset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a toolset: write NAME-VERSION, such as ffmpeg-5.1")]
pub struct NotAToolset;

impl FromStr for Toolset {
    type Err = NotAToolset;
    fn from_str(text: &str) -> Result<Self, NotAToolset> {
        let (name, version) = text.split_once('-').ok_or(NotAToolset)?;
        let name_fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let version_fits = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '_';
        let fits = !name.is_empty()
            && !version.is_empty()
            && text.len() <= MAX_TOOLSET_BYTES
            && name.chars().all(name_fits)
            && version.chars().all(version_fits);
        let toolset = || Self { name: name.to_owned(), version: version.to_owned() };
        fits.then(toolset).ok_or(NotAToolset)
    }
}

/// The executor version of a step: `RESIZE/1+t2+ffmpeg-5.1`. The type with the revision of its
/// meaning, the pinned number of threads (another number gives other bytes), the toolset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Executor {
    /// The node type; its revision is the one this build knows.
    pub kind: NodeType,
    /// Threads the tool is told to use.
    pub threads: u32,
    /// The tools.
    pub toolset: Toolset,
}

impl fmt::Display for Executor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, threads, toolset } = self;
        write!(f, "{kind}/{}+t{threads}+{toolset}", kind.revision())
    }
}

/// A text that does not name an executor this build knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an executor this version knows, such as RESIZE/1+t2+ffmpeg-5.1")]
pub struct NotAnExecutor;

impl FromStr for Executor {
    type Err = NotAnExecutor;
    fn from_str(text: &str) -> Result<Self, NotAnExecutor> {
        let mut parts = text.splitn(3, '+');
        let mut part = || parts.next().ok_or(NotAnExecutor);
        let (kind, threads, toolset) = (part()?, part()?, part()?);
        let (kind, _) = kind.split_once('/').ok_or(NotAnExecutor)?;
        let threads = threads.strip_prefix('t').ok_or(NotAnExecutor)?;
        let executor = Self {
            kind: kind.parse().map_err(|_| NotAnExecutor)?,
            threads: threads.parse().map_err(|_| NotAnExecutor)?,
            toolset: toolset.parse().map_err(|_| NotAnExecutor)?,
        };
        // One text per executor: no leading zeros, no other revision, no odd thread count.
        let fits = executor.to_string() == text && (1..=MAX_THREADS).contains(&executor.threads);
        fits.then_some(executor).ok_or(NotAnExecutor)
    }
}
