//! From a tree of values to the parts of a recipe: which keys there are and what each must be.
//!
//! What always holds: a part that is wrong is reported and replaced by something harmless, so that
//! the parts after it are looked at too; a node whose type is unknown is kept apart by
//! [`Outline::ids`] so that references to it are not reported as well.
//! What this file does not do: look into a config (`normalise`) or along references (`graph`).

use std::collections::{BTreeMap, BTreeSet};

use super::document::{Data, Entry, Place, Value};
use super::errors::{RecipeError, enough, one_of};
use super::normalise::{NAME_FORM, is_name};
use super::parameters::allowed;
use super::{Node, NodeType, Parameter, Recipe};
use crate::limits::{MAX_DECLARED, MAX_DESCRIPTION_BYTES, MAX_NODES, MAX_STEP_INPUTS};

/// The parts, and the places that later checks point at.
pub(crate) struct Outline {
    pub recipe: Recipe,
    /// Every id written, also of nodes that are otherwise wrong.
    pub ids: BTreeSet<String>,
    /// For each node of the recipe, the place of each of its inputs.
    pub input_places: Vec<Vec<Place>>,
    pub output_place: Place,
}

impl Outline {
    pub fn into_recipe(self) -> Recipe {
        self.recipe
    }
}

/// Whether a node's config can be looked at: the number of its inputs is right.
pub(crate) fn is_whole(node: &Node) -> bool {
    let (fewest, most) = node.kind.schema().inputs;
    (fewest..=most).contains(&node.inputs.len())
}

const TOP: &[&str] = &["name", "version", "description", "toolset", "inputs", "parameters", "nodes", "output"];
const NODE: &[&str] = &["id", "type", "config", "inputs"];
const TOOLSETS: &[&str] = &["ffmpeg", "builtin"];

/// Reads the parts of a recipe.
pub(crate) fn read(document: &Value, file: &str, errors: &mut Vec<RecipeError>) -> Outline {
    let mut reader = Reader { errors };
    let top = reader.entries(document, "a recipe", "name: ..., nodes: ..., output: ...");
    reader.known_keys(top, TOP, "a recipe");
    let mut outline = Outline {
        recipe: Recipe {
            file: file.to_owned(),
            name: reader.text(top, "name", "recipe"),
            version: reader.text(top, "version", "1"),
            description: reader.text(top, "description", ""),
            toolset: reader.toolset(top),
            inputs: reader.inputs(top),
            parameters: reader.parameters(top),
            nodes: Vec::new(),
            output: String::new(),
        },
        ids: BTreeSet::new(),
        input_places: Vec::new(),
        output_place: document.place,
    };
    reader.nodes(top, document.place, &mut outline);
    reader.output(top, &mut outline);
    outline
}

fn find<'a>(entries: &'a [Entry], key: &str) -> Option<&'a Value> {
    let entry = entries.iter().find(|entry| entry.key == key)?;
    (entry.value.data != Data::Null).then_some(&entry.value)
}

struct Reader<'a> {
    errors: &'a mut Vec<RecipeError>,
}

impl Reader<'_> {
    fn refuse(&mut self, place: Place, message: impl Into<String>, instead: impl Into<String>) {
        self.errors.push(RecipeError::new(place, message, instead));
    }

    fn entries<'v>(&mut self, value: &'v Value, what: &str, instead: &str) -> &'v [Entry] {
        if let Data::Map(entries) = &value.data {
            return entries;
        }
        let message = format!("{what} must be a map, this is {}", value.describe());
        self.refuse(value.place, message, instead);
        &[]
    }

    fn known_keys(&mut self, entries: &[Entry], known: &[&str], what: &str) {
        for entry in entries.iter().filter(|entry| !known.contains(&entry.key.as_str())) {
            let message = format!("unknown key {:?} in {what}", entry.key);
            let instead = match entry.key.as_str() {
                "dag" => "nodes and output at the top of the file, without dag".to_owned(),
                key => one_of(key, known.iter().copied()),
            };
            self.refuse(entry.place, message, instead);
        }
    }

    fn text(&mut self, entries: &[Entry], key: &str, default: &str) -> String {
        let Some(value) = find(entries, key) else {
            return default.to_owned();
        };
        let Data::Text(text) = &value.data else {
            let message = format!("{key} must be a text, this is {}", value.describe());
            self.refuse(value.place, message, format!("{key}: \"...\" in quotes"));
            return default.to_owned();
        };
        // Control characters would reach terminals and logs.
        let shown = |c: char| !c.is_control() || c == '\n' || c == '\t';
        if text.len() > MAX_DESCRIPTION_BYTES || !text.chars().all(shown) {
            let message = format!("{key} is longer than {MAX_DESCRIPTION_BYTES} bytes or has control characters");
            self.refuse(value.place, message, "a shorter, plain text");
        }
        text.clone()
    }

    fn toolset(&mut self, top: &[Entry]) -> String {
        let name = self.text(top, "toolset", TOOLSETS[0]);
        if let Some(value) = find(top, "toolset")
            && !TOOLSETS.contains(&name.as_str())
        {
            let message = format!("unknown toolset {name:?}");
            self.refuse(value.place, message, one_of(&name, TOOLSETS.iter().copied()));
        }
        name
    }

    fn name_of(&mut self, entry: &Entry, what: &str) -> String {
        if !is_name(&entry.key) {
            let message = format!("{:?} cannot name {what}", entry.key);
            self.refuse(entry.place, message, NAME_FORM);
        }
        entry.key.clone()
    }

    /// The entries under `inputs` or `parameters`, each with its own entries.
    fn declared<'v>(&mut self, top: &'v [Entry], key: &str, known: &[&str]) -> Vec<(String, &'v [Entry])> {
        let Some(value) = find(top, key) else {
            return Vec::new();
        };
        let instead = format!("{key}: {{ NAME: {{ {}: ... }} }}", known.join(": ..., "));
        let entries = self.entries(value, key, &instead);
        if entries.len() > MAX_DECLARED {
            self.refuse(value.place, format!("more than {MAX_DECLARED} {key}"), "fewer of them");
        }
        let mut declared = Vec::new();
        for entry in entries.iter().take(MAX_DECLARED) {
            let what = key.trim_end_matches('s');
            let name = self.name_of(entry, &format!("an {what}").replace("an p", "a p"));
            let inner: &[Entry] = match entry.value.data {
                Data::Null => &[],
                _ => self.entries(&entry.value, &format!("{what} {name:?}"), &instead),
            };
            self.known_keys(inner, known, &format!("{what} {name:?}"));
            declared.push((name, inner));
        }
        declared
    }

    fn inputs(&mut self, top: &[Entry]) -> BTreeMap<String, String> {
        let declared = self.declared(top, "inputs", &["description"]);
        let describe = |(name, inner): (String, &[Entry])| (name, self.text(inner, "description", ""));
        declared.into_iter().map(describe).collect()
    }

    fn parameters(&mut self, top: &[Entry]) -> BTreeMap<String, Parameter> {
        let mut parameters = BTreeMap::new();
        for (name, inner) in self.declared(top, "parameters", &["default", "description"]) {
            let default = inner.iter().find(|entry| entry.key == "default");
            if let Some(entry) = default
                && let Err(wrong) = allowed(&entry.value.data)
            {
                self.refuse(entry.value.place, format!("this default is {wrong}"), "a plain value");
            }
            let default = default.map(|entry| entry.value.data.clone());
            let description = self.text(inner, "description", "");
            parameters.insert(name, Parameter { description, default });
        }
        parameters
    }

    fn nodes(&mut self, top: &[Entry], place: Place, outline: &mut Outline) {
        const FORM: &str = "nodes: [ { id: ..., type: ..., config: { ... }, inputs: [...] } ]";
        let Some(value) = find(top, "nodes") else {
            return self.refuse(place, "nodes are missing", FORM);
        };
        let Data::List(nodes) = &value.data else {
            let message = format!("nodes must be a list, this is {}", value.describe());
            return self.refuse(value.place, message, FORM);
        };
        if nodes.len() > MAX_NODES {
            let message = format!("a recipe has at most {MAX_NODES} nodes, this has {}", nodes.len());
            return self.refuse(value.place, message, "several recipes");
        }
        for value in nodes {
            if enough(self.errors) {
                return;
            }
            self.node(value, outline);
        }
    }

    fn node(&mut self, value: &Value, outline: &mut Outline) {
        let entries = self.entries(value, "a node", "{ id: ..., type: ... }");
        if entries.is_empty() {
            return;
        }
        self.known_keys(entries, NODE, "a node");
        let id = self.id(entries, value.place, outline);
        let kind = self.kind(entries, value.place, &outline.recipe.toolset);
        let (inputs, places) = self.node_inputs(entries);
        let (Some(id), Some(kind)) = (id, kind) else {
            return;
        };
        let config = find(entries, "config").cloned();
        outline.recipe.nodes.push(Node {
            id,
            kind,
            inputs,
            place: value.place,
            config: config.unwrap_or_else(|| Value::at(value.place, Data::Null)),
        });
        outline.input_places.push(places);
    }

    fn id(&mut self, entries: &[Entry], place: Place, outline: &mut Outline) -> Option<String> {
        let Some(value) = find(entries, "id") else {
            self.refuse(place, "a node without an id", "id: NAME");
            return None;
        };
        let Data::Text(id) = &value.data else {
            let message = format!("an id must be a text, this is {}", value.describe());
            self.refuse(value.place, message, "id: NAME, in quotes if it looks like a number");
            return None;
        };
        if !is_name(id) {
            self.refuse(value.place, format!("{id:?} cannot be an id"), NAME_FORM);
        }
        if !outline.ids.insert(id.clone()) {
            self.refuse(value.place, format!("the id {id:?} stands twice"), "another id");
            return None;
        }
        Some(id.clone())
    }

    fn kind(&mut self, entries: &[Entry], place: Place, toolset: &str) -> Option<NodeType> {
        let has = |kind: &&NodeType| kind.toolsets().contains(&toolset);
        let names = || NodeType::ALL.iter().filter(has).map(|kind| kind.name());
        let Some(value) = find(entries, "type") else {
            let names: Vec<&str> = names().collect();
            self.refuse(place, "a node without a type", format!("type: one of {}", names.join(", ")));
            return None;
        };
        let Data::Text(name) = &value.data else {
            let message = format!("a type must be a word, this is {}", value.describe());
            self.refuse(value.place, message, one_of("", names()));
            return None;
        };
        let Ok(kind) = name.parse::<NodeType>() else {
            let message = format!("unknown node type {name:?}");
            self.refuse(value.place, message, one_of(name, names()));
            return None;
        };
        // An unknown toolset has been reported already.
        if TOOLSETS.contains(&toolset) && !has(&&kind) {
            let message = format!("the toolset {toolset} has no {kind}");
            let instead = format!("toolset: {} at the top, or another type", kind.toolsets().join(" or "));
            self.refuse(value.place, message, instead);
        }
        Some(kind)
    }

    fn node_inputs(&mut self, entries: &[Entry]) -> (Vec<String>, Vec<Place>) {
        let Some(value) = find(entries, "inputs") else {
            return Default::default();
        };
        let items = match &value.data {
            Data::List(items) => items.as_slice(),
            Data::Text(_) => std::slice::from_ref(value),
            _ => {
                let message = format!("inputs must be a list of node ids, this is {}", value.describe());
                self.refuse(value.place, message, "inputs: [id, ...] in their order");
                &[]
            }
        };
        if items.len() > MAX_STEP_INPUTS {
            let message = format!("a node has at most {MAX_STEP_INPUTS} inputs, this has {}", items.len());
            self.refuse(value.place, message, "several nodes, each with a part of them");
            return Default::default();
        }
        let mut inputs = (Vec::new(), Vec::new());
        for item in items {
            let Data::Text(id) = &item.data else {
                let message = format!("an input must be a node's id, this is {}", item.describe());
                self.refuse(item.place, message, "the id of a node");
                continue;
            };
            inputs.0.push(id.clone());
            inputs.1.push(item.place);
        }
        inputs
    }

    fn output(&mut self, top: &[Entry], outline: &mut Outline) {
        let Some(value) = find(top, "output") else {
            return self.refuse(outline.output_place, "the output is missing", "output: the id of a node");
        };
        outline.output_place = value.place;
        match &value.data {
            Data::Text(id) => outline.recipe.output.clone_from(id),
            _ => {
                let message = format!("output must be a node's id, this is {}", value.describe());
                self.refuse(value.place, message, "output: the id of a node");
            }
        }
    }
}
