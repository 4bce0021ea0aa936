//! Sampling: one uniform number per token, drawn on the host from the row's own stream.
//!
//! A token is drawn by inverting the cumulative distribution at the row's uniform number. With the same
//! uniform number two nearly equal distributions nearly always draw the same token. Common random numbers
//! make the difference between two policies less noisy only as long as whole responses are the same, within a
//! few hundredths of a nat: after the first token that differs the two go their own ways. What they give
//! everywhere is that a second run draws the same.

use burn::tensor::{Device, Int, Tensor, TensorData};

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

/// Which tokens may be drawn at each step.
///
/// All but [`Decoding::Sample`] are for generation alone: training and the KL speak of the policy itself, and
/// the responses of a filtered policy are not its own.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Decoding {
    /// All of them, with the policy's probabilities.
    #[default]
    Sample,
    /// The most probable one, the first of equals.
    Greedy,
    /// The most probable ones; what is left keeps its proportions.
    Filtered {
        /// At most so many, and all that are as probable as the last of them.
        top_k: Option<usize>,
        /// As few as have this probability together, of those that `top_k` has left (Holtzman et al. 2020,
        /// arXiv 1904.09751); the first of equals.
        top_p: Option<f64>,
    },
}

impl Config for Decoding {
    fn problems(&self) -> Vec<Problem> {
        let Self::Filtered { top_k, top_p } = *self else { return Vec::new() };
        let counted = top_k.and_then(|count| Problem::unless_counted("top_k", count));
        let share = top_p.and_then(|share| {
            Problem::unless(share > 0.0 && share <= 1.0, "top_p", share, "above 0, and at most 1")
        });
        counted.into_iter().chain(share).collect()
    }
}

/// Draws one token per row of logits `[B, V]` on the host: the ids, on the logits' device as well, and each
/// one's log-probability under the softmax of all logits, in nats.
pub(crate) fn draw(logits: Tensor<2>, decoding: Decoding, uniforms: &[f64]) -> Drawn {
    let (device, [rows, vocabulary]) = (logits.device(), logits.dims());
    let values = to_vec(logits);
    let drawn = values.chunks(vocabulary).zip(uniforms).map(|(row, &uniform)| choose(row, decoding, uniform));
    let (tokens, logprobs): (Vec<i32>, Vec<f32>) =
        drawn.map(|(token, logprob)| (token as i32, logprob as f32)).unzip();
    let on = |device: &Device| {
        let tokens = Tensor::from_data(TensorData::new(tokens, [rows]), device);
        (tokens, Tensor::from_data(TensorData::new(logprobs, [rows]), device))
    };
    on(&device)
}

/// One token of a row of logits, and its log-probability in nats.
fn choose(logits: &[f32], decoding: Decoding, uniform: f64) -> (usize, f64) {
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weights: Vec<f64> = logits.iter().map(|&logit| f64::from(logit - highest).exp()).collect();
    let total: f64 = weights.iter().sum();
    // Most probable first; the order of equal ones is that of their ids.
    let ranked = || {
        let mut order: Vec<usize> = (0..logits.len()).collect();
        order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]).then(a.cmp(&b)));
        order
    };
    let token = match decoding {
        Decoding::Sample => invert(&weights, 0..logits.len(), total, uniform),
        Decoding::Greedy => logits.iter().position(|logit| logit.total_cmp(&highest).is_eq()).unwrap_or(0),
        Decoding::Filtered { top_k, top_p } => {
            let mut kept = ranked();
            if let Some(least) = top_k.and_then(|k| kept.get(k.max(1) - 1)).map(|&last| logits[last]) {
                kept.retain(|&token| logits[token] >= least);
            }
            if let Some(share) = top_p {
                let mass: f64 = kept.iter().map(|&token| weights[token]).sum();
                let mut sum = 0.0;
                let enough = kept.iter().position(|&token| {
                    sum += weights[token];
                    sum >= share * mass
                });
                kept.truncate(enough.map_or(kept.len(), |last| last + 1));
            }
            // In the order of the ids, as without a filter: the same uniform number draws much the same.
            kept.sort_unstable();
            let mass = kept.iter().map(|&token| weights[token]).sum();
            invert(&weights, kept.into_iter(), mass, uniform)
        }
    };
    (token, (weights[token] / total).ln())
}

/// The token at which the cumulative weight passes `uniform` of their total.
fn invert(
    weights: &[f64],
    tokens: impl DoubleEndedIterator<Item = usize> + Clone,
    total: f64,
    uniform: f64,
) -> usize {
    let mut left = uniform * total;
    let passed = tokens.clone().find(|&token| {
        left -= weights[token];
        left < 0.0
    });
    // Rounding may leave a rest: it belongs to the last token that can be drawn.
    let last = || tokens.rev().find(|&token| weights[token] > 0.0);
    passed.or_else(last).unwrap_or(0)
}

/// Tokens `[B]` and their log-probabilities `[B]` in nats, drawn at the same step and still on the device.
pub(crate) type Drawn = (Tensor<1, Int>, Tensor<1>);

/// Reads steps of one batch back at once: for each step, row after row, the token and its
/// log-probability in nats.
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

    /// Probabilities 4/10, 3/10, 1/10, 2/10, 0.
    const TENTHS: [f64; 5] = [4.0, 3.0, 1.0, 2.0, 0.0];

    /// The tokens that a hundred evenly spaced uniform numbers draw, each with its count.
    fn counts(decoding: Decoding) -> [usize; 5] {
        let logits = TENTHS.map(|weight| weight.ln() as f32);
        let mut counts = [0; 5];
        for i in 0..100 {
            let (token, logprob) = choose(&logits, decoding, (f64::from(i) + 0.5) / 100.0);
            assert!((logprob - (TENTHS[token] / 10.0).ln()).abs() < 1e-6, "the policy's own probability");
            counts[token] += 1;
        }
        counts
    }

    #[test]
    fn filters_by_hand() {
        let filtered = |top_k, top_p| counts(Decoding::Filtered { top_k, top_p });
        assert_eq!(counts(Decoding::Sample), [40, 30, 10, 20, 0]);
        assert_eq!(counts(Decoding::Greedy), [100, 0, 0, 0, 0]);
        assert_eq!(filtered(None, None), counts(Decoding::Sample));
        assert_eq!(filtered(Some(1), None), [100, 0, 0, 0, 0]);
        // 4 : 3 of the two most probable.
        assert_eq!(filtered(Some(2), None), [57, 43, 0, 0, 0]);
        assert_eq!(filtered(Some(9), None), counts(Decoding::Sample));
        // 0.4 + 0.3 is the first sum of at least 0.69, 0.9 of 0.71; 0.3 takes one token, which is never too
        // few.
        assert_eq!(filtered(None, Some(0.69)), [57, 43, 0, 0, 0]);
        assert_eq!(filtered(None, Some(0.71)), [44, 34, 0, 22, 0]);
        assert_eq!(filtered(None, Some(0.3)), [100, 0, 0, 0, 0]);
        assert_eq!(filtered(None, Some(1.0)), counts(Decoding::Sample));
        // Of the three that top-k leaves, 4/9 are too few for one half, 7/9 are enough.
        assert_eq!(filtered(Some(3), Some(0.5)), [57, 43, 0, 0, 0]);
    }

    #[test]
    fn equals_are_kept_by_top_k_and_the_first_is_greedy() {
        let logits = [1.0, 2.0, 2.0, 0.0];
        assert_eq!(choose(&logits, Decoding::Greedy, 0.9).0, 1);
        let one = Decoding::Filtered { top_k: Some(1), top_p: None };
        assert_eq!([0.2, 0.9].map(|uniform| choose(&logits, one, uniform).0), [1, 2]);
    }

    #[test]
    fn impossible_filters_are_refused() {
        let keys = |top_k, top_p| -> Vec<String> {
            Decoding::Filtered { top_k, top_p }.problems().into_iter().map(|problem| problem.key).collect()
        };
        assert_eq!(keys(Some(0), Some(0.0)), ["top_k", "top_p"]);
        assert_eq!(keys(None, Some(1.1)), ["top_p"]);
        assert!(keys(Some(1), Some(1.0)).is_empty());
    }

    #[test]
    fn extreme_logits_stay_finite() {
        assert_eq!(draw_logits(&[-1e30, 1e30, 0.0], 3), [(1, 0.0); 3]);
    }
}
