//! The list of node types. A new one is a file beside this with a `SCHEMA` and a typed config,
//! and one line in the list below.

use std::fmt;
use std::str::FromStr;

use ipld_core::ipld::Ipld;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::normalise;
use super::schema::Schema;

/// A config that is not in the normal form of its type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a normalised {kind} config: {message}")]
pub struct ConfigError {
    /// The type whose config it should be.
    pub kind: NodeType,
    /// What is wrong.
    pub message: String,
}

macro_rules! node_types {
    ($($file:ident :: $variant:ident,)*) => {
        $(mod $file;)*

        /// What a node of a recipe does.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum NodeType {
            $(#[doc = concat!("See [`config::", stringify!($variant), "`].")] $variant,)*
        }

        impl NodeType {
            /// Every node type.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            pub(crate) const fn schema(self) -> &'static Schema {
                match self { $(Self::$variant => &$file::SCHEMA,)* }
            }
        }

        /// Typed configs, one per node type, for those who execute.
        pub mod config {
            $(pub use super::$file::$variant;)*
            pub use super::choices::*;
        }

        $(impl config::$variant {
            /// The typed form of a config in normal form.
            pub fn from_ipld(config: &Ipld) -> Result<Self, ConfigError> {
                ipld_core::serde::from_ipld(config.clone()).map_err(|error| ConfigError {
                    kind: NodeType::$variant,
                    message: error.to_string(),
                })
            }
        })*
    };
}

mod choices;

node_types! {
    source::Source,
    segment::Segment,
    resize::Resize,
    transform::Transform,
    sequence::Sequence,
    layer::Layer,
    blend::Blend,
    mux::Mux,
    audio_mix::AudioMix,
    generate::Generate,
}

impl NodeType {
    /// As recipes write it: `AUDIO_MIX`.
    pub const fn name(self) -> &'static str {
        self.schema().name
    }

    /// Counts changes of what the type means; part of every executor version.
    pub const fn revision(self) -> u32 {
        self.schema().revision
    }

    /// How long one is expected to take before any was seen.
    pub(crate) const fn expected_ms(self) -> u64 {
        self.schema().expected_ms
    }

    /// Names of the toolsets that can do it.
    pub const fn toolsets(self) -> &'static [&'static str] {
        self.schema().toolsets
    }

    /// Whether normalisation would leave `config` as it is; else what is wrong with it.
    pub fn check_normalised(self, config: &Ipld, inputs: usize, toolset: &str) -> Result<(), String> {
        if !self.toolsets().contains(&toolset) {
            return Err(format!("the toolset {toolset:?} has no {self}"));
        }
        normalise::check(self.schema(), config, inputs)
    }
}

impl fmt::Display for NodeType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for NodeType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for NodeType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        name.parse().map_err(serde::de::Error::custom)
    }
}

/// A name that no node type has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a node type")]
pub struct UnknownNodeType;

impl FromStr for NodeType {
    type Err = UnknownNodeType;
    fn from_str(text: &str) -> Result<Self, UnknownNodeType> {
        let found = Self::ALL.iter().find(|kind| kind.name() == text);
        found.copied().ok_or(UnknownNodeType)
    }
}
