//! Where a value stands among settings: finding it by its key, changing it, spelling its key.

use lm::Problem;
use serde_json::Value;

/// A step on the way to a value: a key of a table, or a position in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Key(String),
    Index(usize),
}

/// The place of a key, dots between its levels. The key must be there already; a problem names it as `shown`.
pub fn place(root: &Value, key: &str, shown: &str) -> Result<Vec<Step>, Problem> {
    let mut here = root;
    let mut steps = Vec::new();
    for word in key.split('.') {
        let Some(inner) = here.get(word) else { return Err(no_such_key(shown, &keys(here), word)) };
        here = inner;
        steps.push(Step::Key(word.to_owned()));
    }
    Ok(steps)
}

/// The keys of a table; none of anything else.
pub fn keys(value: &Value) -> Vec<&str> {
    value.as_object().map(|table| table.keys().map(String::as_str).collect()).unwrap_or_default()
}

/// A key that is not there: `word` is the part of it that is none of those `known` at its place.
pub fn no_such_key(key: &str, known: &[&str], word: &str) -> Problem {
    let expected = match nearest(known, word) {
        Some(name) => key.replacen(word, name, 1),
        None if known.is_empty() => "no key below a single value".to_owned(),
        None => format!("one of {}", known.join(", ")),
    };
    Problem::new(key, "no such key", expected)
}

/// What was probably meant by `word`: the nearest of those `known`, if that is near.
pub fn nearest<'a>(known: &[&'a str], word: &str) -> Option<&'a str> {
    let near = known.iter().map(|name| (distance(word, name), *name)).min()?;
    (near.0 <= (word.len() / 3).max(1)).then_some(near.1)
}

/// Insertions, deletions, substitutions and swaps of neighbours between two words (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut edits = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            edits[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let substituted = edits[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                let least = substituted.min(edits[i - 1][j] + 1).min(edits[i][j - 1] + 1);
                let swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
                if swapped { least.min(edits[i - 2][j - 2] + 1) } else { least }
            };
        }
    }
    edits[a.len()][b.len()]
}

/// The value at a place.
pub fn get<'a>(root: &'a Value, place: &[Step]) -> Option<&'a Value> {
    place.iter().try_fold(root, |here, step| match step {
        Step::Key(key) => here.get(key),
        Step::Index(index) => here.get(index),
    })
}

/// The value at a place, to be changed.
pub fn get_mut<'a>(root: &'a mut Value, place: &[Step]) -> Option<&'a mut Value> {
    place.iter().try_fold(root, |here, step| match step {
        Step::Key(key) => here.get_mut(key),
        Step::Index(index) => here.get_mut(index),
    })
}

/// A place as a key: dots between levels, positions in brackets.
pub fn spelled(place: &[Step]) -> String {
    place.iter().fold(String::new(), |key, step| match step {
        Step::Key(word) if key.is_empty() => word.clone(),
        Step::Key(word) => format!("{key}.{word}"),
        Step::Index(index) => format!("{key}[{index}]"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_by_hand() {
        for (a, b, edits) in [
            ("beta", "beta", 0),
            ("betta", "beta", 1),
            ("dop", "dpo", 1),
            ("kitten", "sitting", 3),
            ("", "ab", 2),
        ] {
            assert_eq!((distance(a, b), distance(b, a)), (edits, edits), "{a} {b}");
        }
    }
}
