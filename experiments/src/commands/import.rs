//! `experiments import`: a model of another program as a Hugging Face folder.

use std::path::Path;

use anyhow::{Context as _, Result};
use lm::files::{Imported, import_gguf};

use crate::cli::{ImportFrom, ImportOptions};
use crate::exit::{BadInput, Outcome};

/// `experiments import gguf FILE --out DIR`.
pub fn run(options: &ImportOptions) -> Result<Outcome> {
    match &options.from {
        ImportFrom::Gguf { file, out } => gguf(file, out),
    }
}

/// Writes the folder of a GGUF file's model.
pub fn gguf(file: &Path, out: &Path) -> Result<Outcome> {
    if out.read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
        let found = format!("{}: found files", out.display());
        return Err(BadInput(format!("{found}, expected a new or empty folder")).into());
    }
    let imported = import_gguf(file, out)?;
    let card = out.join("README.md");
    std::fs::write(&card, model_card(file, &imported)).with_context(|| card.display().to_string())?;
    let parameters = imported.config.parameters() as f64 / 1e6;
    tracing::info!("{}: {parameters:.1} M parameters, tensors as {}", out.display(), types(&imported));
    Ok(Outcome::Done)
}

/// Where the weights come from and what was done to them.
fn model_card(file: &Path, imported: &Imported) -> String {
    let license = imported.license.as_deref();
    let front = license.map(|license| format!("---\nlicense: {license}\n---\n\n")).unwrap_or_default();
    let name = imported.name.as_deref().unwrap_or("A language model");
    let source = file.file_name().unwrap_or(file.as_os_str()).display();
    let license = license.unwrap_or("not named in the file");
    format!(
        "{front}# {name}\n\nThe weights of `{source}`, a GGUF file with tensors as {types}, widened to f32 by `experiments import \
         gguf`. What the quantised types lost stays lost. Licence of the weights: {license}.\n",
        types = types(imported),
    )
}

fn types(imported: &Imported) -> String {
    let types: Vec<String> = imported.types.iter().map(|(kind, count)| format!("{kind} ({count})")).collect();
    types.join(", ")
}
