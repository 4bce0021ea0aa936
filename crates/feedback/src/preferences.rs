//! Preference pairs: the responses to each prompt are scored, every two of them make a pair, a label says who
//! wins.

use lm::{Config, PreferencePair, Problem, Scorer, Sequence, Stream};
use rand::RngExt;
use serde::{Deserialize, Serialize};

use crate::error::FeedbackError;
use crate::scorer::checked;

/// Who wins a pair.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Labels {
    /// The response with the higher score, always: what the DPO paper did. No bounded reward explains such
    /// labels.
    Hard,
    /// The first response wins with probability `sigma(scale * (r_1 - r_2))`: the Bradley-Terry model itself.
    BradleyTerry {
        /// Units of logit per unit of score.
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
    /// Share of prompts whose pairs are held out, to validate a reward model with.
    pub validation_share: f64,
}

impl PreferenceConfig {
    /// How many of so many prompts have their pairs held out.
    pub fn held_out(&self, prompts: usize) -> usize {
        (prompts as f64 * self.validation_share).round() as usize
    }
}

impl Config for PreferenceConfig {
    fn problems(&self) -> Vec<Problem> {
        let (responses, share) = (self.responses_per_prompt, self.validation_share);
        let labels = match self.labels {
            Labels::Hard => None,
            Labels::BradleyTerry { scale } => Problem::unless_positive("labels.bradley_terry.scale", scale),
            Labels::Noisy { flip } => {
                let possible = (0.0..0.5).contains(&flip);
                Problem::unless(possible, "labels.noisy.flip", flip, "0 up to, not including, 0.5")
            }
        };
        let checks = [
            Problem::unless(responses >= 2, "responses_per_prompt", responses, "at least 2"),
            labels,
            Problem::unless(
                (0.0..1.0).contains(&share),
                "validation_share",
                share,
                "0 up to, not including, 1",
            ),
        ];
        checks.into_iter().flatten().collect()
    }
}

/// A pair with what is known of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LabelledPair {
    /// Token ids of the prompt and both responses.
    pub pair: PreferencePair,
    /// Position of the prompt in the list that was sampled from.
    pub prompt_index: usize,
    /// Score of the chosen response.
    pub chosen_score: f32,
    /// Score of the rejected response.
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
    /// Training pairs whose label disagrees with the scores.
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

/// Scores the responses to each prompt and labels all pairs of them.
///
/// `sequences` is laid out as [`crate::sampling::sample`] returns it. The pairs of the last prompts are held
/// out: prompts come in random order.
///
/// # Errors
/// If the settings are impossible, the responses are not `responses_per_prompt` for each prompt, or the
/// scorer refuses one; [`FeedbackError::NoPairs`] if no training pair is left, or no validation pair although
/// prompts are held out.
pub fn label(
    sequences: &[Sequence],
    scorer: &dyn Scorer,
    config: &PreferenceConfig,
    stream: Stream,
) -> Result<Preferences, FeedbackError> {
    config.check()?;
    let n = config.responses_per_prompt;
    if !sequences.len().is_multiple_of(n) {
        let expected = format!("{n} for each prompt");
        return Err(FeedbackError::Unfit { what: "responses", found: sequences.len().to_string(), expected });
    }
    let scores = checked(scorer.score(sequences)?, sequences.len())?;
    let prompts = sequences.len() / n;
    let held_out = config.held_out(prompts);
    let mut preferences = Preferences::default();
    for (prompt, (group, scores)) in sequences.chunks(n).zip(scores.chunks(n)).enumerate() {
        let stream = stream.child(prompt as u64);
        let (pairs, disagreements) = pairs(group, scores, &config.labels, prompt, stream);
        preferences.ties += n * (n - 1) / 2 - pairs.len();
        if prompt + held_out >= prompts {
            preferences.validation.extend(pairs);
        } else {
            preferences.train.extend(pairs);
            preferences.disagreements += disagreements;
        }
    }
    let no_pairs = |purpose| {
        let pairs = prompts * n * (n - 1) / 2;
        Err(FeedbackError::NoPairs { purpose, ties: preferences.ties, pairs })
    };
    if preferences.train.is_empty() {
        return no_pairs("train on");
    }
    if preferences.validation.is_empty() && held_out > 0 {
        return no_pairs("validate with");
    }
    Ok(preferences)
}

/// All pairs of the responses to one prompt that are no ties, and how many labels disagree with the scores.
fn pairs(
    group: &[Sequence],
    scores: &[f32],
    labels: &Labels,
    prompt_index: usize,
    stream: Stream,
) -> (Vec<LabelledPair>, usize) {
    let mut rng = stream.rng();
    let (mut pairs, mut disagreements) = (Vec::new(), 0);
    for i in 0..group.len() {
        for j in i + 1..group.len() {
            // A number is drawn for every pair, ties included, so that labels do not depend on ties.
            let uniform = rng.random::<f64>();
            let gap = f64::from(scores[i]) - f64::from(scores[j]);
            if gap == 0.0 || group[i].response == group[j].response {
                continue;
            }
            let first_wins = wins(labels, gap, uniform);
            let (w, l) = if first_wins { (i, j) } else { (j, i) };
            disagreements += usize::from(first_wins != (gap > 0.0));
            pairs.push(LabelledPair {
                pair: PreferencePair {
                    prompt: group[w].prompt.clone(),
                    chosen: group[w].response.clone(),
                    rejected: group[l].response.clone(),
                },
                prompt_index,
                chosen_score: scores[w],
                rejected_score: scores[l],
            });
        }
    }
    (pairs, disagreements)
}

/// Whether the first response wins, given its lead in score and a uniform number.
fn wins(labels: &Labels, gap: f64, uniform: f64) -> bool {
    match *labels {
        Labels::Hard => gap > 0.0,
        Labels::BradleyTerry { scale } => uniform < 1.0 / (1.0 + (-scale * gap).exp()),
        Labels::Noisy { flip } => (gap > 0.0) != (uniform < flip),
    }
}
