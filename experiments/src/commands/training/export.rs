//! A trained model's folder: what `transformers` reads, and what it needs to generate and to hold a conversation.

use std::path::Path;

use anyhow::{Context, Result};
use lm::files::{Precision, save_policy};
use lm::{Policy, Tokenizer};
use serde_json::{Value, json};

use crate::study::folder::{read_json, write_files, write_json, write_text};

const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
const TEMPLATE_FILE: &str = "chat_template.jinja";

/// Writes a policy that was trained from the model in `base`, with its card.
pub fn policy(
    dir: &Path,
    (policy, tokenizer): (&Policy, &Tokenizer),
    base: &Path,
    max_new_tokens: usize,
    card: &str,
) -> Result<()> {
    write_files(dir, |dir| {
        save_policy(dir, policy, tokenizer, Precision::F32)?;
        let generation = json!({
            "bos_token_id": tokenizer.end(),
            "eos_token_id": tokenizer.end(),
            "pad_token_id": tokenizer.pad(),
            "do_sample": true,
            "temperature": policy.temperature(),
            // The policy that was trained is the one without filters, which are on by default there.
            "top_k": 0,
            "top_p": 1.0,
            "max_new_tokens": max_new_tokens,
        });
        write_json(&dir.join("generation_config.json"), &generation)?;
        carry_template(base, dir)?;
        write_text(&dir.join("README.md"), card)
    })
}

/// Gives a model's folder the chat template of the model that it was trained from.
pub fn carry_template(base: &Path, dir: &Path) -> Result<()> {
    let file = base.join(TEMPLATE_FILE);
    if file.is_file() {
        std::fs::copy(&file, dir.join(TEMPLATE_FILE)).with_context(|| file.display().to_string())?;
    }
    let config = base.join(TOKENIZER_CONFIG);
    if !config.is_file() {
        return Ok(());
    }
    let theirs: Value = read_json(&config)?;
    if let Some(template) = theirs.get("chat_template") {
        let path = dir.join(TOKENIZER_CONFIG);
        let mut ours: Value = read_json(&path)?;
        ours["chat_template"] = template.clone();
        write_json(&path, &ours)?;
    }
    Ok(())
}
