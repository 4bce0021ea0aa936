//! Presets: what a study does, as written in TOML, without hidden defaults.

use std::path::{Path, PathBuf};

use anyhow::Result;
use feedback::{EvaluationConfig, PreferenceConfig};
use frontier::Method;
use imdb::{GroundTruthConfig, PromptConfig};
use lm::{Activations, Config, Iterate, Problem, Sampling};
use reward_model::RewardModelConfig;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::exit::BadInput;
use crate::imdb_frontier::classifiers::{ClassifierSource, Role};
use crate::imdb_frontier::method::{Algorithm, MethodTable};
use crate::imdb_frontier::method_keys;
use crate::imdb_frontier::reference::{ReferenceSource, architecture};
use crate::settings::{FromFile, Step, keys, read_file, read_text};

/// The presets that ship, by name.
pub const SHIPPED: [(&str, &str); 9] = [
    ("smoke", include_str!("../../presets/smoke.toml")),
    ("quick", include_str!("../../presets/quick.toml")),
    ("why", include_str!("../../presets/why.toml")),
    ("full", include_str!("../../presets/full.toml")),
    ("gpu", include_str!("../../presets/gpu.toml")),
    ("smollm2", include_str!("../../presets/smollm2.toml")),
    ("smollm2-tiny", include_str!("../../presets/smollm2-tiny.toml")),
    ("paper", include_str!("../../presets/paper.toml")),
    ("paper-tiny", include_str!("../../presets/paper-tiny.toml")),
];

/// A study as written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preset {
    /// One sentence for people.
    pub description: String,
    /// Seed of all that the runs share: prompts and evaluation.
    pub data_seed: u64,
    /// Preference pairs, a reward model and one run of every sweep point for each of these.
    pub seeds: Vec<u64>,
    /// Whether the reviews are the synthetic ones, whatever `--data` says.
    pub synthetic: bool,
    /// Sampling temperature of every policy.
    pub temperature: f64,
    /// Whether language models that train compute their activations again in place of keeping them. Nothing
    /// depends on it but memory and time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gradient_checkpointing: Option<Activations>,
    /// Where pi_SFT comes from.
    pub reference: ReferenceSource,
    /// How r* and the second opinion are trained.
    pub ground_truth: GroundTruthConfig,
    /// r*, where it is an encoder in the place of the first of these.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub truth: Option<ClassifierSource>,
    /// The second opinion, where it is an encoder in the place of the second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub second_opinion: Option<ClassifierSource>,
    /// Prompts.
    pub prompts: PromptConfig,
    /// Responses: of the stages, the evaluations, and every method that draws some and has no `sampling` of
    /// its own.
    pub sampling: Sampling,
    /// Preference pairs.
    pub preferences: PreferenceConfig,
    /// The learned reward.
    pub reward_model: RewardModelConfig,
    /// The evaluation.
    pub evaluation: EvaluationConfig,
    /// The methods, in the order of their runs.
    pub method: Vec<MethodTable>,
}

impl Preset {
    /// What trainings do with their activations.
    pub fn activations(&self) -> Activations {
        self.gradient_checkpointing.unwrap_or_default()
    }
}

/// Reads a preset by name or path, applies overrides, and checks it.
pub fn load(name: &str, overrides: &[String]) -> Result<Preset> {
    let template = include_str!("../../presets/quick.toml");
    match SHIPPED.iter().find(|(shipped, _)| *shipped == name) {
        Some((_, text)) => read_text(name, text, template, overrides),
        None if name.contains(std::path::is_separator) || Path::new(name).extension().is_some() => {
            read_file(Path::new(name), template, overrides)
        }
        None => {
            let names: Vec<&str> = SHIPPED.iter().map(|(shipped, _)| *shipped).collect();
            let expected = names.join(", ");
            Err(BadInput(format!("preset {name}: expected {expected}, or the path of a .toml file")).into())
        }
    }
}

/// Where a preset's results go unless the command line says otherwise.
pub fn folder_of(preset: &str) -> PathBuf {
    Path::new("output/imdb-frontier").join(Path::new(preset).file_stem().unwrap_or_default())
}

impl FromFile for Preset {
    fn places(root: &Value, key: &str) -> Result<Vec<Vec<Step>>, Problem> {
        method_keys::places(root, key)
    }

    fn spelled(root: &Value, place: &[Step]) -> String {
        method_keys::spelled(root, place)
    }

    fn complete(root: &mut Value) {
        method_keys::share_sampling(root);
    }
}

impl Config for Preset {
    fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        problems.extend(Problem::unless(!self.seeds.is_empty(), "seeds", "[]", "at least one seed"));
        if let Some(seed) = duplicate(&self.seeds) {
            problems.push(Problem::new("seeds", format!("{seed} twice"), "every seed once"));
        }
        problems.extend(Problem::unless_positive("temperature", self.temperature));
        problems.extend(self.section_problems());
        problems.extend(self.held_out_problem());
        problems.extend(self.context_problem("sampling", &self.sampling));
        problems.extend(self.method_problems());
        problems
    }
}

impl Preset {
    fn section_problems(&self) -> Vec<Problem> {
        let mut problems = self.sampling.problems_within("sampling");
        problems.extend(self.ground_truth.problems_within("ground_truth"));
        problems.extend(self.prompts.problems_within("prompts"));
        problems.extend(self.preferences.problems_within("preferences"));
        problems.extend(self.evaluation.problems_within("evaluation"));
        match &self.reference {
            ReferenceSource::Train(config) => problems.extend(config.problems_within("reference.train")),
            ReferenceSource::FineTune(config) => {
                problems.extend(config.problems_within("reference.fine_tune"));
            }
            ReferenceSource::Shipped | ReferenceSource::Folder(_) => {}
        }
        for (key, source) in [("truth", &self.truth), ("second_opinion", &self.second_opinion)] {
            problems.extend(source.iter().flat_map(|source| source.problems_within(key)));
        }
        problems.extend(self.reward_model.problems_within("reward_model"));
        problems
    }

    /// Whether some prompts are left for pairs to train on, and some to validate with.
    fn held_out_problem(&self) -> Option<Problem> {
        let held_out = self.preferences.held_out(self.prompts.train);
        Problem::unless(
            (1..self.prompts.train).contains(&held_out),
            "preferences.validation_share",
            format!("{}, {held_out} of {} prompts", self.preferences.validation_share, self.prompts.train),
            "a share that leaves prompts to train on and to validate with",
        )
    }

    /// Whether the longest prompt, its begin token and the longest response fit the reference's context. A
    /// folder that cannot be read is an error of its own, later.
    fn context_problem(&self, section: &str, sampling: &Sampling) -> Option<Problem> {
        let context = architecture(&self.reference).ok()?.shape().context;
        let (prompt, response) = (self.prompts.max_tokens, sampling.max_new_tokens);
        let longest = 1 + prompt + response;
        let found = format!("{response}, {longest} tokens after a prompt of {prompt} and its begin token");
        let expected = format!("what fits the reference model's context of {context} tokens");
        Problem::unless(longest <= context, format!("{section}.max_new_tokens"), found, expected)
    }

    fn method_problems(&self) -> Vec<Problem> {
        let written = serde_json::to_value(self).unwrap_or_default();
        let words = keys(&written);
        let mut problems = Vec::new();
        for method in &self.method {
            let name = &method.name;
            let free = !words.contains(&name.as_str()) && Method::named(name).is_ok_and(Method::is_trained);
            let expected = "letters, digits, - and _, and no word of the preset";
            problems.extend(Problem::unless(free, "method.name", name, expected));
            let own = method.sampling().filter(|own| **own != self.sampling);
            let section = format!("{name}.sampling");
            // What a method took over from the preset is wrong there.
            let taken_over = |key: &str| own.is_none() && key.starts_with(&section);
            let found = method.problems_within(name);
            problems.extend(found.into_iter().filter(|problem| !taken_over(&problem.key)));
            problems.extend(own.and_then(|own| self.context_problem(&section, own)));
        }
        problems.extend(self.run_problems());
        problems
    }

    /// A value that two tables of one name have, or one table twice, is one run and not two.
    fn run_problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut seen = Vec::new();
        for method in &self.method {
            for point in method.points().unwrap_or_default() {
                let run = (&method.name, method.knob(), point.value);
                if seen.contains(&run) {
                    let key = method.sweep.keys().next().map_or("", String::as_str);
                    let (key, found) =
                        (format!("{}.sweep.{key}", method.name), format!("{} twice", point.value));
                    problems.push(Problem::new(key, found, "every value once"));
                }
                seen.push(run);
            }
        }
        problems.dedup();
        let swept = self.method.iter().any(|method| method.sweep.values().any(|values| !values.is_empty()));
        problems.extend(Problem::unless(swept, "method", "no value in any sweep", "at least one run"));
        problems
    }

    /// The encoder in the place of a linear classifier, where there is one.
    pub fn encoder(&self, role: Role) -> Option<&ClassifierSource> {
        match role {
            Role::Truth => self.truth.as_ref(),
            Role::SecondOpinion => self.second_opinion.as_ref(),
        }
    }

    /// What every run trains with, and which of its policies counts, seeds aside.
    pub fn algorithms(&self) -> impl Iterator<Item = (Algorithm, Iterate)> {
        self.method.iter().flat_map(|method| {
            let points = method.points().unwrap_or_default();
            points.into_iter().map(|point| (point.algorithm, method.policy))
        })
    }

    /// Tokens of a prompt with its begin token and its response: the mean, if responses go on to their limit.
    pub fn mean_length(&self) -> f64 {
        let prompt = 1.0 + (self.prompts.min_tokens + self.prompts.max_tokens) as f64 / 2.0;
        prompt + self.sampling.max_new_tokens as f64
    }
}

/// A value that stands there more than once.
fn duplicate<T: Copy + PartialEq>(values: &[T]) -> Option<T> {
    values.iter().enumerate().find(|(i, value)| values[..*i].contains(value)).map(|(_, value)| *value)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the two are compared for is the reward.
    #[test]
    fn ppo_on_either_reward_has_the_same_settings_in_every_shipped_preset() {
        for (name, _) in SHIPPED {
            let preset = load(name, &[]).unwrap();
            let table =
                |wanted: &str| preset.method.iter().find(|table| table.name == wanted).unwrap().clone();
            let (learned, truth) = (table("ppo"), table("ppo-gt"));
            assert_ne!(learned.scorer, truth.scorer, "{name}");
            let sweep = truth.sweep.clone();
            let as_truth = MethodTable { name: truth.name.clone(), scorer: truth.scorer, sweep, ..learned };
            assert_eq!(as_truth, truth, "{name}");
        }
    }
}
