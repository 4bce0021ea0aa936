//! DPO and PPO on their way to pi*.

use anyhow::{Context, Result};
use dpo::DpoTrainer;
use frontier::Method;
use lm::{Decoder, PolicyTrainer, PreferencePair, ScalarModel, Stream};
use ppo::PpoTrainer;
use training::{Loop, Observer, Progress};

use super::enumeration::{kl, mean};
use super::equations::Problem;
use super::responses::PROMPT;
use super::rows::Section;
use super::space::Space;

/// About so many times on its way a policy is measured.
const MEASUREMENTS: usize = 50;

/// How near to pi* a policy came.
pub struct Walk {
    pub method: Method,
    /// Optimiser steps and `KL(pi || pi*)` in nats.
    pub points: Vec<(usize, f64)>,
    /// `log pi` of each response in the end.
    end: Vec<f64>,
}

/// All pairs of responses with their Bradley-Terry probabilities: with rewards ln k, a is better than
/// b with probability `k_a / (k_a + k_b)`. Then pi* is the minimiser of DPO's loss, whatever the
/// pairs weigh among each other.
fn labels(odds: &[u32], responses: &[Vec<u32>]) -> Vec<PreferencePair> {
    let mut labels = Vec::new();
    for a in 0..odds.len() {
        for b in a + 1..odds.len() {
            let (w, l) = if odds[a] < odds[b] { (b, a) } else { (a, b) };
            let [chosen, rejected] = [w, l].map(|index| responses[index].clone());
            let probability = odds[w] as f32 / (odds[w] + odds[l]) as f32;
            labels.push(PreferencePair { prompt: PROMPT.to_vec(), chosen, rejected, probability });
        }
    }
    labels
}

fn labels_of(space: &Space) -> Vec<PreferencePair> {
    let responses: Vec<Vec<u32>> = space.sequences.iter().map(|sequence| sequence.response.clone()).collect();
    labels(&space.odds, &responses)
}

/// Trains with DPO on soft labels.
pub fn dpo(problem: &Problem<'_>) -> Result<Walk> {
    let (space, settings) = (problem.space, problem.settings);
    let mut trainer = DpoTrainer::new(&space.policy, labels_of(space), settings.dpo.clone(), settings.seed)?;
    walk(problem, Method::DPO, &mut trainer, settings.dpo.steps, 1)
}

/// Trains with PPO on the reward itself.
pub fn ppo(problem: &Problem<'_>) -> Result<Walk> {
    let (space, settings) = (problem.space, problem.settings);
    let body = Decoder::random(&settings.model, Stream::new(settings.seed, "value model"), &space.device)?;
    let config = &settings.ppo;
    let mut trainer = PpoTrainer::new(
        &space.policy,
        &ScalarModel::with_zero_head(body),
        vec![PROMPT.to_vec()],
        space.scorer(),
        config.clone(),
        settings.seed,
    )?;
    walk(problem, Method::PPO_GT, &mut trainer, config.steps, config.ppo_epochs * config.minibatches())
}

/// Trains, and measures the distance to pi* on the way; `optimizer_steps` to a step.
fn walk(
    problem: &Problem<'_>,
    method: Method,
    trainer: &mut dyn PolicyTrainer,
    steps: usize,
    optimizer_steps: usize,
) -> Result<Walk> {
    let evaluate_every = steps.div_ceil(MEASUREMENTS);
    let plan = Loop { first: 0, steps, evaluate_every, metrics: None };
    let mut distances = Distances { problem, optimizer_steps, points: Vec::new(), end: Vec::new() };
    training::run(trainer, &plan, &mut distances).context(method.label())?;
    let Distances { points, end, .. } = distances;
    Ok(Walk { method, points, end })
}

/// Measures how far a policy on its way is from pi*.
struct Distances<'a> {
    problem: &'a Problem<'a>,
    optimizer_steps: usize,
    points: Vec<(usize, f64)>,
    end: Vec<f64>,
}

impl<T: PolicyTrainer + ?Sized> Observer<T> for Distances<'_> {
    type Error = anyhow::Error;

    fn evaluate(&mut self, step: usize, trainer: &T) -> Result<()> {
        self.end = self.problem.space.logprobs(&trainer.policy())?;
        self.points.push((step * self.optimizer_steps, kl(&self.end, &self.problem.optimum.logprobs)));
        Ok(())
    }

    /// The walks take seconds.
    fn progress(&mut self, _progress: &Progress<'_>, _trainer: &T) -> Result<()> {
        Ok(())
    }
}

/// What the walks show.
pub fn section(problem: &Problem<'_>, walks: &[Walk]) -> Section {
    let labels = labels_of(problem.space).len();
    let mut section = Section::new(
        "walk",
        "DPO and PPO walk to π*",
        format!(
            "The same policy from the same start: DPO on all {labels} pairs, each with its Bradley-Terry probability; PPO-GT, \
             PPO on the reward itself, with kl_coef = β. The optimum of both is the π* above. Distances are KL(π ‖ π*) in \
             nats by enumeration. What is left is the optimiser's, and with PPO its samples': DPO's labels name every \
             response, PPO learns from those that it happens to write.",
        ),
    );
    let space = problem.space;
    let best = &problem.optimum.logprobs;
    for walk in walks {
        let name = walk.method.label();
        let (first, last) = (walk.points.first(), walk.points.last());
        let mut quarters: Vec<usize> = (0..=4).map(|quarter| (walk.points.len() - 1) * quarter / 4).collect();
        quarters.dedup();
        for (index, (step, distance)) in walk.points.iter().enumerate() {
            let quantity = format!("{name}, optimiser step {step}: KL(π ‖ π*)");
            if quarters.contains(&index) {
                section.show(quantity, *distance, 0.0);
            } else {
                section.keep(quantity, *distance, 0.0);
            }
        }
        if let (Some(first), Some(last)) = (first, last) {
            section.keep(format!("{name}: share of the distance that is left"), last.1 / first.1, 0.0);
        }
        let (gap, distance) = problem.shortfall(&walk.end);
        section.show(format!("{name}, end: J(π*) − J(π), against β KL(π ‖ π*)"), gap, distance);
        let [reward, optimal] = [&walk.end, best].map(|policy| mean(policy, &space.rewards));
        section.show(format!("{name}, end: E[r], against that of π*"), reward, optimal);
        let [moved, optimal] = [&walk.end, best].map(|policy| kl(policy, &space.reference));
        section.show(format!("{name}, end: KL(π ‖ π_ref), against that of π*"), moved, optimal);
        let error = problem.reward_error(&walk.end);
        section.show(format!("{name}, end: s.d. of r − β ln(π/π_ref) under π*"), error, 0.0);
    }
    section
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_have_their_bradley_terry_probabilities() {
        let responses = [vec![1], vec![2], vec![3]];
        let labels: Vec<(u32, u32, f32)> = labels(&[2, 6, 2], &responses)
            .iter()
            .map(|pair| (pair.chosen[0], pair.rejected[0], pair.probability))
            .collect();
        // 2 : 6 is 1 : 3, and equal rewards are even odds.
        assert_eq!(labels, [(2, 1, 0.75), (1, 3, 0.5), (2, 3, 0.75)]);
    }
}
