//! MUX: pictures of one input and sound of another in one file.

use ipld_core::ipld::Ipld;
use serde::Deserialize;

use super::choices::Container;
use crate::limits::MAX_STEP_INPUTS;
use crate::recipe::schema::{BOTH, Complaint, Default, Field, Kind, Schema, key};

const LAST_INPUT: i64 = MAX_STEP_INPUTS as i64 - 1;

pub(crate) const SCHEMA: Schema = Schema {
    name: "MUX",
    revision: 1,
    expected_ms: 500,
    inputs: (2, MAX_STEP_INPUTS),
    toolsets: BOTH,
    fields: &[
        Field::new("video_stream", Kind::Int(0, LAST_INPUT), Default::Int(0)),
        Field::new("audio_stream", Kind::Int(0, LAST_INPUT), Default::Int(1)),
        Field::new("shortest", Kind::Bool, Default::Bool(true)),
        Field::new("container", Kind::Choice(Container::WORDS), Default::Text("mp4")),
    ],
    check,
};

fn check(config: &Ipld, inputs: usize) -> Result<(), Complaint> {
    for stream in ["video_stream", "audio_stream"] {
        let Ipld::Integer(index) = key(config, stream) else {
            continue;
        };
        if usize::try_from(*index).is_ok_and(|index| index >= inputs) {
            return Err(Complaint {
                key: stream,
                message: format!("{stream} {index} is not one of the {inputs} inputs"),
                instead: format!("a number from 0 to {}", inputs.saturating_sub(1)),
            });
        }
    }
    Ok(())
}

/// Pictures of one input and sound of another in one file.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mux {
    /// Which input gives the pictures, from 0.
    pub video_stream: usize,
    /// Which input gives the sound, from 0.
    pub audio_stream: usize,
    /// End with the shorter of the two.
    pub shortest: bool,
    /// The file; the builtin toolset gives a web page whatever stands here.
    pub container: Container,
}
