//! Preference pairs: several responses a prompt from pi_SFT, scored by r*, labelled, all pairs kept.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;

use lm::{Generation, LmError, Policy, PreferencePair, Sampling, Scorer, Sequence, Stream, Tokenizer};
use rand::RngExt;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::ImdbError;

/// Who wins a pair.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Labels {
    /// The response with the higher score, always: what the paper did. The reward that explains such labels is
    /// unbounded.
    Hard,
    /// The first response wins with probability `sigma(scale * (r_1 - r_2))`: the Bradley-Terry model itself.
    BradleyTerry {
        /// Units of logit for one unit of score.
        scale: f64,
    },
    /// The higher score wins, and then the label is flipped with this probability.
    Noisy {
        /// Probability of a flip, below one half.
        flip: f64,
    },
}

/// How pairs are made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PreferenceConfig {
    /// Responses sampled for each prompt; every two of them make a pair.
    pub responses_per_prompt: usize,
    /// Who wins.
    pub labels: Labels,
    /// Share of prompts whose pairs are held out, for the reward model's validation.
    pub validation_share: f64,
}

impl PreferenceConfig {
    /// How many of so many prompts have their pairs held out.
    pub fn held_out(&self, prompts: usize) -> usize {
        (prompts as f64 * self.validation_share).round() as usize
    }

    /// Names every impossible value.
    pub fn problems(&self) -> Vec<(&'static str, String, &'static str)> {
        let mut problems = Vec::new();
        if self.responses_per_prompt < 2 {
            problems.push(("responses_per_prompt", self.responses_per_prompt.to_string(), "at least 2"));
        }
        if !(0.0..1.0).contains(&self.validation_share) {
            problems.push((
                "validation_share",
                self.validation_share.to_string(),
                "0 up to, not including, 1",
            ));
        }
        match self.labels {
            Labels::BradleyTerry { scale } if scale <= 0.0 || !scale.is_finite() => {
                problems.push(("labels.bradley_terry.scale", scale.to_string(), "a positive number"));
            }
            Labels::Noisy { flip } if !(0.0..0.5).contains(&flip) => {
                problems.push(("labels.noisy.flip", flip.to_string(), "0 up to, not including, 0.5"));
            }
            _ => {}
        }
        problems
    }
}

/// A pair with what is known of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LabelledPair {
    /// The ids.
    pub pair: PreferencePair,
    /// Which prompt.
    pub prompt_index: usize,
    /// r* of the chosen response.
    pub chosen_score: f32,
    /// r* of the rejected response.
    pub rejected_score: f32,
}

/// All pairs, split by prompt.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Preferences {
    /// For training.
    pub train: Vec<LabelledPair>,
    /// Held out.
    pub validation: Vec<LabelledPair>,
    /// Pairs dropped because both scores, or both responses, are the same.
    pub ties: usize,
    /// Training pairs whose label disagrees with r*.
    pub disagreements: usize,
}

impl Preferences {
    /// The training pairs without their scores.
    pub fn train_pairs(&self) -> Vec<PreferencePair> {
        self.train.iter().map(|labelled| labelled.pair.clone()).collect()
    }

    /// The held-out pairs without their scores.
    pub fn validation_pairs(&self) -> Vec<PreferencePair> {
        self.validation.iter().map(|labelled| labelled.pair.clone()).collect()
    }
}

/// Samples `n` responses for each prompt; the results of prompt `i` are at `i * n .. (i + 1) * n`.
///
/// # Errors
/// If a prompt does not fit the model.
pub fn sample(
    policy: &Policy,
    prompts: &[Vec<u32>],
    n: usize,
    sampling: &Sampling,
    stream: Stream,
) -> Result<Vec<Sequence>, LmError> {
    let repeated: Vec<Vec<u32>> =
        prompts.iter().flat_map(|prompt| std::iter::repeat_n(prompt.clone(), n)).collect();
    let drawn: Vec<Generation> = policy.generate(&repeated, sampling, stream)?;
    Ok(repeated.into_iter().zip(drawn).map(|(prompt, g)| Sequence { prompt, response: g.response }).collect())
}

/// Labels all pairs of the responses to each prompt. `sequences` is laid out as [`sample`] returns it.
///
/// # Errors
/// If the scorer refuses a response.
pub fn label(
    sequences: &[Sequence],
    scorer: &dyn Scorer,
    config: &PreferenceConfig,
    stream: Stream,
) -> Result<Preferences, LmError> {
    let scores = scorer.score(sequences)?;
    let n = config.responses_per_prompt;
    let prompts = sequences.len() / n.max(1);
    let held_out = config.held_out(prompts);
    let mut preferences = Preferences::default();
    for (prompt, (group, scores)) in sequences.chunks_exact(n).zip(scores.chunks_exact(n)).enumerate() {
        let mut rng = stream.child(prompt as u64).rng();
        for i in 0..n {
            for j in i + 1..n {
                // A number is drawn for every pair, ties included, so that labels do not depend on ties.
                let uniform = rng.random::<f64>();
                let gap = f64::from(scores[i]) - f64::from(scores[j]);
                if gap == 0.0 || group[i].response == group[j].response {
                    preferences.ties += 1;
                    continue;
                }
                let first_wins = wins(&config.labels, gap, uniform);
                let (w, l) = if first_wins { (i, j) } else { (j, i) };
                let pair = LabelledPair {
                    pair: PreferencePair {
                        prompt: group[w].prompt.clone(),
                        chosen: group[w].response.clone(),
                        rejected: group[l].response.clone(),
                    },
                    prompt_index: prompt,
                    chosen_score: scores[w],
                    rejected_score: scores[l],
                };
                // The last prompts are held out: their order is already random.
                if prompt + held_out >= prompts {
                    preferences.validation.push(pair);
                } else {
                    preferences.disagreements += usize::from(first_wins != (gap > 0.0));
                    preferences.train.push(pair);
                }
            }
        }
    }
    Ok(preferences)
}

/// Whether the first response wins, given its lead in score and a uniform number.
fn wins(labels: &Labels, gap: f64, uniform: f64) -> bool {
    match *labels {
        Labels::Hard => gap > 0.0,
        Labels::BradleyTerry { scale } => uniform < 1.0 / (1.0 + (-scale * gap).exp()),
        Labels::Noisy { flip } => (gap > 0.0) != (uniform < flip),
    }
}

/// Lines that are made together and then written.
const LINES_AT_ONCE: usize = 4096;

/// One line of `preferences.jsonl`: TRL's columns as text, and the ids that training uses.
#[derive(Serialize, Deserialize)]
struct Line {
    prompt: String,
    chosen: String,
    rejected: String,
    chosen_score: f32,
    rejected_score: f32,
    split: Split,
    prompt_index: usize,
    prompt_ids: Vec<u32>,
    chosen_ids: Vec<u32>,
    rejected_ids: Vec<u32>,
}

#[derive(Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Split {
    Train,
    Validation,
}

/// Writes all pairs as JSONL.
///
/// # Errors
/// If the file cannot be written or ids cannot be decoded.
pub fn write(path: &Path, preferences: &Preferences, tokenizer: &Tokenizer) -> Result<(), ImdbError> {
    let io = |source| ImdbError::Io { action: "write", path: path.to_owned(), source };
    let mut file = BufWriter::new(File::create(path).map_err(io)?);
    let train = preferences.train.iter().map(|pair| (Split::Train, pair));
    let validation = preferences.validation.iter().map(|pair| (Split::Validation, pair));
    let pairs: Vec<(Split, &LabelledPair)> = train.chain(validation).collect();
    // Decoding takes longer than the disk does.
    for some in pairs.chunks(LINES_AT_ONCE) {
        let lines: Result<Vec<Line>, LmError> =
            some.par_iter().map(|&(split, labelled)| line(split, labelled, tokenizer)).collect();
        for line in lines? {
            serde_json::to_writer(&mut file, &line).map_err(|error| io(error.into()))?;
            file.write_all(b"\n").map_err(io)?;
        }
    }
    file.flush().map_err(io)
}

fn line(split: Split, labelled: &LabelledPair, tokenizer: &Tokenizer) -> Result<Line, LmError> {
    let pair = &labelled.pair;
    Ok(Line {
        prompt: tokenizer.decode(&pair.prompt)?,
        chosen: tokenizer.decode(&pair.chosen)?,
        rejected: tokenizer.decode(&pair.rejected)?,
        chosen_score: labelled.chosen_score,
        rejected_score: labelled.rejected_score,
        split,
        prompt_index: labelled.prompt_index,
        prompt_ids: pair.prompt.clone(),
        chosen_ids: pair.chosen.clone(),
        rejected_ids: pair.rejected.clone(),
    })
}

/// Reads what [`write()`] wrote; the counts of ties and disagreements are not in the file and stay 0.
///
/// # Errors
/// [`ImdbError::Line`] names the line that is damaged.
pub fn read(path: &Path) -> Result<Preferences, ImdbError> {
    let io = |source| ImdbError::Io { action: "read", path: path.to_owned(), source };
    let mut preferences = Preferences::default();
    for (index, line) in BufReader::new(File::open(path).map_err(io)?).lines().enumerate() {
        let line: Line = serde_json::from_str(&line.map_err(io)?).map_err(|error| ImdbError::Line {
            path: path.to_owned(),
            line: index + 1,
            found: error.to_string(),
            expected: "a preference pair as this program writes it",
        })?;
        let labelled = LabelledPair {
            pair: PreferencePair {
                prompt: line.prompt_ids,
                chosen: line.chosen_ids,
                rejected: line.rejected_ids,
            },
            prompt_index: line.prompt_index,
            chosen_score: line.chosen_score,
            rejected_score: line.rejected_score,
        };
        match line.split {
            Split::Train => preferences.train.push(labelled),
            Split::Validation => preferences.validation.push(labelled),
        }
    }
    Ok(preferences)
}
