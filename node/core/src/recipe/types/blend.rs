//! BLEND: two pictures or clips mixed pixel by pixel; the second lies over the first.

use serde::Deserialize;

use super::choices::BlendMode;
use crate::recipe::schema::{BOTH, Default, Field, Kind, Schema, no_check};

pub(crate) const SCHEMA: Schema = Schema {
    name: "BLEND",
    revision: 1,
    expected_ms: 3000,
    inputs: (2, 2),
    toolsets: BOTH,
    fields: &[
        Field::new("mode", Kind::Choice(BlendMode::WORDS), Default::Text("overlay")),
        Field::new("opacity", Kind::Float(0.0, 1.0), Default::Float(0.5)),
    ],
    check: no_check,
};

/// Two pictures or clips mixed pixel by pixel; the second lies over the first.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Blend {
    /// How.
    pub mode: BlendMode,
    /// How much of the second: 0 is none.
    pub opacity: f64,
}
