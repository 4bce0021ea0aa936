//! Points that look like a real sweep: rewards approach a method's share of the Bernoulli floor's gain.

use frontier::floor::largest_reward;
use frontier::optimum::{optimum_curve, optimum_reward};
use frontier::{EvalRow, FrontierRow, Method, PromptSamples, PromptScore, Reference, Run};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// The mean reward of the synthetic reference.
pub(crate) const START: f64 = 0.48;

/// A symmetric draw of unit spread: the sum of twelve uniforms less six.
pub(crate) fn noise(rng: &mut ChaCha8Rng) -> f64 {
    (0..12).map(|_| rng.random::<f64>()).sum::<f64>() - 6.0
}

/// (method, knob, values, share of the possible gain, KL reached at the largest value)
const SWEEPS: [(Method, &str, &[f64], f64, f64); 7] = [
    (Method::DPO, "beta", &[0.05, 0.1, 0.5, 1.0], 0.75, 5.5),
    (Method::IPO, "beta", &[0.1, 0.5], 0.70, 3.5),
    (Method::CDPO, "beta", &[0.1, 0.5], 0.72, 4.0),
    (Method::PPO, "target_kl", &[0.25, 0.5, 1.0, 2.0, 4.0], 0.62, 4.6),
    (Method::PPO_GT, "target_kl", &[0.25, 0.5, 1.0, 2.0, 4.0], 0.80, 4.2),
    (Method::UNLIKELIHOOD, "alpha", &[0.1, 1.0], 0.45, 5.0),
    (Method::PREFERRED_FT, "seed", &[0.0], 0.30, 1.3),
];

/// Evaluations of every method: runs of `evals` evaluations after step 0, for each of `seeds`.
pub(crate) fn sweep(seeds: u64, evals: u64) -> Vec<FrontierRow> {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut rows = Vec::new();
    for (method, knob, values, share, farthest) in SWEEPS {
        for (index, &value) in values.iter().enumerate() {
            for seed in 0..seeds {
                let reach = farthest * (index + 1) as f64 / values.len() as f64;
                let skill = share + 0.03 * noise(&mut rng);
                for step in 0..=evals {
                    let progress = step as f64 / evals as f64;
                    let run = format!("{method}-{knob}{value}-seed{seed}");
                    let eval =
                        evaluation(&mut rng, (method, knob, value), seed, step, (progress, reach, skill));
                    rows.push(FrontierRow { run, eval });
                }
            }
        }
    }
    rows
}

fn evaluation(
    rng: &mut ChaCha8Rng,
    (method, knob, value): (Method, &str, f64),
    seed: u64,
    step: u64,
    (progress, reach, skill): (f64, f64, f64),
) -> EvalRow {
    let sequence_kl = if step == 0 { 0.0 } else { reach * progress.powf(0.8) * (1.0 + 0.05 * noise(rng)) };
    let gain = largest_reward(sequence_kl * 0.3, START) - START;
    let wobble = if step == 0 { 0.0 } else { 0.008 * noise(rng) };
    let sequence_kl_se = 0.03 * sequence_kl;
    EvalRow {
        method,
        knob: knob.into(),
        value,
        seed,
        step: step * 50,
        tokens: step * 50 * 64 * 40,
        score: START + skill * gain + wobble,
        score_se: 0.008,
        judge: START + 0.85 * skill * gain + wobble,
        judge_se: 0.01,
        sequence_kl,
        sequence_kl_se,
        k1: sequence_kl + 0.5 * sequence_kl_se * noise(rng),
        k1_se: 1.5 * sequence_kl_se,
        length: 32.0 - 2.0 * progress + 0.3 * noise(rng),
        length_se: 0.2,
        learned: f64::NAN,
        distinct_2: 0.5,
        pair_accuracy: 0.7,
    }
}

/// Scores of reference samples: spread over [0, 1] with humps at both ends.
pub(crate) fn samples(prompts: usize, per_prompt: usize) -> PromptSamples {
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let scores = (0..prompts).map(|_| {
        let lean = 0.6 * noise(&mut rng);
        let logit = |rng: &mut ChaCha8Rng| lean - 0.1 + 2.0 * noise(rng);
        (0..per_prompt).map(|_| 1.0 / (1.0 + (-logit(&mut rng)).exp())).collect()
    });
    PromptSamples::new(scores.collect()).unwrap()
}

/// (method, share of the optimum's gain) of a study in which only the data, the loss and the signal matter:
/// fresh data adds 0.10, the policy gradient 0.03, a value model nothing and the true reward 0.08.
pub(crate) const FACTORS: [(Method, f64); 7] = [
    (Method::DPO, 0.70),
    (Method::ONLINE_DPO, 0.80),
    (Method::ONLINE_DPO_GT, 0.88),
    (Method::PPO, 0.83),
    (Method::PPO_GT, 0.91),
    (Method::RLOO, 0.83),
    (Method::RLOO_GT, 0.91),
];

/// Runs of [`FACTORS`] that end at 0.5, 1 and 2 nats (less 0.01) and earn their share of the gain of the
/// optimum of `samples`, with `spread` between seeds; every prompt is recorded, with noise of 0.2 that all
/// runs have apart, and the pair accuracy is what the share asks for.
pub(crate) fn factorial(samples: &PromptSamples, seeds: u64, spread: f64) -> Vec<Run> {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let curve = optimum_curve(samples, 2.0);
    let start = Reference::from_samples(samples).mean;
    let template = sweep(1, 1)[0].eval.clone();
    let mut runs = Vec::new();
    for (method, share) in FACTORS {
        for (seed, end) in (0..seeds).flat_map(|seed| [0.5, 1.0, 2.0].map(|end| (seed, end - 0.01))) {
            let share = share + spread * noise(&mut rng);
            let mut run = Run { name: format!("{method}-{end}-s{seed}"), ..Run::default() };
            for step in 0..=2 {
                let kl = end * step as f64 / 2.0;
                let gain = share * (optimum_reward(&curve, kl).unwrap() - start);
                let scores: Vec<f64> = samples.prompts().iter().map(|_| 0.2 * noise(&mut rng)).collect();
                let off = scores.iter().sum::<f64>() / scores.len() as f64;
                let score = |noise: &f64| start + gain + noise;
                let prompts = scores.iter().map(|noise| PromptScore { score: score(noise), sequence_kl: kl });
                run.prompts.insert(step, prompts.collect());
                run.evals.push(EvalRow {
                    method,
                    seed,
                    step,
                    score: start + gain + off,
                    score_se: 0.2 / (scores.len() as f64).sqrt(),
                    sequence_kl: kl,
                    sequence_kl_se: 0.0,
                    k1: kl,
                    pair_accuracy: 0.5 + share.asin() / std::f64::consts::PI,
                    ..template.clone()
                });
            }
            runs.push(run);
        }
    }
    runs
}
