//! The list of node types.

use std::fmt;
use std::str::FromStr;

use ipld_core::ipld::Ipld;

/// What a node of a recipe does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NodeType {
    Source,
    Segment,
    Resize,
    Transform,
    Sequence,
    Layer,
    Blend,
    Mux,
    AudioMix,
    Generate,
}

impl NodeType {
    /// Every node type.
    pub const ALL: &[Self] = &[
        Self::Source,
        Self::Segment,
        Self::Resize,
        Self::Transform,
        Self::Sequence,
        Self::Layer,
        Self::Blend,
        Self::Mux,
        Self::AudioMix,
        Self::Generate,
    ];

    /// As recipes write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Source => "SOURCE",
            Self::Segment => "SEGMENT",
            Self::Resize => "RESIZE",
            Self::Transform => "TRANSFORM",
            Self::Sequence => "SEQUENCE",
            Self::Layer => "LAYER",
            Self::Blend => "BLEND",
            Self::Mux => "MUX",
            Self::AudioMix => "AUDIO_MIX",
            Self::Generate => "GENERATE",
        }
    }

    /// Counts changes of what the type means.
    pub const fn revision(self) -> u32 {
        1
    }

    /// Whether normalisation would leave `config` as it is.
    pub fn check_normalised(
        self,
        config: &Ipld,
        inputs: usize,
        toolset: &str,
    ) -> Result<(), String> {
        let _ = (config, inputs, toolset);
        Ok(())
    }
}

impl fmt::Display for NodeType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
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
