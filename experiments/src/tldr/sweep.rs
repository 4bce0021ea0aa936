//! Responses of each policy at each temperature, and what they earn.

use std::path::Path;

use anyhow::{Context as _, Result};
use burn::tensor::Device;
use feedback::sampling::sample;
use feedback::{Evaluation, Evaluator};
use frontier::{TEMPERATURES, TemperatureRow, read_temperatures, write_temperatures};
use lm::files::load_policy;
use lm::{Policy, Sequence, Stream, Tokenizer};

use crate::imdb_frontier::preset::Preset;
use crate::imdb_frontier::run::policy_of;
use crate::imdb_frontier::stages::evaluation::evaluator;
use crate::study::folder::{Folder, read_json, write_json};
use crate::tldr::human::Human;
use crate::tldr::policies::{Contestant, Origin};
use crate::tldr::settings::Settings;

const RESPONSES: &str = "responses.json";

/// A temperature of 0 in a softmax of finite numbers: draws differ from the likeliest token only where another one is
/// less than a thousandth of a nat behind.
const COLDEST: f64 = 1e-5;

/// A policy at one temperature.
#[derive(Clone, Debug)]
pub struct Swept {
    pub row: TemperatureRow,
    /// One response per prompt, with its true score.
    pub responses: Vec<(String, f64)>,
}

/// Everything that policies are sampled with.
pub struct Sampler<'a> {
    pub settings: &'a Settings,
    pub preset: &'a Preset,
    pub study: &'a Folder,
    pub human: &'a [Human],
    pub device: &'a Device,
}

/// Leaves a policy's responses in the folder of its stage.
pub fn write(dir: &Path, swept: &[Swept]) -> Result<()> {
    let rows: Vec<TemperatureRow> = swept.iter().map(|at| at.row.clone()).collect();
    write_temperatures(dir.join(TEMPERATURES), &rows)?;
    let responses: Vec<_> = swept.iter().map(|at| &at.responses).collect();
    write_json(&dir.join(RESPONSES), &responses)
}

/// The responses of a finished stage.
pub fn read(dir: &Path) -> Result<Vec<Swept>> {
    let responses: Vec<Vec<(String, f64)>> = read_json(&dir.join(RESPONSES))?;
    let rows = read_temperatures(dir.join(TEMPERATURES))?;
    Ok(rows.into_iter().zip(responses).map(|(row, responses)| Swept { row, responses }).collect())
}

impl Sampler<'_> {
    /// Samples a policy at every temperature, with the same random numbers for all policies and temperatures of a seed.
    pub fn sweep(&self, contestant: &Contestant) -> Result<Vec<Swept>> {
        let load = |dir: &Path| load_policy(dir, self.preset.temperature, self.device);
        let (reference, tokenizer) = load(&self.study.stage("reference"))?;
        let policy = match &contestant.origin {
            Origin::Run(name) => load(&policy_of(self.study, name))?.0,
            Origin::Reference | Origin::BestOf(_) => reference.clone(),
        };
        let evaluator = self.evaluator(contestant, &reference, &tokenizer)?;
        let at = |&temperature: &f64| {
            let policy = Policy::new(policy.model().clone(), temperature.max(COLDEST), policy.end())?;
            let evaluation = evaluate(contestant, &evaluator, &policy, temperature)?;
            Ok(swept(contestant, temperature, evaluation))
        };
        self.settings.temperatures.iter().map(at).collect()
    }

    fn evaluator(&self, of: &Contestant, reference: &Policy, tokenizer: &Tokenizer) -> Result<Evaluator> {
        Ok(Evaluator {
            prompts: self.human.iter().map(|human| human.prompt.clone()).collect(),
            stream: Stream::new(of.seed, "win-rate"),
            ..evaluator(self.preset, self.study, reference, tokenizer)?
        })
    }
}

/// Responses of a policy at one temperature, measured.
fn evaluate(of: &Contestant, evaluator: &Evaluator, policy: &Policy, temperature: f64) -> Result<Evaluation> {
    let Origin::BestOf(n) = of.origin else { return Ok(evaluator.evaluate(policy)?) };
    // All samples at temperature 0 are one.
    let n = if temperature > 0.0 { n } else { 1 };
    let stream = Stream::new(of.seed, "win-rate best-of-n");
    let drawn = sample(policy, &evaluator.prompts, n, &evaluator.sampling, stream)?;
    let scores = evaluator.scorer.score(&drawn)?;
    let best = drawn.chunks(n).zip(scores.chunks(n)).map(|(of_prompt, scores)| {
        let best = (0..n).rev().max_by(|a, b| scores[*a].total_cmp(&scores[*b]));
        best.and_then(|index| of_prompt.get(index)).cloned().context("a prompt without samples")
    });
    let mut evaluation = evaluator.measure(policy, best.collect::<Result<Vec<Sequence>>>()?)?;
    // KL(best-of-n of pi || pi_ref) is at most ln n - (n - 1) / n more than the mean of log(pi / pi_ref) over what was
    // chosen (Beirami et al. 2024).
    let chosen = (n as f64).ln() - (n as f64 - 1.0) / n as f64;
    evaluation.sequence_kl.mean = evaluation.k1.mean + chosen;
    evaluation.sequence_kl.se = evaluation.k1.se;
    Ok(evaluation)
}

fn swept(of: &Contestant, temperature: f64, evaluation: Evaluation) -> Swept {
    let row = TemperatureRow {
        method: of.method,
        seed: of.seed,
        temperature,
        score: evaluation.score.mean,
        score_se: evaluation.score.se,
        second_opinion: evaluation.second_opinion.mean,
        sequence_kl: evaluation.sequence_kl.mean,
        sequence_kl_se: evaluation.sequence_kl.se,
        length: evaluation.length.mean,
        distinct_2: evaluation.distinct_2,
    };
    let responses = evaluation.samples.into_iter().map(|sample| (sample.response, sample.score)).collect();
    Swept { row, responses }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository;
    use lm::{DeviceSpec, Sampling};

    /// Against the likelihoods of every token of the vocabulary, at each step.
    #[test]
    fn a_temperature_of_0_takes_the_likeliest_token_every_time() {
        let device = DeviceSpec::CPU.open().unwrap();
        let (policy, tokenizer) =
            load_policy(&repository::path("data/reference-lm").unwrap(), 1.0, &device).unwrap();
        let prompts: Vec<Vec<u32>> = ["The film", "I did not"]
            .iter()
            .map(|text| [vec![tokenizer.end()], tokenizer.encode(text).unwrap()].concat())
            .collect();
        let cold = Policy::new(policy.model().clone(), COLDEST, policy.end()).unwrap();
        let sampling = Sampling { max_new_tokens: 3, batch_size: 2 };
        for drawn in sample(&cold, &prompts, 1, &sampling, Stream::new(9, "test")).unwrap() {
            for step in 0..drawn.response.len() {
                let so_far = [&drawn.prompt[..], &drawn.response[..step]].concat();
                let vocabulary = policy.model().shape().vocabulary as u32;
                let next = |token| Sequence { prompt: so_far.clone(), response: vec![token] };
                let logprobs =
                    policy.score_sequences(&(0..vocabulary).map(next).collect::<Vec<_>>()).unwrap();
                let likeliest = (0..vocabulary as usize).max_by(|a, b| logprobs[*a].total_cmp(&logprobs[*b]));
                assert_eq!(likeliest, Some(drawn.response[step] as usize), "step {step} of {drawn:?}");
            }
        }
    }
}
