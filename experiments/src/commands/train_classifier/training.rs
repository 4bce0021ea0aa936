//! Fine-tuning of an encoder, for the command and for studies whose ground truth is one.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use lm::classifier::{Classifier, ClassifierTrainer, Truncation, Window};
use lm::files::{Precision, save_classifier};
use lm::sft::SftConfig;
use lm::{Config, LabelledText, Problem, State, Trainer};
use serde::{Deserialize, Serialize};
use training::{Loop, Observer};

pub use super::accuracy::Accuracy;
use super::texts::Texts;
use crate::progress::{Progress, Task};
use crate::settings::FromFile;
use crate::study::folder::write_files;

/// How an encoder is fine-tuned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassifierConfig {
    /// Seed of a new head, the order of texts, and what is held out where the data does not say.
    pub seed: u64,
    /// Longest text in tokens while training.
    pub train_window: usize,
    /// Longest text in tokens of the classifier that is written, and of the held-out accuracy.
    pub window: usize,
    /// Which tokens of a longer text are read.
    pub truncation: Truncation,
    /// Most held-out texts that the accuracy is measured on.
    pub held_out: usize,
    /// Most of them that are read by an evaluation on the way.
    pub held_out_on_the_way: usize,
    /// Share of the texts that is held out where the data names no texts for that.
    pub held_out_share: f64,
    /// Steps between two evaluations; 0 for none but the last.
    pub evaluate_every: usize,
    /// The training itself.
    pub training: SftConfig,
}

impl Config for ClassifierConfig {
    fn problems(&self) -> Vec<Problem> {
        let share = self.held_out_share > 0.0 && self.held_out_share <= 0.5;
        let own = [
            Problem::unless_counted("train_window", self.train_window),
            Problem::unless_counted("window", self.window),
            Problem::unless_counted("held_out", self.held_out),
            Problem::unless_counted("held_out_on_the_way", self.held_out_on_the_way),
            Problem::unless(share, "held_out_share", self.held_out_share, "above 0, up to 0.5"),
        ];
        own.into_iter().flatten().chain(self.training.problems_within("training")).collect()
    }
}

impl FromFile for ClassifierConfig {}

/// What a training gave.
pub struct Trained {
    /// It reads texts as [`ClassifierConfig::reader`] says.
    pub classifier: Classifier,
    pub accuracy: Accuracy,
    pub tokens: u64,
    pub seconds: f64,
}

/// What a training leaves on the disk on its way.
pub struct Keep<'a> {
    /// The file that gets its curve.
    pub metrics: &'a Path,
    /// The folder that gets the encoder so far at every evaluation.
    pub snapshots: Option<&'a Path>,
    /// The file that gets a checkpoint at every evaluation, from which a training of the same key goes on.
    pub checkpoint: Option<(&'a Path, &'a str)>,
}

impl ClassifierConfig {
    /// The window of the classifier that is made.
    pub fn reader(&self) -> Window {
        Window { tokens: self.window, truncation: self.truncation }
    }
}

/// Fine-tunes an encoder and measures its accuracy on held-out texts.
pub fn train(
    config: &ClassifierConfig,
    texts: &Texts,
    encoder: &Classifier,
    keep: &Keep<'_>,
) -> Result<Trained> {
    let (progress, started) = (Progress::new(), Instant::now());
    // Both windows are checked before anything is read.
    encoder.with_window(config.reader())?;
    let learner = encoder.with_window(Window { tokens: config.train_window, ..config.reader() })?;
    let mut trainer = ClassifierTrainer::new(&learner, &texts.train, &config.training, config.seed)?;
    tracing::info!(
        "{:.1} M parameters; {} training texts, {} held out; read in {:.0} s",
        learner.model().config().parameters(texts.labels.len()) as f64 / 1e6,
        texts.train.len(),
        texts.held_out.len(),
        started.elapsed().as_secs_f64(),
    );
    let steps = config.training.steps;
    let first = restore(&mut trainer, keep)?;
    let plan = Loop { first, steps, evaluate_every: config.evaluate_every, metrics: Some(keep.metrics) };
    let mut reports = Reports {
        task: progress.task("classifier", steps as u64),
        some: &texts.held_out[..texts.held_out.len().min(config.held_out_on_the_way)],
        config,
        keep,
        started: Instant::now(),
        smooth_loss: f64::NAN,
    };
    training::run(&mut trainer, &plan, &mut reports)?;
    let seconds = reports.started.elapsed().as_secs_f64();
    reports.task.done(&format!("{:.2} M tokens", trainer.tokens() as f64 / 1e6));
    let classifier = trainer.classifier().with_window(config.reader())?;
    let accuracy = measure(&classifier, &texts.held_out, config.held_out, &progress)?;
    Ok(Trained { classifier, accuracy, tokens: trainer.tokens(), seconds })
}

/// Takes up a training of the same key where it was stopped; returns the steps that it had made.
fn restore(trainer: &mut ClassifierTrainer, keep: &Keep<'_>) -> Result<usize> {
    let Some((path, key)) = keep.checkpoint.filter(|(path, _)| path.is_file()) else { return Ok(0) };
    let state = State::read(path)?;
    // That of another training is written over.
    if state.require(KEY, key).is_err() {
        return Ok(0);
    }
    trainer.restore(&state)?;
    let first = state.count("step")?;
    tracing::info!("classifier: goes on from step {first}");
    Ok(first)
}

/// The name of a training's key in its checkpoint.
const KEY: &str = "training";

/// Writes a classifier as it is.
pub fn save(dir: &Path, classifier: &Classifier) -> Result<()> {
    write_files(dir, |dir| Ok(save_classifier(dir, classifier, Precision::F32)?))
}

/// The accuracy on the first `most` texts, some at a time.
pub fn measure(
    classifier: &Classifier,
    texts: &[LabelledText],
    most: usize,
    progress: &Progress,
) -> Result<Accuracy> {
    const AT_A_TIME: usize = 250;
    let texts = &texts[..texts.len().min(most)];
    let total = texts.len() as u64;
    let mut task = progress.task("held-out texts", total);
    let mut accuracy = Accuracy::default();
    for some in texts.chunks(AT_A_TIME) {
        accuracy.add(classifier, some)?;
        task.at(accuracy.texts as u64, total, "");
    }
    task.done(&format!("accuracy {accuracy}"));
    Ok(accuracy)
}

/// Reports of a training on its way.
struct Reports<'a> {
    task: Task,
    /// Held-out texts for evaluations on the way.
    some: &'a [LabelledText],
    config: &'a ClassifierConfig,
    keep: &'a Keep<'a>,
    started: Instant,
    smooth_loss: f64,
}

impl Observer<ClassifierTrainer> for Reports<'_> {
    type Error = anyhow::Error;

    fn evaluate(&mut self, step: usize, trainer: &ClassifierTrainer) -> Result<()> {
        // The last one is of all held-out texts, and its model is written then.
        if step == 0 || step == self.config.training.steps {
            return Ok(());
        }
        let classifier = trainer.classifier().with_window(self.config.reader())?;
        let mut accuracy = Accuracy::default();
        accuracy.add(&classifier, self.some)?;
        tracing::info!("step {step}: held-out accuracy {accuracy}");
        if let Some(dir) = self.keep.snapshots {
            save(dir, &classifier)?;
        }
        let Some((path, key)) = self.keep.checkpoint else { return Ok(()) };
        let mut state = State::new();
        trainer.save(&mut state);
        state.set(KEY, key);
        state.write(path).with_context(|| path.display().to_string())
    }

    fn progress(&mut self, progress: &training::Progress<'_>, trainer: &ClassifierTrainer) -> Result<()> {
        let loss = progress.metric("loss");
        self.smooth_loss =
            if self.smooth_loss.is_nan() { loss } else { 0.98 * self.smooth_loss + 0.02 * loss };
        let rate = trainer.tokens() as f64 / progress.seconds;
        let message = format!("loss {:.3}, {rate:.0} tokens/s", self.smooth_loss);
        self.task.at(progress.step as u64, self.config.training.steps as u64, &message);
        Ok(())
    }
}
