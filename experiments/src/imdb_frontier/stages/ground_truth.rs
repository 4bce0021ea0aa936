//! Stage 2: the ground truth r* and the second opinion.

use std::path::Path;

use anyhow::Result;
use imdb::sentiment::{GROUND_TRUTH_FEATURES, SECOND_OPINION_FEATURES};
use imdb::{SentimentClassifier, train_ground_truth};
use serde_json::json;

use crate::imdb_frontier::reviews::spread;
use crate::imdb_frontier::stages::context::Context;
use crate::repository;
use crate::study::stages::Finished;

/// The classifiers that ship.
const SHIPPED: &str = "data/ground-truth";
pub const GROUND_TRUTH: &str = "ground_truth.safetensors";
pub const SECOND_OPINION: &str = "judge.safetensors";

pub fn stage(context: &Context<'_>) -> Result<Finished> {
    context.stage("ground-truth", |dir| {
        let reviews = context.reviews()?;
        let about = json!({ "origin": reviews.origin, "counts": reviews.counts });
        if reviews.train.is_empty() {
            let (ground_truth, second_opinion) = read(&repository::path(SHIPPED)?)?;
            write(dir, &ground_truth, &second_opinion)?;
            return Ok((0, json!({ "data": about, "source": SHIPPED })));
        }
        let trained = train_ground_truth(reviews, &context.plan.preset.ground_truth)?;
        write(dir, &trained.sentiment, &trained.second_opinion)?;
        // Synthetic reviews have another language; only on IMDb must the two agree.
        let agreement = match repository::path(SHIPPED).and_then(|dir| read(&dir)) {
            Ok((other, _)) if !context.plan.preset.synthetic => {
                let texts = spread(&reviews.test, 2000);
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

pub fn write(
    dir: &Path,
    ground_truth: &SentimentClassifier,
    second_opinion: &SentimentClassifier,
) -> Result<()> {
    ground_truth.save(&dir.join(GROUND_TRUTH))?;
    second_opinion.save(&dir.join(SECOND_OPINION))?;
    Ok(())
}

pub fn read(dir: &Path) -> Result<(SentimentClassifier, SentimentClassifier)> {
    Ok((
        SentimentClassifier::load(&dir.join(GROUND_TRUTH), GROUND_TRUTH_FEATURES)?,
        SentimentClassifier::load(&dir.join(SECOND_OPINION), SECOND_OPINION_FEATURES)?,
    ))
}
