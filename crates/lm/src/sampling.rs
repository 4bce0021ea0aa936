//! Sampling: one uniform number a token, drawn on the host from the row's own stream.

use burn::tensor::Tensor;

use crate::sequences::to_vec;

/// How responses are drawn.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sampling {
    /// Longest response in tokens, the end token included.
    pub max_new_tokens: usize,
    /// Rows decoded together.
    pub batch_size: usize,
}

/// Draws a token for every row from `softmax(hidden head^T)` by inverting the cumulative distribution at the row's
/// uniform number, and returns it with its log-probability in nats: hidden `[B, d]`, head `[V, d]`.
///
/// With the same uniform number two nearly equal distributions nearly always draw the same token: common random
/// numbers make the difference between two policies less noisy than either of them.
///
/// # Panics
/// If the shapes do not agree or the head is empty.
pub(crate) fn draw(hidden: Tensor<2>, head: Tensor<2>, uniforms: &[f64]) -> Vec<(u32, f32)> {
    let (tokens, logprobs) = fused::sample(hidden, head, uniforms);
    let tokens = tokens.into_data();
    tokens.iter::<i64>().map(|token| token as u32).zip(to_vec(logprobs)).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests may panic")]
    use super::*;
    use crate::DeviceSpec;
    use crate::random::Stream;
    use rand::RngExt;

    /// Draws `count` times from one row of logits: they are the head, and the hidden states are 1.
    fn draw_logits(logits: &[f32], count: usize) -> Vec<(u32, f32)> {
        let device = DeviceSpec::CPU.open().unwrap();
        let head = Tensor::<1>::from_floats(logits, &device).unsqueeze_dim(1);
        let mut rng = Stream::new(0, "test").rng();
        let uniforms: Vec<f64> = (0..count).map(|_| rng.random()).collect();
        draw(Tensor::ones([count, 1], &device), head, &uniforms)
    }

    #[test]
    fn frequencies_match_the_softmax() {
        // softmax(ln 1, ln 2, -inf, ln 5) = 1/8, 2/8, 0, 5/8.
        let logits = [0.0, 2.0_f32.ln(), f32::NEG_INFINITY, 5.0_f32.ln()];
        let mut counts = [0_u32; 4];
        let draws = 40_000;
        for (token, logprob) in draw_logits(&logits, draws) {
            counts[token as usize] += 1;
            let want = [0.125_f32, 0.25, 0.0, 0.625][token as usize].ln();
            assert!((logprob - want).abs() < 1e-6);
        }
        // Four standard errors of a share near one half are 0.01.
        for (count, want) in counts.iter().zip([0.125, 0.25, 0.0, 0.625]) {
            assert!((f64::from(*count) / draws as f64 - want).abs() < 0.01);
        }
    }

    #[test]
    fn extreme_logits_stay_finite() {
        assert_eq!(draw_logits(&[-1e30, 1e30, 0.0], 3), [(1, 0.0); 3]);
    }
}
