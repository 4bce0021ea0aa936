//! What is measured: the words of the command line.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

/// A case with its keys.
#[derive(Clone, Debug)]
pub struct Case {
    pub(crate) name: String,
    pub(crate) keys: BTreeMap<String, String>,
}

/// Why words make no case.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CaseError {
    /// There is no word.
    #[error("found no case, expected CASE key=value ...")]
    Empty,
    /// The name of a case that does not exist.
    #[error("found the case `{found}`, expected {expected}")]
    Name {
        /// The name.
        found: String,
        /// The names of all cases.
        expected: String,
    },
    /// A word of another form than `key=value`.
    #[error("{case}: found `{found}`, expected key=value")]
    Word {
        /// The case.
        case: String,
        /// The word.
        found: String,
    },
    /// A key that the case does not have.
    #[error("{case}: found the key `{found}`, expected {expected}")]
    Key {
        /// The case.
        case: String,
        /// The key.
        found: String,
        /// The keys of the case.
        expected: String,
    },
    /// A key that the case needs and the words lack.
    #[error("{case}: the key `{key}` is missing")]
    Missing {
        /// The case.
        case: String,
        /// The key.
        key: String,
    },
    /// A value that cannot be read or is impossible.
    #[error("{case}: `{key}={found}`: {problem}")]
    Value {
        /// The case.
        case: String,
        /// The key.
        key: String,
        /// Its value.
        found: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl Case {
    /// A case from its name and its `key=value` words.
    ///
    /// # Errors
    /// [`CaseError::Empty`] without a name, [`CaseError::Word`] for another word.
    pub fn parse<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Self, CaseError> {
        let mut words = words.into_iter();
        let name = words.next().ok_or(CaseError::Empty)?;
        let pair = |word: &str| match word.split_once('=') {
            Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
            None => Err(CaseError::Word { case: name.to_owned(), found: word.to_owned() }),
        };
        let keys = words.map(pair).collect::<Result<_, _>>()?;
        Ok(Self { name: name.to_owned(), keys })
    }

    /// The case's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The error that there is no such case; `names` are those that exist.
    pub fn unknown<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> CaseError {
        CaseError::Name { found: self.name.clone(), expected: list(names) }
    }

    /// Refuses keys beyond the given ones and those of every case (`budget`, `threads`, `jobs`): a mistyped
    /// key would leave its default in force, and the measurement would look as if it had been read.
    ///
    /// # Errors
    /// [`CaseError::Key`] for the first such key.
    pub fn check_keys(&self, own: &[&str]) -> Result<(), CaseError> {
        let known = || own.iter().copied().chain(["budget", "threads", "jobs"]);
        match self.keys.keys().find(|key| known().all(|known| known != key.as_str())) {
            Some(key) => {
                Err(CaseError::Key { case: self.name.clone(), found: key.clone(), expected: list(known()) })
            }
            None => Ok(()),
        }
    }

    /// The value of a key.
    ///
    /// # Errors
    /// [`CaseError::Missing`], or [`CaseError::Value`] if the value is of another form.
    pub fn get<T: FromStr<Err: Display>>(&self, key: &str) -> Result<T, CaseError> {
        let missing = || CaseError::Missing { case: self.name.clone(), key: key.to_owned() };
        self.find(key)?.ok_or_else(missing)
    }

    /// The value of a key that may be absent.
    ///
    /// # Errors
    /// [`CaseError::Value`] if the value is of another form.
    pub fn find<T: FromStr<Err: Display>>(&self, key: &str) -> Result<Option<T>, CaseError> {
        let Some(value) = self.keys.get(key) else { return Ok(None) };
        value.parse().map(Some).map_err(|error: T::Err| self.refuse(key, error.to_string()))
    }

    /// The value of a key that is a count.
    ///
    /// # Errors
    /// [`CaseError::Missing`], or [`CaseError::Value`] for anything but a positive whole number.
    pub fn count(&self, key: &str) -> Result<usize, CaseError> {
        let text: String = self.get(key)?;
        match text.parse() {
            Ok(count) if count > 0 => Ok(count),
            _ => Err(self.refuse(key, "expected a positive whole number".to_owned())),
        }
    }

    /// The error that the value of a key is impossible.
    pub fn refuse(&self, key: &str, problem: String) -> CaseError {
        let found = self.keys.get(key).cloned().unwrap_or_default();
        CaseError::Value { case: self.name.clone(), key: key.to_owned(), found, problem }
    }
}

/// `a, b or c`.
fn list<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let words: Vec<&str> = words.into_iter().collect();
    match &words[..] {
        [rest @ .., end] if !rest.is_empty() => format!("{} or {end}", rest.join(", ")),
        _ => words.concat(),
    }
}

/// A GPT-2 shape as the key `shape` gives it: `LxD/V`.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Blocks.
    pub layers: usize,
    /// Width.
    pub width: usize,
    /// Vocabulary.
    pub vocab: usize,
}

impl Shape {
    /// Attention heads: 12 for GPT-2 small's width, else one per 32 columns.
    pub fn heads(&self) -> usize {
        if self.width == 768 { 12 } else { self.width / 32 }
    }
}

impl FromStr for Shape {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts: Vec<Option<usize>> = text.split(['x', '/']).map(|part| part.parse().ok()).collect();
        match parts[..] {
            // Tokens are drawn from 1 on: 0 ends responses.
            [Some(layers), Some(width), Some(vocab)] if layers > 0 && width >= 32 && vocab > 1 => {
                Ok(Self { layers, width, vocab })
            }
            _ => Err("expected layers x width / vocabulary, such as 4x192/4096"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(words: &str) -> Case {
        Case::parse(words.split_whitespace()).unwrap()
    }

    #[test]
    fn reads_a_case() {
        let case = case("train shape=4x192/4096 threads=2");
        let shape: Shape = case.get("shape").unwrap();
        assert_eq!((shape.layers, shape.width, shape.vocab, shape.heads()), (4, 192, 4096, 6));
        assert_eq!((case.count("threads"), case.find::<usize>("jobs")), (Ok(2), Ok(None)));
        assert_eq!(case.check_keys(&["shape"]), Ok(()));
        for wrong in ["4x192", "x4x192/4096", "0x192/4096", "4x192/1", "4x192/4096/2"] {
            assert!(wrong.parse::<Shape>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_wrong_word_has_its_message() {
        let message = |error: CaseError| error.to_string();
        assert_eq!(message(Case::parse([]).unwrap_err()), "found no case, expected CASE key=value ...");
        let word = Case::parse(["train", "batch"]).unwrap_err();
        assert_eq!(message(word), "train: found `batch`, expected key=value");
        let case = case("train batch=0 contxt=64");
        let name = case.unknown(["score", "sample"]);
        assert_eq!(message(name), "found the case `train`, expected score or sample");
        let key = case.check_keys(&["batch"]).unwrap_err();
        let expected = "train: found the key `contxt`, expected batch, budget, threads or jobs";
        assert_eq!(message(key), expected);
        assert_eq!(message(case.count("context").unwrap_err()), "train: the key `context` is missing");
        let zero = case.count("batch").unwrap_err();
        assert_eq!(message(zero), "train: `batch=0`: expected a positive whole number");
        let float = case.get::<f64>("contxt").map(|_| ());
        assert_eq!(float, Ok(()));
    }
}
