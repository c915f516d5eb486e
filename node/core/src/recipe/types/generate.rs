//! GENERATE: a picture, moving pictures or a sound out of nothing, without outside tools.

use serde::Deserialize;

use super::choices::Pattern;
use crate::recipe::schema::{Default, Field, Kind, Schema, no_check};

pub(crate) const SCHEMA: Schema = Schema {
    name: "GENERATE",
    revision: 1,
    expected_ms: 1000,
    inputs: (0, 0),
    toolsets: &["builtin"],
    fields: &[
        Field::new("kind", Kind::Choice(Pattern::WORDS), Default::Required),
        Field::new("width", Kind::Int(1, 4096), Default::Int(640)),
        Field::new("height", Kind::Int(1, 4096), Default::Int(360)),
        Field::new("frames", Kind::Int(1, 1000), Default::Int(1)),
        // What people hear.
        Field::new("frequency", Kind::Float(20.0, 20_000.0), Default::Float(440.0)),
        Field::new("duration", Kind::Float(0.01, 600.0), Default::Float(2.0)),
        Field::new("seed", Kind::Seed, Default::Seed),
    ],
    check: no_check,
};

/// A picture, moving pictures or a sound out of nothing.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Generate {
    /// What.
    pub kind: Pattern,
    /// Pixels, of pictures.
    pub width: u32,
    /// Pixels, of pictures.
    pub height: u32,
    /// How many pictures.
    pub frames: u32,
    /// Hertz, of a tone.
    pub frequency: f64,
    /// Seconds, of a tone.
    pub duration: f64,
    /// Decides what is random; the plan's seed unless written.
    pub seed: u64,
}
