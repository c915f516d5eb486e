//! SEGMENT: a piece of a clip or a sound, by time.

use serde::Deserialize;

use crate::recipe::schema::{BOTH, Default, Field, Kind, MAX_SECONDS, Schema, no_check};

pub(crate) const SCHEMA: Schema = Schema {
    name: "SEGMENT",
    revision: 1,
    expected_ms: 2000,
    inputs: (1, 1),
    toolsets: BOTH,
    fields: &[
        Field::new("offset", Kind::Float(0.0, MAX_SECONDS), Default::Float(0.0)),
        // A piece shorter than a millisecond holds no picture and hardly a sample.
        Field::new("duration", Kind::Float(0.001, MAX_SECONDS), Default::Absent),
        Field::new("precise", Kind::Bool, Default::Bool(true)),
    ],
    check: no_check,
};

/// A piece of a clip or a sound, by time.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Segment {
    /// Where it starts, in seconds.
    pub offset: f64,
    /// How long it is, in seconds; `None`: to the end.
    pub duration: Option<f64>,
    /// Cut at the very picture and encode again; else copy from the nearest key picture.
    pub precise: bool,
}
