//! `experiments tldr-data`: TL;DR as files that `sft`, `reward-model`, `dpo` and `ppo` read.
//!
//! ```text
//! sft.jsonl                     posts with their authors' summaries
//! prompts.jsonl                 the same posts alone
//! preferences.jsonl             comparisons of the split `train`
//! preferred.jsonl               what was preferred in them
//! preferences-held-out.jsonl    comparisons of all other splits
//! held-out.jsonl                held-out posts with their authors' summaries
//! ```
//!
//! Of a held-out post no other file has anything.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use feedback::records::{Lines, Record};
use serde_json::{Value, json};

use crate::cli::TldrDataOptions;
use crate::exit::{BadInput, Outcome};
use crate::study::folder::write_text;
use crate::tldr::openai::{Comparison, Post, comparisons, posts};
use crate::tldr::synthetic;

pub const SFT: &str = "sft.jsonl";
pub const PROMPTS: &str = "prompts.jsonl";
pub const PREFERENCES: &str = "preferences.jsonl";
pub const PREFERRED: &str = "preferred.jsonl";
pub const OTHER_PREFERENCES: &str = "preferences-held-out.jsonl";
pub const HELD_OUT: &str = "held-out.jsonl";

/// What is made up stands in files of OpenAI's schema, and is read like theirs.
const POSTS: &str = "posts.jsonl";
const HELD_OUT_POSTS: &str = "posts-held-out.jsonl";
const COMPARISONS: &str = "comparisons.jsonl";

/// The split of a comparison that is trained on; all others are held out.
const TRAIN: &str = "train";

/// Files in OpenAI's schema.
#[derive(Clone, Debug, Default)]
pub struct Files {
    pub posts: Vec<PathBuf>,
    pub held_out_posts: Vec<PathBuf>,
    pub comparisons: Vec<PathBuf>,
}

impl Files {
    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &PathBuf> {
        self.posts.iter().chain(&self.held_out_posts).chain(&self.comparisons)
    }
}

/// `experiments tldr-data`.
pub fn run(options: &TldrDataOptions) -> Result<Outcome> {
    let out = options.out.as_path();
    let files = match options.synthetic {
        Some(count) => make(out, count, options.seed)?,
        None => Files {
            posts: options.posts.clone(),
            held_out_posts: options.held_out_posts.clone(),
            comparisons: options.comparisons.clone(),
        },
    };
    if files.all().next().is_none() {
        let expected = "--posts, --held-out-posts, --comparisons or --synthetic";
        return Err(BadInput(format!("tldr-data: found no files, expected {expected}")).into());
    }
    let written = write(out, &files)?;
    tracing::info!("{}: {}", out.display(), written.join(", "));
    Ok(Outcome::Done)
}

/// Reads the files and writes those of the trainings into a folder; says which, and how many lines they have.
pub fn write(out: &Path, files: &Files) -> Result<Vec<String>> {
    std::fs::create_dir_all(out).map_err(|error| BadInput(format!("{}: {error}", out.display())))?;
    let held_out: Vec<(Post, String)> = all(&files.held_out_posts, posts)?;
    let kept_apart: HashSet<&str> = held_out.iter().map(|(post, _)| post.id.as_str()).collect();
    let others = |post: &Post| !kept_apart.contains(post.id.as_str());
    let mut train: Vec<(Post, String)> = all(&files.posts, posts)?;
    let mut compared: Vec<Comparison> = all(&files.comparisons, comparisons)?;
    let before = train.len() + compared.len();
    train.retain(|(post, _)| others(post));
    compared.retain(|one| others(&one.post));
    let left_out = before - train.len() - compared.len();
    if left_out > 0 {
        tracing::info!("{left_out} posts and comparisons of held-out posts are left out");
    }
    let (preferences, other): (Vec<Comparison>, Vec<Comparison>) =
        compared.into_iter().partition(|one| one.split == TRAIN);
    let mut written = Vec::new();
    for (name, lines) in [
        (SFT, train.iter().map(text).collect::<Vec<Value>>()),
        (PROMPTS, train.iter().map(|(post, _)| json!({ "prompt": post.prompt() })).collect()),
        (PREFERENCES, preferences.iter().map(pair).collect()),
        (PREFERRED, preferences.iter().map(preferred).collect()),
        (OTHER_PREFERENCES, other.iter().map(pair).collect()),
        (HELD_OUT, held_out.iter().map(text).collect()),
    ] {
        if !lines.is_empty() {
            written.push(format!("{name} ({} lines)", lines.len()));
            write_lines(&out.join(name), &lines)?;
        }
    }
    Ok(written)
}

/// Prompts and completions of a file that [`write()`] wrote, line by line.
pub fn texts(path: &Path) -> Result<Vec<(String, String)>> {
    let text = |record: Record| -> Result<(String, String)> {
        Ok((record.text("prompt")?.to_owned(), record.text("completion")?.to_owned()))
    };
    Lines::open(path)?.map(|record| text(record?)).collect()
}

fn all<T>(
    paths: &[PathBuf],
    read: impl Fn(&Path) -> Result<Vec<T>, feedback::FeedbackError>,
) -> Result<Vec<T>> {
    let mut all = Vec::new();
    for path in paths {
        all.extend(read(path)?);
    }
    Ok(all)
}

/// A summary begins with the blank that follows the prompt.
fn response(summary: &str) -> String {
    format!(" {}", summary.trim())
}

fn text((post, summary): &(Post, String)) -> Value {
    json!({ "prompt": post.prompt(), "completion": response(summary) })
}

fn pair(one: &Comparison) -> Value {
    let (chosen, rejected) = one.preferred();
    json!({ "prompt": one.post.prompt(), "chosen": response(chosen), "rejected": response(rejected) })
}

fn preferred(one: &Comparison) -> Value {
    json!({ "prompt": one.post.prompt(), "completion": response(one.preferred().0) })
}

fn write_lines(path: &Path, lines: &[Value]) -> Result<()> {
    let mut text = String::new();
    for line in lines {
        writeln!(text, "{line}").with_context(|| path.display().to_string())?;
    }
    write_text(path, &text)
}

/// Makes posts up, and says where they stand.
pub fn make(out: &Path, count: u32, seed: u64) -> Result<Files> {
    std::fs::create_dir_all(out).map_err(|error| BadInput(format!("{}: {error}", out.display())))?;
    let made = synthetic::make(count as usize, seed);
    let [posts, held_out, comparisons] = [POSTS, HELD_OUT_POSTS, COMPARISONS].map(|name| out.join(name));
    write_lines(&posts, &made.posts)?;
    write_lines(&held_out, &made.held_out)?;
    write_lines(&comparisons, &made.comparisons)?;
    Ok(Files { posts: vec![posts], held_out_posts: vec![held_out], comparisons: vec![comparisons] })
}
