//! What a reader complains of, in the words of the user: the key, what was found there, and what is expected.

use lm::Problem;
use serde_json::Value;
use serde_path_to_error::Segment;

use super::place::{Step, get, get_mut, nearest, no_such_key};

/// One complaint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// Where, the missing or unknown key included.
    pub place: Vec<Step>,
    wrong: Wrong,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Wrong {
    Missing,
    /// With the keys that would be known there.
    Unknown(Vec<String>),
    Value {
        found: String,
        expected: String,
    },
}

impl Complaint {
    /// Reads serde's message, which says what is wrong in one of a few forms.
    pub fn of(error: &serde_path_to_error::Error<serde_json::Error>) -> Self {
        let message = error.inner().to_string();
        let step = |segment: &Segment| match segment {
            Segment::Seq { index } => Some(Step::Index(*index)),
            Segment::Map { key } => Some(Step::Key(key.clone())),
            Segment::Enum { variant } => Some(Step::Key(variant.clone())),
            Segment::Unknown => None,
        };
        let mut place: Vec<Step> = error.path().iter().filter_map(step).collect();
        let mut at = |key: &str| {
            let key = Step::Key(key.to_owned());
            if place.last() != Some(&key) {
                place.push(key);
            }
        };
        let wrong = if let Some(rest) = message.strip_prefix("missing field ") {
            quoted(rest).first().into_iter().for_each(|key| at(key));
            Wrong::Missing
        } else if let Some(rest) = message.strip_prefix("unknown field ") {
            let mut words = quoted(rest);
            if !words.is_empty() {
                at(&words.remove(0));
            }
            Wrong::Unknown(words)
        } else if let Some((found, expected)) = message.rsplit_once(", expected ") {
            let found = ["invalid type: ", "invalid value: ", "unknown variant ", "invalid length "]
                .iter()
                .find_map(|prefix| found.strip_prefix(prefix))
                .unwrap_or(found);
            Wrong::Value { found: plain_found(found), expected: plain_expected(expected) }
        } else {
            Wrong::Value { found: message, expected: "a possible value".to_owned() }
        };
        Self { place, wrong }
    }

    /// Whether the value is missing, which a key that was dropped as wrong is too.
    pub fn is_missing(&self) -> bool {
        self.wrong == Wrong::Missing
    }

    /// The problem under the key as the user spells it.
    pub fn problem(&self, root: &Value, key: String) -> Problem {
        match &self.wrong {
            Wrong::Missing => Problem::new(key, "nothing", "a value"),
            Wrong::Unknown(known) => {
                let word = match self.place.last() {
                    Some(Step::Key(word)) => word.as_str(),
                    Some(Step::Index(_)) | None => "",
                };
                let known: Vec<&str> = known.iter().map(String::as_str).collect();
                let mut problem = no_such_key(&key, &known, word);
                // A table whose `name` says what else belongs in it is given whole.
                let parents = self.place.split_last().map(|(_, parents)| parents).unwrap_or_default();
                let name = get(root, parents).and_then(|table| table.get("name")?.as_str());
                let is_list = matches!(parents.last(), Some(Step::Index(_)));
                if let (Some(name), Some((section, _)), None) =
                    (name.filter(|_| !is_list), key.rsplit_once('.'), nearest(&known, word))
                {
                    let whole = format!("{section}={{name=\"{name}\", ...}}");
                    problem.expected = format!("only what belongs to it, as in {whole}");
                }
                problem
            }
            Wrong::Value { found, expected } => Problem::new(key, found, expected),
        }
    }

    /// Puts the template's value in the place of what is wrong, or drops an unknown key, so that reading can
    /// go on.
    pub fn repair(&self, root: &mut Value, template: &Value) -> Repair {
        let Some((last, parents)) = self.place.split_last() else { return Repair::Impossible };
        let right = find(template, &self.place).filter(|_| !matches!(self.wrong, Wrong::Unknown(_)));
        let Some(parent) = get_mut(root, parents) else { return Repair::Impossible };
        match (last, right) {
            (Step::Index(index), Some(right)) => match parent.get_mut(index) {
                Some(value) if value != right => {
                    value.clone_from(right);
                    Repair::StandIn
                }
                _ => Repair::Impossible,
            },
            (Step::Key(key), right) => {
                let Some(table) = parent.as_object_mut() else { return Repair::Impossible };
                match right {
                    Some(right) if table.get(key) != Some(right) => {
                        table.insert(key.clone(), right.clone());
                        Repair::StandIn
                    }
                    _ if table.remove(key).is_some() => Repair::Dropped,
                    _ => Repair::Impossible,
                }
            }
            (Step::Index(_), None) => Repair::Impossible,
        }
    }
}

/// How a complaint was dealt with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repair {
    /// Another value stands in.
    StandIn,
    /// The key is gone.
    Dropped,
    /// Reading cannot go on.
    Impossible,
}

/// What stands at a place of the template. Lists may be in another order: the first element
/// that has the rest will do.
fn find<'a>(here: &'a Value, place: &[Step]) -> Option<&'a Value> {
    let Some((step, rest)) = place.split_first() else { return Some(here) };
    match step {
        Step::Key(key) => find(here.get(key)?, rest),
        Step::Index(index) => {
            let list = here.as_array()?;
            list.get(*index).into_iter().chain(list).find_map(|element| find(element, rest))
        }
    }
}

/// The words between backquotes.
fn quoted(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// A value as people write it: `string "one"`, `` integer `3` ``, `map`.
fn plain_found(found: &str) -> String {
    match found {
        "map" => "a table".to_owned(),
        "sequence" => "a list".to_owned(),
        // TOML has no null, and JSON no number that is not finite.
        "null" | "unit value" => "a number that is not finite".to_owned(),
        _ => {
            let value = found.strip_prefix("string ").unwrap_or(found);
            quoted(value).first().cloned().unwrap_or_else(|| value.to_owned())
        }
    }
}

/// A type as people call it.
fn plain_expected(expected: &str) -> String {
    match expected {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, 0 or more".to_owned(),
        "f32" | "f64" => "a number".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a sequence" => "a list".to_owned(),
        "string or map" => "a word or a table".to_owned(),
        "a map" => "a table".to_owned(),
        other if other.starts_with("struct ") || other.starts_with("internally tagged enum ") => {
            "a table".to_owned()
        }
        other => other.replace('`', ""),
    }
}
