//! TRANSFORM: colour, sharpness and speed of a picture or clip. The ranges are those within which
//! ffmpeg's filters (eq, hue, boxblur, unsharp, setpts, atempo) do what the word says.

use serde::Deserialize;

use crate::recipe::schema::{BOTH, Default, Field, Kind, Schema, no_check};

pub(crate) const SCHEMA: Schema = Schema {
    name: "TRANSFORM",
    revision: 1,
    expected_ms: 3000,
    inputs: (1, 1),
    toolsets: BOTH,
    fields: &[Field::new("effects", Kind::Record(EFFECTS), Default::Filled)],
    check: no_check,
};

const EFFECTS: &[Field] = &[
    Field::new("saturation", Kind::Float(0.0, 3.0), Default::Float(1.0)),
    Field::new("contrast", Kind::Float(0.0, 10.0), Default::Float(1.0)),
    Field::new("brightness", Kind::Float(-1.0, 1.0), Default::Float(0.0)),
    Field::new("gamma", Kind::Float(0.1, 10.0), Default::Float(1.0)),
    Field::new("hue", Kind::Float(-360.0, 360.0), Default::Float(0.0)),
    Field::new("blur", Kind::Float(0.0, 100.0), Default::Float(0.0)),
    Field::new("sharpen", Kind::Float(0.0, 5.0), Default::Float(0.0)),
    Field::new("speed", Kind::Float(0.1, 10.0), Default::Float(1.0)),
];

/// Colour, sharpness and speed of a picture or clip.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transform {
    /// Applied in the order of the fields.
    pub effects: Effects,
}

/// What is changed; each value has one that changes nothing.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Effects {
    /// 1 changes nothing, 0 is grey.
    pub saturation: f64,
    /// 1 changes nothing.
    pub contrast: f64,
    /// 0 changes nothing, -1 is black, 1 is white.
    pub brightness: f64,
    /// 1 changes nothing.
    pub gamma: f64,
    /// Degrees; 0 changes nothing.
    pub hue: f64,
    /// Radius in pixels; 0 changes nothing.
    pub blur: f64,
    /// 0 changes nothing.
    pub sharpen: f64,
    /// 1 changes nothing, 2 is twice as fast.
    pub speed: f64,
}
