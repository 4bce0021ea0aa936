//! Sampling: one uniform number per token, drawn on the host from the row's own stream.
//!
//! A token is drawn by inverting the cumulative distribution at the row's uniform number. With the same uniform number
//! two nearly equal distributions nearly always draw the same token. Common random numbers make the difference between
//! two policies less noisy only as long as whole responses are the same, within a few hundredths of a nat: after the first
//! token that differs the two go their own ways. What they give everywhere is that a second run draws the same.

use burn::tensor::{Int, Tensor};

use crate::problem::{Config, Problem};
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

impl Config for Sampling {
    fn problems(&self) -> Vec<Problem> {
        let counts = [("max_new_tokens", self.max_new_tokens), ("batch_size", self.batch_size)];
        counts.into_iter().filter_map(|(key, count)| Problem::unless_counted(key, count)).collect()
    }
}

/// Tokens `[B]` and their log-probabilities `[B]` in nats, drawn at the same step and still on the device.
pub(crate) type Drawn = (Tensor<1, Int>, Tensor<1>);

/// Reads steps of one batch back at once: for each step, row after row, the token and its log-probability in nats.
pub(crate) fn read(steps: Vec<Drawn>) -> Vec<Vec<(u32, f32)>> {
    let Some((first, _)) = steps.first() else { return Vec::new() };
    let [rows] = first.dims();
    let (tokens, logprobs): (Vec<_>, Vec<_>) = steps.into_iter().unzip();
    let tokens = Tensor::cat(tokens, 0).into_data();
    let tokens = tokens.iter::<i64>().map(|token| token as u32);
    let drawn: Vec<(u32, f32)> = tokens.zip(to_vec(Tensor::cat(logprobs, 0))).collect();
    drawn.chunks(rows).map(<[_]>::to_vec).collect()
}

#[cfg(test)]
mod tests {
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
        read(vec![fused::sample(Tensor::ones([count, 1], &device), head, &uniforms)]).remove(0)
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
