//! SOURCE: a named input of the recipe. It becomes a source of the plan, never a step.

use serde::Deserialize;

use crate::recipe::schema::{BOTH, Default, Field, Kind, Schema, no_check};

pub(crate) const SCHEMA: Schema = Schema {
    name: "SOURCE",
    revision: 1,
    expected_ms: 0,
    inputs: (0, 0),
    toolsets: BOTH,
    fields: &[Field::new("input", Kind::Name, Default::Required)],
    check: no_check,
};

/// A named input of the recipe.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// The input's name.
    pub input: String,
}
