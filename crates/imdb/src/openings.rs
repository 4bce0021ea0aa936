//! Openings of reviews as prompts: their first tokens, in three sets that share no review.

use feedback::Prompts;
use lm::device::on_host;
use lm::{Config, LmError, Policy, Problem, Sampling, Sequence, Stream, Tokenizer};
use rand::RngExt;
use rand::seq::SliceRandom;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::ImdbError;
use crate::reviews::Review;

/// Reviews that are tokenised together, until there are prompts enough.
const REVIEWS_AT_ONCE: usize = 1024;

/// How many prompts there are and how long they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PromptConfig {
    /// Prompts that preference pairs and PPO's rollouts are made for.
    pub train: usize,
    /// Prompts that hyperparameters are tuned on; the evaluation never sees them.
    pub tune: usize,
    /// Prompts of the evaluation.
    pub evaluate: usize,
    /// Shortest prompt in tokens, the begin token not counted.
    pub min_tokens: usize,
    /// Longest prompt in tokens, the begin token not counted.
    pub max_tokens: usize,
}

impl PromptConfig {
    /// Openings of reviews: train and tuning prompts from `train`, evaluation prompts from `test`, one per
    /// review.
    ///
    /// # Errors
    /// [`ImdbError::TooFew`] if there are fewer reviews than prompts; an error of the tokenizer.
    pub fn from_reviews(
        &self,
        train: &[Review],
        test: &[Review],
        tokenizer: &Tokenizer,
        seed: u64,
    ) -> Result<Prompts, ImdbError> {
        let stream = Stream::new(seed, "prompts");
        let mut fit = self.openings(train, self.train + self.tune, tokenizer, stream.child(0))?;
        let tune = fit.split_off(self.train);
        let evaluate = self.openings(test, self.evaluate, tokenizer, stream.child(1))?;
        Ok(Prompts { train: fit, tune, evaluate })
    }

    /// The prompts of the evaluation as [`PromptConfig::from_reviews`] makes them, each with what follows it
    /// in its review as the response, `length` tokens at most.
    ///
    /// # Errors
    /// As there.
    pub fn continued(
        &self,
        test: &[Review],
        tokenizer: &Tokenizer,
        seed: u64,
        length: usize,
    ) -> Result<Vec<Sequence>, ImdbError> {
        let stream = Stream::new(seed, "prompts").child(1);
        self.drawn(test, self.evaluate, stream, |text, opening| {
            let Some(prompt) = self.opening(text, opening, tokenizer)? else { return Ok(None) };
            let response = tokenizer.encode(text)?.into_iter().skip(opening).take(length).collect();
            Ok(Some(Sequence { prompt, response }))
        })
    }

    fn openings(
        &self,
        reviews: &[Review],
        count: usize,
        tokenizer: &Tokenizer,
        stream: Stream,
    ) -> Result<Vec<Vec<u32>>, ImdbError> {
        self.drawn(reviews, count, stream, |text, length| self.opening(text, length, tokenizer))
    }

    /// What `of` makes of reviews in random order, each with a random length, until there are `count`; a
    /// review of which it makes nothing is left out.
    fn drawn<T: Send>(
        &self,
        reviews: &[Review],
        count: usize,
        stream: Stream,
        of: impl Fn(&str, usize) -> Result<Option<T>, LmError> + Sync,
    ) -> Result<Vec<T>, ImdbError> {
        let mut rng = stream.rng();
        let mut order: Vec<usize> = (0..reviews.len()).collect();
        order.shuffle(&mut rng);
        let drawn: Vec<(&str, usize)> = order
            .into_iter()
            .map(|i| (reviews[i].text.as_str(), rng.random_range(self.min_tokens..=self.max_tokens)))
            .collect();
        let mut prompts = Vec::new();
        for some in drawn.chunks(REVIEWS_AT_ONCE) {
            if prompts.len() >= count {
                break;
            }
            let found: Result<Vec<Option<T>>, LmError> =
                some.par_iter().map(|&(text, length)| of(text, length)).collect();
            prompts.extend(found?.into_iter().flatten());
        }
        prompts.truncate(count);
        if prompts.len() < count {
            return Err(ImdbError::TooFew {
                purpose: "prompts",
                what: "reviews",
                found: prompts.len(),
                expected: count,
            });
        }
        Ok(prompts)
    }

    /// The first `length` tokens of a review, unless they are all of it.
    fn opening(&self, text: &str, length: usize, tokenizer: &Tokenizer) -> Result<Option<Vec<u32>>, LmError> {
        // The longest prompt's tokens lie within this many bytes except in pathological texts, which are
        // skipped.
        let head = text.char_indices().nth(40 * self.max_tokens).map_or(text, |(end, _)| &text[..end]);
        let ids = tokenizer.encode(head)?;
        Ok((ids.len() > length).then(|| begin(tokenizer, &ids[..length])))
    }

    /// Openings that the reference model writes itself, for runs without reviews.
    ///
    /// # Errors
    /// [`ImdbError::TooFew`] if the model ends its texts at once too often; an error of the model.
    pub fn from_model(
        &self,
        policy: &Policy,
        tokenizer: &Tokenizer,
        seed: u64,
    ) -> Result<Prompts, ImdbError> {
        let stream = Stream::new(seed, "prompts");
        let mut rng = stream.child(2).rng();
        let wanted = self.train + self.tune + self.evaluate;
        // A tenth more than wanted: an opening that ends within the prompt is of no use.
        let starts = vec![vec![tokenizer.begin()]; wanted + wanted / 10 + 1];
        // No setting, as a draw in thousands depends on it: sums are rounded otherwise.
        let batch_size = if on_host(&policy.device()) { 64 } else { 1024 };
        let sampling = Sampling { max_new_tokens: self.max_tokens, batch_size };
        let mut prompts: Vec<Vec<u32>> = policy
            .generate(&starts, &sampling, stream.child(3))?
            .into_iter()
            .filter(|generation| !generation.ended)
            .map(|g| begin(tokenizer, &g.response[..rng.random_range(self.min_tokens..=self.max_tokens)]))
            .take(wanted)
            .collect();
        if prompts.len() < wanted {
            return Err(ImdbError::TooFew {
                purpose: "prompts",
                what: "openings from the reference model",
                found: prompts.len(),
                expected: wanted,
            });
        }
        let evaluate = prompts.split_off(self.train + self.tune);
        let tune = prompts.split_off(self.train);
        Ok(Prompts { train: prompts, tune, evaluate })
    }
}

impl Config for PromptConfig {
    fn problems(&self) -> Vec<Problem> {
        let checks = [
            Problem::unless_counted("train", self.train),
            Problem::unless_counted("evaluate", self.evaluate),
            Problem::unless_counted("min_tokens", self.min_tokens),
            Problem::unless(
                self.min_tokens <= self.max_tokens,
                "max_tokens",
                self.max_tokens,
                format!("at least min_tokens, {}", self.min_tokens),
            ),
        ];
        checks.into_iter().flatten().collect()
    }
}

fn begin(tokenizer: &Tokenizer, ids: &[u32]) -> Vec<u32> {
    [&[tokenizer.begin()], ids].concat()
}
