//! What all training shares: the trait [`Trainer`] and shuffled epochs.

use rand::seq::SliceRandom;

use crate::policy::Policy;
use crate::random::Stream;

/// Named numbers of one step, in the order in which the columns of `metrics.csv` stand.
pub type Metrics = Vec<(&'static str, f64)>;

/// Why a step failed; each crate's own error inside.
pub type StepError = Box<dyn std::error::Error + Send + Sync>;

/// An algorithm that improves a policy step by step.
pub trait Trainer {
    /// One step of the algorithm.
    ///
    /// # Errors
    /// If a number stops being finite or the data does not fit the model.
    fn step(&mut self) -> Result<Metrics, StepError>;

    /// The policy as it is now, without gradients.
    fn policy(&self) -> Policy;

    /// Tokens that the algorithm has processed so far: trained on, generated and scored, prompts included.
    fn tokens(&self) -> u64;
}

/// Endless shuffled passes: each pass visits every index once.
#[derive(Clone, Debug)]
pub struct Epochs {
    groups: Vec<Vec<usize>>,
    order: Vec<usize>,
    cursor: usize,
    epoch: u64,
    stream: Stream,
}

impl Epochs {
    /// Passes over `0..count`, shuffled by the stream.
    ///
    /// # Panics
    /// If `count` is 0: there would be nothing to visit.
    pub fn new(count: usize, stream: Stream) -> Self {
        Self::grouped((0..count).map(|index| vec![index]).collect(), stream)
    }

    /// Passes over groups of indices: a group's members come one after another, groups and members in random order.
    ///
    /// # Panics
    /// If there is no index at all.
    pub fn grouped(groups: Vec<Vec<usize>>, stream: Stream) -> Self {
        assert!(groups.iter().any(|group| !group.is_empty()), "epochs over no example");
        let mut epochs = Self { groups, order: Vec::new(), cursor: 0, epoch: 0, stream };
        epochs.shuffle();
        epochs
    }

    fn shuffle(&mut self) {
        let mut rng = self.stream.child(self.epoch).rng();
        let mut groups: Vec<&Vec<usize>> = self.groups.iter().collect();
        groups.shuffle(&mut rng);
        self.order.clear();
        for group in groups {
            let start = self.order.len();
            self.order.extend(group);
            self.order[start..].shuffle(&mut rng);
        }
    }

    /// The next `n` indices; a batch may span the end of a pass.
    pub fn next(&mut self, n: usize) -> Vec<usize> {
        (0..n)
            .map(|_| {
                if self.cursor == self.order.len() {
                    self.epoch += 1;
                    self.cursor = 0;
                    self.shuffle();
                }
                self.cursor += 1;
                self.order[self.cursor - 1]
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests may panic")]
    use super::*;

    #[test]
    fn epochs_visit_everything_once_a_pass() {
        let mut epochs = Epochs::new(5, Stream::new(1, "test"));
        let mut passes = [epochs.next(5), epochs.next(5)];
        assert_ne!(passes[0], passes[1], "two passes have the same order");
        for pass in &mut passes {
            pass.sort_unstable();
            assert_eq!(*pass, [0, 1, 2, 3, 4]);
        }
    }

    #[test]
    fn groups_stay_together_in_every_pass() {
        let mut epochs = Epochs::grouped(vec![vec![0, 1, 2], vec![3], vec![4, 5]], Stream::new(2, "test"));
        let mut orders = std::collections::HashSet::new();
        for _ in 0..50 {
            let pass = epochs.next(6);
            let place = |index: usize| pass.iter().position(|&found| found == index).unwrap();
            let spread = |group: &[usize]| {
                let places: Vec<usize> = group.iter().map(|&index| place(index)).collect();
                places.iter().max().unwrap() - places.iter().min().unwrap()
            };
            assert_eq!((spread(&[0, 1, 2]), spread(&[4, 5])), (2, 1), "{pass:?}");
            orders.insert(pass);
        }
        assert!(orders.len() > 20, "only {} orders in 50 passes", orders.len());
    }
}
