//! Floating-point operations of each method, by the arithmetic of its models.
//!
//! Kaplan et al. 2020 (arXiv 2001.08361), section 2.1: a token costs
//!
//! ```text
//! C_forward = 2 N + 2 n_layer n_ctx d     C_training = 3 C_forward
//! ```
//!
//! with N the entries of all matrices that multiply it: `12 n_layer d²` in the blocks and, as the vocabulary is not
//! small beside them here, the head's `n_vocab d`, which models with a scalar head lack. The second term is the
//! attention's over the mean length of prompt and response, `n_ctx`. Embeddings, norms and the linear classifiers are
//! left out, and so is what all methods share: the reference model, the pairs and the evaluations.
//!
//! What a run counts as a token differs, so the factor on it is each method's own:
//!
//! - DPO, IPO, cDPO count each token that is trained on; the reference's forward pass over it is added, although it is
//!   made once for all runs. Unlikelihood and preferred-FT count the same and need no reference.
//! - PPO counts every pass of a token through a model: it is generated, scored by policy, reference, value model and
//!   reward model, and trained on by policy and value model in each epoch. The factor is the mean over these passes.
//!   On the true reward the scorer's pass costs nothing. PPO pays for its reward model upfront.

use std::collections::BTreeMap;

use anyhow::Result;
use frontier::Method;
use lm::Gpt2Config;
use ppo::PpoConfig;

use crate::imdb_frontier::preset::Preset;
use crate::study::folder::{Folder, read_json};
use crate::study::manifest::MethodFlops;
use crate::study::stages::Finished;

/// A training pass in units of a forward pass: the backward pass costs two.
const TRAIN: f64 = 3.0;

/// One token's forward pass.
#[derive(Clone, Copy)]
struct Forward {
    /// With the language model's head.
    policy: f64,
    /// With a scalar head.
    scalar: f64,
}

impl Forward {
    fn new(model: &Gpt2Config, length: f64) -> Self {
        let head = 2.0 * model.vocab_size as f64 * model.n_embd as f64;
        let attention = 2.0 * model.n_layer as f64 * length * model.n_embd as f64;
        let policy = model.forward_flops_per_token() + attention;
        Self { policy, scalar: policy - head }
    }

    fn per_token(self, method: Method, ppo_epochs: usize) -> f64 {
        let epochs = ppo_epochs as f64;
        let on_rollouts = |scorer: f64| {
            let rollout = 3.0 * self.policy + self.scalar + scorer;
            let training = epochs * TRAIN * (self.policy + self.scalar);
            (rollout + training) / PpoConfig::passes_per_token(ppo_epochs) as f64
        };
        match method {
            Method::PPO => on_rollouts(self.scalar),
            Method::PPO_GT => on_rollouts(0.0),
            Method::DPO | Method::IPO | Method::CDPO => (TRAIN + 1.0) * self.policy,
            _ => TRAIN * self.policy,
        }
    }
}

/// The table of these methods, from the finished stages.
pub fn of_methods(
    methods: impl IntoIterator<Item = Method>,
    preset: &Preset,
    folder: &Folder,
    finished: &[Finished],
) -> Result<BTreeMap<String, MethodFlops>> {
    let model: Gpt2Config = read_json(&folder.stage("reference").join("config.json"))?;
    let forward = Forward::new(&model, preset.mean_length());
    let reward_model = reward_model_passes(preset, finished) * forward.scalar;
    let of_method = |method: Method| MethodFlops {
        per_token: forward.per_token(method, preset.ppo.ppo_epochs),
        upfront: if method == Method::PPO { reward_model } else { 0.0 },
    };
    Ok(Method::trained(methods)
        .into_iter()
        .map(|method| (method.name().to_owned(), of_method(method)))
        .collect())
}

/// Forward passes of one token that the reward model's training is worth. Its stage counts tokens that it trained on
/// and tokens of validation together; they share in proportion to their responses.
fn reward_model_passes(preset: &Preset, finished: &[Finished]) -> f64 {
    let stage = |name: &str| finished.iter().find(|stage| stage.name == name).map(|stage| &stage.marker);
    let (Some(model), Some(pairs)) = (stage("reward-model"), stage("preferences")) else { return 0.0 };
    let config = &preset.reward_model;
    let trained = (2 * config.steps * config.batch_size) as f64;
    let held_out = pairs.notes.get("validation").and_then(serde_json::Value::as_f64).unwrap_or_default();
    // n responses to a prompt make n (n - 1) / 2 pairs; the untrained model is validated too.
    let held_out = held_out * 2.0 / (preset.preferences.responses_per_prompt as f64 - 1.0);
    let scored = held_out * (1 + config.steps.div_ceil(config.evaluate_every)) as f64;
    model.tokens as f64 * (TRAIN * trained + scored) / (trained + scored)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::float_cmp, reason = "the numbers are small whole ones")]
    use super::*;

    #[test]
    fn operations_by_hand() {
        let model = Gpt2Config {
            vocab_size: 10,
            n_positions: 8,
            n_embd: 2,
            n_layer: 1,
            n_head: 1,
            layer_norm_epsilon: 1e-5,
        };
        let forward = Forward::new(&model, 5.0);
        // Blocks 2 * 12 * 4, attention 2 * 5 * 2, head 2 * 10 * 2.
        assert_eq!((forward.scalar, forward.policy), (116.0, 156.0));
        assert_eq!(forward.per_token(Method::UNLIKELIHOOD, 1), 468.0);
        assert_eq!(forward.per_token(Method::DPO, 1), 624.0);
        // Seven passes: 3 * 156 + 2 * 116 without gradients, 3 * (156 + 116) with them.
        assert_eq!(forward.per_token(Method::PPO, 1), 1516.0 / 7.0);
        assert_eq!(forward.per_token(Method::PPO_GT, 1), 1400.0 / 7.0);
        assert_eq!(forward.per_token(Method::PPO_GT, 2), (584.0 + 1632.0) / 9.0);
    }
}
