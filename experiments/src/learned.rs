//! What an evaluation's responses say beside its own numbers: the learned reward, and how varied they are.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use imdb::Evaluator;
use lm::{LmError, Scorer, Sequence};

/// Listens to an evaluator and measures the responses of its last evaluation.
pub struct Learned {
    reward: Arc<dyn Scorer>,
    heard: Arc<Mutex<Vec<Sequence>>>,
}

/// A judge that keeps what it judged last: an evaluation gives texts away, and the learned reward reads ids.
struct Listening {
    judge: Box<dyn Scorer>,
    heard: Arc<Mutex<Vec<Sequence>>>,
}

impl Scorer for Listening {
    fn score(&self, sequences: &[Sequence]) -> Result<Vec<f32>, LmError> {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = sequences.to_vec();
        self.judge.score(sequences)
    }
}

impl Learned {
    /// The same evaluator, and what listens to it.
    pub fn listen(evaluator: Evaluator, reward: Arc<dyn Scorer>) -> (Evaluator, Self) {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let judge = Box::new(Listening { judge: evaluator.judge, heard: Arc::clone(&heard) });
        (Evaluator { judge, ..evaluator }, Self { reward, heard })
    }

    /// Of the last evaluation: the mean learned reward, and [`distinct_2`].
    pub fn measure(&self) -> Result<(f64, f64)> {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let scores = self.reward.score(&heard)?;
        let total: f64 = scores.iter().map(|&score| f64::from(score)).sum();
        Ok((
            total / scores.len() as f64,
            distinct_2(heard.iter().map(|sequence| sequence.response.as_slice())),
        ))
    }
}

/// The distinct pairs of neighbouring tokens in all responses together, as a share of all such pairs: distinct-2 (Li et
/// al. 2016), over pairs rather than tokens so that 1 means that none repeats. NaN if there is no pair.
fn distinct_2<'a>(responses: impl Iterator<Item = &'a [u32]>) -> f64 {
    let mut seen = HashSet::new();
    let mut pairs = 0_usize;
    for response in responses {
        for pair in response.windows(2) {
            seen.insert([pair[0], pair[1]]);
            pairs += 1;
        }
    }
    seen.len() as f64 / pairs as f64
}

#[cfg(test)]
mod tests {
    #![allow(clippy::float_cmp, reason = "the shares are exact")]
    use super::distinct_2;

    #[test]
    fn distinct_pairs_by_hand() {
        // 12 23 | 12 21: three of four.
        assert_eq!(distinct_2([[1, 2, 3].as_slice(), &[1, 2, 1]].into_iter()), 0.75);
        assert_eq!(distinct_2([[7, 7, 7, 7].as_slice()].into_iter()), 1.0 / 3.0);
        assert!(distinct_2([[7].as_slice(), &[]].into_iter()).is_nan());
    }
}
