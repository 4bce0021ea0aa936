//! `experiments train-reference`: pi_SFT as it ships, with a card.

use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result};
use imdb::Reviews;
use lm::{Activations, DeviceSpec, Sampling, Stream};

use crate::cli::ReferenceOptions;
use crate::exit::Outcome;
use crate::imdb_frontier::reference::{HELD_OUT, ReferenceConfig, Trained, TrainingContext, save, train};
use crate::imdb_frontier::reviews;
use crate::progress::Progress;
use crate::settings;
use crate::study::folder::write_text;

/// `experiments train-reference`.
pub fn run(options: &ReferenceOptions) -> Result<Outcome> {
    let shipped = include_str!("../../presets/reference.toml");
    let config: ReferenceConfig = match &options.preset {
        Some(path) => settings::read_file(path, shipped, &options.overrides)?,
        None => settings::read_text("reference", shipped, shipped, &options.overrides)?,
    };
    let open = options.device.open(config.architecture(config.vocab_size).parameters())?;
    let reviews = reviews::load(&options.data, config.seed)?;
    std::fs::create_dir_all(&options.out).with_context(|| options.out.display().to_string())?;
    let context = TrainingContext {
        device: &open.device,
        progress: &Progress::new(),
        metrics: &options.out.join("metrics.csv"),
        snapshots: Some(&options.out),
        activations: Activations::Kept,
    };
    let trained = train(&config, &reviews, 1.0, &context)?;
    save(&options.out, &trained.policy, &trained.tokenizer)?;
    write_card(&options.out, &config, &reviews, &trained, open.spec)?;
    Ok(Outcome::Done)
}

/// The card: data, tokens, perplexity, command, seed, and samples as they come.
fn write_card(
    dir: &Path,
    config: &ReferenceConfig,
    reviews: &Reviews,
    trained: &Trained,
    device: DeviceSpec,
) -> Result<()> {
    let sampling = Sampling { max_new_tokens: 40.min(config.n_positions - 1), batch_size: 8 };
    let prompts = vec![vec![trained.tokenizer.begin()]; 8];
    let mut samples = String::new();
    for generation in trained.policy.generate(&prompts, &sampling, Stream::new(config.seed, "card"))? {
        writeln!(samples, "- {}", trained.tokenizer.decode(&generation.response)?.trim())?;
    }
    let architecture = config.architecture(trained.tokenizer.vocab_size());
    let out = dir.display();
    let card = format!(
        "# Reference language model\n\n\
         A GPT-2 of {:.2} M parameters ({} layers, width {}, {} heads, context {}, {} byte-level BPE tokens), the \
         supervised model that every method of this repository starts from and that KL is measured from.\n\n\
         | | |\n|-|-|\n\
         | data | IMDb reviews (Maas et al. 2011), {} train and {} unsup; content sha256 `{}` |\n\
         | tokens trained on | {:.1} M |\n\
         | held-out perplexity | {:.1} a token on the first {} tokens of about {HELD_OUT} test reviews |\n\
         | command | `cargo run -p experiments -- train-reference --out {out}` |\n\
         | seed | {} |\n\
         | time | {:.0} minutes on `{device}` |\n\n\
         The folder is read by `transformers`: `AutoModelForCausalLM.from_pretrained(\"{out}\")`.\n\n\
         Samples from the begin token alone, not chosen:\n\n{samples}",
        architecture.parameters() as f64 / 1e6,
        config.n_layer,
        config.n_embd,
        config.n_head,
        config.n_positions,
        trained.tokenizer.vocab_size(),
        reviews.train.len(),
        if config.unsup { reviews.unsup.len() } else { 0 },
        reviews.origin.content_sha256,
        trained.tokens as f64 / 1e6,
        trained.perplexity,
        config.n_positions,
        config.seed,
        trained.seconds / 60.0,
    );
    let path = dir.join("README.md");
    write_text(&path, &card)
}
