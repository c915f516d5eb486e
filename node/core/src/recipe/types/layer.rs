//! LAYER: pictures or clips on top of each other, the first at the bottom.

use serde::Deserialize;

use crate::limits::MAX_STEP_INPUTS;
use crate::recipe::schema::{BOTH, Default, Field, Kind, Schema, no_check};

pub(crate) const SCHEMA: Schema = Schema {
    name: "LAYER",
    revision: 1,
    expected_ms: 3000,
    inputs: (1, MAX_STEP_INPUTS),
    toolsets: BOTH,
    fields: &[Field::new("inputs", Kind::PerInput(&Kind::Record(PLACEMENT), Default::Filled), Default::Filled)],
    check: no_check,
};

const PLACEMENT: &[Field] = &[
    Field::new("position", Kind::Tuple(2, &Kind::Int(-16_384, 16_384)), Default::Ints(&[0, 0])),
    Field::new("opacity", Kind::Float(0.0, 1.0), Default::Float(1.0)),
    Field::new("scale", Kind::Float(0.01, 100.0), Default::Float(1.0)),
];

/// Pictures or clips on top of each other, the first at the bottom.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layer {
    /// One for each input, in order.
    pub inputs: Vec<Placement>,
}

/// Where and how one layer lies.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Placement {
    /// Of the top left corner, in pixels from the base's: right, down.
    pub position: [i32; 2],
    /// 0 is invisible.
    pub opacity: f64,
    /// 1 changes nothing.
    pub scale: f64,
}
