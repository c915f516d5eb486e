//! Parameters: `"$name"` in a config stands for a value given with the run, or its default.
//!
//! A text that is `$` and a name is a parameter; `$$` at the start of a text means one `$`; any
//! other text is itself. A parameter stands for a whole value, never for a part of a text.
//!
//! What always holds: what is put in stands at the place of its `$name`, so that an error in a
//! given value points at where it is used; a value is a text, a number, true, false or null.

use std::collections::BTreeMap;

use ipld_core::ipld::Ipld;

use super::document::{Data, Entry, Place, Value};
use super::errors::{RecipeError, one_of};
use crate::limits::MAX_CONFIG_TEXT;

/// Values by name; `Data::Later` for one that is not known yet.
pub(crate) type Values = BTreeMap<String, Data>;

/// The config with every parameter replaced.
pub(crate) fn substitute(config: &Value, values: &Values, errors: &mut Vec<RecipeError>) -> Value {
    let data = match &config.data {
        Data::Text(text) => replaced(text, config.place, values, errors),
        Data::List(items) => {
            let replace = |item| substitute(item, values, errors);
            Data::List(items.iter().map(replace).collect())
        }
        Data::Map(entries) => {
            let replace = |entry: &Entry| Entry {
                key: entry.key.clone(),
                place: entry.place,
                value: substitute(&entry.value, values, errors),
            };
            Data::Map(entries.iter().map(replace).collect())
        }
        other => other.clone(),
    };
    Value::at(config.place, data)
}

fn replaced(text: &str, place: Place, values: &Values, errors: &mut Vec<RecipeError>) -> Data {
    let Some(name) = text.strip_prefix('$') else {
        return Data::Text(text.to_owned());
    };
    if name.starts_with('$') {
        return Data::Text(name.to_owned());
    }
    if let Some(data) = values.get(name) {
        return data.clone();
    }
    let message = format!("unknown parameter \"${name}\"");
    let instead = if values.is_empty() {
        format!("parameters: {{ {name}: {{ default: ... }} }} at the top, or $${name} for the text itself")
    } else {
        format!(
            "{} with a $ before it, or declare it under parameters",
            one_of(name, values.keys().map(String::as_str))
        )
    };
    errors.push(RecipeError::new(place, message, instead));
    Data::Later
}

/// A value given with a run.
pub(crate) fn from_json(json: &serde_json::Value) -> Result<Data, String> {
    use serde_json::Value as Json;
    let data = match json {
        Json::Null => Data::Null,
        Json::Bool(value) => Data::Bool(*value),
        Json::Number(number) => match (number.as_i128(), number.as_f64()) {
            (Some(whole), _) => Data::Int(whole),
            (None, Some(value)) => Data::Float(value),
            (None, None) => return Err(format!("the number {number} is too large")),
        },
        Json::String(text) => Data::Text(text.clone()),
        Json::Array(_) => Data::List(Vec::new()),
        Json::Object(_) => Data::Map(Vec::new()),
    };
    allowed(&data).map(|()| data)
}

/// Whether a parameter may have this value: plain and small, because a recipe may use it often.
pub(crate) fn allowed(data: &Data) -> Result<(), String> {
    match data {
        Data::Text(text) if text.len() > MAX_CONFIG_TEXT => {
            Err(format!("a text of more than {MAX_CONFIG_TEXT} bytes: give a shorter one"))
        }
        Data::Float(value) if !value.is_finite() => Err("a number must be finite".to_owned()),
        Data::List(_) | Data::Map(_) => Err("a list or a map: give a text, a number, true, false or null".to_owned()),
        _ => Ok(()),
    }
}

/// A parameter's value as ids see it: 1 and 1.0 are one number.
pub(crate) fn to_ipld(data: &Data) -> Ipld {
    match data {
        Data::Null | Data::Later => Ipld::Null,
        Data::Bool(value) => Ipld::Bool(*value),
        // dag-cbor integers end at 64 bits; beyond them a number is its nearest float.
        Data::Int(value) if i64::try_from(*value).is_ok() || u64::try_from(*value).is_ok() => Ipld::Integer(*value),
        Data::Int(value) => Ipld::Float(*value as f64),
        Data::Float(value) if value.fract() == 0.0 && value.abs() <= 9_007_199_254_740_992.0 => {
            Ipld::Integer(*value as i128)
        }
        Data::Float(value) => Ipld::Float(*value),
        Data::Text(text) => Ipld::String(text.clone()),
        Data::List(_) | Data::Map(_) => Ipld::Null,
    }
}
