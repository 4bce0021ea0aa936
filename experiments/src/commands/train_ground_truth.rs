//! `experiments train-ground-truth`: r* and the second opinion as they ship, with a card.

use anyhow::{Context as _, Result};
use imdb::{GroundTruthConfig, train_ground_truth};

use crate::cli::GroundTruthOptions;
use crate::exit::Outcome;
use crate::imdb_frontier::reviews;
use crate::imdb_frontier::stages::ground_truth::{GROUND_TRUTH, SECOND_OPINION, write};
use crate::settings::{self, FromFile};

impl FromFile for GroundTruthConfig {}

/// `experiments train-ground-truth`.
pub fn run(options: &GroundTruthOptions) -> Result<Outcome> {
    let shipped = include_str!("../../presets/ground-truth.toml");
    let config: GroundTruthConfig = match &options.preset {
        Some(path) => settings::read_file(path, shipped, &options.overrides)?,
        None => settings::read_text("ground-truth", shipped, shipped, &options.overrides)?,
    };
    let reviews = reviews::load(&options.data, config.seed)?;
    let trained = train_ground_truth(&reviews, &config)?;
    std::fs::create_dir_all(&options.out).with_context(|| options.out.display().to_string())?;
    write(&options.out, &trained.sentiment, &trained.second_opinion)?;
    let report = &trained.report;
    let row = |name: &str, reviews: usize, of: &imdb::sentiment::SentimentReport| {
        format!(
            "| {name} | {reviews} | {:.1}% | {:.1}% | {:.3} |\n",
            100.0 * of.full.accuracy,
            100.0 * of.windows.accuracy,
            of.windows.ece
        )
    };
    let card = format!(
        "# Ground truth r* and second opinion\n\n\
         Two sentiment classifiers, p(positive) of a text in [0, 1], trained on disjoint halves of the labelled IMDb \
         train reviews (Maas et al. 2011). `{GROUND_TRUTH}`: logistic regression on word uni- and bigrams, the \
         reward of the experiment. `{SECOND_OPINION}`: other reviews and other features, to show reward hacking. Weights are \
         f16.\n\n\
         | | train reviews | accuracy, full test reviews | accuracy, {}-word windows | calibration error, windows |\n\
         |-|-|-|-|-|\n{}{}\n\
         Command: `cargo run -p experiments -- train-ground-truth --out {}`; seed {}; content sha256 of the reviews \
         `{}`.\n\nA run with the reviews at hand trains both afresh and compares; only `--data embedded` reads these \
         files.\n",
        report.sentiment.window_words,
        row("ground truth", report.sentiment_reviews, &report.sentiment),
        row("second opinion", report.second_opinion_reviews, &report.second_opinion),
        options.out.display(),
        config.seed,
        reviews.origin.content_sha256,
    );
    let path = options.out.join("README.md");
    std::fs::write(&path, card).with_context(|| path.display().to_string())?;
    Ok(Outcome::Done)
}
