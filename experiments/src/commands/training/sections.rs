//! The sections that configurations of trainings have in common, and the numbers that a configuration leaves
//! to the data and the model.

use std::num::NonZeroUsize;

use feedback::ProgramLimits;
use feedback::records::Limits;
use lm::{Activations, Config, LoraConfig, OptimizerConfig, Problem, Sampling, ScoreUnit};
use serde::{Deserialize, Serialize};

/// Most tokens of prompt and response unless they are given: no reason but memory.
const MAX_LENGTH: usize = 1024;
/// Longest response unless it is given.
const MAX_NEW_TOKENS: usize = 128;
/// Evaluations of a training unless their distance is given.
const EVALUATIONS: usize = 10;

/// What evaluations are made on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeldOut {
    /// Share of the data, by prompt; 0 where a file is given.
    pub fraction: f64,
    /// A file of its own, in place of a share.
    pub file: String,
}

impl Config for HeldOut {
    fn problems(&self) -> Vec<Problem> {
        let (fraction, expected) = (self.fraction, "above 0 and below 1, or `held_out.file`");
        let possible = !self.file.is_empty() || fraction > 0.0 && fraction < 1.0;
        Problem::unless(possible, "fraction", fraction, expected).into_iter().collect()
    }
}

/// When and on what a policy is evaluated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evaluation {
    /// Steps between evaluations.
    pub every: usize,
    /// Steps between checkpoints.
    pub save_every: usize,
    /// Held-out prompts that the policy answers; its KL and score are means over them.
    pub prompts: usize,
    /// Answers that are kept.
    pub samples: usize,
}

impl Evaluation {
    /// Puts numbers in the place of those that are left to the number of steps.
    pub fn resolve(&mut self, steps: usize) {
        resolve_every(&mut self.every, tenth(steps));
        resolve_every(&mut self.save_every, self.every);
    }
}

/// What scores responses: one of the three, or in `dpo` none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScorerSettings {
    /// A reward model's folder.
    pub reward_model: String,
    /// An encoder with a classification head.
    pub classifier: ClassifierSettings,
    /// A program's command.
    pub command: String,
    /// What is borne from the program.
    pub program: ProgramLimits,
}

/// A classifier that scores prompt and response as one text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassifierSettings {
    /// Its folder.
    pub folder: String,
    /// The label whose score counts, by its name or number.
    pub label: String,
    /// `probability`, `log-odds` or `logit` of that label.
    pub unit: ScoreUnit,
}

impl Config for ScorerSettings {
    fn problems(&self) -> Vec<Problem> {
        let given = self.given();
        let found = given.join(" and ");
        let several =
            Problem::unless(given.len() < 2, "reward_model, classifier, command", found, "one of them");
        several.into_iter().chain(self.program.problems_within("program")).collect()
    }
}

impl ScorerSettings {
    /// The keys under which something stands.
    fn given(&self) -> Vec<&'static str> {
        let all = [
            ("reward_model", &self.reward_model),
            ("classifier", &self.classifier.folder),
            ("command", &self.command),
        ];
        all.into_iter().filter(|(_, value)| !value.is_empty()).map(|(key, _)| key).collect()
    }

    /// A problem unless there is one.
    pub fn required(&self) -> Option<Problem> {
        let expected = "--reward-model DIR, --classifier DIR or --scorer-command COMMAND";
        Problem::unless(!self.given().is_empty(), "scorer", "none", expected)
    }
}

/// Problems of adapters, of which there are none at rank 0 and whose layers may be left to the model.
pub fn lora_problems(lora: &LoraConfig) -> Vec<Problem> {
    if lora.rank == 0 {
        return Vec::new();
    }
    let left = |problem: &Problem| problem.key == "targets" && lora.targets.is_empty();
    let problems = lora.problems().into_iter().filter(|problem| !left(problem));
    problems.map(|problem| problem.within("lora")).collect()
}

/// A problem unless so many passes can be made.
pub fn epochs_problem(epochs: f64) -> Option<Problem> {
    Problem::unless_positive("epochs", epochs)
}

/// Problems of limits whose numbers may still be left to the model.
pub fn limits_problems(limits: &Limits) -> Vec<Problem> {
    if limits.max_length == 0 || limits.max_prompt_length == 0 {
        return Vec::new();
    }
    limits.problems_within("limits")
}

/// Puts numbers of a model of so long a context in the place of those that are left to it.
pub fn resolve_limits(limits: &mut Limits, context: usize) -> Result<(), Problem> {
    if limits.max_length == 0 {
        limits.max_length = context.min(MAX_LENGTH);
    }
    if limits.max_prompt_length == 0 {
        limits.max_prompt_length = limits.max_length / 2;
    }
    if limits.max_length > context {
        let expected = format!("at most the model's context of {context} tokens");
        return Err(Problem::new("limits.max_length", limits.max_length, expected));
    }
    match limits.problems_within("limits").into_iter().next() {
        Some(problem) => Err(problem),
        None => Ok(()),
    }
}

/// The same for the longest response, of which `key` is the section.
pub fn resolve_sampling(sampling: &mut Sampling, limits: &Limits, key: &str) -> Result<(), Problem> {
    let room = limits.max_length - limits.max_prompt_length;
    if sampling.max_new_tokens == 0 {
        sampling.max_new_tokens = room.min(MAX_NEW_TOKENS);
    }
    let found = sampling.max_new_tokens;
    let expected = format!("at most {room}, which a prompt of limits.max_prompt_length leaves");
    Problem::unless(found <= room, format!("{key}.max_new_tokens"), found, expected).map_or(Ok(()), Err)
}

/// A problem unless so many batches make a step.
pub fn accumulation_problem(batches: usize) -> Option<Problem> {
    Problem::unless_counted("gradient_accumulation_steps", batches)
}

/// Batches of a step, of settings without problems.
pub fn batches(count: usize) -> NonZeroUsize {
    NonZeroUsize::new(count).unwrap_or(NonZeroUsize::MIN)
}

/// Steps of so many passes over so many examples, or those that are given.
pub fn resolve_steps(steps: &mut usize, epochs: f64, examples: usize, per_step: usize) {
    if *steps == 0 {
        *steps = ((epochs * examples as f64 / per_step.max(1) as f64).ceil() as usize).max(1);
    }
}

/// How long and how large a training is, from its configuration alone.
#[derive(Clone, Debug, PartialEq)]
pub struct Outline {
    /// Steps in all, 0 where passes are counted.
    pub steps: usize,
    pub epochs: f64,
    /// Examples of a step.
    pub per_step: usize,
    /// Share of the data that is held out.
    pub held_out: f64,
    /// Sequences that pass forward and backward together.
    pub sequences: usize,
    /// Whether a reward model scores responses.
    pub scored: bool,
    pub activations: Activations,
    /// Adapters, of which there are none at rank 0.
    pub lora: LoraConfig,
    /// Of each model that trains.
    pub optimizers: Vec<OptimizerConfig>,
}

impl Outline {
    /// Steps on a file of so many examples, if none of them is too long and no two are of one prompt.
    pub fn steps_on(&self, examples: usize) -> usize {
        let trained = (examples as f64 * (1.0 - self.held_out)).round() as usize;
        let mut steps = self.steps;
        resolve_steps(&mut steps, self.epochs, trained, self.per_step);
        steps
    }
}

impl HeldOut {
    /// The share of the data that is held out.
    pub fn share(&self) -> f64 {
        if self.file.is_empty() { self.fraction } else { 0.0 }
    }
}

/// A distance between evaluations, or between checkpoints where it is `or`.
pub fn resolve_every(every: &mut usize, or: usize) {
    if *every == 0 {
        *every = or.max(1);
    }
}

/// The distance between evaluations of a training unless it is given.
pub fn tenth(steps: usize) -> usize {
    (steps / EVALUATIONS).max(1)
}

/// Problems of a sampling whose longest response may still be left to the model.
pub fn sampling_problems(sampling: &Sampling, key: &str) -> Vec<Problem> {
    let max_new_tokens = or_one(sampling.max_new_tokens);
    Sampling { max_new_tokens, ..sampling.clone() }.problems_within(key)
}

/// A configuration with a number where one may be left to the data, so that all others can be
/// checked before it is read.
pub fn or_one(count: usize) -> usize {
    count.max(1)
}

#[cfg(test)]
mod tests {
    use feedback::records::TooLong;

    use super::*;

    fn limits(max_length: usize, max_prompt_length: usize) -> Limits {
        Limits { max_length, max_prompt_length, too_long: TooLong::Skip }
    }

    #[test]
    fn what_is_left_to_the_model_by_hand() {
        for (given, context, resolved) in [
            ((0, 0), 64, (64, 32)),
            ((0, 0), 8192, (1024, 512)),
            ((0, 10), 64, (64, 10)),
            ((50, 0), 64, (50, 25)),
        ] {
            let mut limits = limits(given.0, given.1);
            resolve_limits(&mut limits, context).unwrap();
            assert_eq!((limits.max_length, limits.max_prompt_length), resolved);
        }
        let refused = resolve_limits(&mut limits(65, 0), 64).unwrap_err().to_string();
        assert_eq!(refused, "limits.max_length: found 65, expected at most the model's context of 64 tokens");
        assert!(resolve_limits(&mut limits(0, 64), 64).is_err());
    }

    #[test]
    fn responses_have_the_room_that_prompts_leave() {
        let resolve = |max_new_tokens, limits: Limits| {
            let mut sampling = Sampling { max_new_tokens, batch_size: 1 };
            resolve_sampling(&mut sampling, &limits, "s").map(|()| sampling.max_new_tokens)
        };
        assert_eq!(resolve(0, limits(64, 32)), Ok(32));
        assert_eq!(resolve(0, limits(1024, 512)), Ok(128));
        assert_eq!(resolve(300, limits(1024, 512)), Ok(300));
        assert!(resolve(33, limits(64, 32)).is_err());
    }

    #[test]
    fn steps_are_passes_over_the_data() {
        let resolve = |given, epochs, examples, per_step| {
            let mut steps = given;
            resolve_steps(&mut steps, epochs, examples, per_step);
            steps
        };
        assert_eq!(resolve(0, 1.0, 17, 8), 3);
        assert_eq!(resolve(0, 2.5, 16, 8), 5);
        assert_eq!(resolve(7, 2.5, 16, 8), 7);
        assert_eq!((tenth(5), tenth(100)), (1, 10));
        let lora = LoraConfig { rank: 0, alpha: 1.0, rslora: false, targets: Vec::new() };
        let outline = Outline {
            steps: 0,
            epochs: 2.0,
            per_step: 8,
            held_out: 0.1,
            sequences: 8,
            scored: false,
            activations: Activations::Kept,
            lora,
            optimizers: Vec::new(),
        };
        // 90 of 100 examples, twice, in steps of 8: 22.5.
        assert_eq!(outline.steps_on(100), 23);
        assert_eq!(Outline { steps: 7, ..outline }.steps_on(100), 7);
    }
}
