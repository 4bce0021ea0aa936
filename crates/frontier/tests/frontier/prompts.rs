//! Records of single prompts: round trips, and errors that say where.
use std::fs;

use frontier::{PromptScore, PromptWriter, read_prompts};
use tempfile::tempdir;

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
