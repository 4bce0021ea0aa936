//! `preferences.jsonl`: one pair per line, with TRL's columns `prompt`, `chosen` and `rejected` as text, the
//! ids that training uses, and the scores.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;

use lm::{LmError, PreferencePair, Tokenizer};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::FeedbackError;
use crate::preferences::{LabelledPair, Preferences};

/// Lines that are made together and then written.
const LINES_AT_ONCE: usize = 4096;

/// One line of the file.
#[derive(Serialize, Deserialize)]
struct Line {
    prompt: String,
    chosen: String,
    rejected: String,
    chosen_score: f32,
    rejected_score: f32,
    /// 1 in files from before labels could be soft.
    #[serde(default = "certain")]
    probability: f32,
    split: Split,
    prompt_index: usize,
    prompt_ids: Vec<u32>,
    chosen_ids: Vec<u32>,
    rejected_ids: Vec<u32>,
}

fn certain() -> f32 {
    1.0
}

#[derive(Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Split {
    Train,
    Validation,
}

impl Line {
    fn new(split: Split, labelled: &LabelledPair, tokenizer: &Tokenizer) -> Result<Self, LmError> {
        let pair = &labelled.pair;
        Ok(Self {
            prompt: tokenizer.decode(&pair.prompt)?,
            chosen: tokenizer.decode(&pair.chosen)?,
            rejected: tokenizer.decode(&pair.rejected)?,
            chosen_score: labelled.chosen_score,
            rejected_score: labelled.rejected_score,
            probability: pair.probability,
            split,
            prompt_index: labelled.prompt_index,
            prompt_ids: pair.prompt.clone(),
            chosen_ids: pair.chosen.clone(),
            rejected_ids: pair.rejected.clone(),
        })
    }

    fn labelled(self) -> LabelledPair {
        LabelledPair {
            pair: PreferencePair {
                prompt: self.prompt_ids,
                chosen: self.chosen_ids,
                rejected: self.rejected_ids,
                probability: self.probability,
            },
            prompt_index: self.prompt_index,
            chosen_score: self.chosen_score,
            rejected_score: self.rejected_score,
        }
    }
}

/// Writes all pairs.
///
/// # Errors
/// If the file cannot be written or ids cannot be decoded.
pub fn write(path: &Path, preferences: &Preferences, tokenizer: &Tokenizer) -> Result<(), FeedbackError> {
    let io = |source| FeedbackError::Io { action: "write", path: path.to_owned(), source };
    let mut file = BufWriter::new(File::create(path).map_err(io)?);
    let train = preferences.train.iter().map(|pair| (Split::Train, pair));
    let validation = preferences.validation.iter().map(|pair| (Split::Validation, pair));
    let pairs: Vec<(Split, &LabelledPair)> = train.chain(validation).collect();
    // Decoding takes longer than the disk does.
    for some in pairs.chunks(LINES_AT_ONCE) {
        let lines: Result<Vec<Line>, LmError> =
            some.par_iter().map(|&(split, labelled)| Line::new(split, labelled, tokenizer)).collect();
        for line in lines? {
            serde_json::to_writer(&mut file, &line).map_err(|error| io(error.into()))?;
            file.write_all(b"\n").map_err(io)?;
        }
    }
    file.flush().map_err(io)
}

/// Reads what [`write()`] wrote; the counts of ties and disagreements are not in the file and stay 0.
///
/// # Errors
/// [`FeedbackError::Line`] names the line that is damaged.
pub fn read(path: &Path) -> Result<Preferences, FeedbackError> {
    let io = |source| FeedbackError::Io { action: "read", path: path.to_owned(), source };
    let mut preferences = Preferences::default();
    for (index, line) in BufReader::new(File::open(path).map_err(io)?).lines().enumerate() {
        let line: Line = serde_json::from_str(&line.map_err(io)?).map_err(|error| FeedbackError::Line {
            path: path.to_owned(),
            line: index + 1,
            found: error.to_string(),
            expected: "a preference pair as this program writes it",
        })?;
        match line.split {
            Split::Train => preferences.train.push(line.labelled()),
            Split::Validation => preferences.validation.push(line.labelled()),
        }
    }
    Ok(preferences)
}
