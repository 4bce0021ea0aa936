//! `experiments train-classifier`: an encoder fine-tuned on labelled texts, with a card.

mod accuracy;
mod texts;

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use lm::classifier::{Classifier, ClassifierTrainer, Truncation, Window};
use lm::files::{Precision, load_encoder, save_classifier};
use lm::sft::SftConfig;
use lm::{Config, DeviceSpec, LabelledText, Problem, Stream, Trainer};
use serde::{Deserialize, Serialize};
use training::{Loop, Observer};

use self::accuracy::Accuracy;
use self::texts::Texts;
use crate::cli::ClassifierOptions;
use crate::exit::{BadInput, Outcome};
use crate::progress::{Progress, Task};
use crate::settings::{self, FromFile};
use crate::study::folder::{write_files, write_text};

/// Parameters of the encoders that are fine-tuned, for the choice of the device: far more than a GPU is worth it for.
const PARAMETERS: usize = 20_000_000;

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

/// `experiments train-classifier`.
pub fn run(options: &ClassifierOptions) -> Result<Outcome> {
    let shipped = include_str!("../../presets/classifier.toml");
    let config: ClassifierConfig = match &options.preset {
        Some(path) => settings::read_file(path, shipped, &options.overrides)?,
        None => settings::read_text("classifier", shipped, shipped, &options.overrides)?,
    };
    if !options.model.join("config.json").is_file() {
        let found =
            format!("model {}: found no config.json, expected an encoder's folder", options.model.display());
        return Err(BadInput(found).into());
    }
    let open = options.device.open(PARAMETERS)?;
    let texts = Texts::read(&options.data, config.seed, config.held_out_share)?;
    let labels: Vec<&str> = texts.labels.iter().map(String::as_str).collect();
    let head = Stream::new(config.seed, "classification head");
    let encoder = load_encoder(&options.model, &labels, head, &open.device)?;
    let window = |tokens| encoder.with_window(Window { tokens, truncation: config.truncation });
    let (learner, reader) = (window(config.train_window)?, window(config.window)?);
    std::fs::create_dir_all(&options.out).with_context(|| options.out.display().to_string())?;
    let trained = train(&config, &texts, (&learner, reader.window()), &options.out)?;
    save(&options.out, &trained.classifier)?;
    write_text(&options.out.join("README.md"), &card(options, &config, &texts, &trained, open.spec))?;
    tracing::info!("held-out accuracy {}; {}", trained.accuracy, options.out.display());
    Ok(Outcome::Done)
}

/// What a training gave.
struct Trained {
    classifier: Classifier,
    accuracy: Accuracy,
    tokens: u64,
    seconds: f64,
}

fn train(
    config: &ClassifierConfig,
    texts: &Texts,
    (learner, window): (&Classifier, Window),
    out: &Path,
) -> Result<Trained> {
    let (progress, started) = (Progress::new(), Instant::now());
    let mut trainer = ClassifierTrainer::new(learner, &texts.train, &config.training, config.seed)?;
    tracing::info!(
        "{:.1} M parameters; {} training texts, {} held out; read in {:.0} s",
        learner.model().config().parameters(texts.labels.len()) as f64 / 1e6,
        texts.train.len(),
        texts.held_out.len(),
        started.elapsed().as_secs_f64(),
    );
    let steps = config.training.steps;
    let plan = Loop {
        first: 0,
        steps,
        evaluate_every: config.evaluate_every,
        metrics: Some(&out.join("metrics.csv")),
    };
    let mut reports = Reports {
        task: progress.task("classifier", steps as u64),
        some: &texts.held_out[..texts.held_out.len().min(config.held_out_on_the_way)],
        window,
        steps,
        out,
        started: Instant::now(),
        smooth_loss: f64::NAN,
    };
    training::run(&mut trainer, &plan, &mut reports)?;
    let seconds = reports.started.elapsed().as_secs_f64();
    reports.task.done(&format!("{:.2} M tokens", trainer.tokens() as f64 / 1e6));
    let classifier = trainer.classifier().with_window(window)?;
    let held_out = &texts.held_out[..texts.held_out.len().min(config.held_out)];
    let accuracy = measure(&classifier, held_out, &progress)?;
    Ok(Trained { classifier, accuracy, tokens: trainer.tokens(), seconds })
}

/// Writes a classifier as it is.
fn save(dir: &Path, classifier: &Classifier) -> Result<()> {
    write_files(dir, |dir| Ok(save_classifier(dir, classifier, Precision::F32)?))
}

/// The accuracy on texts, some at a time.
fn measure(classifier: &Classifier, texts: &[LabelledText], progress: &Progress) -> Result<Accuracy> {
    const AT_A_TIME: usize = 250;
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
    window: Window,
    steps: usize,
    out: &'a Path,
    started: Instant,
    smooth_loss: f64,
}

impl Observer<ClassifierTrainer> for Reports<'_> {
    type Error = anyhow::Error;

    fn evaluate(&mut self, step: usize, trainer: &ClassifierTrainer) -> Result<()> {
        // The last one is of all held-out texts, and its model is written then.
        if step == 0 || step == self.steps {
            return Ok(());
        }
        let classifier = trainer.classifier().with_window(self.window)?;
        let mut accuracy = Accuracy::default();
        accuracy.add(&classifier, self.some)?;
        tracing::info!("step {step}: held-out accuracy {accuracy}");
        save(self.out, &classifier)
    }

    fn progress(&mut self, progress: &training::Progress<'_>, trainer: &ClassifierTrainer) -> Result<()> {
        let loss = progress.metric("loss");
        self.smooth_loss =
            if self.smooth_loss.is_nan() { loss } else { 0.98 * self.smooth_loss + 0.02 * loss };
        let rate = trainer.tokens() as f64 / progress.seconds;
        let message = format!("loss {:.3}, {rate:.0} tokens/s", self.smooth_loss);
        self.task.at(progress.step as u64, self.steps as u64, &message);
        Ok(())
    }
}

/// The card: data, tokens, accuracy, command, seed.
fn card(
    options: &ClassifierOptions,
    config: &ClassifierConfig,
    texts: &Texts,
    trained: &Trained,
    device: DeviceSpec,
) -> String {
    let training = &config.training;
    let ends = match config.truncation {
        Truncation::Head => "their head",
        Truncation::Ends => "both of their ends",
    };
    format!(
        "---\npipeline_tag: text-classification\n---\n\n# Text classifier\n\n\
         An encoder fine-tuned to tell {}.\n\n\
         | | |\n|-|-|\n\
         | encoder | {} |\n\
         | data | {} |\n\
         | trained on | {} of {} texts a step, {} steps, {:.2} M tokens; at most {} tokens of a text |\n\
         | held-out accuracy | {}, texts of more than {} tokens read at {ends} |\n\
         | optimiser | {:?}, learning rate {}, {:?} |\n\
         | seed | {} |\n\
         | time | {:.0} minutes on `{device}` |\n\n\
         `transformers.pipeline(\"text-classification\", \"{}\", truncation=True)` reads the folder; it cuts long texts at \
         their head.\n",
        texts.labels.join(" from "),
        options.model.display(),
        texts.origin,
        training.batch_size,
        texts.train.len(),
        training.steps,
        trained.tokens as f64 / 1e6,
        config.train_window,
        trained.accuracy,
        config.window,
        training.optimizer.algorithm,
        training.optimizer.learning_rate,
        training.optimizer.schedule,
        config.seed,
        trained.seconds / 60.0,
        options.out.display(),
    )
}
