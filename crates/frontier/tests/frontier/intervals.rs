//! Intervals, comparisons, thresholds and costs: by hand, and against closed forms.
use frontier::intervals::standard_error;
use frontier::{
    Analysis, Bootstrap, EvalRow, Method, MethodCost, MethodCosts, Metrics, PromptSamples, PromptScore, Run,
    Summary, summarise,
};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::synthetic::noise;

/// 64 prompts of reference mean 0.25, all alike.
fn samples() -> PromptSamples {
    PromptSamples::new(vec![vec![0.0, 0.5]; 64]).unwrap()
}

fn row(method: Method, seed: u64, sequence_kl: f64, score: f64) -> EvalRow {
    EvalRow {
        method,
        knob: "beta".into(),
        value: 0.1,
        seed,
        step: 1,
        tokens: 1,
        score,
        score_se: 0.0,
        judge: 0.5,
        judge_se: 0.0,
        sequence_kl,
        sequence_kl_se: 0.0,
        k1: sequence_kl,
        k1_se: 0.0,
        length: 8.0,
        length_se: 0.0,
        learned: f64::NAN,
        distinct_2: f64::NAN,
        pair_accuracy: f64::NAN,
    }
}

fn run(eval: EvalRow) -> Run {
    Run { name: format!("{}-{}", eval.method, eval.seed), evals: vec![eval], ..Run::default() }
}

fn summary_of(runs: &[Run], resamples: usize) -> Summary {
    let analysis = Analysis::new(runs, &samples(), 2.0, Bootstrap { resamples, seed: 5 }).unwrap();
    summarise(&analysis, &MethodCosts::new(), &[]).0
}

/// (difference, interval, probability ahead, paired seeds, whether both reach that KL) of DPO - PPO.
fn dpo_minus_ppo(summary: &Summary, kl: f64) -> (f64, (f64, f64), f64, usize, bool) {
    let pair = (Method::DPO, Method::PPO);
    let found = summary.comparisons.iter().find(|c| (c.first, c.second) == pair && c.kl == kl).unwrap();
    let difference = found.difference;
    (difference.value, difference.interval, found.probability_ahead, difference.seeds, found.covered)
}

#[test]
fn a_comparison_without_noise_is_the_difference_of_envelopes() {
    let runs = [
        row(Method::DPO, 0, 0.8, 0.75),
        row(Method::DPO, 0, 1.2, 0.7),
        row(Method::PPO, 0, 0.9, 0.5),
        row(Method::PPO, 0, 1.5, 0.9),
        // Seeds that only one of the two has are left out.
        row(Method::DPO, 1, 0.1, 1.0),
        row(Method::PPO, 2, 0.1, 1.0),
    ]
    .map(run);
    let summary = summary_of(&runs, 50);
    // DPO rises by 0.5 to 0.8 nats; PPO by 0.65 to 1.5 nats, a chord that passes over 0.5 at 0.9 nats.
    for (kl, expected, ahead, covered) in [
        (0.5, 0.5 * (0.5 / 0.8 - 0.65 / 1.5), 1.0, true),
        (1.0, 0.5 - 0.65 / 1.5, 1.0, true),
        (2.0, -0.15, 0.0, false),
    ] {
        let (value, (low, high), probability, seeds, reached) = dpo_minus_ppo(&summary, kl);
        // The draws are made from sums of weights, which round.
        assert!(
            [value, low, high].iter().all(|found| (found - expected).abs() < 1e-12),
            "{kl}: {low} {high}"
        );
        assert_eq!((probability, seeds, reached), (ahead, 1, covered));
    }
    assert!(summary_of(&runs[4..], 50).comparisons.is_empty());
}

/// A run of one evaluation with records of its prompts, all at the same KL.
fn recorded(method: Method, seed: u64, kl: f64, scores: &[f64]) -> Run {
    let mean = scores.iter().sum::<f64>() / scores.len() as f64;
    let prompts = scores.iter().map(|&score| PromptScore { score, sequence_kl: kl }).collect();
    let mut run = run(row(method, seed, kl, mean));
    run.prompts.insert(1, prompts);
    run
}

/// The standard error of the mean of 64 prompts that are drawn within the halves of even and of odd index:
/// the bootstrap's variance of a half of 32 has 32 in place of 31.
fn bootstrap_error(values: &[f64]) -> f64 {
    let half = |parity: usize| values.iter().copied().skip(parity).step_by(2).collect::<Vec<f64>>();
    let variance = [0, 1].map(|parity| standard_error(&half(parity)).powi(2) * 31.0 / 32.0);
    0.5 * (variance[0] + variance[1]).sqrt()
}

#[test]
fn prompts_are_paired() {
    // Prompts differ by much, the methods on a prompt by 0.1 give or take 0.05.
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let base: Vec<f64> = (0..64).map(|_| 0.6 + 0.2 * noise(&mut rng)).collect();
    let better: Vec<f64> = base.iter().map(|score| score + 0.1 + 0.05 * noise(&mut rng)).collect();
    let gaps: Vec<f64> = better.iter().zip(&base).map(|(a, b)| a - b).collect();
    let runs = [recorded(Method::DPO, 0, 0.5, &better), recorded(Method::PPO, 0, 0.5, &base)];
    let summary = summary_of(&runs, 20_000);
    assert_eq!((summary.points, summary.points_with_prompts), (2, 2));
    let (value, (low, high), ahead, ..) = dpo_minus_ppo(&summary, 1.0);
    let (mean, se) = (gaps.iter().sum::<f64>() / 64.0, bootstrap_error(&gaps));
    assert!((value - mean).abs() < 1e-12);
    assert!((high - low - 2.0 * 1.96 * se).abs() < 0.03 * (high - low), "{}, {se}", high - low);
    assert_eq!(ahead, 1.0);
    // Each method by itself is far less certain.
    let (low, high) = summary.methods[0].rewards[2].envelope.interval;
    let own = bootstrap_error(&better);
    assert!((high - low - 2.0 * 1.96 * own).abs() < 0.03 * (high - low), "{}, {own}", high - low);
    assert!(own > 3.0 * se);
}

#[test]
fn without_records_the_standard_errors_give_the_interval() {
    // The difference is N(0.1, 0.03² + 0.04²): s.d. 0.05.
    let point = |method, score, score_se| run(EvalRow { score_se, ..row(method, 0, 0.5, score) });
    let runs = [point(Method::DPO, 0.7, 0.03), point(Method::PPO, 0.6, 0.04)];
    let summary = summary_of(&runs, 20_000);
    assert_eq!((summary.points, summary.points_with_prompts), (2, 0));
    let (_, (low, high), ahead, ..) = dpo_minus_ppo(&summary, 1.0);
    assert!((low - (0.1 - 1.96 * 0.05)).abs() < 0.004, "{low}");
    assert!((high - (0.1 + 1.96 * 0.05)).abs() < 0.004, "{high}");
    // P(z > -2) = 0.97725.
    assert!((ahead - 0.977_25).abs() < 0.005, "{ahead}");
    assert_eq!(summary, summary_of(&runs, 20_000));
}

#[test]
fn seeds_alone_give_the_t_interval() {
    // Without noise of prompts: mean 0.6, s.d. 0.1, and the 0.975 quantiles of t with 4 and 2 degrees.
    for (scores, quantile) in [(&[0.5, 0.5, 0.6, 0.7, 0.7][..], 2.7764), (&[0.5, 0.6, 0.7], 4.3027)] {
        let runs: Vec<Run> =
            scores.iter().zip(0..).map(|(score, seed)| run(row(Method::DPO, seed, 0.5, *score))).collect();
        let estimate = summary_of(&runs, 40_000).methods[0].rewards[2].envelope;
        let half = quantile * 0.1 / (scores.len() as f64).sqrt();
        assert!((estimate.value - 0.6).abs() < 1e-12 && estimate.seeds == scores.len());
        assert!((estimate.seed_sd.unwrap() - 0.1).abs() < 1e-12);
        assert!((estimate.interval.1 - 0.6 - half).abs() < 0.05 * half, "{estimate:?}, half {half}");
        assert!((estimate.interval.0 + estimate.interval.1 - 1.2).abs() < 0.05 * half, "{estimate:?}");
    }
}

#[test]
fn the_noise_of_prompts_is_counted_once() {
    // Seeds equal but for noise of variance 0.2² per prompt of their own: V = 0.2² / (4 * 64), which both the
    // spread of the seeds and the bootstrap hold. Over many studies the intervals miss 5% of the time.
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut misses = 0;
    for _ in 0..400 {
        let runs: Vec<Run> = (0..4)
            .map(|seed| {
                let scores: Vec<f64> = (0..64).map(|_| 0.6 + 0.2 * noise(&mut rng)).collect();
                recorded(Method::DPO, seed, 0.5, &scores)
            })
            .collect();
        let analysis = Analysis::new(&runs, &samples(), 2.0, Bootstrap { resamples: 100, seed: 1 }).unwrap();
        let (low, high) =
            summarise(&analysis, &MethodCosts::new(), &[]).0.methods[0].rewards[2].envelope.interval;
        misses += usize::from(low > 0.6 || high < 0.6);
    }
    // 20 are expected, with a binomial s.d. of 4.4; without the correction it is about 4.
    assert!((8..=33).contains(&misses), "{misses} of 400");
}

#[test]
fn thresholds_come_from_the_band() {
    // Reward 0.25 at 0, 0.7 at 0.5 nats and 0.91 at 1.3, the last two give or take 1.96 * 0.02 =
    // 0.04, and chords between.
    let point = |kl, score| run(EvalRow { score_se: 0.02, ..row(Method::DPO, 0, kl, score) });
    let dpo = &summary_of(&[point(0.5, 0.7), point(1.3, 0.91)], 4000).methods[0];
    let found = |reward: f64| dpo.kls.iter().find(|kl| kl.reward == reward).unwrap().kl;
    // The lower end gets to 0.7 where 0.66 + 0.2625 (x - 0.5) does, at 0.652 nats: at 0.7, as curves go by
    // 0.05.
    assert_eq!((found(0.7).value, found(0.7).low, found(0.7).high), (Some(0.5), Some(0.5), Some(0.7)));
    // 0.25 + 0.9 x gets to 0.6 at 0.389 nats, the lower end 0.25 + 0.82 x at 0.427.
    assert!((found(0.6).value.unwrap() - 0.35 / 0.9).abs() < 1e-12);
    assert_eq!((found(0.6).low, found(0.6).high), (found(0.6).value, Some(0.45)));
    // 0.7 + 0.2625 (x - 0.5) gets to 0.9 at 1.262 nats, the upper end at 1.110, and the lower one nowhere.
    assert!((found(0.9).value.unwrap() - (0.5 + 0.2 / 0.2625)).abs() < 1e-12);
    assert_eq!((found(0.9).low, found(0.9).high), (Some(1.2), None));
    assert_eq!((found(0.99).value, found(0.99).low), (None, None));
}

#[test]
fn costs_by_hand() {
    let point = |step, tokens, score| EvalRow { step, tokens, ..row(Method::PPO, 0, 0.5, score) };
    let metrics = Metrics {
        columns: vec!["step".into(), "seconds".into()],
        rows: vec![vec![1.0, 2.0], vec![10.0, 20.0], vec![20.0, 50.0]],
    };
    let evals = vec![point(0, 0, 0.25), point(10, 1000, 0.75), point(20, 2000, 0.85)];
    let mut slow = run(EvalRow { tokens: 1500, ..row(Method::PPO, 0, 3.0, 0.95) });
    let fast = Run { name: "fast".into(), evals, metrics: metrics.clone(), ..Run::default() };
    slow.metrics = metrics;
    let cost = MethodCost {
        upfront_tokens: 500.0,
        upfront_seconds: 7.0,
        upfront_flops: 2e8,
        flops_per_token: Some(1e6),
    };
    let costs = MethodCosts::from([(Method::PPO, cost)]);
    let runs = [fast, slow];
    let analysis = Analysis::new(&runs, &samples(), 2.0, Bootstrap { resamples: 10, seed: 0 }).unwrap();
    let found = summarise(&analysis, &costs, &[]).0.methods[0].costs.clone();
    // Reward 0.7 after 1000 + 500 tokens; 0.8 and 0.9 after 1500 + 500 by the other run.
    let tokens: Vec<Option<f64>> = found.iter().map(|cost| cost.tokens.value).collect();
    assert_eq!(tokens, [Some(1500.0), Some(1500.0), Some(2000.0), Some(2000.0), Some(2000.0), None]);
    // The other run's one step took 2 seconds.
    let seconds: Vec<Option<f64>> = found.iter().map(|cost| cost.seconds.unwrap().value).collect();
    assert_eq!(seconds, [Some(9.0), Some(9.0), Some(9.0), Some(9.0), Some(9.0), None]);
    // 2e8 and 1000 tokens of 1e6.
    assert_eq!(found[0].flops.unwrap().value, Some(1.2e9));
    // Without metrics of every run there are no seconds, without a cost a token no operations.
    let mut bare = runs.clone();
    bare[1].metrics = Metrics::default();
    let analysis = Analysis::new(&bare, &samples(), 2.0, Bootstrap { resamples: 10, seed: 0 }).unwrap();
    let found = summarise(&analysis, &MethodCosts::new(), &[]).0.methods[0].costs[0];
    assert_eq!((found.tokens.value, found.seconds, found.flops), (Some(1000.0), None, None));
}

#[test]
fn the_maximum_of_many_noisy_points_does_not_push_estimate_or_interval_up() {
    // Thirty equal policies, each with noise of its own at every prompt: the largest observed mean is about 2
    // standard errors high, and the cross-fitted envelope is not, whatever their number.
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let (mut plain, mut found, mut covered) = (Vec::new(), Vec::new(), 0);
    for _ in 0..150 {
        let mut draw = || (0..64).map(|_| 0.6 + 0.2 * noise(&mut rng)).collect::<Vec<f64>>();
        let runs: Vec<Run> = (0..30).map(|_| recorded(Method::DPO, 0, 0.5, &draw())).collect();
        let estimate = summary_of(&runs, 150).methods[0].rewards[2].envelope;
        plain.push(runs.iter().map(|run| run.evals[0].score).fold(0.0, f64::max) - 0.6);
        found.push(estimate.value - 0.6);
        covered += usize::from(estimate.interval.0 <= 0.6 && 0.6 <= estimate.interval.1);
    }
    let z = |errors: &[f64]| errors.iter().sum::<f64>() / errors.len() as f64 / standard_error(errors);
    // The standard error of one mean is 0.025.
    assert!(plain.iter().sum::<f64>() / 150.0 > 0.04 && z(&plain) > 20.0, "{}", z(&plain));
    assert!(z(&found).abs() < 2.6, "{}", z(&found));
    // 142.5 are expected, with a binomial s.d. of 2.7.
    assert!((134..=150).contains(&covered), "{covered}");
}

#[test]
fn step_zero_does_not_lift_the_start() {
    let step_zero = EvalRow { step: 0, ..row(Method::DPO, 0, 0.0, 0.9) };
    let runs =
        [Run { name: "a".into(), evals: vec![step_zero, row(Method::DPO, 0, 1.5, 0.8)], ..Run::default() }];
    let dpo = summary_of(&runs, 10).methods[0].clone();
    // At 1 nat it has come two thirds of the way from the reference's 0.25 to 0.8.
    assert!((dpo.rewards[2].envelope.value - (0.25 + 0.55 / 1.5)).abs() < 1e-12);
    assert_eq!((dpo.points, dpo.rewards[3].envelope.value), (1, 0.8));
}
