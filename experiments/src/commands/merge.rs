//! `experiments merge`: an adapter and its base as one model.

use anyhow::Result;
use lm::files::{ModelFolder, Precision, load_tokenizer, save_policy, save_scalar_model};

use super::training::source::NORMALIZATION;
use crate::cli::own_data::MergeOptions;
use crate::exit::{BadInput, Outcome};
use crate::study::folder::write_files;

/// `experiments merge`.
pub fn run(options: &MergeOptions) -> Result<Outcome> {
    let (dir, out) = (&options.model, &options.out);
    let folder = ModelFolder::open(dir, options.base_model.as_deref())?;
    if !folder.is_adapter() {
        let found = format!("--model {}: found no adapter", dir.display());
        return Err(BadInput(format!("{found}, expected the folder of one")).into());
    }
    if out.read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
        let found = format!("--out {}: found files", out.display());
        return Err(BadInput(format!("{found}, expected a new or empty folder")).into());
    }
    // Adding numbers takes no device but the one that they are read on.
    let device = lm::DeviceSpec::CPU.open()?;
    write_files(out, |out| {
        if folder.is_classifier() {
            let tokenizer = load_tokenizer(folder.tokenizer_dir())?;
            save_scalar_model(out, &folder.scalar_model(&device)?, &tokenizer, Precision::F32)?;
        } else {
            let (policy, tokenizer) = folder.policy(1.0, &device)?;
            save_policy(out, &policy, &tokenizer, Precision::F32)?;
        }
        // What lies beside the adapter and is not of it: how the policy generates, and the unit of
        // a reward model's scores.
        for name in ["generation_config.json", NORMALIZATION] {
            if dir.join(name).is_file() {
                std::fs::copy(dir.join(name), out.join(name))?;
            }
        }
        Ok(())
    })?;
    tracing::info!("{}: the adapter {} merged into its base", out.display(), dir.display());
    Ok(Outcome::Done)
}
