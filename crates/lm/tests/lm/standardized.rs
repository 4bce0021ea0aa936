//! Scores in standard deviations of the reference.

use lm::{LmError, Normalization, Scorer, Sequence, Standardized};

use crate::support::sequence;

/// How often token 3 occurs.
#[derive(Clone, Debug)]
struct Threes;

impl Scorer for Threes {
    fn score(&self, sequences: &[Sequence]) -> Result<Vec<f32>, LmError> {
        let threes = |s: &Sequence| s.response.iter().filter(|&&token| token == 3).count() as f32;
        Ok(sequences.iter().map(threes).collect())
    }
}

/// Scores 2, 0, 4, 2: mean 2, population variance 2.
fn samples() -> Vec<Sequence> {
    [&[3, 3, 1][..], &[2], &[3, 3, 3, 3], &[3, 3]].map(|response| sequence(&[0], response)).to_vec()
}

#[test]
fn the_unit_is_measured_on_the_reference() {
    let scorer = Standardized::measure(Threes, &samples()).unwrap();
    let unit = scorer.normalization();
    assert!((unit.mean() - 2.0).abs() < 1e-12 && (unit.sd() - 2.0_f64.sqrt()).abs() < 1e-12);
    let scores = scorer.score_f64(&samples()).unwrap();
    for (score, want) in scores.iter().zip([0.0, -(2.0_f64.sqrt()), 2.0_f64.sqrt(), 0.0]) {
        assert!((score - want).abs() < 1e-12, "{score} is not {want}");
    }
    // In f64 nothing is rounded that f32 cannot hold.
    assert_eq!(scorer.score(&samples()).unwrap(), scores.iter().map(|&s| s as f32).collect::<Vec<_>>());
    assert_ne!(scores[1], f64::from(scores[1] as f32));
}

#[test]
fn samples_that_say_no_unit_are_refused() {
    let refuse = |samples: &[Sequence]| Standardized::measure(Threes, samples).unwrap_err().to_string();
    let none = "scores of the reference: found 0 samples, expected at least 2";
    assert_eq!(refuse(&[]), none);
    let equal = "scores of the reference: found mean 2 and standard deviation 0, \
                 expected finite numbers and a standard deviation above 0";
    assert_eq!(refuse(&[samples()[0].clone(), samples()[3].clone()]), equal);
    for (mean, sd) in [(f64::NAN, 1.0), (0.0, f64::INFINITY), (0.0, -1.0), (0.0, f64::NAN)] {
        assert!(matches!(Normalization::new(mean, sd), Err(LmError::Normalization { .. })), "{mean}, {sd}");
    }
}

#[test]
fn units_survive_their_files_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("normalization.json");
    let unit = Normalization::new(0.1 + 0.2, 1.0 / 3.0).unwrap();
    unit.write(&path).unwrap();
    assert_eq!(Normalization::read(&path).unwrap(), unit);
    for (text, part) in [
        (r#"{"mean": 0.0, "sd": 0.0}"#, "found mean 0 and standard deviation 0"),
        (r#"{"mean": 0.0}"#, "missing field `sd`"),
        (r#"{"mean": 0.0, "sd": 1.0, "mode": 2.0}"#, "unknown field `mode`"),
    ] {
        std::fs::write(&path, text).unwrap();
        let message = Normalization::read(&path).unwrap_err().to_string();
        assert!(message.contains("normalization.json") && message.contains(part), "{message}");
    }
}
