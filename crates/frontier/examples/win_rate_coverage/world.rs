//! A world of comparisons whose true win rates are known by integration.

use std::f64::consts::TAU;

use frontier::{Judgement, Method, Outcome};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

pub(crate) const METHODS: [Method; 3] = [Method::DPO, Method::PPO, Method::BEST_OF_N];
pub(crate) const TEMPERATURES: [f64; 5] = [0.0, 0.25, 0.5, 0.75, 1.0];
/// The log-odds by which each method's response is ahead on an average prompt, by temperature: DPO's fall
/// slowly, PPO's steeply, and best-of-n's have their top in the middle.
const AHEAD: [[f64; 5]; 3] =
    [[0.55, 0.6, 0.45, 0.2, 0.0], [0.4, 0.2, -0.3, -1.0, -1.8], [-0.3, 0.1, 0.4, 0.3, 0.1]];
/// Standard deviations of what a prompt adds for all methods, and for one of them.
const PROMPT: f64 = 0.8;
const PROMPT_AND_METHOD: f64 = 0.5;
/// Of what a seed of training adds at all temperatures, and at one of them.
const SEED: f64 = 0.25;
const SEED_AND_TEMPERATURE: f64 = 0.15;
/// What the text that is shown first gains, and the half of the width of a tie, in log-odds.
const FIRST: f64 = 0.5;
const TIE: f64 = 0.2;

/// A judge's leaning and ties.
pub(crate) struct World;

/// What the seeds of a study add: `[method][seed][temperature]`.
pub(crate) struct Seeds(pub(crate) Vec<Vec<[f64; 5]>>);

fn normal(rng: &mut ChaCha8Rng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
    radius * (TAU * rng.random::<f64>()).cos()
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// The probabilities of a win and of a loss for log-odds `x`.
fn odds(x: f64) -> (f64, f64) {
    (sigmoid(x - TIE), sigmoid(-x - TIE))
}

/// The expected value of a comparison: wins and half of the ties.
fn value(x: f64) -> f64 {
    let (win, loss) = odds(x);
    win + 0.5 * (1.0 - win - loss)
}

/// The mean of a function of a normal variable with this mean and deviation, by the trapezoidal
/// rule out to 8 deviations.
fn over_normal(mean: f64, sd: f64, of: impl Fn(f64) -> f64) -> f64 {
    const STEPS: i32 = 400;
    let (mut sum, mut total) = (0.0, 0.0);
    for step in -STEPS..=STEPS {
        let z = 8.0 * f64::from(step) / f64::from(STEPS);
        let weight = (-0.5 * z * z).exp();
        sum += weight * of(mean + sd * z);
        total += weight;
    }
    sum / total
}

impl Seeds {
    pub(crate) fn draw(count: usize, rng: &mut ChaCha8Rng) -> Self {
        let seed = |rng: &mut ChaCha8Rng| {
            let all = SEED * normal(rng);
            TEMPERATURES.map(|_| all + SEED_AND_TEMPERATURE * normal(rng))
        };
        Self(METHODS.iter().map(|_| (0..count).map(|_| seed(rng)).collect()).collect())
    }
}

impl World {
    /// The true rates of a method's temperatures for responses that are shown first and second: over all
    /// seeds, or with what one seed adds.
    pub(crate) fn rates(method: usize, seed: Option<&[f64; 5]>) -> [[f64; 2]; 5] {
        let of_prompts = PROMPT.powi(2) + PROMPT_AND_METHOD.powi(2);
        let of_seeds = SEED.powi(2) + SEED_AND_TEMPERATURE.powi(2);
        let sd = if seed.is_some() { of_prompts.sqrt() } else { (of_prompts + of_seeds).sqrt() };
        std::array::from_fn(|place| {
            let ahead = AHEAD[method][place] + seed.map_or(0.0, |seed| seed[place]);
            [FIRST, -FIRST].map(|first| over_normal(ahead + first, sd, value))
        })
    }

    /// A study: every method with every seed at every temperature on the same prompts, each comparison
    /// in an order that is drawn.
    pub(crate) fn study(seeds: &Seeds, prompts: usize, rng: &mut ChaCha8Rng) -> Vec<Judgement> {
        let of_prompt: Vec<(f64, [f64; 3])> = (0..prompts)
            .map(|_| (PROMPT * normal(rng), METHODS.map(|_| PROMPT_AND_METHOD * normal(rng))))
            .collect();
        let mut judgements = Vec::new();
        for (index, method) in METHODS.into_iter().enumerate() {
            for (seed, adds) in seeds.0[index].iter().enumerate() {
                for (place, temperature) in TEMPERATURES.into_iter().enumerate() {
                    for (prompt, (common, own)) in of_prompt.iter().enumerate() {
                        let shown_first = rng.random::<bool>();
                        let ahead = AHEAD[index][place] + adds[place] + common + own[index];
                        let outcome = decide(ahead + if shown_first { FIRST } else { -FIRST }, rng);
                        judgements.push(Judgement {
                            judge: "simulated".to_owned(),
                            method,
                            seed: seed as u64,
                            temperature,
                            prompt: prompt as u64,
                            shown_first,
                            outcome,
                        });
                    }
                }
            }
        }
        judgements
    }
}

fn decide(x: f64, rng: &mut ChaCha8Rng) -> Outcome {
    let ((win, loss), u) = (odds(x), rng.random::<f64>());
    if u < win {
        Outcome::Win
    } else if u < win + loss {
        Outcome::Loss
    } else {
        Outcome::Tie
    }
}

pub(crate) fn generator(number: usize) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(5000 + number as u64)
}
