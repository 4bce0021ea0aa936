//! What people wrote: the reviews' own continuations of the evaluation prompts.

use std::path::Path;

use anyhow::Result;
use feedback::scorer::texts;
use imdb::Source;
use lm::{Sequence, Tokenizer};
use serde::{Deserialize, Serialize};

use crate::exit::BadInput;
use crate::imdb_frontier::planned::Planned;
use crate::imdb_frontier::reviews;
use crate::study::folder::read_json;

pub const HUMAN: &str = "human.json";

/// A prompt and how its review goes on. The text stays in the cache: reviews are not ours to publish.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Human {
    /// Token ids, begin token first.
    pub prompt: Vec<u32>,
    /// The prompt as text.
    pub opening: String,
    /// The continuation as text.
    pub text: String,
}

/// The first `count` evaluation prompts of a study with their continuations, as many tokens as responses may
/// have.
pub fn continuations(
    planned: &Planned,
    source: &Source,
    (prompts, tokenizer): (&[Vec<u32>], &Tokenizer),
    count: usize,
) -> Result<Vec<Human>> {
    let preset = &planned.preset;
    let reviews = reviews::load(source, preset.data_seed)?;
    if reviews.test.is_empty() {
        let why = "the responses are compared with what people wrote";
        return Err(BadInput(format!("{source}: found no reviews, expected some: {why}")).into());
    }
    let length = preset.sampling.max_new_tokens;
    let mut sequences = preset.prompts.continued(&reviews.test, tokenizer, preset.data_seed, length)?;
    sequences.truncate(count);
    if let Some(index) = sequences.iter().zip(prompts).position(|(own, expected)| own.prompt != *expected) {
        anyhow::bail!("prompt {index} of the study is not the opening of its review");
    }
    let read = texts(tokenizer, &sequences)?;
    let human = |(sequence, (opening, text)): (Sequence, (String, String))| Human {
        prompt: sequence.prompt,
        opening,
        text,
    };
    Ok(sequences.into_iter().zip(read).map(human).collect())
}

/// The continuations of a finished stage.
pub fn read(dir: &Path) -> Result<Vec<Human>> {
    read_json(&dir.join(HUMAN))
}
