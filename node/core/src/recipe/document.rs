//! A recipe file as a tree of values, each with its place in the file.
//!
//! What always holds: every size is bounded before a value is kept (bytes, depth, number of
//! values after aliases are followed); a number is finite; keys of one map differ.
//! What this file does not do: know any key of a recipe. JSON is read as the YAML that it is.

use std::fmt;

use ipld_core::ipld::Ipld;
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use super::errors::RecipeError;
use crate::limits::{MAX_RECIPE_BYTES, MAX_RECIPE_DEPTH, MAX_RECIPE_VALUES};

/// Line and column of a value, both from 1; 0 when it has no place in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Place {
    /// From 1.
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
}

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Value {
    pub place: Place,
    pub data: Data,
}

/// What a value is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Data {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(String),
    List(Vec<Value>),
    Map(Vec<Entry>),
    /// A parameter without a default, before its value is known: fits everywhere.
    Later,
}

/// One key of a map.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub key: String,
    pub place: Place,
    pub value: Value,
}

impl Value {
    /// A value that stands in no file, or takes the place of another.
    pub fn at(place: Place, data: Data) -> Self {
        Self { place, data }
    }

    /// What the value is, for messages: with an article.
    pub fn describe(&self) -> String {
        match &self.data {
            Data::Null => "nothing".to_owned(),
            Data::Bool(value) => value.to_string(),
            Data::Int(value) => value.to_string(),
            Data::Float(value) => value.to_string(),
            Data::Text(text) if text.chars().count() <= 40 => format!("the text {text:?}"),
            Data::Text(_) => "a long text".to_owned(),
            Data::List(_) => "a list".to_owned(),
            Data::Map(_) => "a map".to_owned(),
            Data::Later => "a parameter".to_owned(),
        }
    }

    /// A value from the data model; links and bytes become the text of their kind, which no
    /// schema allows.
    pub fn from_ipld(ipld: &Ipld) -> Self {
        let data = match ipld {
            Ipld::Null => Data::Null,
            Ipld::Bool(value) => Data::Bool(*value),
            Ipld::Integer(value) => Data::Int(*value),
            Ipld::Float(value) => Data::Float(*value),
            Ipld::String(text) => Data::Text(text.clone()),
            Ipld::Bytes(_) => Data::Text("bytes".to_owned()),
            Ipld::Link(_) => Data::Text("a link".to_owned()),
            Ipld::List(items) => Data::List(items.iter().map(Self::from_ipld).collect()),
            Ipld::Map(entries) => Data::Map(entries.iter().map(Entry::from_ipld).collect()),
        };
        Self::at(Place::default(), data)
    }
}

impl Entry {
    fn from_ipld((key, value): (&String, &Ipld)) -> Self {
        Self { key: key.clone(), place: Place::default(), value: Value::from_ipld(value) }
    }
}

/// Reads a file into a tree.
pub(crate) fn read(text: &[u8]) -> Result<Value, RecipeError> {
    if text.len() > MAX_RECIPE_BYTES {
        let message = format!("a recipe is at most {MAX_RECIPE_BYTES} bytes, this is {}", text.len());
        return Err(RecipeError::new(Place { line: 1, column: 1 }, message, "a shorter recipe"));
    }
    let text = std::str::from_utf8(text).map_err(|error| not_utf8(text, error.valid_up_to()))?;
    serde_saphyr::from_str_with_options(text, options()).map_err(|error| not_yaml(&error))
}

fn not_utf8(text: &[u8], valid: usize) -> RecipeError {
    let before = String::from_utf8_lossy(&text[..valid]);
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|&c| c != '\n').count() + 1;
    let place = Place { line: narrow(line as u64), column: narrow(column as u64) };
    RecipeError::new(place, "this byte is not UTF-8 text", "the recipe as UTF-8 text (YAML or JSON)")
}

fn not_yaml(error: &serde_saphyr::Error) -> RecipeError {
    let error = error.without_snippet();
    let place = error.location().map_or(Place { line: 1, column: 1 }, place_of);
    let text = error.to_string();
    let message = match text.rfind(" at line ") {
        Some(end) => text[..end].trim_end_matches([':', ',']).to_owned(),
        None => text,
    };
    RecipeError::new(place, format!("not readable as YAML or JSON: {message}"), "valid YAML 1.2 or JSON")
}

fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: MAX_RECIPE_DEPTH,
            flow_nesting_limit: MAX_RECIPE_DEPTH,
            max_nodes: MAX_RECIPE_VALUES,
            max_events: 3 * MAX_RECIPE_VALUES,
            max_documents: 1,
            max_recorded_anchor_events: MAX_RECIPE_VALUES,
            max_recorded_anchor_bytes: 4 * MAX_RECIPE_BYTES,
            max_total_scalar_bytes: 4 * MAX_RECIPE_BYTES,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: MAX_RECIPE_VALUES,
            max_replay_stack_depth: MAX_RECIPE_DEPTH,
        },
        // `no` and `off` are words, as YAML 1.2 and JSON have it.
        strict_booleans: true,
        with_snippet: false,
    }
}

fn place_of(location: serde_saphyr::Location) -> Place {
    Place { line: narrow(location.line()), column: narrow(location.column()) }
}

fn narrow(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Data>::deserialize(deserializer)?;
        Ok(Self { place: place_of(spanned.referenced), data: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Data {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DataVisitor)
    }
}

struct DataVisitor;

impl<'de> Visitor<'de> for DataVisitor {
    type Value = Data;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, a number, true, false, a list or a map")
    }

    fn visit_unit<E>(self) -> Result<Data, E> {
        Ok(Data::Null)
    }

    fn visit_none<E>(self) -> Result<Data, E> {
        Ok(Data::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Data, E> {
        Ok(Data::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Data, E> {
        Ok(Data::Int(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Data, E> {
        Ok(Data::Int(value.into()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Data, E> {
        Ok(Data::Int(value))
    }

    fn visit_u128<E: serde::de::Error>(self, value: u128) -> Result<Data, E> {
        let value = i128::try_from(value).map_err(|_| E::custom("the number is too large"))?;
        Ok(Data::Int(value))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Data, E> {
        if !value.is_finite() {
            return Err(E::custom("a number must be finite"));
        }
        Ok(Data::Float(value))
    }

    fn visit_str<E>(self, text: &str) -> Result<Data, E> {
        Ok(Data::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Data, E> {
        Ok(Data::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Data, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Data::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Data, A::Error> {
        let mut map: Vec<Entry> = Vec::new();
        let mut seen = std::collections::BTreeSet::new();
        while let Some(key) = entries.next_key::<Spanned<String>>()? {
            if !seen.insert(key.value.clone()) {
                return Err(A::Error::custom(format!("the key {:?} stands twice", key.value)));
            }
            let place = place_of(key.referenced);
            map.push(Entry { key: key.value, place, value: entries.next_value()? });
        }
        Ok(Data::Map(map))
    }
}
