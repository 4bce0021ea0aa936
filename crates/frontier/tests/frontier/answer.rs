//! The answer in words, on studies whose truth is plain, and tables that leave out what says nothing.
use frontier::{
    Analysis, Answer, Bootstrap, EvalRow, Method, MethodCosts, PromptSamples, Run, Table, answer, nats,
    summarise, tables,
};

use crate::synthetic;

/// A run that ends at the last of `points`.
fn run(method: Method, seed: u64, points: &[(f64, f64)]) -> Run {
    let template = synthetic::sweep(1, 1)[0].eval.clone();
    let start = [(0.0, 0.5)];
    let evals = start.iter().chain(points).enumerate().map(|(step, &(sequence_kl, score))| EvalRow {
        method,
        seed,
        step: step as u64,
        score,
        score_se: 0.0,
        sequence_kl,
        sequence_kl_se: 0.0,
        ..template.clone()
    });
    let (far, _) = points[points.len() - 1];
    Run { name: format!("{method}-{far}-s{seed}"), evals: evals.collect(), ..Run::default() }
}

/// Runs that end just below 0.25, 0.5, 1 and 2 nats and at 5, whose scores differ by 0.002 between seeds.
fn study(seeds: u64, methods: &[(&str, [f64; 5])]) -> Answer {
    let samples = PromptSamples::new(vec![(0..20).map(|i| f64::from(i) / 19.0).collect(); 8]).unwrap();
    let kls = [0.24, 0.49, 0.99, 1.99, 5.0];
    let of_method = |(name, scores): &(&str, [f64; 5])| {
        let method = Method::named(name).unwrap();
        let scores = *scores;
        (0..seeds).flat_map(move |seed| {
            let sign = if method == Method::DPO { 1.0 } else { -1.0 };
            let ends = kls.into_iter().zip(scores);
            ends.map(move |(kl, score)| run(method, seed, &[(kl, score + sign * 0.001 * seed as f64)]))
        })
    };
    let runs: Vec<Run> = methods.iter().flat_map(of_method).collect();
    let analysis = Analysis::new(&runs, &samples, 2.0, Bootstrap { resamples: 200, seed: 0 }).unwrap();
    answer(&summarise(&analysis, &MethodCosts::new(), &[]).0)
}

#[test]
fn the_verdict_says_who_is_ahead_where() {
    let dpo = ("dpo", [0.55, 0.62, 0.70, 0.80, 0.85]);
    let found = study(3, &[dpo, ("ppo", [0.52, 0.57, 0.66, 0.80, 0.92])]);
    assert_eq!(
        found.verdict,
        "At the same distance from the reference, DPO earns more than PPO at 0.25, 0.5 and 1 nats, neither is ahead at \
         2 nats, and PPO earns more at 5 nats."
    );
    let table = found.table.unwrap();
    assert_eq!(table.rows.len(), 5);
    // A hundredth of the way from 0.701 at 0.99 nats to 0.801; a standard error of 0.001 / sqrt(3), times t =
    // 4.3.
    assert_eq!(table.rows[2][..2], ["1 nat", "0.702 [0.699, 0.705]"]);
    let ahead: Vec<&str> = table.rows.iter().map(|row| row[4].as_str()).collect();
    assert_eq!(ahead, ["DPO", "DPO", "DPO", "neither", "PPO"]);
    assert!(found.more.iter().any(|sentence| {
        sentence
            .starts_with("Of what the best policy at 1 nat would gain over the reference, these earn: DPO ")
    }));
    // From the other side, and with one seed.
    let found = study(1, &[dpo, ("ppo", [0.6, 0.7, 0.8, 0.9, 0.95])]);
    assert_eq!(
        found.verdict,
        "At the same distance from the reference, PPO earns more than DPO at 0.25, 0.5, 1, 2 and 5 nats."
    );
    assert_eq!(
        found.more.last().unwrap(),
        "Where a method has one seed, the intervals miss the noise of training."
    );
}

#[test]
fn methods_that_are_new_are_answered_for_and_a_missing_one_leaves_the_question_open() {
    let dpo = ("dpo", [0.55, 0.62, 0.70, 0.80, 0.85]);
    let found = study(3, &[dpo, ("hinge", [0.60, 0.65, 0.75, 0.83, 0.88]), ("ppo-gt", dpo.1)]);
    assert_eq!(
        found.verdict,
        "No runs of DPO and PPO end at the same distance from the reference, so the question stays open."
    );
    assert_eq!(found.table, None);
    let sentences = [
        "Against PPO on the true reward (PPO-GT), neither is ahead at 0.25, 0.5, 1, 2 and 5 nats.",
        "hinge against DPO: hinge earns more at 0.25, 0.5, 1, 2 and 5 nats.",
    ];
    assert_eq!(found.more[..2], sentences);
    assert!(found.more[2].contains(", and hinge "), "{}", found.more[2]);
}

#[test]
fn rows_without_a_number_are_left_out_and_long_tables_fold() {
    let runs = [run(Method::DPO, 0, &[(0.4, 0.6)]), run(Method::PREFERRED_FT, 0, &[(30.0, 0.9)])];
    let samples = PromptSamples::new(vec![vec![0.0, 0.5, 1.0]; 8]).unwrap();
    let analysis = Analysis::new(&runs, &samples, 2.0, Bootstrap { resamples: 50, seed: 0 }).unwrap();
    let all = tables(&summarise(&analysis, &MethodCosts::new(), &[]).0);
    let of = |title: &str| all.iter().find(|table| table.title == title).unwrap();
    let names = |table: &Table| table.rows.iter().map(|row| row[0].clone()).collect::<Vec<_>>();
    // Preferred-FT has one policy far beyond the grid: within it, its mixtures with the
    // reference. At 10 nats a third.
    let rewards = of("Reward at a given KL");
    assert!(!rewards.folded && rewards.rows[1][6] == "0.633 [0.633, 0.633]‡", "{rewards:?}");
    // No method has a second seed.
    let fits = of("Reward at a given KL by isotonic regression, and the spread between seeds");
    assert_eq!(names(fits), ["DPO, isotonic", "Preferred-FT, isotonic"]);
    let markdown = fits.markdown();
    assert!(markdown.starts_with("<details>\n<summary>Reward at a given KL by isotonic"), "{markdown}");
    assert!(markdown.ends_with("|\n\n</details>\n"), "{markdown}");
    assert!(rewards.markdown().starts_with("### Reward at a given KL\n\n"));
    assert!(all.iter().all(|table| table.rows.iter().all(|row| row.len() == table.header.len())));
    assert_eq!(["1 nat", "0.5 nats", "10 nats"], [1.0, 0.5, 10.0].map(nats));
}
