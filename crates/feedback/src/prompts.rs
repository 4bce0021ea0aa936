//! Prompts as token ids, in three sets that share no source text.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

/// Token ids of prompts; each begins with the tokenizer's end token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prompts {
    /// For preference pairs and PPO's rollouts.
    pub train: Vec<Vec<u32>>,
    /// For tuning hyperparameters.
    pub tune: Vec<Vec<u32>>,
    /// For the evaluation.
    pub evaluate: Vec<Vec<u32>>,
}

/// A set of held-out prompts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PromptSet {
    /// [`Prompts::evaluate`].
    Evaluate,
    /// [`Prompts::tune`].
    Tune,
}

impl Prompts {
    /// One of the held-out sets.
    pub fn held_out(&self, set: PromptSet) -> &[Vec<u32>] {
        match set {
            PromptSet::Evaluate => &self.evaluate,
            PromptSet::Tune => &self.tune,
        }
    }

    /// Share of evaluation prompts that are training prompts too: short prompts repeat, even if their sources
    /// differ. 0 if there are no evaluation prompts.
    pub fn overlap(&self) -> f64 {
        let train: HashSet<&Vec<u32>> = self.train.iter().collect();
        let shared = self.evaluate.iter().filter(|prompt| train.contains(prompt)).count();
        shared as f64 / self.evaluate.len().max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_and_overlap_by_hand() {
        let prompts = Prompts {
            train: vec![vec![0, 1], vec![0, 2]],
            tune: vec![vec![0, 4]],
            evaluate: vec![vec![0, 2], vec![0, 3], vec![0, 2], vec![0, 1, 2]],
        };
        assert!((prompts.overlap() - 0.5).abs() < 1e-12);
        assert_eq!(prompts.held_out(PromptSet::Tune), [[0, 4]]);
        assert_eq!(prompts.held_out(PromptSet::Evaluate).len(), 4);
    }
}
