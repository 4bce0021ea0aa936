//! Preference pairs: the responses to each prompt are scored, every two of them make a pair, a label says who
//! wins.

use lm::{Comparison, Config, Labels, PreferencePair, Problem, Scorer, Sequence, Stream};
use serde::{Deserialize, Serialize};

use crate::error::FeedbackError;
use crate::scorer::checked;

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
        let checks = [
            Problem::unless(responses >= 2, "responses_per_prompt", responses, "at least 2"),
            Problem::unless(
                (0.0..1.0).contains(&share),
                "validation_share",
                share,
                "0 up to, not including, 1",
            ),
        ];
        let labels = self.labels.problems_within("labels");
        let [responses, share] = checks;
        responses.into_iter().chain(labels).chain(share).collect()
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
    let comparisons = labels.compare(group, scores, stream);
    let disagreements = comparisons.iter().filter(|c| scores[c.chosen] < scores[c.rejected]).count();
    let labelled = |comparison: Comparison| LabelledPair {
        pair: comparison.pair(group),
        prompt_index,
        chosen_score: scores[comparison.chosen],
        rejected_score: scores[comparison.rejected],
    };
    (comparisons.into_iter().map(labelled).collect(), disagreements)
}
