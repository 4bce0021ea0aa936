//! CSV records: round trips, and errors that say where.
use std::fs;

use frontier::{
    EvalRow, FrontierRow, Method, read_evals, read_frontier, read_reference_scores, write_evals,
    write_frontier,
};
use tempfile::tempdir;

fn row() -> EvalRow {
    EvalRow {
        method: Method::PPO_GT,
        knob: "target_kl".into(),
        value: 0.25,
        seed: u64::MAX,
        step: 100,
        tokens: 204_800,
        score: 0.1 + 0.2,
        score_se: 1e-9,
        judge: f64::NAN,
        judge_se: f64::NAN,
        sequence_kl: -0.0,
        sequence_kl_se: 0.0,
        k1: f64::NEG_INFINITY,
        k1_se: 1.0 / 3.0,
        length: 31.75,
        length_se: 0.5,
        learned: -1.5,
        distinct_2: 0.25,
        pair_accuracy: 0.75,
    }
}

fn floats(row: &EvalRow) -> [u64; 13] {
    [
        row.value,
        row.score,
        row.score_se,
        row.judge,
        row.judge_se,
        row.sequence_kl,
        row.sequence_kl_se,
        row.k1,
        row.k1_se,
        row.length,
        row.length_se,
        row.learned,
        row.distinct_2,
    ]
    .map(f64::to_bits)
}

fn assert_same(a: &EvalRow, b: &EvalRow) {
    assert_eq!((a.method, &a.knob, a.seed, a.step, a.tokens), (b.method, &b.knob, b.seed, b.step, b.tokens));
    assert_eq!(floats(a), floats(b));
}

#[test]
fn evals_round_trip_with_nan_to_the_bit() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("evals.csv");
    let second = EvalRow { method: Method::DPO, knob: "beta, \"quoted\"".into(), ..row() };
    write_evals(&path, &[row(), second.clone()]).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(
        text.lines().next().unwrap(),
        "method,knob,value,seed,step,tokens,score,score_se,judge,judge_se,\
         sequence_kl,sequence_kl_se,k1,k1_se,length,length_se,learned,distinct_2,pair_accuracy"
    );
    assert!(text.contains("ppo-gt,target_kl,0.25,18446744073709551615,100,204800,0.30000000000000004,1e-9,NaN,NaN,-0.0,0.0,-inf,"), "{text}");
    let read = read_evals(&path).unwrap();
    assert_eq!(read.len(), 2);
    assert_same(&read[0], &row());
    assert_same(&read[1], &second);
}

#[test]
fn frontier_round_trips_with_a_run_that_looks_like_a_number() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("frontier.csv");
    let rows = ["007", "dpo, beta 0.1"].map(|run| FrontierRow { run: run.into(), eval: row() });
    write_frontier(&path, &rows).unwrap();
    assert!(fs::read_to_string(&path).unwrap().starts_with("run,method,knob,value,seed,"));
    let read = read_frontier(&path).unwrap();
    assert_eq!(read.iter().map(|row| row.run.as_str()).collect::<Vec<_>>(), ["007", "dpo, beta 0.1"]);
    assert_same(&read[1].eval, &row());
    write_frontier(&path, &[]).unwrap();
    assert_eq!(read_frontier(&path).unwrap(), []);
}

/// A file with the given column renamed and the given column's value replaced, read back.
fn read_changed(change: impl Fn(&mut Vec<String>, &mut Vec<String>)) -> Result<Vec<EvalRow>, String> {
    let folder = tempdir().unwrap();
    let path = folder.path().join("evals.csv");
    write_evals(&path, &[row(), row()]).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    let mut lines = text.lines().map(|line| line.split(',').map(str::to_owned).collect::<Vec<_>>());
    let (mut header, first, mut second) =
        (lines.next().unwrap(), lines.next().unwrap(), lines.next().unwrap());
    change(&mut header, &mut second);
    let text = [header, first, second].map(|fields| fields.join(",")).join("\n");
    fs::write(&path, text).unwrap();
    read_evals(&path).map_err(|error| error.to_string())
}

#[test]
fn a_missing_column_names_file_and_column() {
    let message = read_changed(|header, _| header[6] = "reward".into()).unwrap_err();
    assert!(message.contains("evals.csv, line 1: no column `score`"), "{message}");
    assert!(message.contains("tokens, reward, score_se"), "{message}");
}

#[test]
fn a_bad_number_names_file_line_and_column() {
    let message = read_changed(|_, second| second[10] = "1.5nats".into()).unwrap_err();
    assert!(message.contains("evals.csv, line 3, column `sequence_kl`: found `1.5nats`"), "{message}");
    let message = read_changed(|_, second| second[4] = "-1".into()).unwrap_err();
    assert!(message.contains("line 3, column `step`: found `-1`"), "{message}");
    let message = read_changed(|_, second| second[15] = String::new()).unwrap_err();
    assert!(message.contains("line 3, column `length_se`: found ``"), "{message}");
}

#[test]
fn any_method_is_read_and_a_name_with_other_characters_is_refused() {
    let read = read_changed(|_, second| second[0] = "grpo_2".into()).unwrap();
    assert_eq!(read[1].method.name(), "grpo_2");
    let message = read_changed(|_, second| second[0] = "my loss".into()).unwrap_err();
    assert!(message.contains("line 3, column `method`: found `my loss`"), "{message}");
    assert!(message.contains("letters, digits, `_` and `-`"), "{message}");
}

#[test]
fn a_short_line_is_named() {
    let message = read_changed(|_, second| second.truncate(3)).unwrap_err();
    assert!(message.contains("evals.csv, line 3: 3 fields, but the header has 19"), "{message}");
}

#[test]
fn columns_may_move_and_unknown_ones_are_ignored() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("evals.csv");
    write_evals(&path, &[row()]).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    let turned: Vec<String> = text
        .lines()
        .map(|line| format!("{},{}", line.split(',').rev().collect::<Vec<_>>().join(","), "extra"))
        .collect();
    fs::write(&path, turned.join("\n")).unwrap();
    assert_same(&read_evals(&path).unwrap()[0], &row());
    fs::write(&path, turned.join("\n").replace(",204800,", ",many,")).unwrap();
    let message = read_evals(&path).unwrap_err().to_string();
    assert!(message.contains("column `tokens`: found `many`"), "{message}");
}

#[test]
fn a_prompt_beyond_the_lines_of_its_table_is_refused_before_there_is_room_for_it() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("reference_scores.csv");
    for prompt in [4, 1 << 40, u64::MAX] {
        let lines = format!("prompt,sample,score\n0,0,0.5\n0,1,0.25\n{prompt},0,1\n{prompt},1,0\n");
        fs::write(&path, lines).unwrap();
        let message = read_reference_scores(&path).unwrap_err().to_string();
        assert!(message.contains(&format!("prompt {prompt} in a table of 4 samples")), "{message}");
        assert!(message.contains("reference_scores.csv") && message.contains('4'), "{message}");
    }
    // In any order.
    fs::write(&path, "prompt,sample,score\n1,0,0.5\n0,0,0.25\n1,1,1\n0,1,0\n").unwrap();
    let samples = read_reference_scores(&path).unwrap();
    assert_eq!(samples.prompts(), [[0.25, 0.0], [0.5, 1.0]]);
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let message = read_evals("no/such/evals.csv").unwrap_err().to_string();
    assert!(message.starts_with("no/such/evals.csv: "), "{message}");
    assert!(write_evals("no/such/evals.csv", &[]).is_err());
}
