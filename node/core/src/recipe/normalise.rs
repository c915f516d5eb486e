//! From a config as written to its normal form, by the schema of its type.
//!
//! What always holds: a normal form normalises to itself; whatever is refused is refused with its
//! place, and one bad key does not hide the next. `schema` says what the normal form is.
//! What this file does not do: look at more than one node.

use std::collections::BTreeMap;

use ipld_core::ipld::Ipld;

use super::document::{Data, Entry, Place, Value};
use super::errors::{RecipeError, enough, one_of};
use super::schema::{Default, Field, Kind, Schema};
use crate::identity;
use crate::limits::MAX_NAME_BYTES;

/// What normalisation needs to know besides the schema and the config.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Context {
    /// The number of the node's inputs.
    pub inputs: usize,
    /// Of the plan.
    pub seed: u64,
}

/// The normal form, or everything that is wrong. A parameter whose value is not known yet counts
/// as right, and then the form is not to be used.
pub(crate) fn normalise(schema: &Schema, config: &Value, context: Context) -> Result<Ipld, Vec<RecipeError>> {
    let mut pass = Pass { context, errors: Vec::new(), later: false };
    let of = format!("the config of {}", schema.name);
    let normal = pass.record(schema.fields, config, &of);
    if pass.errors.is_empty()
        && !pass.later
        && let Err(complaint) = (schema.check)(&normal, context.inputs)
    {
        let place = place_of_key(config, complaint.key);
        pass.errors.push(RecipeError::new(place, complaint.message, complaint.instead));
    }
    if pass.errors.is_empty() { Ok(normal) } else { Err(pass.errors) }
}

/// Whether a config from elsewhere is in normal form and its inputs are as many as they may be.
pub(crate) fn check(schema: &Schema, config: &Ipld, inputs: usize) -> Result<(), String> {
    let (fewest, most) = schema.inputs;
    if !(fewest..=most).contains(&inputs) {
        return Err(format!("{inputs} inputs, not {fewest} to {most}"));
    }
    let context = Context { inputs, seed: 0 };
    let normal = normalise(schema, &Value::from_ipld(config), context)
        .map_err(|errors| errors.into_iter().map(|error| error.message).collect::<Vec<_>>().join("; "))?;
    // The bytes are compared too, because 0.0 equals -0.0.
    if normal != *config || identity::encode(&normal) != identity::encode(config) {
        return Err("the config is not in normal form".to_owned());
    }
    Ok(())
}

fn place_of_key(config: &Value, key: &str) -> Place {
    if let Data::Map(entries) = &config.data
        && let Some(entry) = entries.iter().find(|entry| entry.key == key)
    {
        return entry.value.place;
    }
    config.place
}

struct Pass {
    context: Context,
    errors: Vec<RecipeError>,
    later: bool,
}

impl Pass {
    fn refuse(&mut self, place: Place, message: String, instead: impl Into<String>) -> Ipld {
        self.errors.push(RecipeError::new(place, message, instead));
        Ipld::Null
    }

    fn record(&mut self, fields: &[Field], value: &Value, of: &str) -> Ipld {
        let no_entries = Vec::new();
        let entries = match &value.data {
            Data::Map(entries) => entries,
            Data::Null => &no_entries,
            Data::Later => {
                self.later = true;
                return Ipld::Null;
            }
            _ => {
                let keys: Vec<&str> = fields.iter().map(|field| field.name).collect();
                let message = format!("{of} must be a map, this is {}", value.describe());
                return self.refuse(value.place, message, format!("{{ {}: ... }}", keys.join(": ..., ")));
            }
        };
        self.unknown_keys(fields, entries, of);
        let mut normal = BTreeMap::new();
        for field in fields {
            let entry = entries.iter().find(|entry| entry.key == field.name);
            let form = self.field(field, entry, value.place, of);
            normal.insert(field.name.to_owned(), form);
        }
        Ipld::Map(normal)
    }

    fn unknown_keys(&mut self, fields: &[Field], entries: &[Entry], of: &str) {
        for entry in entries {
            if enough(&self.errors) {
                return;
            }
            if fields.iter().all(|field| field.name != entry.key) {
                let message = format!("unknown key {:?} in {of}", entry.key);
                let instead = one_of(&entry.key, fields.iter().map(|field| field.name));
                self.refuse(entry.place, message, instead);
            }
        }
    }

    fn field(&mut self, field: &Field, entry: Option<&Entry>, place: Place, of: &str) -> Ipld {
        let written = entry.filter(|entry| entry.value.data != Data::Null);
        if let Some(entry) = written {
            return self.value(&field.kind, &entry.value, field.name);
        }
        if let Default::Required = field.default {
            let place = entry.map_or(place, |entry| entry.value.place);
            let message = format!("{} is missing in {of}", field.name);
            return self.refuse(place, message, format!("{}: {}", field.name, example(&field.kind)));
        }
        self.fill(&field.kind, &field.default)
    }

    /// What stands for a value that is not written.
    fn fill(&self, kind: &Kind, default: &Default) -> Ipld {
        match (default, kind) {
            (Default::Float(value), _) => Ipld::Float(*value),
            (Default::Int(value), _) => Ipld::Integer((*value).into()),
            (Default::Bool(value), _) => Ipld::Bool(*value),
            (Default::Text(text), _) => Ipld::String((*text).to_owned()),
            (Default::Seed, _) => Ipld::Integer(self.context.seed.into()),
            (Default::Ints(values), _) => Ipld::List(values.iter().map(|&value| Ipld::Integer(value.into())).collect()),
            (Default::Filled, Kind::Record(fields)) => {
                let fill = |field: &Field| (field.name.to_owned(), self.fill(&field.kind, &field.default));
                Ipld::Map(fields.iter().map(fill).collect())
            }
            (Default::Filled, Kind::PerInput(item, default)) => {
                Ipld::List(vec![self.fill(item, default); self.context.inputs])
            }
            (Default::Filled | Default::Absent | Default::Required, _) => Ipld::Null,
        }
    }

    fn value(&mut self, kind: &Kind, value: &Value, name: &str) -> Ipld {
        if let Data::Later = value.data {
            self.later = true;
            return Ipld::Null;
        }
        match (kind, &value.data) {
            (Kind::Float(low, high), _) => self.float(*low, *high, value, name),
            (Kind::Int(low, high), _) => self.int((*low).into(), (*high).into(), value, name),
            (Kind::Seed, _) => self.int(0, u64::MAX.into(), value, name),
            (Kind::Bool, Data::Bool(value)) => Ipld::Bool(*value),
            (Kind::Choice(words), Data::Text(word)) => self.choice(words, word, value, name),
            (Kind::Colour, Data::Text(text)) => self.colour(text, value, name),
            (Kind::Name, Data::Text(text)) if is_name(text) => Ipld::String(text.clone()),
            (Kind::Record(fields), _) => self.record(fields, value, name),
            (Kind::Tuple(length, item), Data::List(items)) => self.tuple(*length, item, items, value, name),
            (Kind::PerInput(item, default), Data::List(items)) => self.per_input(item, default, items, value, name),
            _ => self.wrong_kind(kind, value, name),
        }
    }

    fn wrong_kind(&mut self, kind: &Kind, value: &Value, name: &str) -> Ipld {
        let message = format!("{name} must be {}, this is {}", expected(kind), value.describe());
        let instead = match &value.data {
            // The usual slip: a number or a truth value in quotes.
            Data::Text(text) if unquotes(kind, text) => {
                format!("{name}: {} without quotes", text.trim())
            }
            _ => format!("{name}: {}", example(kind)),
        };
        self.refuse(value.place, message, instead)
    }

    fn float(&mut self, low: f64, high: f64, value: &Value, name: &str) -> Ipld {
        let number = match value.data {
            Data::Float(number) => number,
            // Exact up to 2^53, far beyond every bound; beyond that it is refused below.
            Data::Int(number) => number as f64,
            _ => return self.wrong_kind(&Kind::Float(low, high), value, name),
        };
        if !(low..=high).contains(&number) {
            let message = format!("{name} must be {}, this is {number}", expected(&Kind::Float(low, high)));
            return self.refuse(value.place, message, format!("{name}: a number from {low} to {high}"));
        }
        // -0.0 and 0.0 are one number and must be one spelling.
        Ipld::Float(number + 0.0)
    }

    fn int(&mut self, low: i128, high: i128, value: &Value, name: &str) -> Ipld {
        let number = match value.data {
            Data::Int(number) => number,
            // 640.0 means 640. Beyond 2^53 a float does not name one whole number.
            Data::Float(number) if number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0 => number as i128,
            _ => {
                let message = format!("{name} must be a whole number, this is {}", value.describe());
                let instead = format!("{name}: a whole number from {low} to {high}");
                return self.refuse(value.place, message, instead);
            }
        };
        if !(low..=high).contains(&number) {
            let message = format!("{name} must be a whole number from {low} to {high}, this is {number}");
            let instead = format!("{name}: a whole number from {low} to {high}");
            return self.refuse(value.place, message, instead);
        }
        Ipld::Integer(number)
    }

    fn choice(&mut self, words: &[&str], word: &str, value: &Value, name: &str) -> Ipld {
        if words.contains(&word) {
            return Ipld::String(word.to_owned());
        }
        let message = format!("{name} cannot be {word:?}");
        self.refuse(value.place, message, one_of(word, words.iter().copied()))
    }

    fn colour(&mut self, text: &str, value: &Value, name: &str) -> Ipld {
        let lower = text.to_ascii_lowercase();
        let named = COLOURS.iter().find(|(known, _)| *known == lower);
        let code = named.map_or(lower.as_str(), |(_, code)| code);
        let digits = code.strip_prefix('#').unwrap_or("");
        if digits.len() == 6 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Ipld::String(code.to_owned());
        }
        let message = format!("{name} must be a colour, this is {}", value.describe());
        let names: Vec<&str> = COLOURS.iter().map(|(name, _)| *name).collect();
        let instead = format!("\"#rrggbb\" in quotes, or one of {}", names.join(", "));
        self.refuse(value.place, message, instead)
    }

    fn tuple(&mut self, length: usize, item: &Kind, items: &[Value], value: &Value, name: &str) -> Ipld {
        if items.len() != length {
            let message = format!("{name} must have {length} values, this has {}", items.len());
            let instead = format!("{name}: [{}]", vec!["..."; length].join(", "));
            return self.refuse(value.place, message, instead);
        }
        Ipld::List(items.iter().map(|value| self.value(item, value, name)).collect())
    }

    fn per_input(&mut self, item: &Kind, default: &Default, items: &[Value], value: &Value, name: &str) -> Ipld {
        let inputs = self.context.inputs;
        if items.len() > inputs {
            let message = format!("{name} has {} values for {inputs} inputs", items.len());
            return self.refuse(value.place, message, "at most one value for each input");
        }
        let mut list: Vec<Ipld> = Vec::with_capacity(inputs);
        for value in items {
            list.push(match value.data {
                Data::Null => self.fill(item, default),
                _ => self.value(item, value, name),
            });
        }
        list.resize_with(inputs, || self.fill(item, default));
        Ipld::List(list)
    }
}

/// Few names on purpose: each must mean one colour to every tool (CSS Color Module Level 4).
const COLOURS: &[(&str, &str)] = &[
    ("black", "#000000"),
    ("white", "#ffffff"),
    ("gray", "#808080"),
    ("grey", "#808080"),
    ("red", "#ff0000"),
    ("green", "#008000"),
    ("blue", "#0000ff"),
    ("yellow", "#ffff00"),
    ("cyan", "#00ffff"),
    ("magenta", "#ff00ff"),
];

/// Whether a text may name a node, an input or a parameter.
pub(crate) fn is_name(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    !text.is_empty() && text.len() <= MAX_NAME_BYTES && text.chars().all(fits)
}

/// What a name looks like, for messages.
pub(crate) const NAME_FORM: &str = "1 to 64 letters, digits, _ - or .";

fn unquotes(kind: &Kind, text: &str) -> bool {
    match kind {
        Kind::Float(..) | Kind::Int(..) | Kind::Seed => text.trim().parse::<f64>().is_ok_and(f64::is_finite),
        Kind::Bool => matches!(text.trim(), "true" | "false"),
        _ => false,
    }
}

fn expected(kind: &Kind) -> String {
    match kind {
        Kind::Float(low, high) => format!("a number from {low} to {high}"),
        Kind::Int(low, high) => format!("a whole number from {low} to {high}"),
        Kind::Seed => "a whole number from 0".to_owned(),
        Kind::Bool => "true or false".to_owned(),
        Kind::Choice(words) => format!("one of {}", words.join(", ")),
        Kind::Colour => "a colour".to_owned(),
        Kind::Name => format!("a name ({NAME_FORM})"),
        Kind::Record(_) => "a map".to_owned(),
        Kind::Tuple(length, _) => format!("a list of {length} values"),
        Kind::PerInput(..) => "a list with one value for each input".to_owned(),
    }
}

fn example(kind: &Kind) -> String {
    match kind {
        Kind::Float(low, high) => format!("a number from {low} to {high}"),
        Kind::Int(low, high) => format!("a whole number from {low} to {high}"),
        Kind::Seed => "7".to_owned(),
        Kind::Bool => "true or false".to_owned(),
        Kind::Choice(words) => format!("one of {}", words.join(", ")),
        Kind::Colour => "\"#000000\"".to_owned(),
        Kind::Name => "the name of a declared input".to_owned(),
        Kind::Record(fields) => {
            let keys: Vec<&str> = fields.iter().map(|field| field.name).collect();
            format!("{{ {}: ... }}", keys.join(": ..., "))
        }
        Kind::Tuple(length, _) => format!("[{}]", vec!["..."; *length].join(", ")),
        Kind::PerInput(..) => "[..., ...]".to_owned(),
    }
}
