//! `experiments tldr-data`: TL;DR as files that `sft`, `reward-model`, `dpo` and `ppo` read.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::cli::TldrDataOptions;
use crate::exit::{BadInput, Outcome};
use crate::study::folder::write_text;
use crate::tldr::openai::{Comparison, Post, comparisons, posts};
use crate::tldr::synthetic;

/// What is made up stands in files of OpenAI's schema, and is read like theirs.
const POSTS: &str = "posts.jsonl";
const COMPARISONS: &str = "comparisons.jsonl";

/// The split of a comparison that is trained on; all others are held out.
const TRAIN: &str = "train";

/// `experiments tldr-data`.
pub fn run(options: &TldrDataOptions) -> Result<Outcome> {
    let out = options.out.as_path();
    std::fs::create_dir_all(out).map_err(|error| BadInput(format!("{}: {error}", out.display())))?;
    let made = options.synthetic.map(|count| make(out, count, options.seed)).transpose()?;
    let (of_posts, of_comparisons) = made.map_or_else(
        || (options.posts.clone(), options.comparisons.clone()),
        |(posts, comparisons)| (vec![posts], vec![comparisons]),
    );
    if of_posts.is_empty() && of_comparisons.is_empty() {
        let expected = "--posts, --comparisons or --synthetic";
        return Err(BadInput(format!("tldr-data: found no files, expected {expected}")).into());
    }
    let mut written = Vec::new();
    let mut save = |name: &'static str, lines: Vec<Value>| -> Result<()> {
        if !lines.is_empty() {
            written.push(format!("{name} ({} lines)", lines.len()));
            write_lines(&out.join(name), &lines)?;
        }
        Ok(())
    };
    let posts: Vec<(Post, String)> = all(&of_posts, posts)?;
    save("sft.jsonl", posts.iter().map(text).collect())?;
    save("prompts.jsonl", posts.iter().map(|(post, _)| json!({ "prompt": post.prompt() })).collect())?;
    let compared: Vec<Comparison> = all(&of_comparisons, comparisons)?;
    let (train, held_out): (Vec<Comparison>, Vec<Comparison>) =
        compared.into_iter().partition(|one| one.split == TRAIN);
    save("preferences.jsonl", train.iter().map(pair).collect())?;
    save("preferences-held-out.jsonl", held_out.iter().map(pair).collect())?;
    tracing::info!("{}: {}", out.display(), written.join(", "));
    Ok(Outcome::Done)
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

fn write_lines(path: &Path, lines: &[Value]) -> Result<()> {
    let mut text = String::new();
    for line in lines {
        writeln!(text, "{line}").with_context(|| path.display().to_string())?;
    }
    write_text(path, &text)
}

/// Makes posts up, and says where they stand.
fn make(out: &Path, count: u32, seed: u64) -> Result<(PathBuf, PathBuf)> {
    let made = synthetic::make(count as usize, seed);
    let (posts, comparisons) = (out.join(POSTS), out.join(COMPARISONS));
    write_lines(&posts, &made.posts)?;
    write_lines(&comparisons, &made.comparisons)?;
    Ok((posts, comparisons))
}
