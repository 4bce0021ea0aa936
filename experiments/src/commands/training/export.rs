//! A trained policy's folder: what `transformers` or PEFT reads, and what they need to generate
//! as the policy does here.

use std::path::Path;

use anyhow::Result;
use lm::files::{Precision, save_policy, save_policy_adapter};
use lm::{Policy, Tokenizer};
use serde_json::json;

use crate::study::folder::{write_files, write_json, write_text};

/// Writes a policy with its card; one with adapters as these, beside the name of the folder of its base.
pub fn policy(
    dir: &Path,
    (policy, tokenizer, base): (&Policy, &Tokenizer, &Path),
    max_new_tokens: usize,
    card: &str,
) -> Result<()> {
    write_files(dir, |dir| {
        match policy.model().lora() {
            None => save_policy(dir, policy, tokenizer, Precision::F32)?,
            Some(_) => save_policy_adapter(dir, policy, &base.to_string_lossy(), tokenizer)?,
        }
        let generation = json!({
            "bos_token_id": tokenizer.begin(),
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
        write_text(&dir.join("README.md"), card)
    })
}
