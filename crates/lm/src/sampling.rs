//! Sampling on the host: one uniform number a token, from the row's own stream.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// How responses are drawn.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sampling {
    /// Longest response in tokens, the end token included.
    pub max_new_tokens: usize,
    /// Rows decoded together.
    pub batch_size: usize,
}

/// Draws an index from `softmax(logits)` by inverting the cumulative distribution at one uniform number, and
/// returns it with its log-probability in nats.
///
/// With the same uniform number two nearly equal distributions nearly always draw the same token: common random
/// numbers make the difference between two policies less noisy than either of them.
///
/// # Panics
/// If `logits` is empty.
pub fn draw(logits: &[f32], rng: &mut ChaCha8Rng) -> (u32, f32) {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weights: Vec<f32> = logits.iter().map(|&logit| (logit - max).exp()).collect();
    let total: f64 = weights.iter().map(|&weight| f64::from(weight)).sum();
    let mut left = rng.random::<f64>() * total;
    // Rounding can leave a sliver after the last index with any weight: that index takes it.
    let mut chosen = 0;
    for (index, &weight) in weights.iter().enumerate() {
        if weight > 0.0 {
            chosen = index;
            left -= f64::from(weight);
            if left < 0.0 {
                break;
            }
        }
    }
    (chosen as u32, (f64::from(logits[chosen] - max) - total.ln()) as f32)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests may panic")]
    use super::*;
    use crate::random::Stream;

    #[test]
    fn frequencies_match_the_softmax() {
        // softmax(ln 1, ln 2, -inf, ln 5) = 1/8, 2/8, 0, 5/8.
        let logits = [0.0, 2.0_f32.ln(), f32::NEG_INFINITY, 5.0_f32.ln()];
        let mut rng = Stream::new(0, "test").rng();
        let mut counts = [0_u32; 4];
        let draws = 40_000;
        for _ in 0..draws {
            let (token, logprob) = draw(&logits, &mut rng);
            counts[token as usize] += 1;
            let want = [0.125_f32, 0.25, 0.0, 0.625][token as usize].ln();
            assert!((logprob - want).abs() < 1e-6);
        }
        // Four standard errors of a share near one half are 0.01.
        for (count, want) in counts.iter().zip([0.125, 0.25, 0.0, 0.625]) {
            assert!((f64::from(*count) / f64::from(draws) - want).abs() < 0.01);
        }
    }

    #[test]
    fn extreme_logits_stay_finite() {
        let mut rng = Stream::new(0, "test").rng();
        let (token, logprob) = draw(&[-1e30, 1e30, 0.0], &mut rng);
        assert_eq!((token, logprob), (1, 0.0));
    }
}
