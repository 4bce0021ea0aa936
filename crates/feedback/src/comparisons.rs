//! `comparisons.jsonl`: one prompt per line with the token ids of its responses, their scores, and the pairs
//! by the positions of the responses. A response stands there once, whatever the number of its pairs.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;

use lm::Comparison;
use serde::{Deserialize, Serialize};

use crate::error::FeedbackError;
use crate::preferences::{ComparedResponses, Preferences};

/// One line of the file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    split: Split,
    prompt_index: usize,
    prompt: Vec<u32>,
    responses: Vec<Vec<u32>>,
    scores: Vec<f32>,
    /// Chosen, rejected, and the probability that the chosen one is better.
    pairs: Vec<(usize, usize, f32)>,
}

#[derive(Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Split {
    Train,
    Validation,
}

impl Line {
    fn new(split: Split, compared: &ComparedResponses) -> Self {
        let ComparedResponses { prompt_index, prompt, responses, scores, pairs } = compared.clone();
        let pairs = pairs.iter().map(|pair| (pair.chosen, pair.rejected, pair.probability)).collect();
        Self { split, prompt_index, prompt, responses, scores, pairs }
    }

    /// The responses and their pairs, or what is wrong with them.
    fn compared(self) -> Result<ComparedResponses, String> {
        let Self { prompt_index, prompt, responses, scores, pairs, .. } = self;
        let count = responses.len();
        if scores.len() != count {
            return Err(format!("{} scores of {count} responses", scores.len()));
        }
        let pairs = pairs.into_iter().map(|(chosen, rejected, probability)| {
            if chosen.max(rejected) < count {
                return Ok(Comparison { chosen, rejected, probability });
            }
            Err(format!("a pair of responses {chosen} and {rejected}, counted from 0, of {count}"))
        });
        let pairs = pairs.collect::<Result<_, _>>()?;
        Ok(ComparedResponses { prompt_index, prompt, responses, scores, pairs })
    }
}

/// Writes all responses and pairs.
///
/// # Errors
/// If the file cannot be written.
pub fn write(path: &Path, preferences: &Preferences) -> Result<(), FeedbackError> {
    let io = |source| FeedbackError::Io { action: "write", path: path.to_owned(), source };
    let mut file = BufWriter::new(File::create(path).map_err(io)?);
    let train = preferences.train.iter().map(|compared| (Split::Train, compared));
    let validation = preferences.validation.iter().map(|compared| (Split::Validation, compared));
    for (split, compared) in train.chain(validation) {
        serde_json::to_writer(&mut file, &Line::new(split, compared)).map_err(|error| io(error.into()))?;
        file.write_all(b"\n").map_err(io)?;
    }
    file.flush().map_err(io)
}

/// Reads what [`write()`] wrote; the count of ties is not in the file and stays 0.
///
/// # Errors
/// [`FeedbackError::Line`] names the line that is damaged.
pub fn read(path: &Path) -> Result<Preferences, FeedbackError> {
    let io = |source| FeedbackError::Io { action: "read", path: path.to_owned(), source };
    let mut preferences = Preferences::default();
    for (index, line) in BufReader::new(File::open(path).map_err(io)?).lines().enumerate() {
        let bad = |found: String| FeedbackError::Line {
            path: path.to_owned(),
            line: index + 1,
            found,
            expected: "the responses to a prompt and their pairs, as this program writes them",
        };
        let line: Line = serde_json::from_str(&line.map_err(io)?).map_err(|error| bad(error.to_string()))?;
        let split = line.split;
        let compared = line.compared().map_err(bad)?;
        match split {
            Split::Train => preferences.train.push(compared),
            Split::Validation => preferences.validation.push(compared),
        }
    }
    Ok(preferences)
}
