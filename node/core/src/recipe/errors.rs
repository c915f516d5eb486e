//! What is wrong with a recipe, where, and what to write instead.
//!
//! What always holds: an error has a file, a line, a column, a message and an `instead`, so that
//! a person never has to guess; at most [`MAX_RECIPE_ERRORS`] are kept, in the order of the file.

use std::fmt;

use super::document::Place;
use crate::limits::MAX_RECIPE_ERRORS;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecipeError {
    /// Where; line and column from 1.
    pub place: Place,
    /// What is wrong.
    pub message: String,
    /// What to write instead, to be read after "write".
    pub instead: String,
}

impl RecipeError {
    pub(crate) fn new(place: Place, message: impl Into<String>, instead: impl Into<String>) -> Self {
        Self { place, message: cut(message.into()), instead: cut(instead.into()) }
    }
}

/// A message repeats what was written, which may be a megabyte.
const MAX_MESSAGE_CHARS: usize = 400;

fn cut(text: String) -> String {
    match text.char_indices().nth(MAX_MESSAGE_CHARS) {
        Some((end, _)) => format!("{} ...", &text[..end]),
        None => text,
    }
}

/// Whether enough is known to be wrong: looking for more would cost time and tell nothing.
pub(crate) fn enough(errors: &[RecipeError]) -> bool {
    errors.len() >= MAX_RECIPE_ERRORS
}

/// Everything found wrong in one recipe, in the order of the file; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecipeErrors {
    /// The recipe's name as the caller gave it, usually a path.
    pub file: String,
    /// Sorted by place.
    pub errors: Vec<RecipeError>,
}

impl RecipeErrors {
    pub(crate) fn new(file: &str, mut errors: Vec<RecipeError>) -> Self {
        errors.sort_by_key(|error| error.place);
        errors.dedup();
        errors.truncate(MAX_RECIPE_ERRORS);
        Self { file: file.to_owned(), errors }
    }
}

impl std::error::Error for RecipeErrors {}

/// One line per error: `film.yaml:7:21: unknown key "ofset": write offset`.
impl fmt::Display for RecipeErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.errors.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            let Place { line, column } = error.place;
            write!(f, "{}:{line}:{column}: {}: write {}", self.file, error.message, error.instead)?;
        }
        Ok(())
    }
}

/// What to write instead of `wrong`: the known word nearest to it, else all of them.
pub(crate) fn one_of<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    if let Some(near) = nearest(wrong, &known) {
        return format!("{near:?}");
    }
    match known.as_slice() {
        [] => "nothing here".to_owned(),
        [only] => format!("{only:?}"),
        // A recipe may have thousands of nodes; a dozen names show what is meant.
        many if many.len() > 12 => format!("one of {}, ...", many[..12].join(", ")),
        many => format!("one of {}", many.join(", ")),
    }
}

/// The known word that `wrong` is most likely a slip of.
pub(crate) fn nearest<'a>(wrong: &str, known: &[&'a str]) -> Option<&'a str> {
    let wrong = plain(wrong);
    let allowed = (wrong.len() / 3).clamp(1, 3);
    let distance = |word: &'a str| (edits(&wrong, &plain(word)), word);
    let (edits, word) = known.iter().copied().map(distance).min()?;
    let prefix = wrong.len() >= 3 && plain(word).starts_with(&wrong);
    (edits <= allowed || prefix).then_some(word)
}

/// Case and the usual separators are no difference. Cut, so that a long text costs little.
fn plain(word: &str) -> String {
    let letters = word.chars().filter(|c| !matches!(c, '_' | '-' | ' '));
    letters.take(64).flat_map(char::to_lowercase).collect()
}

/// Edits between two words: insert, delete, replace, and two neighbours changing places (optimal
/// string alignment; Damerau 1964).
fn edits(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    rows[0] = (0..=b.len()).collect();
    for i in 1..=a.len() {
        rows[i][0] = i;
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let moved = replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            let turned = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
            rows[i][j] = if turned { moved.min(rows[i - 2][j - 2] + 1) } else { moved };
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_found_and_far_ones_are_not() {
        let keys = ["offset", "duration", "precise"];
        assert_eq!(nearest("ofset", &keys), Some("offset"));
        assert_eq!(nearest("Offset", &keys), Some("offset"));
        assert_eq!(nearest("dur", &keys), Some("duration"));
        assert_eq!(nearest("colour", &keys), None);
        assert_eq!(nearest("AUDIOMIX", &["AUDIO_MIX", "MUX"]), Some("AUDIO_MIX"));
        assert_eq!(one_of("x", []), "nothing here");
        assert_eq!(one_of("zzz", keys), "one of offset, duration, precise");
    }

    #[test]
    fn edits_are_counted() {
        assert_eq!(edits("kitten", "sitting"), 3);
        assert_eq!(edits("", "abc"), 3);
        assert_eq!(edits("nmae", "name"), 1);
    }
}
