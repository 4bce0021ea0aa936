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

/// The responses to one prompt, their scores, and the pairs that they make. Each response stands here once,
/// whatever the number of its pairs: n responses make n (n - 1) / 2.
#[derive(Clone, Debug, PartialEq)]
pub struct ComparedResponses {
    /// Position of the prompt in the list that was sampled from.
    pub prompt_index: usize,
    /// Token ids of the prompt, begin token first.
    pub prompt: Vec<u32>,
    /// Token ids of the responses.
    pub responses: Vec<Vec<u32>>,
    /// Scores of the responses.
    pub scores: Vec<f32>,
    /// The pairs, by the positions of the responses; ties are left out.
    pub pairs: Vec<Comparison>,
}

impl ComparedResponses {
    /// The pairs with their tokens.
    ///
    /// # Panics
    /// On the way, if a pair names a response that is not there.
    pub fn pairs(&self) -> impl Iterator<Item = PreferencePair> {
        self.pairs.iter().map(|pair| PreferencePair {
            prompt: self.prompt.clone(),
            chosen: self.responses[pair.chosen].clone(),
            rejected: self.responses[pair.rejected].clone(),
            probability: pair.probability,
        })
    }

    /// How far the chosen response's score is ahead, for each pair; below 0 where a label is against the
    /// scores.
    ///
    /// # Panics
    /// On the way, if a pair names a response without a score.
    pub fn score_gaps(&self) -> impl Iterator<Item = f32> {
        self.pairs.iter().map(|pair| self.scores[pair.chosen] - self.scores[pair.rejected])
    }
}

/// All pairs, split by prompt. Prompts without a pair are left out.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Preferences {
    /// For training.
    pub train: Vec<ComparedResponses>,
    /// Held out.
    pub validation: Vec<ComparedResponses>,
    /// Pairs dropped because both scores, or both responses, are the same.
    pub ties: usize,
}

impl Preferences {
    /// The training pairs with their tokens, those of a prompt one after another.
    pub fn train_pairs(&self) -> Vec<PreferencePair> {
        self.train.iter().flat_map(ComparedResponses::pairs).collect()
    }

    /// The held-out pairs with their tokens.
    pub fn validation_pairs(&self) -> Vec<PreferencePair> {
        self.validation.iter().flat_map(ComparedResponses::pairs).collect()
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
    for (prompt_index, (group, scores)) in sequences.chunks(n).zip(scores.chunks(n)).enumerate() {
        let pairs = config.labels.compare(group, scores, stream.child(prompt_index as u64));
        preferences.ties += n * (n - 1) / 2 - pairs.len();
        if pairs.is_empty() {
            continue;
        }
        let compared = ComparedResponses {
            prompt_index,
            prompt: group[0].prompt.clone(),
            responses: group.iter().map(|sequence| sequence.response.clone()).collect(),
            scores: scores.to_vec(),
            pairs,
        };
        let held_out = prompt_index + held_out >= prompts;
        if held_out { &mut preferences.validation } else { &mut preferences.train }.push(compared);
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
