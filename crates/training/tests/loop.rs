//! The loop, on a trainer whose steps are known.
#![expect(clippy::unwrap_used, reason = "tests may panic")]

use std::path::Path;
use std::time::Duration;

use lm::{LmError, Metrics, State, StepError, Trainer};
use training::{Loop, Observer, Progress, TrainingError, run};

/// Counts, and fails in one step.
struct Counter {
    steps: usize,
    fails_in: usize,
}

impl Trainer for Counter {
    fn step(&mut self) -> Result<Metrics, StepError> {
        if self.steps + 1 == self.fails_in {
            return Err("the loss is NaN".into());
        }
        self.steps += 1;
        Ok(vec![("loss", 1.0 / self.steps as f64), ("eval_loss", f64::NAN)])
    }

    fn tokens(&self) -> u64 {
        10 * self.steps as u64
    }

    fn save(&self, into: &mut State) {
        into.set("step", self.steps);
    }

    fn restore(&mut self, from: &State) -> Result<(), LmError> {
        self.steps = from.get("step")?;
        Ok(())
    }
}

/// Writes down what it is told, and ends the training after a step.
struct Log {
    seen: Vec<String>,
    stops_after: usize,
    seconds: f64,
}

impl Observer<Counter> for Log {
    type Error = Box<dyn std::error::Error>;

    fn evaluate(&mut self, step: usize, trainer: &Counter) -> Result<(), Self::Error> {
        assert_eq!(step, trainer.steps);
        // An evaluation is slow, and none of the seconds of the training.
        std::thread::sleep(Duration::from_millis(20));
        self.seen.push(format!("evaluate {step}"));
        Ok(())
    }

    fn progress(&mut self, progress: &Progress<'_>, trainer: &Counter) -> Result<(), Self::Error> {
        assert_eq!((progress.step, progress.metric("loss")), (trainer.steps, 1.0 / trainer.steps as f64));
        assert!(progress.metric("eval_loss").is_nan() && progress.metric("no such number").is_nan());
        assert!(progress.seconds >= self.seconds);
        self.seconds = progress.seconds;
        self.seen.push(format!("step {}", progress.step));
        if progress.step == self.stops_after {
            return Err("stopped".into());
        }
        Ok(())
    }
}

/// Runs a loop of 7 steps with evaluations every 3.
fn train(
    trainer: &mut Counter,
    metrics: Option<&Path>,
    stops_after: usize,
) -> (Result<(), Box<dyn std::error::Error>>, Vec<String>) {
    let plan = Loop { first: trainer.steps, steps: 7, evaluate_every: 3, metrics };
    let mut log = Log { seen: Vec::new(), stops_after, seconds: 0.0 };
    let ended = run(trainer, &plan, &mut log);
    (ended, log.seen)
}

fn fresh() -> Counter {
    Counter { steps: 0, fails_in: usize::MAX }
}

/// Step, loss and the number that is NaN of each row; and the seconds, which must grow and hold no
/// evaluation.
fn rows(path: &Path) -> Vec<[String; 3]> {
    let mut reader = csv::Reader::from_path(path).unwrap();
    assert_eq!(reader.headers().unwrap(), vec!["step", "seconds", "loss", "eval_loss"]);
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    let seconds: Vec<f64> = rows.iter().map(|row| row[1].parse().unwrap()).collect();
    assert!(seconds.is_sorted() && seconds.iter().all(|&seconds| seconds < 0.02), "{seconds:?}");
    rows.iter().map(|row| [&row[0], &row[2], &row[3]].map(ToOwned::to_owned)).collect()
}

#[test]
fn evaluations_come_first_last_and_between_and_before_the_news_of_their_step() {
    let (ended, seen) = train(&mut fresh(), None, usize::MAX);
    ended.unwrap();
    let all = "evaluate 0, step 1, step 2, evaluate 3, step 3, step 4, step 5, evaluate 6, step 6, evaluate 7, step 7";
    assert_eq!(seen.join(", "), all);
}

#[test]
fn every_step_is_recorded() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("metrics.csv");
    let (ended, _) = train(&mut fresh(), Some(&path), usize::MAX);
    ended.unwrap();
    let loss = |step: u32| (1.0 / f64::from(step)).to_string();
    let want: Vec<[String; 3]> =
        (1..=7).map(|step| [step.to_string(), loss(step), "NaN".to_owned()]).collect();
    assert_eq!(rows(&path), want);
}

#[test]
fn a_training_that_was_stopped_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (path, whole) = (dir.path().join("metrics.csv"), dir.path().join("whole.csv"));
    let mut trainer = fresh();
    let (ended, mut seen) = train(&mut trainer, Some(&path), 4);
    assert_eq!((ended.unwrap_err().to_string().as_str(), trainer.steps), ("stopped", 4));
    // The state is that of step 2: two rows are too many.
    let mut restored = Counter { steps: 2, ..fresh() };
    let (ended, rest) = train(&mut restored, Some(&path), usize::MAX);
    ended.unwrap();
    assert_eq!(restored.steps, 7);
    let (_, all) = train(&mut fresh(), Some(&whole), usize::MAX);
    seen.retain(|seen| ["evaluate 0", "step 1", "step 2"].contains(&seen.as_str()));
    assert_eq!([seen, rest].concat(), all);
    assert_eq!(rows(&path), rows(&whole));
}

#[test]
fn a_training_that_is_done_takes_no_step() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("metrics.csv");
    let mut trainer = fresh();
    train(&mut trainer, Some(&path), usize::MAX).0.unwrap();
    let before = std::fs::read(&path).unwrap();
    let (ended, seen) = train(&mut trainer, Some(&path), usize::MAX);
    ended.unwrap();
    assert_eq!(seen.len(), 0);
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn what_fails_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("metrics.csv");
    let (ended, seen) = train(&mut Counter { fails_in: 3, ..fresh() }, Some(&path), usize::MAX);
    let error = ended.unwrap_err();
    let source = error.source().unwrap().to_string();
    assert_eq!((error.to_string(), source.as_str()), ("step 3".to_owned(), "the loss is NaN"));
    assert_eq!(seen.last().unwrap(), "step 2");

    let short = train(&mut Counter { steps: 5, ..fresh() }, Some(&path), usize::MAX).0.unwrap_err();
    let want = format!("{}: found 2 rows without step 5, expected a row of step 5", path.display());
    assert_eq!(short.to_string(), want);
    let nowhere = dir.path().join("no").join("metrics.csv");
    for steps in [0, 5] {
        let error = train(&mut Counter { steps, ..fresh() }, Some(&nowhere), usize::MAX).0.unwrap_err();
        assert!(error.to_string().contains("metrics.csv"), "{error}");
        assert!(matches!(error.downcast_ref(), Some(TrainingError::Io { .. })), "{error}");
    }
}
