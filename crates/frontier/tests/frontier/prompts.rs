//! Records of single prompts and of runs: round trips, and errors that say where.
use std::fs;

use frontier::{
    Analysis, Bootstrap, FrontierRow, Metrics, PromptSamples, PromptScore, PromptWriter, Run, read_prompts,
    read_runs, write_frontier,
};
use tempfile::tempdir;

use crate::synthetic;

fn score(score: f64, sequence_kl: f64) -> PromptScore {
    PromptScore { score, sequence_kl }
}

#[test]
fn prompts_are_written_to_four_decimals_and_read_back() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("prompts.csv");
    let mut writer = PromptWriter::create(&path).unwrap();
    writer.write(0, [score(0.123_456, -1e-9), score(1.0, 0.0)]).unwrap();
    writer.write(40, [score(0.5, 10.250_04), score(f64::NAN, 100.0)]).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(text, "step,prompt,score,sequence_kl\n0,0,0.1235,0\n0,1,1,0\n40,0,0.5,10.25\n40,1,NaN,100\n");
    let read = read_prompts(&path).unwrap();
    assert_eq!(read.keys().copied().collect::<Vec<_>>(), [0, 40]);
    assert_eq!(read[&0], [score(0.1235, 0.0), score(1.0, 0.0)]);
    assert_eq!(read[&40][0], score(0.5, 10.25));
    assert!(read[&40][1].score.is_nan());
}

#[test]
fn damaged_prompts_are_named() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("prompts.csv");
    let message = |lines: &str| {
        fs::write(&path, format!("step,prompt,score,sequence_kl\n{lines}")).unwrap();
        read_prompts(&path).unwrap_err().to_string()
    };
    let found = message("0,0,0.5,0\n0,2,0.5,0\n");
    assert!(found.contains("prompts.csv, line 3: step 0: prompt 2, expected prompt 1"), "{found}");
    let found = message("0,0,0.5,0\n0,1,0.5,0\n9,0,0.5,0\n");
    assert!(found.contains("step 9 has 1 prompts, the first step 2"), "{found}");
    let found = message("0,0,high,0\n");
    assert!(found.contains("line 2, column `score`: found `high`, but a number is expected"), "{found}");
    let found = message("-1,0,0.5,0\n");
    assert!(found.contains("column `step`: found `-1`, but a whole number is expected"), "{found}");
}

#[test]
fn a_study_is_read_from_its_folder() {
    let folder = tempdir().unwrap();
    let rows: Vec<FrontierRow> = synthetic::sweep(1, 2).into_iter().take(6).collect();
    write_frontier(folder.path().join("frontier.csv"), &rows).unwrap();
    let run = folder.path().join("runs").join(&rows[0].run);
    fs::create_dir_all(&run).unwrap();
    let mut writer = PromptWriter::create(run.join("prompts.csv")).unwrap();
    writer.write(50, [score(0.5, 0.1)]).unwrap();
    fs::write(run.join("metrics.csv"), "step,seconds,loss\n1,0.5,0.69\n50,20.25,0.5\n99,40,NaN\n").unwrap();
    let runs = read_runs(folder.path()).unwrap();
    assert_eq!(runs.len(), 2);
    assert_eq!(runs[0].evals.iter().map(|eval| eval.step).collect::<Vec<_>>(), [0, 50, 100]);
    assert_eq!(runs[0].prompts[&50], [score(0.5, 0.1)]);
    assert_eq!([0, 50, 60].map(|step| runs[0].seconds(step)), [Some(0.0), Some(20.25), Some(20.25)]);
    assert_eq!(runs[0].metrics.column("loss").unwrap().take(2).collect::<Vec<_>>(), [0.69, 0.5]);
    assert!(runs[0].metrics.column("entropy").is_none());
    assert!(runs[1].prompts.is_empty() && runs[1].metrics == Metrics::default());
    assert_eq!(runs[1].seconds(50), None);
    // One prompt was recorded, but two were sampled.
    let samples = PromptSamples::new(vec![vec![0.0, 1.0]; 2]).unwrap();
    let error = Analysis::new(&runs, &samples, 8.0, Bootstrap::default()).err().unwrap().to_string();
    assert!(error.contains("step 50: 1 prompts, but the reference samples have 2"), "{error}");
    let none = Bootstrap { resamples: 0, seed: 0 };
    let error = Analysis::new(&runs[1..], &samples, 8.0, none).err().unwrap().to_string();
    assert!(error.contains("0 resamples"), "{error}");
}

#[test]
fn rows_of_a_run_stay_together() {
    let mut rows = synthetic::sweep(1, 1);
    rows.swap(1, 2);
    let runs = Run::of_rows(rows.clone());
    assert!(runs.iter().all(|run| run.evals.len() == 2));
    assert_eq!((&runs[0].name, &runs[1].name), (&rows[0].run, &rows[1].run));
}
