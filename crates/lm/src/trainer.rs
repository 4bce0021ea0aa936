//! What all training shares: the traits [`Trainer`] and [`PolicyTrainer`], and shuffled epochs.

use rand::seq::SliceRandom;

use crate::LmError;
use crate::policy::Policy;
use crate::random::Stream;
use crate::state::{State, refuse};

/// Named numbers of one step, in the order in which the columns of `metrics.csv` stand.
pub type Metrics = Vec<(&'static str, f64)>;

/// Why a step failed; each crate's own error inside.
pub type StepError = Box<dyn std::error::Error + Send + Sync>;

/// An algorithm that improves a model step by step.
pub trait Trainer {
    /// One step of the algorithm: one optimiser step but for PPO, where it is one iteration, which is
    /// several.
    ///
    /// # Errors
    /// If a number stops being finite or the data does not fit the model.
    fn step(&mut self) -> Result<Metrics, StepError>;

    /// Tokens that models have read or written for this training so far, prompts included. Each
    /// implementation says what it counts.
    fn tokens(&self) -> u64;

    /// Puts into a state all that [`Trainer::restore`] needs.
    fn save(&self, into: &mut State);

    /// Goes on from where another trainer saved its state, to the bit. Both must have been made with the same
    /// configuration, data and seed, which are not part of the state.
    ///
    /// # Errors
    /// [`LmError::State`] for the first tensor or counter that does not fit; the trainer is then as it was.
    fn restore(&mut self, from: &State) -> Result<(), LmError>;
}

/// A trainer whose model is a policy.
pub trait PolicyTrainer: Trainer {
    /// The policy as it is now, without gradients.
    fn policy(&self) -> Policy;
}

/// Endless shuffled passes: each pass visits every index once.
#[derive(Clone, Debug)]
pub struct Epochs {
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
        assert!(count > 0, "epochs over no example");
        let mut epochs = Self { order: (0..count).collect(), cursor: 0, epoch: 0, stream };
        epochs.shuffle();
        epochs
    }

    /// Keeps where the passes are.
    pub fn save(&self, into: &mut State) {
        into.set("epochs/examples", self.order.len());
        into.set("epochs/epoch", self.epoch);
        into.set("epochs/cursor", self.cursor);
    }

    /// These passes where saved ones were.
    ///
    /// # Errors
    /// [`LmError::State`] if those went over another number of indices.
    pub fn restored(&self, from: &State) -> Result<Self, LmError> {
        from.require("epochs/examples", self.order.len())?;
        let (epoch, cursor): (u64, usize) = (from.count("epochs/epoch")?, from.count("epochs/cursor")?);
        if cursor > self.order.len() {
            let expected = format!("at most {}", self.order.len());
            return Err(refuse("epochs/cursor", cursor.to_string(), expected));
        }
        let mut epochs = Self { cursor, epoch, ..self.clone() };
        epochs.shuffle();
        Ok(epochs)
    }

    /// Puts the indices into the order of the current pass.
    fn shuffle(&mut self) {
        self.order.sort_unstable();
        self.order.shuffle(&mut self.stream.child(self.epoch).rng());
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
    fn epochs_go_on_where_others_were() {
        let mut epochs = Epochs::new(5, Stream::new(1, "test"));
        for drawn in 0..12 {
            let mut state = State::new();
            epochs.save(&mut state);
            let mut restored = Epochs::new(5, Stream::new(1, "test")).restored(&state).unwrap();
            assert_eq!(restored.next(7), epochs.clone().next(7), "after {drawn}");
            epochs.next(1);
        }
    }
}
