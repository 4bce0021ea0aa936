//! Floating-point operations of each method, by the arithmetic of its models.
//!
//! Kaplan et al. 2020 (arXiv 2001.08361), section 2.1: a token costs
//!
//! ```text
//! C_forward = 2 N + 2 layers context d     C_training = 3 C_forward
//! ```
//!
//! with N the entries of all matrices that multiply it: `12 layers d²` in the blocks and, as the
//! vocabulary is not small beside them here, the head's `n_vocab d`, which models with a scalar head lack.
//! The second term is the attention's over the mean length of prompt and response, `n_ctx`. Embeddings,
//! norms and the linear classifiers are left out, and so is what all methods share: the reference model,
//! the pairs and the evaluations.
//!
//! What a run counts as a token differs, so the factor on it is each method's own:
//!
//! - DPO, IPO, cDPO count each token that is trained on; the reference's forward pass over it
//!   is added, although it is made once for all runs. Unlikelihood and preferred-FT count the
//!   same and need no reference.
//! - PPO counts every pass of a token through a model: it is generated, scored by policy, reference, value
//!   model and reward model, and trained on by policy and value model in each epoch. The factor is the mean
//!   over these passes. On the true reward the scorer's pass costs nothing, unless that is an encoder's. PPO
//!   pays for its reward model upfront.
//! - Online DPO and RLOO count four passes: generated, scored by reference and reward model, trained on.

use std::collections::BTreeMap;

use anyhow::Result;
use dpo::OnlineDpoConfig;
use lm::DecoderConfig;
use ppo::RlooConfig;

use crate::imdb_frontier::method::{Algorithm, RewardSource};
use crate::imdb_frontier::plan::{Plan, preferences_of, reward_model_of};
use crate::imdb_frontier::preset::Preset;
use crate::study::folder::Folder;
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
    /// Of the encoder that says the true reward, if one does; it reads about as many tokens.
    truth: f64,
}

impl Forward {
    fn new(model: &DecoderConfig, length: f64) -> Self {
        let shape = model.shape();
        let head = 2.0 * shape.vocabulary as f64 * shape.width as f64;
        let attention = 2.0 * shape.layers as f64 * length * shape.width as f64;
        let policy = model.forward_flops_per_token() + attention;
        Self { policy, scalar: policy - head, truth: 0.0 }
    }

    /// By what pays for a response.
    fn scorer(self, scorer: RewardSource) -> f64 {
        match scorer {
            RewardSource::RewardModel | RewardSource::WorstCase => self.scalar,
            RewardSource::Truth => self.truth,
        }
    }

    /// A token of a response that is drawn, scored by the reference and the scorer, and trained on once.
    fn of_fresh(self, scorer: RewardSource) -> f64 {
        (2.0 + TRAIN) * self.policy + self.scorer(scorer)
    }

    fn per_token(self, algorithm: &Algorithm) -> f64 {
        match algorithm {
            Algorithm::Dpo(config) => {
                let reference = if config.loss.uses_reference() { 1.0 } else { 0.0 };
                (TRAIN + reference) * self.policy
            }
            Algorithm::Ppo { config, scorer } => {
                let rollout = 3.0 * self.policy + self.scalar + self.scorer(*scorer);
                let of_run =
                    |each: &dyn Fn(usize) -> usize| (0..config.steps).map(each).sum::<usize>() as f64;
                let policy_epochs = of_run(&|step| config.policy_epochs(step)) / config.steps as f64;
                let value_epochs = (config.ppo_epochs + config.value_epochs) as f64;
                let training = TRAIN * (policy_epochs * self.policy + value_epochs * self.scalar);
                (rollout + training) * config.steps as f64 / of_run(&|step| config.passes_per_token(step))
            }
            Algorithm::OnlineDpo { scorer, .. } => {
                self.of_fresh(*scorer) / OnlineDpoConfig::PASSES_PER_TOKEN as f64
            }
            Algorithm::Rloo { scorer, .. } => self.of_fresh(*scorer) / RlooConfig::PASSES_PER_TOKEN as f64,
            Algorithm::Sft(_) => TRAIN * self.policy,
        }
    }
}

/// The table of a plan's methods by their names, from the finished stages; of a method with
/// several runs by the first.
pub fn of_methods(
    plan: &Plan,
    folder: &Folder,
    finished: &[Finished],
) -> Result<BTreeMap<String, MethodFlops>> {
    let model = lm::files::read_config(&folder.stage("reference").join("config.json"))?;
    let truth = plan.preset.truth.as_ref().map_or(0.0, |source| source.encoder.forward_flops_per_token());
    let forward = Forward { truth, ..Forward::new(&model, plan.preset.mean_length()) };
    let reward_model = reward_model_passes(&plan.preset, finished) * forward.scalar;
    let mut table = BTreeMap::new();
    for run in &plan.runs {
        let pays = run.algorithm.scorer().is_some_and(RewardSource::uses_reward_model);
        let upfront = if pays { reward_model } else { 0.0 };
        let flops = MethodFlops { per_token: forward.per_token(&run.algorithm), upfront };
        table.entry(run.method.name().to_owned()).or_insert(flops);
    }
    Ok(table)
}

/// Forward passes of one token that the reward model's training is worth. Its stage counts tokens that it
/// trained on and tokens of validation together; they share in proportion to their responses.
fn reward_model_passes(preset: &Preset, finished: &[Finished]) -> f64 {
    let stage = |name: &str| finished.iter().find(|stage| stage.name == name).map(|stage| &stage.marker);
    // One seed's stands for all: they differ by chance.
    let seed = preset.seeds.first().copied().unwrap_or_default();
    let names = (reward_model_of(seed), preferences_of(seed));
    let (Some(model), Some(pairs)) = (stage(&names.0), stage(&names.1)) else { return 0.0 };
    let config = &preset.reward_model;
    let responses = preset.preferences.responses_per_prompt;
    let trained = (config.steps * config.batch_prompts * responses) as f64;
    let held_out = pairs.notes.get("validation").and_then(serde_json::Value::as_f64).unwrap_or_default();
    // n responses to a prompt make n (n - 1) / 2 pairs; the untrained model is validated too.
    let held_out = held_out * 2.0 / (responses as f64 - 1.0);
    let scored = held_out * (1 + config.steps.div_ceil(config.evaluate_every)) as f64;
    model.tokens as f64 * (TRAIN * trained + scored) / (trained + scored)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::float_cmp, reason = "the numbers are small whole ones")]
    use super::*;
    use crate::imdb_frontier::method::MethodTable;

    #[test]
    fn operations_by_hand() {
        let model =
            DecoderConfig::gpt2(lm::Shape { vocabulary: 10, context: 8, width: 2, layers: 1, heads: 1 });
        let forward = Forward::new(&model, 5.0);
        // Blocks 2 * 12 * 4, attention 2 * 5 * 2, head 2 * 10 * 2.
        assert_eq!((forward.scalar, forward.policy), (116.0, 156.0));
        let of = |table: &MethodTable| forward.per_token(&table.points().unwrap()[0].algorithm);
        let preset = crate::imdb_frontier::preset::load("smoke", &[]).unwrap();
        let named = |name: &str| preset.method.iter().find(|table| table.name == name).unwrap().clone();
        assert_eq!((of(&named("unlikelihood")), of(&named("preferred-ft"))), (468.0, 468.0));
        assert_eq!(of(&named("dpo")), 624.0);
        // Seven passes: 3 * 156 + 2 * 116 without gradients, 3 * (156 + 116) with them.
        let with_epochs = |name: &str, ppo_epochs: usize| {
            let mut table = named(name);
            table.ppo.as_mut().unwrap().ppo_epochs = ppo_epochs;
            of(&table)
        };
        assert_eq!(with_epochs("ppo", 1), 1516.0 / 7.0);
        assert_eq!(with_epochs("ppo-gt", 1), 1400.0 / 7.0);
        assert_eq!(with_epochs("ppo-gt", 2), (584.0 + 1632.0) / 9.0);
    }
}
