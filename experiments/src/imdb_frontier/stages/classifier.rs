//! Encoders as r* and as the second opinion: fine-tuned or taken as they are, and measured on held-out
//! reviews. And the scorers of a study, whichever they are.

use std::path::Path;

use anyhow::Result;
use burn::tensor::Device;
use feedback::{ClassifierScorer, DecodingScorer, TextScorer};
use lm::classifier::{Classifier, TextTokenizer, Window};
use lm::files::{load_classifier, load_encoder, read_encoder_config};
use lm::{ScoreUnit, Scorer, Stream, Tokenizer};
use serde_json::json;

use crate::commands::train_classifier::texts::{SENTIMENTS, Texts};
use crate::commands::train_classifier::training::{Accuracy, ClassifierConfig, Keep, Trained, save, train};
use crate::exit::BadInput;
use crate::imdb_frontier::classifiers::{ClassifierSource, Role};
use crate::imdb_frontier::preset::Preset;
use crate::imdb_frontier::stages::context::Context;
use crate::imdb_frontier::stages::ground_truth;
use crate::study::folder::Folder;
use crate::study::stages::Finished;

/// Held-out reviews that an encoder is measured on which is not fine-tuned here.
const HELD_OUT: usize = 5000;

/// Does the stage of an encoder, if the preset has one for the role.
pub fn stage(context: &Context<'_>, role: Role) -> Result<Option<Finished>> {
    let Some(source) = context.plan.preset.encoder(role) else { return Ok(None) };
    // Outside of the stage's folder, which is emptied when the stage begins again.
    let unfinished = context.folder.cache().join(format!("{}-training", role.name()));
    let finished = context.stage(role.name(), |dir| {
        let texts = Texts::of_reviews(context.reviews()?, context.plan.preset.data_seed)?;
        let trained = match &source.training {
            Some(config) => fine_tuned((source, config), context, &texts, &unfinished)?,
            None => as_it_is((source, role), context, &texts)?,
        };
        save(dir, &trained.classifier)?;
        let (share, [low, high]) = trained.accuracy.share();
        let start = source.folder.as_ref().map(|folder| folder.display().to_string());
        let notes = json!({
            "source": start.unwrap_or_else(|| "random weights".to_owned()),
            "fine_tuned": source.training.is_some(),
            "parameters": source.encoder.parameters(trained.classifier.labelling().labels.len()),
            "accuracy": { "share": share, "low": low, "high": high, "reviews": trained.accuracy.texts },
            "seconds_of_training": trained.seconds,
        });
        Ok((trained.tokens, notes))
    })?;
    if unfinished.exists() {
        std::fs::remove_dir_all(&unfinished)?;
    }
    Ok(Some(finished))
}

fn fine_tuned(
    (source, config): (&ClassifierSource, &ClassifierConfig),
    context: &Context<'_>,
    texts: &Texts,
    unfinished: &Path,
) -> Result<Trained> {
    let stream = Stream::new(config.seed, "classification head");
    let encoder = if let Some(dir) = source.dir() {
        check_config(source, &dir)?;
        load_encoder(&dir, &SENTIMENTS, stream, context.device)?
    } else {
        let read: Vec<&str> = texts.train.iter().map(|text| text.text.as_str()).collect();
        let tokenizer = TextTokenizer::train(source.encoder.family, &read, source.encoder.vocab_size)?;
        Classifier::random(&source.encoder, tokenizer, &SENTIMENTS, stream, context.device)?
    };
    std::fs::create_dir_all(unfinished)?;
    let metrics = unfinished.join("metrics.csv");
    let checkpoint = unfinished.join("state.safetensors");
    // A change of the configuration, the files or the reviews is another training.
    let key =
        serde_json::to_string(&(source.without_folder(), &texts.origin, source.fingerprint(Role::Truth)?))?;
    let keep = Keep { metrics: &metrics, snapshots: None, checkpoint: Some((&checkpoint, &key)) };
    train(config, texts, &encoder, &keep)
}

fn as_it_is(
    (source, role): (&ClassifierSource, Role),
    context: &Context<'_>,
    texts: &Texts,
) -> Result<Trained> {
    let Some(dir) = source.dir() else {
        return Err(BadInput(format!("{}: found no folder", role.name())).into());
    };
    check_config(source, &dir)?;
    let classifier = load_classifier(&dir, context.device)?;
    // Its labels have any order; reviews have the order of `SENTIMENTS`.
    let positive = classifier.label(&source.label)?;
    let held_out: Vec<_> = texts.held_out.iter().take(HELD_OUT).collect();
    let read: Vec<&str> = held_out.iter().map(|text| text.text.as_str()).collect();
    let probabilities = classifier.scores(&read, positive, ScoreUnit::Probability)?;
    let right = probabilities.iter().zip(&held_out).filter(|(p, text)| (**p > 0.5) == (text.label == 1));
    let accuracy = Accuracy { right: right.count(), texts: held_out.len() };
    Ok(Trained { classifier, accuracy, tokens: 0, seconds: 0.0 })
}

/// Refuses a folder whose encoder is another than the preset says.
fn check_config(source: &ClassifierSource, dir: &Path) -> Result<()> {
    let path = dir.join("config.json");
    let (found, _) = read_encoder_config(&path)?;
    if found == source.encoder {
        return Ok(());
    }
    let expected = format!("expected what the preset says, {:?}", source.encoder);
    Err(BadInput(format!("{}: found {found:?}, {expected}", path.display())).into())
}

/// r* and the second opinion of a study whose stages are finished.
pub fn read(folder: &Folder, preset: &Preset, device: &Device) -> Result<[Box<dyn TextScorer>; 2]> {
    let (truth, second) = ground_truth::read(&folder.stage("ground-truth"))?;
    let or_linear = |role: Role, linear: Box<dyn TextScorer>| -> Result<Box<dyn TextScorer>> {
        let Some(source) = preset.encoder(role) else { return Ok(linear) };
        let mut classifier = load_classifier(&folder.stage(role.name()), device)?;
        if let Some(config) = &source.training {
            // What the folder cannot say: which tokens of a longer text are read.
            let tokens = config.window.min(classifier.window().tokens);
            classifier = classifier.with_window(Window { tokens, ..config.reader() })?;
        }
        Ok(Box::new(ClassifierScorer::new(classifier, &source.label, ScoreUnit::Probability)?))
    };
    Ok([or_linear(Role::Truth, Box::new(truth))?, or_linear(Role::SecondOpinion, Box::new(second))?])
}

/// The same as scorers of what `tokenizer` made.
pub fn scorers(
    folder: &Folder,
    preset: &Preset,
    tokenizer: &Tokenizer,
    device: &Device,
) -> Result<(Box<dyn Scorer>, Box<dyn Scorer>)> {
    let [truth, second] = read(folder, preset, device)?;
    let scorer = |reader: Box<dyn TextScorer>| -> Box<dyn Scorer> {
        Box::new(DecodingScorer::new(reader, tokenizer.clone()))
    };
    Ok((scorer(truth), scorer(second)))
}
