//! Presets and their methods, through the binary: what is planned, how `--set` reaches it, and what is
//! refused.
#![expect(clippy::unwrap_used, reason = "tests may panic")]

use std::path::Path;
use std::process::Command;

use assert_cmd::assert::OutputAssertExt;

/// A plan of a preset with overrides.
fn plan(preset: &str, overrides: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_experiments"));
    command.args(["imdb-frontier", "--data", "embedded", "--plan", "--preset", preset]);
    command.args(overrides.iter().flat_map(|entry| ["--set", entry]));
    command
}

/// The names of the planned runs.
fn runs(preset: &str, overrides: &[&str]) -> Vec<String> {
    let assert = plan(preset, overrides).assert().success();
    let text = String::from_utf8(assert.get_output().stdout.clone()).unwrap();
    let (_, runs) = text.split_once("\nruns ").unwrap();
    runs.lines().skip(1).map_while(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

/// The problems that a refusal names, one a line.
fn problems(preset: &str, overrides: &[&str]) -> Vec<String> {
    let assert = plan(preset, overrides).assert().code(42);
    let text = String::from_utf8(assert.get_output().stderr.clone()).unwrap();
    let lines: Vec<String> = text.lines().skip(1).map(|line| line.trim().to_owned()).collect();
    let count = if lines.len() == 1 { "1 problem:".to_owned() } else { format!("{} problems:", lines.len()) };
    assert!(text.lines().next().unwrap().ends_with(&count), "{text}");
    lines
}

const SMOKE: [&str; 10] = [
    "dpo-beta0.1-s1",
    "dpo-beta1-s1",
    "ppo-target-kl1-s1",
    "ppo-gt-target-kl1-s1",
    "unlikelihood-alpha0.5-s1",
    "preferred-ft-learning-rate0.0001-s1",
    "online-dpo-beta1-s1",
    "online-dpo-gt-beta1-s1",
    "rloo-target-kl1-s1",
    "rloo-gt-target-kl1-s1",
];

#[test]
fn every_shipped_preset_plans_its_runs_in_order() {
    assert_eq!(runs("smoke", &[]), SMOKE);
    let quick = runs("quick", &["seeds=[3]"]);
    assert_eq!(
        quick,
        [
            "dpo-beta1.9-s3",
            "dpo-beta0.76-s3",
            "dpo-beta0.32-s3",
            "ppo-target-kl0.9-s3",
            "ppo-target-kl1.8-s3",
            "ppo-target-kl0.6-s3",
            "ppo-gt-target-kl2.2-s3",
            "unlikelihood-alpha0.5-s3",
            "preferred-ft-learning-rate0.0001-s3",
        ]
    );
    assert_eq!(runs("quick", &[]).len(), 4 * quick.len());
    // What `quick` has done is done here.
    assert!(runs("why", &["seeds=[3]"]).starts_with(&quick));
    let full = runs("full", &[]);
    assert_eq!(full.len(), 3 * 26);
    let places = [
        "ppo-target-kl2-s3",
        "ppo-gt-target-kl0.7-s3",
        "online-dpo-beta0.41-s3",
        "rloo-gt-target-kl1.2-s3",
        "ppo-kl-coef0-s3",
        "unlikelihood-alpha0.05-s3",
    ];
    let places = places.map(|name| full.iter().position(|run| run == name).expect(name));
    assert!(places.is_sorted(), "{places:?}");
    // One seed's, with more samples.
    assert_eq!(runs("gpu", &[]), runs("full", &["seeds=[1]"]));
}

#[test]
fn overrides_reach_methods_by_name() {
    let only_dpo = [
        "dpo.sweep.beta=[0.25]",
        "ppo.sweep.kl.target_kl=[]",
        "ppo-gt.sweep.kl.target_kl=[]",
        "unlikelihood.sweep.loss.alpha=[]",
        "preferred-ft.sweep.optimizer.learning_rate=[]",
        "online-dpo.sweep.beta=[]",
        "online-dpo-gt.sweep.beta=[]",
        "rloo.sweep.kl.target_kl=[]",
        "rloo-gt.sweep.kl.target_kl=[]",
    ];
    assert_eq!(runs("smoke", &only_dpo), ["dpo-beta0.25-s1"]);
    // Another key of the algorithm is swept by another sweep, whole numbers included.
    let sizes = [&only_dpo[1..], &["dpo.sweep={ batch_prompts = [2, 4] }"]].concat();
    assert_eq!(runs("smoke", &sizes), ["dpo-batch-prompts2-s1", "dpo-batch-prompts4-s1"]);
    // Two tables of one name are both reached, where they have the key.
    let both = [
        "seeds=[1]",
        "ppo.steps=7",
        "ppo.value_warmup=0",
        "ppo.sweep.kl.kl_coef=[0.5]",
        "ppo.kl.target_kl=2",
    ];
    assert_eq!(
        problems("full", &both),
        ["ppo.kl.target_kl: found a value, expected ppo.sweep.kl.target_kl=[...], which replaces it"]
    );
    let text = plan("full", &both[..4]).assert().success().get_output().stdout.clone();
    let text = String::from_utf8(text).unwrap();
    let of = |run: &str| text.lines().find(|line| line.trim_start().starts_with(run)).expect(run).to_owned();
    for run in ["ppo-target-kl1.2-s1", "ppo-kl-coef0.5-s1"] {
        assert!(of(run).contains(" 7 steps, "), "{}", of(run));
    }
    assert!(of("ppo-gt-target-kl0.7-s1").contains(" 384 steps, "));
}

#[test]
fn a_method_of_a_new_name_goes_by_that_name() {
    let hinge = ["dpo.name=hinge", "hinge.loss={ name = \"hinge\" }", "hinge.sweep.beta=[0.5]"];
    assert_eq!(runs("smoke", &hinge)[0], "hinge-beta0.5-s1");
    let ipo = ["dpo.loss={ name = \"ipo\" }", "dpo.name=ipo"];
    assert_eq!(runs("smoke", &ipo)[..2], ["ipo-beta0.1-s1", "ipo-beta1-s1"]);
}

#[test]
fn a_known_name_means_what_the_literature_means_by_it() {
    let own_name = "another needs its own name, --set dpo.name=NAME";
    let unlikelihood = problems("smoke", &["dpo.loss={name=\"unlikelihood\",alpha=0.5}"]);
    assert_eq!(
        unlikelihood,
        [format!("dpo.loss.name: found unlikelihood, expected sigmoid in a method named dpo; {own_name}")]
    );
    let smoothed = problems("smoke", &["dpo.loss.label_smoothing=0.1"]);
    assert_eq!(
        smoothed,
        [format!("dpo.loss.label_smoothing: found 0.1, expected 0 in a method named dpo; {own_name}")]
    );
    let scorer = &problems("smoke", &["ppo.scorer=truth"])[0];
    assert!(
        scorer.starts_with("ppo.scorer: found truth, expected reward_model in a method named ppo"),
        "{scorer}"
    );
    // Each value of a sweep is held to the name.
    let swept = problems("smoke", &["dpo.sweep={ \"loss.label_smoothing\" = [0, 0.1] }"]);
    assert_eq!(
        swept,
        [format!(
            "dpo.sweep.loss.label_smoothing[1]: found 0.1, expected 0 in a method named dpo; {own_name}"
        )]
    );
    let other = problems("smoke", &["unlikelihood.name=preferred-ft", "preferred-ft.sweep={beta=[]}"]);
    assert!(
        other.iter().any(|line| line.starts_with("preferred-ft.dpo: found a table, expected one of sft")),
        "{other:?}"
    );
    // A loss has its own keys, so it is set whole.
    let half = &problems("smoke", &["dpo.loss.name=ipo"])[0];
    assert!(half.contains("dpo.loss.label_smoothing") && half.contains("dpo.loss={name=\"ipo\""), "{half}");
    // Names that cannot be told apart.
    for name in ["sampling", "reference", "best-of-n", "a b", ""] {
        let found = problems("smoke", &[&format!("unlikelihood.name=\"{name}\"")]);
        assert!(found[0].starts_with(&format!("method.name: found {name}, expected letters")), "{found:?}");
    }
}

/// What would be refused only after hours of work, or do the same work twice, is refused at once.
#[test]
fn impossible_values_are_refused_each_with_its_key() {
    for (setting, message) in [
        ("dpo.sweep.beta=[0.1, -1]", "dpo.sweep.beta[1]: found -1, expected a positive number"),
        ("dpo.sweep.beta=[0.1, 0.1]", "dpo.sweep.beta: found 0.1 twice, expected every value once"),
        ("dpo.sweep.beta=[0.1, \"x\"]", "dpo.sweep.beta[1]: found \"x\", expected a number"),
        ("dpo.sweep.beta=0.1", "dpo.sweep.beta: found 0.1, expected a list"),
        ("dpo.sweep={ betta = [0.1] }", "dpo.sweep.betta: found no such key, expected beta"),
        ("dpo.sweep={}", "dpo.sweep: found 0 keys, expected one key with its values"),
        ("dpo.sweep={ steps = [1.5] }", "dpo.sweep.steps[0]: found 1.5, expected a whole number, 0 or more"),
        ("dpo.beta=0.3", "dpo.beta: found a value, expected dpo.sweep.beta=[...], which replaces it"),
        ("dpo.betta=1", "dpo.betta: found no such key, expected dpo.beta"),
        ("dpo.evaluate_evry=1", "dpo.evaluate_evry: found no such key, expected dpo.evaluate_every"),
        ("dop.steps=1", "dop.steps: found no such key, expected dpo.steps"),
        ("dpo.evaluate_every=0", "dpo.evaluate_every: found 0, expected at least 1"),
        (
            "dpo.policy={ average = { power = -1 } }",
            "dpo.policy.average.power: found -1, expected a number from 0 on",
        ),
        (
            "dpo.optimizer.learning_rate=0.0",
            "dpo.optimizer.learning_rate: found 0, expected a positive number",
        ),
        (
            "ppo.sweep.kl.target_kl=[1.0,2.0,1.0]",
            "ppo.sweep.kl.target_kl: found 1 twice, expected every value once",
        ),
        ("ppo.minibatch_size=48", "ppo.minibatch_size: found 48, expected a divisor of rollouts = 64"),
        ("ppo.kl.horizon=10", "ppo.kl.horizon: found 10, expected at least rollouts = 64"),
        ("unlikelihood.sweep.loss.alpha=[2.0]", "unlikelihood.sweep.loss.alpha[0]: found 2, expected 0 to 1"),
        ("seeds=[1, 1]", "seeds: found 1 twice, expected every seed once"),
        ("evaluation.reference_samples=1", "evaluation.reference_samples: found 1, expected at least 2"),
        ("ground_truth.judge_share=0.99", "ground_truth.judge_share: found 0.99, expected 0.05 to 0.95"),
    ] {
        assert_eq!(problems("smoke", &[setting]), [message]);
    }
    for (setting, message) in [
        ("preferences.validation_share=0", "preferences.validation_share: found 0, 0 of"),
        ("sampling.max_new_tokens=24", "sampling.max_new_tokens: found 24, 33 tokens after a prompt of 8"),
        ("sampling.batch_size=0", "sampling.batch_size: found 0, expected at least 1"),
    ] {
        let found = problems("smoke", &[setting]);
        assert!(found.len() == 1 && found[0].starts_with(message), "{found:?}");
    }
    // The shipped model's context is in its configuration.
    let found = problems("quick", &["sampling.max_new_tokens=200"]);
    assert!(
        found.len() == 1 && found[0].ends_with("the reference model's context of 64 tokens"),
        "{found:?}"
    );
    let none: Vec<String> = ["dpo.sweep.beta", "ppo.sweep.kl.target_kl", "ppo-gt.sweep.kl.target_kl"]
        .iter()
        .chain(&["unlikelihood.sweep.loss.alpha", "preferred-ft.sweep.optimizer.learning_rate"])
        .chain(&["online-dpo.sweep.beta", "online-dpo-gt.sweep.beta"])
        .chain(&["rloo.sweep.kl.target_kl", "rloo-gt.sweep.kl.target_kl"])
        .map(|key| format!("{key}=[]"))
        .collect();
    let none: Vec<&str> = none.iter().map(String::as_str).collect();
    assert_eq!(problems("smoke", &none), ["method: found no value in any sweep, expected at least one run"]);
    let nowhere = plan("nowhere", &[]).assert().code(42);
    nowhere.stderr(predicates::str::contains("expected smoke, quick, why, full, gpu"));
}

/// A preset with `edits`, each a text and what replaces it.
fn edited(dir: &Path, edits: &[(&str, &str)]) -> String {
    let mut text = include_str!("../presets/smoke.toml").to_owned();
    for (old, new) in edits {
        assert!(text.contains(old), "{old}");
        text = text.replacen(old, new, 1);
    }
    let path = dir.join("edited.toml");
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn everything_that_is_wrong_is_named_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let edits = [
        ("data_seed = 1", "data_seed = \"one\""),
        ("[prompts]", "[prompts]\nprompt_count = 3\ntrian = 3"),
        ("gae_lambda = 0.95\n", ""),
        ("label_smoothing = 0.0", "label_smothing = 0.0"),
        ("scorer = \"truth\"", "scorer = \"r\""),
        ("epsilon = 1e-8 }\nlearning_rate = 1e-4", "epsilon = 1e-8 }\nlearning_rate = nan"),
    ];
    let path = edited(dir.path(), &edits);
    let found = problems(&path, &["temperature=0", "seedz=[1]", "unlikelihood.sweep.loss.alpha=[3]"]);
    let expected = [
        "seedz: found no such key, expected seeds",
        "data_seed: found \"one\", expected a whole number, 0 or more",
        "prompts.prompt_count: found no such key, expected one of train, tune, evaluate, min_tokens, max_tokens",
        "prompts.trian: found no such key, expected prompts.train",
        "dpo.loss.label_smoothing: found nothing, expected a value",
        "dpo.optimizer.learning_rate: found a number that is not finite, expected a number",
        "ppo.gae_lambda: found nothing, expected a value",
        "ppo-gt.scorer: found r, expected one of reward_model, truth, worst_case",
        "temperature: found 0, expected a positive number",
        "unlikelihood.sweep.loss.alpha[0]: found 3, expected 0 to 1",
    ];
    for line in expected {
        assert!(found.iter().any(|found| found == line), "{line}\n  is none of\n{}", found.join("\n"));
    }
    let more: Vec<&String> = found.iter().filter(|line| !expected.contains(&line.as_str())).collect();
    assert!(
        more.iter().all(|line| line.starts_with("dpo.loss.label_smothing: ")) && more.len() == 1,
        "{more:?}"
    );
}

#[test]
fn a_method_has_one_algorithm_and_ppo_its_scorer() {
    let dir = tempfile::tempdir().unwrap();
    let cases = [
        (
            "scorer = \"truth\"\n",
            "",
            "ppo-gt.scorer: found nothing, expected reward_model, truth or worst_case",
        ),
        (
            "name = \"dpo\"\n",
            "name = \"dpo\"\nscorer = \"truth\"\n",
            "dpo.scorer: found a value, expected none: only online_dpo, ppo, rloo have one",
        ),
        (
            "scorer = \"truth\"\n",
            "scorer = \"truth\"\nsftt = 1\n",
            "ppo-gt.sftt: found no such key, expected ppo-gt.sft",
        ),
    ];
    for (old, new, message) in cases {
        let found = problems(&edited(dir.path(), &[(old, new)]), &[]);
        assert!(found.iter().any(|line| line == message), "{found:?}");
    }
    // One value in two tables of one name would be one run twice.
    let twice = edited(
        dir.path(),
        &[("name = \"unlikelihood\"", "name = \"x\""), ("name = \"dpo\"", "name = \"x\"")],
    );
    let same = ["x.sweep={ \"optimizer.learning_rate\" = [1e-4] }"];
    assert_eq!(
        problems(&twice, &same),
        ["x.sweep.optimizer.learning_rate: found 0.0001 twice, expected every value once"]
    );
    // PPO may sample by itself, and is held to the same context.
    let own = [("gamma = 1.0\n", "gamma = 1.0\nsampling = { max_new_tokens = 30, batch_size = 8 }\n")];
    let found = problems(&edited(dir.path(), &own), &[]);
    assert!(
        found.len() == 1 && found[0].starts_with("ppo.sampling.max_new_tokens: found 30, 39 tokens"),
        "{found:?}"
    );
}
