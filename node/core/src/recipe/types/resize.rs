//! RESIZE: a picture or clip in another size.

use serde::Deserialize;

use super::choices::ResizeMode;
use crate::recipe::schema::{BOTH, Default, Field, Kind, SIDE, Schema, no_check};

pub(crate) const SCHEMA: Schema = Schema {
    name: "RESIZE",
    revision: 1,
    expected_ms: 3000,
    inputs: (1, 1),
    toolsets: BOTH,
    fields: &[
        Field::new("width", SIDE, Default::Required),
        Field::new("height", SIDE, Default::Required),
        Field::new("mode", Kind::Choice(ResizeMode::WORDS), Default::Text("fit")),
        Field::new("background", Kind::Colour, Default::Text("#000000")),
    ],
    check: no_check,
};

/// A picture or clip in another size.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resize {
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// What happens to another shape.
    pub mode: ResizeMode,
    /// `#rrggbb`, lower case.
    pub background: String,
}
