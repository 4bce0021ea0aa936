//! Claims: verdicts by their rules, on studies whose truth is plain.
use frontier::claims::{Claim, Verdict, claims};
use frontier::{
    Analysis, Bootstrap, EvalRow, Method, MethodCost, MethodCosts, PromptSamples, Run, claims_table,
    summarise,
};

use crate::synthetic;

fn tested(runs: &[Run], costs: &MethodCosts) -> Vec<Claim> {
    let samples = PromptSamples::new(vec![vec![0.0, 0.5, 0.9]; 8]).unwrap();
    let analysis = Analysis::new(runs, &samples, 2.0, Bootstrap { resamples: 400, seed: 3 }).unwrap();
    claims(&summarise(&analysis, costs, &[]).0, runs, "hard").unwrap()
}

/// A run of one evaluation after step 0, without noise.
fn run(method: Method, (knob, value): (&str, f64), seed: u64, kl: f64, score: f64) -> Run {
    let template = synthetic::sweep(1, 1)[0].eval.clone();
    let eval = |step: u64, kl: f64, score: f64| EvalRow {
        method,
        knob: knob.into(),
        value,
        seed,
        step,
        tokens: step * 1000,
        score,
        score_se: 0.0,
        judge: 0.5 + 0.25 * (score - 0.5),
        sequence_kl: kl,
        sequence_kl_se: 0.0,
        ..template.clone()
    };
    let name = format!("{method}-{knob}{value}-s{seed}");
    Run { name, evals: vec![eval(0, 0.0, 0.5), eval(1, kl, score)], ..Run::default() }
}

/// Three seeds that differ by 0.002: t = 4.3 with s.e. 0.0012 gives half a width of 0.005.
fn study(dpo: f64, ppo: f64, ppo_gt: f64) -> Vec<Run> {
    let seeds = |seed: u64| {
        let shift = 0.002 * seed as f64;
        [
            run(Method::DPO, ("beta", 0.1), seed, 2.0 * 0.99_f64.powi(seed as i32), dpo + shift),
            run(Method::DPO, ("beta", 1.0), seed, 0.2, dpo - 0.1 + shift),
            run(Method::PPO, ("target_kl", 1.0), seed, 0.2, ppo - shift),
            run(Method::PPO, ("target_kl", 4.0), seed, 3.0, ppo),
            run(Method::PPO_GT, ("target_kl", 1.0), seed, 0.2, ppo_gt - 0.1 - shift),
            run(Method::PPO_GT, ("target_kl", 4.0), seed, 3.0, ppo_gt),
        ]
    };
    (0..3).flat_map(seeds).collect()
}

fn verdicts(claims: &[Claim]) -> Vec<Verdict> {
    claims.iter().map(|claim| claim.verdict).collect()
}

#[test]
fn orders_hold_are_contradicted_or_undecided() {
    use Verdict::{Contradicted, Holds, Undecided};
    // DPO ahead of PPO everywhere and level with PPO-GT at some KL; PPO-GT ahead of PPO.
    let found = tested(&study(0.85, 0.70, 0.85), &MethodCosts::new());
    assert_eq!(verdicts(&found)[..3], [Holds, Undecided, Holds], "{found:#?}");
    // No run of the others, nor without a penalty.
    assert_eq!(verdicts(&found)[3..5], [Undecided, Undecided]);
    assert!(found[3].estimate.starts_with("no KL of the grid"), "{}", found[3].estimate);
    assert_eq!((found[7].verdict, found[7].estimate.as_str()), (Undecided, "no run without the penalty"));
    let found = tested(&study(0.65, 0.80, 0.80), &MethodCosts::new());
    assert_eq!(verdicts(&found)[..2], [Contradicted, Contradicted], "{found:#?}");
    // The same with one seed.
    let one: Vec<Run> = study(0.85, 0.70, 0.85).into_iter().take(6).collect();
    let found = tested(&one, &MethodCosts::new());
    assert!(verdicts(&found).iter().all(|verdict| *verdict == Undecided));
    assert!(found[0].estimate.contains("one seed"), "{}", found[0].estimate);
}

#[test]
fn nothing_is_claimed_where_no_run_ends_and_one_kl_is_not_every_kl() {
    // Runs end near 0.25 and 2 nats, with checkpoints of both methods at or below 0.5 and 1 nat as well.
    let runs = study(0.85, 0.70, 0.85);
    let estimate = &tested(&runs, &MethodCosts::new())[0].estimate;
    assert!(estimate.contains(" at 0.25 nats") && estimate.contains(" at 2 nats"), "{estimate}");
    assert!(!estimate.contains("at 0.5 nats") && !estimate.contains("at 1 nat"), "{estimate}");
    let near: Vec<Run> = runs.into_iter().filter(|run| run.evals[1].sequence_kl < 1.0).collect();
    let found = tested(&near, &MethodCosts::new());
    assert!(found[0].estimate.contains("(P 1.000)"), "{}", found[0].estimate);
    assert_eq!(found[0].verdict, Verdict::Undecided);
}

#[test]
fn the_papers_evidence_is_read_from_its_points() {
    let found = tested(&study(0.85, 0.70, 0.85), &MethodCosts::new());
    // Areas of 0.938, 0.725, 0.722 and 0.633, computed apart in NumPy.
    for (index, areas) in [(0, "0.938 against 0.725"), (1, "0.938 against 0.722"), (3, "0.938 against 0.633")]
    {
        assert!(found[index].evidence.ends_with(areas), "{}", found[index].evidence);
    }
}

#[test]
fn beta_and_compute_by_hand() {
    let upfront = MethodCost { upfront_tokens: 3000.0, ..MethodCost::default() };
    let found = tested(&study(0.85, 0.81, 0.85), &MethodCosts::from([(Method::PPO, upfront)]));
    // From beta 0.1 to 1 the KL falls from about 2 to 0.2.
    assert_eq!(found[5].verdict, Verdict::Holds);
    assert!(found[5].estimate.starts_with("a tenfold beta multiplies the final KL by 0.10 ["));
    // Reward 0.8 after 1000 tokens, or after 3000 + 1000.
    assert_eq!(found[6].verdict, Verdict::Holds, "{}", found[6].estimate);
    assert!(found[6].estimate.starts_with("to reward 0.8, PPO takes 4.0 [4.0, 4.0] times the tokens"));
    let found = tested(&study(0.85, 0.81, 0.85), &MethodCosts::from([(Method::DPO, upfront)]));
    assert_eq!(found[6].verdict, Verdict::Contradicted, "{}", found[6].estimate);
}

#[test]
fn what_the_penalty_is_for_by_hand() {
    let mut runs = study(0.85, 0.70, 0.85);
    assert_eq!(tested(&runs, &MethodCosts::new())[7].estimate, "no run without the penalty");
    runs.extend((0..3).map(|seed| run(Method::PPO_GT, ("kl_coef", 0.0), seed, 40.0 + seed as f64, 0.95)));
    // Half of the bigrams are distinct before, a tenth after: a fifth is left.
    for run in runs.iter_mut().rev().take(3) {
        run.evals.last_mut().unwrap().distinct_2 = 0.1;
    }
    let found = tested(&runs, &MethodCosts::new());
    assert_eq!(found[7].verdict, Verdict::Holds);
    let expected = "20% [20, 20] of the reference's distinct bigrams are left; KL up to 42 nats";
    assert_eq!(found[7].estimate, expected);
    // The second opinion sees a quarter.
    assert_eq!(found[8].verdict, Verdict::Holds);
    assert_eq!(found[8].estimate, "the second opinion sees 25% [25, 25] of the gain; KL up to 42 nats");
    // A run that falls below its start gains nothing that it could miss, and keeps its bigrams.
    runs.push(run(Method::PPO, ("kl_coef", 0.0), 4, 9.0, 0.45));
    let found = tested(&runs, &MethodCosts::new());
    assert_eq!([found[7].verdict, found[8].verdict], [Verdict::Undecided; 2]);
    assert!(found[7].estimate.starts_with("40% ["), "{}", found[7].estimate);
    assert!(found[8].estimate.starts_with("a run without the penalty gains no reward; KL up to 42"));
    // Responses of one token have no bigrams.
    runs.last_mut().unwrap().evals.last_mut().unwrap().distinct_2 = f64::NAN;
    let found = tested(&runs, &MethodCosts::new());
    assert!(
        found[7].estimate.starts_with("no response is long enough for a bigram; "),
        "{}",
        found[7].estimate
    );
}

#[test]
fn the_table_has_a_row_for_each_claim() {
    let found = tested(&study(0.85, 0.70, 0.85), &MethodCosts::new());
    let table = claims_table(&found).cells();
    assert_eq!(table.lines().filter(|line| line.starts_with("| ")).count(), 1 + found.len());
    assert!(table.lines().filter(|line| line.starts_with('|')).all(|line| line.matches('|').count() == 5));
    assert!(table.contains("| holds |") && table.contains("| undecided |"), "{table}");
}
