//! What a person asks for: named inputs, parameters, nodes and one output, in YAML or JSON.
//!
//! ```yaml
//! name: film
//! version: "1"
//! toolset: ffmpeg                 # or builtin
//! inputs: { clip: { description: what is cut } }
//! parameters: { warmth: { default: 1.2 } }
//! nodes:
//!   - { id: clip, type: SOURCE, config: { input: clip } }
//!   - { id: head, type: SEGMENT, config: { duration: 2.5 }, inputs: [clip] }
//!   - { id: graded, type: TRANSFORM, config: { effects: { saturation: $warmth } }, inputs: [head] }
//! output: graded
//! ```
//!
//! What always holds of a [`Recipe`]: ids are unique, every reference resolves, there is no cycle,
//! every node has as many inputs as its type takes, its toolset has its type, and its config is
//! right for every parameter that has a default. A parameter without one is checked when its
//! value is known, by the planner, with the same errors.
//! What this package does not do: read files, ask whether an input exists, or run anything.

mod document;
mod errors;
mod graph;
mod normalise;
mod outline;
mod parameters;
mod schema;
#[cfg(test)]
mod tests;
mod types;

use std::collections::BTreeMap;

use cid::Cid;
use ipld_core::ipld::Ipld;

pub use document::Place;
pub use errors::{RecipeError, RecipeErrors};
pub use types::{ConfigError, NodeType, UnknownNodeType, config};

pub(crate) use graph::order;
pub(crate) use normalise::is_name;

use document::{Data, Value};
use normalise::Context;

/// A recipe that hangs together.
#[derive(Debug, Clone, PartialEq)]
pub struct Recipe {
    /// The name used in error messages, usually a path.
    pub file: String,
    /// What it is called.
    pub name: String,
    /// Its author's version.
    pub version: String,
    /// In words.
    pub description: String,
    /// The name of the toolset: `ffmpeg` or `builtin`.
    pub toolset: String,
    /// Inputs by name, with what they are for.
    pub inputs: BTreeMap<String, String>,
    /// Parameters by name.
    pub parameters: BTreeMap<String, Parameter>,
    /// As written, in the order of the file.
    pub nodes: Vec<Node>,
    /// The id of the node whose output is asked for.
    pub output: String,
}

/// A declared parameter.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// In words.
    pub description: String,
    default: Option<Data>,
}

impl Parameter {
    /// Whether a run may leave it out.
    pub fn has_default(&self) -> bool {
        self.default.is_some()
    }
}

/// One node as written.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Unique in its recipe.
    pub id: String,
    /// What it does.
    pub kind: NodeType,
    /// Ids of other nodes, in order.
    pub inputs: Vec<String>,
    /// Where it stands.
    pub place: Place,
    config: Value,
}

impl Node {
    /// For a SOURCE, the name of the input it stands for.
    pub fn source_input(&self) -> Option<&str> {
        self.source_value().map(|(name, _)| name)
    }

    fn source_value(&self) -> Option<(&str, Place)> {
        let (NodeType::Source, Data::Map(entries)) = (self.kind, &self.config.data) else {
            return None;
        };
        let value = &entries.iter().find(|entry| entry.key == "input")?.value;
        match &value.data {
            Data::Text(name) => Some((name, value.place)),
            _ => None,
        }
    }
}

/// Reads a recipe. `file` stands in front of every error. Reports up to
/// [`MAX_RECIPE_ERRORS`](crate::limits::MAX_RECIPE_ERRORS) errors at once, in the order of the
/// file.
pub fn parse(text: &[u8], file: &str) -> Result<Recipe, RecipeErrors> {
    let failed = |errors| RecipeErrors::new(file, errors);
    let document = document::read(text).map_err(|error| failed(vec![error]))?;
    let mut errors = Vec::new();
    let outline = outline::read(&document, file, &mut errors);
    graph::check(&outline, &mut errors);
    let recipe = outline.into_recipe();
    let known = recipe.known_values();
    for node in recipe.nodes.iter().filter(|node| outline::is_whole(node)) {
        if errors::enough(&errors) {
            break;
        }
        if let Err(wrong) = recipe.config(node, &known, 0) {
            errors.extend(wrong);
        }
    }
    if errors.is_empty() { Ok(recipe) } else { Err(failed(errors)) }
}

/// Parameters with their values for one run.
#[derive(Debug, Clone, PartialEq)]
pub struct Bound {
    values: parameters::Values,
}

impl Bound {
    /// The values as ids see them, defaults filled in.
    pub fn to_ipld(&self) -> BTreeMap<String, Ipld> {
        let values = self.values.iter();
        values.map(|(name, data)| (name.clone(), parameters::to_ipld(data))).collect()
    }
}

impl Recipe {
    /// Every parameter with its default, or as not known yet.
    fn known_values(&self) -> parameters::Values {
        let known =
            |(name, parameter): (&String, &Parameter)| (name.clone(), parameter.default.clone().unwrap_or(Data::Later));
        self.parameters.iter().map(known).collect()
    }

    /// Gives the parameters their values: the given ones, else the defaults. The errors say what
    /// to give instead.
    pub fn bind(&self, given: &BTreeMap<String, serde_json::Value>) -> Result<Bound, Vec<String>> {
        let mut values = self.known_values();
        let mut errors = Vec::new();
        for (name, json) in given {
            if !values.contains_key(name) {
                let instead = errors::one_of(name, self.parameters.keys().map(String::as_str));
                errors.push(format!("the recipe has no parameter {name:?}: give {instead}"));
                continue;
            }
            match parameters::from_json(json) {
                Ok(data) => drop(values.insert(name.clone(), data)),
                Err(wrong) => errors.push(format!("parameter {name:?}: {wrong}")),
            }
        }
        for (name, data) in &values {
            if *data == Data::Later && !given.contains_key(name) {
                errors.push(format!("parameter {name:?} has no default: give it a value"));
            }
        }
        if errors.is_empty() { Ok(Bound { values }) } else { Err(errors) }
    }

    /// A node's config in normal form, with these values and this seed.
    pub(crate) fn normal_config(&self, node: &Node, bound: &Bound, seed: u64) -> Result<Ipld, Vec<RecipeError>> {
        self.config(node, &bound.values, seed)
    }

    fn config(&self, node: &Node, values: &parameters::Values, seed: u64) -> Result<Ipld, Vec<RecipeError>> {
        let mut errors = Vec::new();
        let config = parameters::substitute(&node.config, values, &mut errors);
        let context = Context { inputs: node.inputs.len(), seed };
        match normalise::normalise(node.kind.schema(), &config, context) {
            Ok(normal) if errors.is_empty() => Ok(normal),
            Ok(_) => Err(errors),
            Err(wrong) => Err(errors.into_iter().chain(wrong).collect()),
        }
    }
}

/// Inputs a run gave, against those a recipe declares; the errors say what to give instead.
pub(crate) fn unknown_inputs(recipe: &Recipe, given: &BTreeMap<String, Cid>) -> Vec<String> {
    let unknown = given.keys().filter(|name| !recipe.inputs.contains_key(*name));
    unknown
        .map(|name| {
            let instead = errors::one_of(name, recipe.inputs.keys().map(String::as_str));
            format!("the recipe has no input {name:?}: give {instead}")
        })
        .collect()
}
