//! Responses of each policy at each temperature, and what they earn.

use std::path::Path;

use anyhow::{Context as _, Result};
use burn::tensor::Device;
use feedback::sampling::sample;
use feedback::{Evaluation, Evaluator};
use frontier::{TEMPERATURES, TemperatureRow, read_temperatures, write_temperatures};
use lm::files::load_policy;
use lm::{Decoding, Generation, Policy, ReferencePolicy, Sequence, Stream, Tokenizer};

use crate::exit::BadInput;
use crate::study::folder::{read_json, write_json};
use crate::tldr::ground::Ground;
use crate::tldr::policies::{Contestant, Origin};

const RESPONSES: &str = "responses.json";

/// A temperature of 0 in a softmax of finite numbers, for the KL of the policy that always takes the
/// likeliest token: it has that token's probability within rounding, unless another one is less than a
/// thousandth of a nat behind.
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
    pub temperatures: &'a [f64],
    pub ground: &'a Ground<'a>,
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
    /// Samples a policy at every temperature, with the same random numbers for all policies
    /// and temperatures of a seed.
    pub fn sweep(&self, contestant: &Contestant) -> Result<Vec<Swept>> {
        let load = |dir: &Path| load_policy(dir, self.ground.temperature, self.device);
        let (reference, tokenizer) = load(&self.ground.reference)?;
        let policy = match &contestant.origin {
            Origin::Folder { folder, .. } => {
                let (policy, own) = load(folder)?;
                refuse_other_tokens(folder, &own, &tokenizer)?;
                policy
            }
            Origin::Reference | Origin::BestOf(_) => reference.clone(),
        };
        let evaluator = self.evaluator(contestant, &reference, &tokenizer)?;
        let at = |&temperature: &f64| {
            let policy = Policy::new(policy.model().clone(), temperature.max(COLDEST), policy.end())?;
            let evaluation = evaluate(contestant, &evaluator, &policy, temperature)?;
            Ok(swept(contestant, temperature, evaluation))
        };
        self.temperatures.iter().map(at).collect()
    }

    fn evaluator(&self, of: &Contestant, reference: &Policy, tokenizer: &Tokenizer) -> Result<Evaluator> {
        let scorers = (self.ground.scorers)(of.seed, tokenizer)?;
        Ok(Evaluator {
            prompts: self.ground.texts.iter().map(|human| human.prompt.clone()).collect(),
            responses_per_prompt: 1,
            reference: ReferencePolicy::new(reference),
            scorer: scorers.reward,
            second_opinion: scorers.second_opinion,
            sampling: self.ground.sampling.clone(),
            stream: Stream::new(of.seed, "win-rate"),
            tokenizer: tokenizer.clone(),
        })
    }
}

/// The KL compares distributions over the same tokens.
fn refuse_other_tokens(folder: &Path, own: &Tokenizer, reference: &Tokenizer) -> Result<()> {
    if own.is_same(reference) {
        return Ok(());
    }
    let found = format!("{}: found another tokenizer", folder.display());
    Err(BadInput(format!(
        "{found}, expected the reference's: KL compares distributions over the same tokens"
    ))
    .into())
}

/// Responses of a policy at one temperature, measured.
fn evaluate(of: &Contestant, evaluator: &Evaluator, policy: &Policy, temperature: f64) -> Result<Evaluation> {
    if temperature == 0.0 {
        // Of one response there is no best: all n are the same.
        return Ok(evaluator.measure(policy, likeliest(policy, evaluator)?)?);
    }
    let Origin::BestOf(n) = of.origin else { return Ok(evaluator.evaluate(policy)?) };
    let stream = Stream::new(of.seed, "win-rate best-of-n");
    let drawn = sample(policy, &evaluator.prompts, n, &evaluator.sampling, stream)?;
    let scores = evaluator.scorer.score(&drawn)?;
    let best = drawn.chunks(n).zip(scores.chunks(n)).map(|(of_prompt, scores)| {
        let best = (0..n).rev().max_by(|a, b| scores[*a].total_cmp(&scores[*b]));
        best.and_then(|index| of_prompt.get(index)).cloned().context("a prompt without samples")
    });
    let mut evaluation = evaluator.measure(policy, best.collect::<Result<Vec<Sequence>>>()?)?;
    // KL(best-of-n of pi || pi_ref) is at most ln n - (n - 1) / n more than the mean of log(pi / pi_ref) over
    // what was chosen (Beirami et al. 2024).
    let chosen = (n as f64).ln() - (n as f64 - 1.0) / n as f64;
    evaluation.sequence_kl.mean = evaluation.k1.mean + chosen;
    evaluation.sequence_kl.se = evaluation.k1.se;
    Ok(evaluation)
}

/// The responses whose every token is the likeliest one.
fn likeliest(policy: &Policy, of: &Evaluator) -> Result<Vec<Sequence>> {
    let drawn = policy.generate_by(Decoding::Greedy, &of.prompts, &of.sampling, of.stream)?;
    let response = |(prompt, drawn): (&Vec<u32>, Generation)| Sequence {
        prompt: prompt.clone(),
        response: drawn.response,
    };
    Ok(of.prompts.iter().zip(drawn).map(response).collect())
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
