//! A world small enough to enumerate: its truth is known, and studies of it can be simulated.

use frontier::intervals::mean;
use frontier::{Between, Envelope, EvalRow, Method, PromptSamples, PromptScore, Run};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Prompts in the population.
const PROMPTS: usize = 400;
/// Responses of a prompt.
const RESPONSES: usize = 200;
/// Strength of a policy at the end of each of its runs.
const REACH: [f64; 5] = [0.5, 0.8, 1.2, 1.7, 2.4];
/// Evaluations of a run after step 0.
const EVALS: usize = 8;
/// A policy aims less well on its way than at the end of its run: the share of its aim that it begins with.
const FIRST_AIM: f64 = 0.85;

/// A prompt with its responses.
struct Prompt {
    reference: Vec<f64>,
    rewards: Vec<f64>,
    /// What a perfect method would follow, and what misleads an imperfect one; both of variance 1.
    signal: Vec<f64>,
    error: Vec<f64>,
}

/// What a seed decides of a method: how well its policies aim and how far they go.
pub(crate) struct Seed {
    /// (aim, strength) of each checkpoint, run after run.
    checkpoints: Vec<(f64, f64)>,
}

/// The true (KL, reward) of the checkpoints of a seed.
pub(crate) type Checkpoints = Vec<(f64, f64)>;

pub(crate) struct World {
    prompts: Vec<Prompt>,
}

/// What a simulated study shows.
pub(crate) struct Study {
    pub(crate) runs: Vec<Run>,
    pub(crate) samples: PromptSamples,
}

pub(crate) fn normal(rng: &mut ChaCha8Rng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.random::<f64>()).cos()
}

fn normalise(weights: &mut [f64]) {
    let total: f64 = weights.iter().sum();
    for weight in weights {
        *weight /= total;
    }
}

impl Prompt {
    fn new(rng: &mut ChaCha8Rng) -> Self {
        let mut normals = || (0..RESPONSES).map(|_| normal(rng)).collect::<Vec<f64>>();
        let (signal, error) = (normals(), normals());
        let mut reference: Vec<f64> = normals().iter().map(|z| (1.2 * z).exp()).collect();
        normalise(&mut reference);
        let lean = 0.6 * normal(rng);
        let rewards = signal.iter().map(|z| 1.0 / (1.0 + (-lean - 1.5 * z).exp())).collect();
        Self { reference, rewards, signal, error }
    }

    /// The policy, and its KL from the reference.
    fn policy(&self, (aim, strength): (f64, f64)) -> (Vec<f64>, f64) {
        let (aimed, missed) = (strength * aim, strength * (1.0 - aim * aim).sqrt());
        let tilts: Vec<f64> =
            self.signal.iter().zip(&self.error).map(|(z, e)| aimed * z + missed * e).collect();
        let mut policy: Vec<f64> = self.reference.iter().zip(&tilts).map(|(p, t)| p * t.exp()).collect();
        let total: f64 = policy.iter().sum();
        normalise(&mut policy);
        let tilted: f64 = policy.iter().zip(&tilts).map(|(p, t)| p * t).sum();
        (policy, tilted - total.ln())
    }

    fn reward(&self, policy: &[f64]) -> f64 {
        policy.iter().zip(&self.rewards).map(|(p, r)| p * r).sum()
    }

    fn kl(&self, policy: &[f64]) -> f64 {
        policy.iter().zip(&self.reference).map(|(p, q)| p * (p / q).ln()).sum()
    }

    /// The expected reward of the best of n.
    fn best_of(&self, n: i32) -> f64 {
        let mut order: Vec<(f64, f64)> =
            self.rewards.iter().copied().zip(self.reference.iter().copied()).collect();
        order.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut below = 0.0_f64;
        let terms = order.into_iter().map(|(reward, p)| {
            let before = below.powi(n);
            below += p;
            reward * (below.powi(n) - before)
        });
        terms.sum()
    }
}

/// The response at `u` of the distribution function.
fn draw(policy: &[f64], u: f64) -> usize {
    let mut below = 0.0;
    let reached = |p: &f64| {
        below += p;
        u < below
    };
    policy.iter().position(reached).unwrap_or(RESPONSES - 1)
}

impl Seed {
    pub(crate) fn new(method: Method, rng: &mut ChaCha8Rng) -> Self {
        let aim = if method == Method::DPO { 0.75 } else { 0.65 };
        let aim = (aim + 0.05 * normal(rng)).clamp(0.0, 0.99);
        let checkpoints = REACH.into_iter().flat_map(|reach| {
            let end = reach * (0.1 * normal(rng)).exp();
            (0..=EVALS).map(move |eval| {
                let progress = eval as f64 / EVALS as f64;
                (aim * (FIRST_AIM + (1.0 - FIRST_AIM) * progress), end * progress)
            })
        });
        Self { checkpoints: checkpoints.collect() }
    }
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        Self { prompts: (0..PROMPTS).map(|_| Prompt::new(&mut rng)).collect() }
    }

    fn over_prompts(&self, of: impl Fn(&Prompt) -> f64) -> f64 {
        mean(&self.prompts.iter().map(of).collect::<Vec<_>>())
    }

    pub(crate) fn start(&self) -> f64 {
        self.over_prompts(|prompt| prompt.reward(&prompt.reference))
    }

    pub(crate) fn best_of(&self, n: i32) -> f64 {
        self.over_prompts(|prompt| prompt.best_of(n))
    }

    /// The reward of the optimal policy at a mean KL, by bisection in the inverse temperature.
    pub(crate) fn optimum(&self, kl: f64) -> f64 {
        let at = |lambda: f64| {
            let pairs: Vec<(f64, f64)> = self
                .prompts
                .iter()
                .map(|prompt| {
                    let tilted = prompt.reference.iter().zip(&prompt.rewards);
                    let mut policy: Vec<f64> = tilted.map(|(p, r)| p * (lambda * r).exp()).collect();
                    normalise(&mut policy);
                    (prompt.kl(&policy), prompt.reward(&policy))
                })
                .collect();
            let column = |of: fn(&(f64, f64)) -> f64| mean(&pairs.iter().map(of).collect::<Vec<_>>());
            (column(|pair| pair.0), column(|pair| pair.1))
        };
        let (mut low, mut high) = (0.0, 100.0);
        for _ in 0..50 {
            let middle = f64::midpoint(low, high);
            if at(middle).0 < kl { low = middle } else { high = middle }
        }
        at(low).1
    }

    /// The true KL and reward of each checkpoint of a seed.
    pub(crate) fn checkpoints(&self, seed: &Seed) -> Checkpoints {
        let at = |checkpoint: &(f64, f64)| {
            let mut sums = (0.0, 0.0);
            for prompt in &self.prompts {
                let (policy, kl) = prompt.policy(*checkpoint);
                sums = (sums.0 + kl, sums.1 + prompt.reward(&policy));
            }
            (sums.0 / PROMPTS as f64, sums.1 / PROMPTS as f64)
        };
        seed.checkpoints.iter().map(at).collect()
    }

    pub(crate) fn envelope(&self, checkpoints: &Checkpoints) -> Envelope {
        Envelope::new(self.start(), checkpoints.iter().copied(), Between::Mixtures)
    }

    /// Evaluates the policies of `seeds` on `prompts` random prompts, one response a prompt, and draws
    /// `samples` responses of the reference for each prompt.
    pub(crate) fn study(
        &self,
        seeds: &[(Method, Vec<Seed>)],
        prompts: usize,
        samples: usize,
        rng: &mut ChaCha8Rng,
    ) -> Study {
        let chosen: Vec<&Prompt> =
            (0..prompts).map(|_| &self.prompts[rng.random_range(0..PROMPTS)]).collect();
        let contexts: Vec<f64> = chosen.iter().map(|_| (0.3 * normal(rng)).exp() / 0.045_f64.exp()).collect();
        let scores = chosen.iter().map(|prompt| {
            let sample = |rng: &mut ChaCha8Rng| prompt.rewards[draw(&prompt.reference, rng.random())];
            (0..samples).map(|_| sample(rng)).collect()
        });
        let samples = PromptSamples::new(scores.collect()).unwrap_or_else(|error| panic!("{error}"));
        let mut runs = Vec::new();
        for (method, seeds) in seeds {
            for (index, seed) in seeds.iter().enumerate() {
                for (knob, checkpoints) in seed.checkpoints.chunks(EVALS + 1).enumerate() {
                    let name = format!("{method}-{knob}-{index}");
                    let mut run = Run { name, ..Run::default() };
                    for (step, checkpoint) in checkpoints.iter().enumerate() {
                        let found: Vec<PromptScore> = chosen
                            .iter()
                            .zip(&contexts)
                            .map(|(prompt, context)| {
                                let (policy, kl) = prompt.policy(*checkpoint);
                                // Common random numbers make no two policies agree: one other token ends
                                // that.
                                let score = prompt.rewards[draw(&policy, rng.random())];
                                // The exact KL depends on the response only by the contexts that it visits.
                                PromptScore { score, sequence_kl: kl * context }
                            })
                            .collect();
                        run.evals.push(row(*method, index as u64, step as u64, &found));
                        run.prompts.insert(step as u64, found);
                    }
                    runs.push(run);
                }
            }
        }
        Study { runs, samples }
    }
}

fn row(method: Method, seed: u64, step: u64, prompts: &[PromptScore]) -> EvalRow {
    let scores: Vec<f64> = prompts.iter().map(|prompt| prompt.score).collect();
    let kls: Vec<f64> = prompts.iter().map(|prompt| prompt.sequence_kl).collect();
    let se = frontier::intervals::standard_error;
    EvalRow {
        method,
        knob: "strength".to_owned(),
        value: 0.0,
        seed,
        step,
        tokens: step,
        score: mean(&scores),
        score_se: se(&scores),
        judge: f64::NAN,
        judge_se: f64::NAN,
        sequence_kl: mean(&kls),
        sequence_kl_se: se(&kls),
        k1: mean(&kls),
        k1_se: se(&kls),
        length: f64::NAN,
        length_se: f64::NAN,
        learned: f64::NAN,
        distinct_2: f64::NAN,
        pair_accuracy: f64::NAN,
    }
}
