//! SEQUENCE: clips, pictures or sounds one after the other. With one input the planner takes the
//! input itself.

use ipld_core::ipld::Ipld;
use serde::Deserialize;

use super::choices::{TargetSize, TransitionType};
use crate::limits::MAX_STEP_INPUTS;
use crate::recipe::schema::{BOTH, Complaint, Default, Field, Kind, SIDE, Schema, key};

pub(crate) const SCHEMA: Schema = Schema {
    name: "SEQUENCE",
    revision: 1,
    expected_ms: 4000,
    inputs: (1, MAX_STEP_INPUTS),
    toolsets: BOTH,
    fields: &[
        Field::new("transition", Kind::Record(TRANSITION), Default::Filled),
        Field::new("target_size", Kind::Choice(TargetSize::WORDS), Default::Text("first")),
        Field::new("width", SIDE, Default::Absent),
        Field::new("height", SIDE, Default::Absent),
        Field::new("background", Kind::Colour, Default::Text("#000000")),
    ],
    check,
};

const TRANSITION: &[Field] = &[
    Field::new("type", Kind::Choice(TransitionType::WORDS), Default::Text("cut")),
    Field::new("duration", Kind::Float(0.0, 60.0), Default::Float(0.5)),
];

fn check(config: &Ipld, _: usize) -> Result<(), Complaint> {
    let explicit = *key(config, "target_size") == Ipld::String("explicit".to_owned());
    for side in ["width", "height"] {
        let written = *key(config, side) != Ipld::Null;
        if explicit && !written {
            return Err(Complaint {
                key: "target_size",
                message: format!("an explicit target size needs {side}"),
                instead: "width and height too, such as { target_size: explicit, width: 1280, height: 720 }".to_owned(),
            });
        }
        if written && !explicit {
            return Err(Complaint {
                key: side,
                message: format!("{side} means nothing without an explicit target size"),
                instead: format!("target_size: explicit, or leave {side} out"),
            });
        }
    }
    Ok(())
}

/// Clips, pictures or sounds one after the other.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sequence {
    /// How one goes over into the next.
    pub transition: Transition,
    /// Whose size it takes.
    pub target_size: TargetSize,
    /// Pixels; with [`TargetSize::Explicit`] and only then.
    pub width: Option<u32>,
    /// Pixels; with [`TargetSize::Explicit`] and only then.
    pub height: Option<u32>,
    /// `#rrggbb`, lower case: around pictures of another shape.
    pub background: String,
}

/// How one clip goes over into the next.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transition {
    /// In what manner.
    #[serde(rename = "type")]
    pub kind: TransitionType,
    /// Seconds; a cut takes none.
    pub duration: f64,
}
