//! Stage 2: the ground truth r* and the second judge.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use imdb::sentiment::GroundTruthConfig;
use imdb::{Judge, SentimentClassifier, SentimentScorer, TextClassifier, train_ground_truth};
use lm::Tokenizer;
use serde_json::json;

use crate::cli::GroundTruthOptions;
use crate::exit::Outcome;
use crate::stages::{Context, Finished, shipped};

const GROUND_TRUTH: &str = "ground_truth.safetensors";
const JUDGE: &str = "judge.safetensors";

pub fn stage(context: &Context<'_>) -> Result<Finished> {
    context.stage("ground-truth", &context.plan.keys.ground_truth, |dir| {
        let reviews = context.reviews()?;
        let about = json!({ "origin": reviews.origin, "counts": reviews.counts });
        if reviews.train.is_empty() {
            let (ground_truth, judge) = read(&shipped("ground-truth"))?;
            write(dir, &ground_truth, &judge)?;
            return Ok((0, json!({ "data": about, "source": "data/ground-truth" })));
        }
        let trained = train_ground_truth(reviews, &context.plan.preset.ground_truth)?;
        write(dir, &trained.sentiment, &trained.judge)?;
        // Synthetic reviews have another language; only on IMDb must the two agree.
        let agreement = match read(&shipped("ground-truth")) {
            Ok((other, _)) if !context.plan.preset.synthetic => {
                let texts = super::data::spread(&reviews.test, 2000);
                let agreement = trained.sentiment.agreement(&other, &texts);
                if agreement.correlation < 0.9 {
                    tracing::warn!(
                        "the ground truth trained here correlates only {:.2} with the shipped one",
                        agreement.correlation
                    );
                }
                Some(agreement)
            }
            _ => None,
        };
        Ok((
            0,
            json!({
                "data": about,
                "source": "trained",
                "report": trained.report,
                "agreement_with_shipped": agreement,
            }),
        ))
    })
}

fn write(dir: &Path, ground_truth: &SentimentClassifier, judge: &Judge) -> Result<()> {
    ground_truth.save(&dir.join(GROUND_TRUTH))?;
    judge.save(&dir.join(JUDGE))?;
    Ok(())
}

fn read(dir: &Path) -> Result<(SentimentClassifier, Judge)> {
    Ok((SentimentClassifier::load(&dir.join(GROUND_TRUTH))?, Judge::load(&dir.join(JUDGE))?))
}

/// r* and the second judge of a finished stage, as scorers.
pub fn scorers(dir: &Path, tokenizer: &Tokenizer) -> Result<(SentimentScorer, SentimentScorer)> {
    let (ground_truth, judge) = read(dir)?;
    let scorer = |classifier: Arc<dyn TextClassifier>| SentimentScorer::new(classifier, tokenizer.clone());
    Ok((scorer(Arc::new(ground_truth)), scorer(Arc::new(judge))))
}

/// `experiments train-ground-truth`.
pub fn run(options: &GroundTruthOptions) -> Result<Outcome> {
    let config = GroundTruthConfig::default();
    let reviews = super::data::load(&options.data, config.seed)?;
    let trained = train_ground_truth(&reviews, &config)?;
    std::fs::create_dir_all(&options.out).with_context(|| options.out.display().to_string())?;
    write(&options.out, &trained.sentiment, &trained.judge)?;
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
        "# Ground truth r* and second judge\n\n\
         Two sentiment classifiers, p(positive) of a text in [0, 1], trained on disjoint halves of the labelled IMDb \
         train reviews (Maas et al. 2011). `{GROUND_TRUTH}`: logistic regression on word uni- and bigrams, the \
         reward of the experiment. `{JUDGE}`: other reviews and other features, to show reward hacking. Weights are \
         f16.\n\n\
         | | train reviews | accuracy, full test reviews | accuracy, {}-word windows | calibration error, windows |\n\
         |-|-|-|-|-|\n{}{}\n\
         Command: `cargo run -p experiments -- train-ground-truth`; seed {}; content sha256 of the reviews \
         `{}`.\n\nA run with the reviews at hand trains both afresh and compares; only `--data embedded` reads these \
         files.\n",
        report.sentiment.window_words,
        row("ground truth", report.sentiment_reviews, &report.sentiment),
        row("second judge", report.judge_reviews, &report.judge),
        config.seed,
        reviews.origin.content_sha256,
    );
    let path = options.out.join("README.md");
    std::fs::write(&path, card).with_context(|| path.display().to_string())?;
    Ok(Outcome::Done)
}
