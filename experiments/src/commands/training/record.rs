//! The loop of a training with its files: metrics, evaluations, samples, events, checkpoints.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use lm::{State, Trainer};
use serde::Serialize;
use training::{Loop, Observer};

use super::events::{EVENTS, Events};
use super::output::{Output, Standing};
use crate::appended::{Appended, bytes_of};
use crate::progress::{Progress, Task};

const METRICS: &str = "metrics.csv";
const EVALS: &str = "evals.csv";
const SAMPLES: &str = "samples.jsonl";

/// How a training goes.
pub struct Plan {
    /// What it is called while it goes on.
    pub name: &'static str,
    pub steps: usize,
    /// Steps between evaluations, and between checkpoints.
    pub every: usize,
    pub save_every: usize,
    /// The numbers of an evaluation that are worth a line.
    pub shown: &'static [&'static str],
}

/// What an evaluation found.
#[derive(Default)]
pub struct Measured {
    pub numbers: Vec<(String, f64)>,
    pub samples: Vec<Sampled>,
}

impl Measured {
    /// With other numbers before these.
    pub fn after<const N: usize>(mut self, numbers: [(&str, f64); N]) -> Self {
        self.numbers.splice(0..0, numbers.map(|(name, value)| (name.to_owned(), value)));
        self
    }
}

/// A response of an evaluation.
#[derive(Clone, Debug, Serialize)]
pub struct Sampled {
    pub prompt: String,
    pub response: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    /// Exact KL along this response, in nats.
    pub sequence_kl: f64,
}

/// A line of the samples' file.
#[derive(Serialize)]
struct Line<'a> {
    step: usize,
    #[serde(flatten)]
    sampled: &'a Sampled,
}

/// Measures a trainer after so many steps.
pub type Measure<'a, T> = dyn FnMut(usize, &T) -> Result<Measured> + 'a;

/// Steps a trainer to the end, from its last checkpoint if there is one.
pub fn train<T: Trainer + ?Sized>(
    trainer: &mut T,
    plan: &Plan,
    (output, standing): (&Output, Standing),
    progress: &Progress,
    measure: &mut Measure<'_, T>,
) -> Result<()> {
    let checkpoint = match standing {
        Standing::Begun => Some(State::read(&output.state())?),
        Standing::New | Standing::Finished => None,
    };
    let (mut first, mut kept) = (0, [0; 3]);
    if let Some(state) = &checkpoint {
        trainer.restore(state)?;
        first = state.count("step")?;
        for (kept, name) in kept.iter_mut().zip([EVALS, SAMPLES, EVENTS]) {
            *kept = state.count(&bytes_of(name))?;
        }
        tracing::info!("{}: goes on from step {first} of {}", plan.name, plan.steps);
    }
    let mut recorder = Recorder {
        plan,
        output,
        evals: Appended::open(&output.file(EVALS), kept[0])?,
        samples: Appended::open(&output.file(SAMPLES), kept[1])?,
        events: Events::open(output.root(), kept[2])?,
        task: progress.task(plan.name, plan.steps as u64),
        measure,
    };
    let metrics = output.file(METRICS);
    let around = Loop { first, steps: plan.steps, evaluate_every: plan.every, metrics: Some(&metrics) };
    training::run(trainer, &around, &mut recorder)?;
    recorder.sync()?;
    recorder.task.done("");
    Ok(())
}

struct Recorder<'a, 'm, T: ?Sized> {
    plan: &'a Plan,
    output: &'a Output,
    evals: Appended,
    samples: Appended,
    events: Events,
    task: Task,
    measure: &'a mut Measure<'m, T>,
}

impl<T: ?Sized> Recorder<'_, '_, T> {
    fn sync(&self) -> Result<()> {
        self.evals.sync()?;
        self.samples.sync()?;
        self.events.sync()
    }

    fn say(&self, step: usize, numbers: &[(String, f64)]) {
        let shown = numbers.iter().filter(|(name, _)| self.plan.shown.contains(&name.as_str()));
        let words: Vec<String> = shown.map(|(name, value)| format!("{name} {value:.3}")).collect();
        self.task.say(&format!("step {step} of {}: {}", self.plan.steps, words.join(", ")));
    }
}

impl<T: Trainer + ?Sized> Observer<T> for Recorder<'_, '_, T> {
    type Error = anyhow::Error;

    fn evaluate(&mut self, step: usize, trainer: &T) -> Result<()> {
        let Measured { numbers, samples } = (self.measure)(step, trainer)?;
        let row: Vec<(String, f64)> =
            [("step".to_owned(), step as f64)].into_iter().chain(numbers.iter().cloned()).collect();
        self.evals.append_row(&row)?;
        for sampled in &samples {
            self.samples.append_json(&Line { step, sampled })?;
        }
        self.events.append(step, &numbers)?;
        self.say(step, &numbers);
        Ok(())
    }

    fn progress(&mut self, progress: &training::Progress<'_>, trainer: &T) -> Result<()> {
        let step = progress.step;
        let numbers: Vec<(String, f64)> =
            progress.metrics.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        self.events.append(step, &numbers)?;
        self.task.at(step as u64, self.plan.steps as u64, "");
        if step.is_multiple_of(self.plan.save_every) || step == self.plan.steps {
            let mut state = State::new();
            trainer.save(&mut state);
            let lengths = [self.evals.bytes(), self.samples.bytes(), self.events.bytes()];
            for (name, bytes) in [EVALS, SAMPLES, EVENTS].into_iter().zip(lengths) {
                state.set(&bytes_of(name), bytes);
            }
            // A checkpoint never speaks of more than the disk has.
            self.sync()?;
            state.write(&self.output.state())?;
        }
        Ok(())
    }
}

/// The first and the last evaluation of a training.
pub struct Evaluations {
    pub first: BTreeMap<String, f64>,
    pub last: BTreeMap<String, f64>,
    /// The columns in their order.
    pub columns: Vec<String>,
}

/// Reads what a training wrote.
pub fn evaluations(root: &Path) -> Result<Evaluations> {
    let path = root.join(EVALS);
    let mut reader = csv::Reader::from_path(&path).with_context(|| path.display().to_string())?;
    let columns: Vec<String> = reader.headers()?.iter().map(str::to_owned).collect();
    let rows = reader.deserialize().collect::<Result<Vec<BTreeMap<String, f64>>, _>>()?;
    let row = |row: Option<&BTreeMap<String, f64>>| row.cloned().unwrap_or_default();
    Ok(Evaluations { first: row(rows.first()), last: row(rows.last()), columns })
}
