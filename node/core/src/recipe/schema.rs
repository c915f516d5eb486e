//! What the config of a node type may hold, as data: one [`Schema`] per type, in `types/`.
//!
//! What always holds: a schema fully decides the normal form, so that the same meaning written
//! twice is the same config: every key present, floats as f64, integers as i64 (a seed as u64),
//! colours as `#rrggbb`, an absent value as null.

use ipld_core::ipld::Ipld;

/// A node type's name, inputs, tools and config.
#[derive(Debug)]
pub(crate) struct Schema {
    /// As recipes write it.
    pub name: &'static str,
    /// Goes up when the same config comes to mean other output.
    pub revision: u32,
    /// How long one takes on a few seconds of 720p: only its size beside the others' matters, and
    /// only until the run has seen one.
    pub expected_ms: u64,
    /// Fewest and most inputs.
    pub inputs: (usize, usize),
    /// Names of the toolsets that can do it.
    pub toolsets: &'static [&'static str],
    /// The keys of its config.
    pub fields: &'static [Field],
    /// What keys must be to each other, looked at when each is right by itself. Takes the normal
    /// form and the number of inputs.
    pub check: fn(&Ipld, usize) -> Result<(), Complaint>,
}

/// One key of a config.
#[derive(Debug)]
pub(crate) struct Field {
    pub name: &'static str,
    pub kind: Kind,
    pub default: Default,
}

/// What a value may be.
#[derive(Debug)]
pub(crate) enum Kind {
    /// A finite number within the bounds, both allowed.
    Float(f64, f64),
    /// A whole number within the bounds, both allowed.
    Int(i64, i64),
    /// Any u64.
    Seed,
    Bool,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// `#rrggbb` or one of a few names.
    Colour,
    /// The name of a declared input.
    Name,
    /// A map with these keys.
    Record(&'static [Field]),
    /// A list of exactly so many.
    Tuple(usize, &'static Kind),
    /// A list with at most one value for each input, filled up with the default.
    PerInput(&'static Kind, Default),
}

/// What stands for a key that is not written.
#[derive(Debug)]
pub(crate) enum Default {
    /// It must be written.
    Required,
    /// Null, which means "none" and may be written too.
    Absent,
    Float(f64),
    Int(i64),
    Bool(bool),
    Text(&'static str),
    /// A whole number in each place of a tuple.
    Ints(&'static [i64]),
    /// A record or list made of its own defaults.
    Filled,
    /// The seed of the plan.
    Seed,
}

/// What is wrong between the keys of a config.
#[derive(Debug)]
pub(crate) struct Complaint {
    /// The key to point at.
    pub key: &'static str,
    pub message: String,
    pub instead: String,
}

/// For types whose keys do not depend on each other.
pub(crate) fn no_check(_: &Ipld, _: usize) -> Result<(), Complaint> {
    Ok(())
}

/// The value of a key of a config in normal form.
pub(crate) fn key<'a>(config: &'a Ipld, name: &str) -> &'a Ipld {
    match config {
        Ipld::Map(entries) => entries.get(name).unwrap_or(&Ipld::Null),
        _ => &Ipld::Null,
    }
}

impl Field {
    pub const fn new(name: &'static str, kind: Kind, default: Default) -> Self {
        Self { name, kind, default }
    }
}

/// Wide enough for 16K pictures, narrow enough that a product of two fits memory sums.
pub(crate) const SIDE: Kind = Kind::Int(1, 16_384);
/// A day in seconds.
pub(crate) const MAX_SECONDS: f64 = 86_400.0;
/// Ours that have ffmpeg and those that need no outside tool.
pub(crate) const BOTH: &[&str] = &["ffmpeg", "builtin"];
