//! `experiments train-classifier`: an encoder fine-tuned on labelled texts, with a card.

mod accuracy;
pub mod texts;
pub mod training;

use anyhow::{Context, Result};
use lm::classifier::Truncation;
use lm::files::load_encoder;
use lm::{DeviceSpec, Stream};

use self::texts::Texts;
use self::training::{ClassifierConfig, Keep, Trained, save, train};
use crate::cli::ClassifierOptions;
use crate::exit::{BadInput, Outcome};
use crate::settings;
use crate::study::folder::write_text;

/// Parameters of the encoders that are fine-tuned, for the choice of the device: far more than a GPU is worth
/// it for.
const PARAMETERS: usize = 20_000_000;

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
    std::fs::create_dir_all(&options.out).with_context(|| options.out.display().to_string())?;
    let metrics = options.out.join("metrics.csv");
    let keep = Keep { metrics: &metrics, snapshots: Some(&options.out), checkpoint: None };
    let trained = train(&config, &texts, &encoder, &keep)?;
    save(&options.out, &trained.classifier)?;
    write_text(&options.out.join("README.md"), &card(options, &config, &texts, &trained, open.spec))?;
    tracing::info!("held-out accuracy {}; {}", trained.accuracy, options.out.display());
    Ok(Outcome::Done)
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
