//! `preferences.jsonl`: one pair per line, with TRL's columns `prompt`, `chosen` and `rejected`
//! as text, and the scores.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use lm::{LmError, Tokenizer};
use rayon::prelude::*;
use serde::Serialize;

use crate::error::FeedbackError;
use crate::preferences::{ComparedResponses, Preferences};

/// Prompts whose lines are made together and then written.
const PROMPTS_AT_ONCE: usize = 512;

/// One line of the file.
#[derive(Serialize)]
struct Line {
    prompt: String,
    chosen: String,
    rejected: String,
    chosen_score: f32,
    rejected_score: f32,
    probability: f32,
    split: &'static str,
    prompt_index: usize,
}

/// Writes the pairs for people and for other programs, of each prompt at most `most_of_prompt`: the
/// same ones each time, taken from the whole list at equal distances. [`crate::comparisons`] is the
/// file that training reads.
///
/// # Errors
/// If the file cannot be written or ids cannot be decoded.
pub fn write(
    path: &Path,
    preferences: &Preferences,
    tokenizer: &Tokenizer,
    most_of_prompt: usize,
) -> Result<(), FeedbackError> {
    let io = |source| FeedbackError::Io { action: "write", path: path.to_owned(), source };
    let mut file = BufWriter::new(File::create(path).map_err(io)?);
    for (split, prompts) in [("train", &preferences.train), ("validation", &preferences.validation)] {
        // Decoding takes longer than the disk does.
        for some in prompts.chunks(PROMPTS_AT_ONCE) {
            let of_prompt = |compared| lines(split, compared, tokenizer, most_of_prompt);
            let lines: Result<Vec<Vec<Line>>, LmError> = some.par_iter().map(of_prompt).collect();
            for line in lines?.iter().flatten() {
                serde_json::to_writer(&mut file, line).map_err(|error| io(error.into()))?;
                file.write_all(b"\n").map_err(io)?;
            }
        }
    }
    file.flush().map_err(io)
}

/// The lines of one prompt.
fn lines(
    split: &'static str,
    compared: &ComparedResponses,
    tokenizer: &Tokenizer,
    most: usize,
) -> Result<Vec<Line>, LmError> {
    let ComparedResponses { prompt_index, prompt, responses, scores, pairs } = compared;
    let prompt = tokenizer.decode(prompt)?;
    let texts: Vec<String> =
        responses.iter().map(|response| tokenizer.decode(response)).collect::<Result<_, _>>()?;
    let count = pairs.len().min(most);
    let line = |listed: usize| {
        let pair = &pairs[listed * pairs.len() / count];
        Line {
            prompt: prompt.clone(),
            chosen: texts[pair.chosen].clone(),
            rejected: texts[pair.rejected].clone(),
            chosen_score: scores[pair.chosen],
            rejected_score: scores[pair.rejected],
            probability: pair.probability,
            split,
            prompt_index: *prompt_index,
        }
    };
    Ok((0..count).map(line).collect())
}
