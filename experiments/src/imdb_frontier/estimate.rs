//! `--plan`: stages, runs, and estimates of their time and memory from the arithmetic of the model.

use std::io::Write;

use anyhow::Result;
use lm::Activations;
use lm::device::Facts;

use crate::imdb_frontier::classifiers::Role;
use crate::imdb_frontier::method::Algorithm;
use crate::imdb_frontier::needs::Demand;
use crate::imdb_frontier::plan::{HELD_OUT_RESPONSES, Plan, RunSpec};
use crate::imdb_frontier::preset::Preset;
use crate::imdb_frontier::reference::{ReferenceSource, architecture};
use crate::needs::gib;

/// Floating-point operations a second that one core sustains in training, all overheads included. Measured
/// over the preset quick on an EPYC with AVX-512; other machines differ, so the estimate is a guide.
const FLOPS_PER_CORE: f64 = 1.1e11;
/// A backward pass costs two forward passes; with recomputed activations there is one more.
const TRAIN: f64 = 3.0;
/// A token that is generated costs about this many tokens that are scored: decoding works on thin matrices.
const GENERATE: f64 = 2.0;

/// Where a plan would be carried out.
pub struct Machine<'a> {
    pub facts: &'a Facts,
    pub on_gpu: bool,
    /// Runs side by side.
    pub jobs: usize,
}

/// Prints the plan on standard output.
pub fn print(plan: &Plan, machine: &Machine<'_>) -> Result<()> {
    let preset = &plan.preset;
    let (cost, demand) = (Cost::new(preset)?, Demand::new(preset, machine.on_gpu)?);
    let jobs = machine.jobs;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}\nreviews: {}\n\nstages", preset.description, plan.source)?;
    let memory = demand.stages(jobs);
    for (name, forward_tokens) in cost.stages(preset) {
        let needs = memory.iter().find(|(stage, _)| *stage == name);
        let memory = needs.map_or_else(String::new, |(_, needs)| gib(needs.bytes));
        let time = duration(cost.seconds(forward_tokens) / jobs as f64);
        writeln!(out, "  {name:<20} {time:>13} {memory:>10}")?;
    }
    writeln!(out, "\nruns ({jobs} side by side)")?;
    let longest = plan.runs.iter().map(|run| run.name.len()).max().unwrap_or_default();
    for run in &plan.runs {
        let (name, steps) = (&run.name, run.algorithm.steps());
        let time = duration(cost.seconds(cost.run(preset, run)));
        let memory = gib(demand.run(&run.algorithm, run.policy).bytes);
        let evaluations = match Plan::evaluations(run) {
            1 => "1 evaluation ".to_owned(),
            count => format!("{count} evaluations"),
        };
        writeln!(out, "  {name:<longest$} {steps:>5} steps, {evaluations:>14} {time:>13} {memory:>10}")?;
    }
    let stages: f64 = cost.stages(preset).iter().map(|(_, tokens)| cost.seconds(*tokens)).sum();
    let runs: f64 = plan.runs.iter().map(|run| cost.seconds(cost.run(preset, run))).sum();
    let time = duration((stages + runs) / jobs as f64 + 60.0);
    let guide = if machine.on_gpu {
        "at the speed of CPU cores: a GPU is faster"
    } else {
        "it depends on the machine"
    };
    writeln!(out, "\n{} runs, about {time} in all (a guide: {guide})", plan.runs.len())?;
    let most = demand.largest_run().or(demand.largest_stage(jobs));
    let side_by_side = most.bytes.max(demand.largest_run().bytes.saturating_mul(jobs as u64));
    let there = machine.facts.memory.map_or_else(|| "an unknown amount".to_owned(), gib);
    let (fits, why) = most.fit(machine.facts);
    let but = if fits { String::new() } else { format!("\nit does not fit: {why}") };
    let name = &machine.facts.name;
    writeln!(
        out,
        "memory: up to {} with {jobs} runs side by side, of {there} on {name}{but}",
        gib(side_by_side)
    )?;
    Ok(())
}

/// A time as people say it.
fn duration(seconds: f64) -> String {
    match seconds {
        ..600.0 => format!("{seconds:.0} s"),
        ..36_000.0 => format!("{:.0} minutes", seconds / 60.0),
        _ => format!("{:.0} hours", seconds / 3600.0),
    }
}

/// Work in units of one token passed forward once.
struct Cost {
    flops_per_token: f64,
    /// Tokens of a prompt and its response.
    length: f64,
    /// A token that r* reads, if that is an encoder.
    truth: f64,
    /// A token that a language model trains on.
    train: f64,
}

impl Cost {
    fn new(preset: &Preset) -> Result<Self> {
        let flops_per_token = architecture(&preset.reference)?.forward_flops_per_token();
        let truth = preset.truth.as_ref().map_or(0.0, |source| source.encoder.forward_flops_per_token());
        let again = if preset.activations() == Activations::Recomputed { 1.0 } else { 0.0 };
        let (truth, train) = (truth / flops_per_token, TRAIN + again);
        Ok(Self { flops_per_token, length: preset.mean_length(), truth, train })
    }

    fn seconds(&self, forward_tokens: f64) -> f64 {
        forward_tokens * self.flops_per_token / FLOPS_PER_CORE
    }

    fn stages(&self, preset: &Preset) -> Vec<(&'static str, f64)> {
        let reference = match &preset.reference {
            ReferenceSource::Train(c) => (c.sft.steps * c.sft.batch_size * c.n_positions) as f64 * self.train,
            ReferenceSource::FineTune(c) => (c.sft.steps * c.sft.batch_size * c.window) as f64 * self.train,
            ReferenceSource::Shipped | ReferenceSource::Folder(_) => 500.0 * self.length,
        };
        let evaluation = &preset.evaluation;
        // And the evaluation of the reference.
        let drawn = evaluation.reference_samples + evaluation.responses_per_prompt;
        let drawn = (drawn * preset.prompts.evaluate) as f64;
        let responses = (preset.prompts.train * preset.preferences.responses_per_prompt) as f64;
        let prompts = (preset.reward_model.steps * preset.reward_model.batch_prompts) as f64;
        let model = prompts * preset.preferences.responses_per_prompt as f64;
        let seeds = preset.seeds.len() as f64;
        let of_encoder = |role: Role| {
            let source = preset.encoder(role)?;
            let share = source.encoder.forward_flops_per_token() / self.flops_per_token;
            let tokens = source.training.as_ref().map_or(0.0, |config| {
                let held_out = (config.held_out * config.window) as f64;
                (config.training.steps * config.training.batch_size * config.train_window) as f64 * TRAIN
                    + held_out
            });
            Some((role.name(), tokens * share))
        };
        let stages =
            [("reference", reference)].into_iter().chain(Role::ALL.into_iter().filter_map(of_encoder));
        let others = [
            ("reference-samples", drawn * self.length * (GENERATE + self.truth)),
            ("preferences", seeds * responses * self.length * (GENERATE + 1.0 + self.truth)),
            ("reward-model", seeds * model * self.length * self.train),
        ];
        stages.chain(others).collect()
    }

    fn run(&self, preset: &Preset, run: &RunSpec) -> f64 {
        let preferences = &preset.preferences;
        let held_out = preferences.held_out(preset.prompts.train) * preferences.responses_per_prompt;
        // Generated once, scored by the policy, the reference and the reward model; and the
        // held-out responses scored.
        let evaluated = (preset.prompts.evaluate * preset.evaluation.responses_per_prompt) as f64;
        let evaluation = evaluated * (GENERATE + 3.0 + self.truth) + held_out.min(HELD_OUT_RESPONSES) as f64;
        let evaluations = Plan::evaluations(run) as f64 * evaluation;
        // Each response passes once for all its pairs.
        let responses = preferences.responses_per_prompt as f64;
        let steps = run.algorithm.steps();
        let work = match &run.algorithm {
            Algorithm::Dpo(config) => (steps * config.batch_prompts) as f64 * responses * self.train,
            Algorithm::Ppo { config, scorer } => {
                let scorer = if scorer.uses_reward_model() { 1.0 } else { self.truth };
                // Policy, reference and value model score once; then policy and value model train.
                let epochs = (2 * config.ppo_epochs + config.value_epochs) as f64;
                let each = GENERATE + 3.0 + scorer + self.train * epochs;
                (steps * config.rollouts) as f64 * each
            }
            Algorithm::OnlineDpo { scorer, .. } | Algorithm::Rloo { scorer, .. } => {
                let scorer = if scorer.uses_reward_model() { 1.0 } else { self.truth };
                run.algorithm.rollouts() as f64 * (GENERATE + 1.0 + scorer + self.train)
            }
            Algorithm::Sft(config) => (steps * config.batch_size) as f64 * self.train,
        };
        (work + evaluations) * self.length
    }
}
