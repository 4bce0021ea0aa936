//! What policies are compared on, whatever data they come from.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;
use feedback::judge::Judge;
use lm::{OpenDevice, Sampling, Scorer, Tokenizer};

use crate::study::folder::Folder;
use crate::tldr::human::Human;
use crate::tldr::policies::Contestant;

/// Scorers of a tokenizer's sequences: the reward that policies were trained for, and a second opinion.
pub struct Scorers {
    pub reward: Box<dyn Scorer>,
    pub second_opinion: Box<dyn Scorer>,
}

/// The scorers that belong to a seed.
pub type ScorersOf<'a> = dyn Fn(u64, &Tokenizer) -> Result<Scorers> + 'a;

/// All that a policy meets when it is sampled, scored and judged.
pub struct Ground<'a> {
    /// The folder of the model that KL is measured from.
    pub reference: PathBuf,
    /// The temperature that it was trained at.
    pub temperature: f64,
    pub sampling: Sampling,
    /// The prompts, and what people wrote.
    pub texts: Vec<Human>,
    pub scorers: Box<ScorersOf<'a>>,
    pub judges: Vec<Box<dyn Judge>>,
    /// Hash of all of it.
    pub key: String,
}

/// Where policies, prompts and people's texts come from.
pub trait Benchmark {
    fn seeds(&self) -> &[u64];

    /// The policies that are trained, those of a method together.
    fn trained(&self) -> &[Contestant];

    /// Where the data come from, in words.
    fn data(&self) -> String;

    /// Parameters of the models, by which `auto` chooses a device.
    fn parameters(&self) -> Result<usize>;

    /// Prints what is to be done before policies can be sampled.
    fn print_plan(&self, out: &mut dyn Write) -> Result<()>;

    /// The most tokens of a prompt, and of a response.
    fn lengths(&self) -> (usize, usize);

    /// Does that: afterwards every trained policy is in its folder.
    fn prepare(&self, folder: &Folder, open: &OpenDevice) -> Result<Ground<'_>>;
}
