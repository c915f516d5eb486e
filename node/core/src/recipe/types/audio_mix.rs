//! AUDIO_MIX: sounds at the same time.

use serde::Deserialize;

use crate::limits::MAX_STEP_INPUTS;
use crate::recipe::schema::{BOTH, Default, Field, Kind, Schema, no_check};

pub(crate) const SCHEMA: Schema = Schema {
    name: "AUDIO_MIX",
    revision: 1,
    expected_ms: 500,
    inputs: (2, MAX_STEP_INPUTS),
    toolsets: BOTH,
    fields: &[
        Field::new("gains", Kind::PerInput(&Kind::Float(0.0, 100.0), Default::Float(1.0)), Default::Filled),
        Field::new("normalize", Kind::Bool, Default::Bool(true)),
    ],
    check: no_check,
};

/// Sounds at the same time.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AudioMix {
    /// One factor for each input, in order; 1 changes nothing.
    pub gains: Vec<f64>,
    /// Scale the sum down so that it does not clip.
    pub normalize: bool,
}
