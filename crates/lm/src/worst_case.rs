//! The lowest of several scores, so that a policy cannot gain from a quirk of one scorer alone.

use std::sync::Arc;

use crate::LmError;
use crate::scorer::Scorer;
use crate::sequences::Sequence;

/// `min_i r_i(x, y)`: worst-case optimisation of an ensemble (Coste et al. 2024, arXiv 2310.02743, equation
/// 2). The scores should have one unit: [`Standardized`](crate::Standardized) gives it.
pub struct WorstCase {
    first: Arc<dyn Scorer>,
    others: Vec<Arc<dyn Scorer>>,
}

impl WorstCase {
    /// The lowest of the scores of one scorer and others.
    pub fn new(first: Arc<dyn Scorer>, others: Vec<Arc<dyn Scorer>>) -> Self {
        Self { first, others }
    }
}

impl Scorer for WorstCase {
    fn score(&self, sequences: &[Sequence]) -> Result<Vec<f32>, LmError> {
        let mut lowest = self.first.score(sequences)?;
        for other in &self.others {
            for (lowest, score) in lowest.iter_mut().zip(other.score(sequences)?) {
                // A score that is not a number stays one, so that the trainer refuses it.
                if score.is_nan() || score < *lowest {
                    *lowest = score;
                }
            }
        }
        Ok(lowest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed([f32; 3]);

    impl Scorer for Fixed {
        fn score(&self, sequences: &[Sequence]) -> Result<Vec<f32>, LmError> {
            assert_eq!(sequences.len(), 3);
            Ok(self.0.to_vec())
        }
    }

    #[test]
    fn the_lowest_score_counts_and_nan_is_not_hidden() {
        let sequences = [1, 2, 3].map(|id| Sequence { prompt: vec![0], response: vec![id] });
        let scorer = |scores| -> Arc<dyn Scorer> { Arc::new(Fixed(scores)) };
        let worst = WorstCase::new(
            scorer([1.0, -2.0, 0.5]),
            vec![scorer([0.0, 3.0, f32::NAN]), scorer([2.0, -2.5, -9.0])],
        );
        let scores = worst.score(&sequences).unwrap();
        assert_eq!(scores[..2], [0.0, -2.5]);
        assert!(scores[2].is_nan());
    }
}
