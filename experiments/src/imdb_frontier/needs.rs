//! What the stages and runs of a study ask of a device.

use anyhow::Result;
use lm::device::Facts;
use lm::sft::SftConfig;
use lm::{DecoderConfig, Footprint, Iterate, Memory, OptimizerConfig, Place, Sampling};

use crate::imdb_frontier::classifiers::{ClassifierSource, Role};
use crate::imdb_frontier::method::Algorithm;
use crate::imdb_frontier::plan::RunSpec;
use crate::imdb_frontier::preset::Preset;
use crate::imdb_frontier::reference::{ReferenceSource, architecture};
pub use crate::needs::Needs;

/// What the reviews, their tokens and the linear classifiers take while the stages are done.
const REVIEWS: u64 = 400 << 20;
/// The linear classifiers, prompts and pairs of a run.
const DATA_OF_RUN: u64 = 64 << 20;
/// Labels of a sentiment classifier.
const LABELS: usize = 2;
/// A child process has one thread.
const THREADS: usize = 1;

/// A study's models and lengths, for arithmetic.
pub struct Demand<'a> {
    preset: &'a Preset,
    model: DecoderConfig,
    footprint: Footprint,
    on_gpu: bool,
}

impl Needs {
    /// The largest run of a study, with its tensors on the host, where one takes the least.
    pub fn of(preset: &Preset) -> Result<Self> {
        Ok(Demand::new(preset, false)?.largest_run())
    }
}

impl<'a> Demand<'a> {
    /// Of a study on the CPU or a GPU.
    pub fn new(preset: &'a Preset, on_gpu: bool) -> Result<Self> {
        let model = architecture(&preset.reference)?;
        Ok(Self { preset, footprint: Footprint::from(&model), model, on_gpu })
    }

    /// Parameters of the language model.
    pub fn parameters(&self) -> usize {
        self.model.parameters()
    }

    /// The run that takes the most.
    pub fn largest_run(&self) -> Needs {
        let nothing = Needs { parameters: self.parameters(), bytes: 0, largest: 0 };
        self.preset
            .algorithms()
            .fold(nothing, |most, (algorithm, policy)| most.or(self.run(&algorithm, policy)))
    }

    /// The stage that takes the most.
    pub fn largest_stage(&self, threads: usize) -> Needs {
        let nothing = Needs { parameters: self.parameters(), bytes: 0, largest: 0 };
        self.stages(threads).into_iter().fold(nothing, |most, (_, needs)| most.or(needs))
    }

    /// A run of an algorithm: the reference, which is also where it starts, the reward model, which every
    /// evaluation asks, what trains, and the average of its policies.
    pub fn run(&self, algorithm: &Algorithm, policy: Iterate) -> Needs {
        let process =
            self.process(THREADS).holding(DATA_OF_RUN).frozen(self.footprint).frozen(self.footprint);
        let process = match policy {
            Iterate::Last => process,
            Iterate::Average { .. } => process.frozen(self.footprint),
        };
        let process = self.evaluating(process);
        Needs::new(self.parameters(), self.algorithm(process, algorithm))
    }

    /// Refuses a run that does not fit, and says what to lower.
    pub fn check_run(&self, run: &RunSpec, facts: &Facts) -> Result<()> {
        let (key, now) = match &run.algorithm {
            Algorithm::Dpo(config) => ("batch_prompts", config.batch_prompts),
            Algorithm::OnlineDpo { config, .. } => ("batch_prompts", config.batch_prompts),
            Algorithm::Ppo { config, .. } => ("minibatch_size", config.minibatch_size),
            Algorithm::Rloo { config, .. } => ("rollouts", config.rollouts),
            Algorithm::Sft(config) => ("batch_size", config.batch_size),
        };
        let cure = format!("lower {}.{key}, now {now}, or take a smaller model", run.method);
        self.run(&run.algorithm, run.policy).check(&format!("run {}", run.name), facts, &cure)
    }

    fn algorithm(&self, process: Memory, algorithm: &Algorithm) -> Memory {
        let rollouts = |process: Memory, sampling: &Sampling| self.sampling(process, sampling);
        match algorithm {
            Algorithm::Dpo(config) => {
                let responses = config.batch_prompts * self.preset.preferences.responses_per_prompt;
                self.learner(process, &config.optimizer, responses)
            }
            Algorithm::OnlineDpo { config, .. } => {
                let responses = config.batch_prompts * config.responses_per_prompt;
                self.learner(rollouts(process, &config.sampling), &config.optimizer, responses)
            }
            Algorithm::Ppo { config, .. } => {
                let process = rollouts(process, &config.sampling);
                let process = self.learner(process, &config.policy_optimizer, config.minibatch_size);
                self.learner(process, &config.value_optimizer, config.minibatch_size)
            }
            Algorithm::Rloo { config, .. } => {
                self.learner(rollouts(process, &config.sampling), &config.optimizer, config.rollouts)
            }
            Algorithm::Sft(config) => self.learner(process, &config.optimizer, config.batch_size),
        }
    }

    /// The stages by name, in order.
    pub fn stages(&self, threads: usize) -> Vec<(&'static str, Needs)> {
        let process = || self.process(threads).holding(REVIEWS);
        let reader = || self.evaluating(process().frozen(self.footprint));
        let config = &self.preset.reward_model;
        // The policy that it starts from, and its best checkpoint.
        let reward_model = process().frozen(self.footprint).frozen(self.footprint);
        let reward_model = self.learner(
            reward_model,
            &config.optimizer,
            config.batch_prompts * self.preset.preferences.responses_per_prompt,
        );
        let encoders = Role::ALL.into_iter().filter_map(|role| {
            let source = self.preset.encoder(role)?;
            Some((role.name(), Self::encoder_stage(process(), source)))
        });
        let others =
            [("reference-samples", reader()), ("preferences", reader()), ("reward-model", reward_model)];
        let all = [("reference", self.reference(process()))].into_iter().chain(encoders).chain(others);
        all.map(|(name, memory)| (name, Needs::new(self.parameters(), memory))).collect()
    }

    /// The stage of an encoder: it trains, or reads as it is, and reads reviews at its window.
    fn encoder_stage(process: Memory, source: &ClassifierSource) -> Memory {
        let model = Footprint::of_encoder(&source.encoder, LABELS);
        let Some(config) = &source.training else {
            return process.frozen(model).scoring(model, source.encoder.context() as u64);
        };
        let SftConfig { batch_size, optimizer, .. } = &config.training;
        let tokens = (batch_size * config.train_window) as u64;
        process
            .frozen(model)
            .learning(model.parameters, optimizer)
            .training_on(model, model.parameters, tokens, 0)
            .scoring(model, config.window as u64)
    }

    fn reference(&self, process: Memory) -> Memory {
        let (window, sft) = match &self.preset.reference {
            ReferenceSource::Train(config) => (config.n_positions, &config.sft),
            ReferenceSource::FineTune(config) => (config.window, &config.sft),
            // It is read and written.
            ReferenceSource::Shipped | ReferenceSource::Folder(_) => {
                return self.scoring(process.frozen(self.footprint).frozen(self.footprint));
            }
        };
        let (tokens, parameters) = ((sft.batch_size * (window + 1)) as u64, self.footprint.parameters);
        let process = process.frozen(self.footprint).learning(parameters, &sft.optimizer);
        process.with_activations(self.preset.activations()).training_on(
            self.footprint,
            parameters,
            tokens,
            tokens,
        )
    }

    fn process(&self, threads: usize) -> Memory {
        Memory::new(if self.on_gpu { Place::Gpu } else { Place::Host { threads } })
    }

    /// Most tokens of a prompt, with its begin token, and of its response.
    fn length(&self) -> [u64; 2] {
        [1 + self.preset.prompts.max_tokens, self.preset.sampling.max_new_tokens].map(|tokens| tokens as u64)
    }

    /// A model that starts as the reference does and trains on so many responses a step.
    fn learner(&self, process: Memory, optimizer: &OptimizerConfig, responses: usize) -> Memory {
        let ([prompt, response], parameters) = (self.length(), self.footprint.parameters);
        let (tokens, targets) = (responses as u64 * (prompt + response), responses as u64 * response);
        let process = process.with_activations(self.preset.activations());
        process.learning(parameters, optimizer).training_on(self.footprint, parameters, tokens, targets)
    }

    /// Sampling, scoring, and the encoders that score, which read about as many tokens as the policy.
    fn evaluating(&self, process: Memory) -> Memory {
        let encoders = Role::ALL.into_iter().filter_map(|role| self.preset.encoder(role));
        let process = encoders.fold(process, |process, source| {
            let model = Footprint::of_encoder(&source.encoder, LABELS);
            process.frozen(model).scoring(model, self.length().iter().sum())
        });
        self.sampling(self.scoring(process), &self.preset.sampling)
    }

    fn scoring(&self, process: Memory) -> Memory {
        process.scoring(self.footprint, self.length().iter().sum())
    }

    fn sampling(&self, process: Memory, sampling: &Sampling) -> Memory {
        let length = self.length()[0] + sampling.max_new_tokens as u64;
        process.sampling(self.footprint, sampling.batch_size as u64, length)
    }
}
