//! A space small enough to list: one prompt, everything that can be said, how likely the reference is to say
//! it, and what it is worth.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use anyhow::Result;
use burn::tensor::Device;
use lm::{Decoder, LmError, Policy, ReferencePolicy, Scorer, Sequence, Stream};
use rand::RngExt;

use super::responses::{END, PROMPT, responses};
use super::settings::Settings;

/// Everything that can be said.
pub struct Space {
    /// Where all of it is computed.
    pub device: Device,
    /// pi_ref.
    pub policy: ReferencePolicy,
    /// The prompt with each response.
    pub sequences: Vec<Sequence>,
    /// `exp(r(y))` of each response, a whole number.
    pub odds: Vec<u32>,
    /// `r(y)`.
    pub rewards: Vec<f64>,
    /// `log pi_ref(y)` in nats.
    pub reference: Vec<f64>,
    /// `log pi_ref(y_t | y_<t)` of each token, in nats.
    tokens: Vec<Vec<f32>>,
}

impl Space {
    /// A reference with random weights, and random rewards: `ln k` with k log-uniform, so that a good
    /// response is rarer than a poor one.
    pub fn new(settings: &Settings, device: &Device) -> Result<Self> {
        let model = Decoder::random(&settings.model, Stream::new(settings.seed, "weights"), device)?;
        let policy = ReferencePolicy::new(&Policy::new(model, settings.temperature, END)?);
        let longest = settings.ppo.sampling.max_new_tokens;
        let sequences: Vec<Sequence> = responses(settings.model.shape().vocabulary as u32, longest)
            .into_iter()
            .map(|response| Sequence { prompt: PROMPT.to_vec(), response })
            .collect();
        let mut rng = Stream::new(settings.seed, "rewards").rng();
        let range = f64::from(settings.largest_odds + 1);
        let odds: Vec<u32> = sequences
            .iter()
            .map(|_| (range.powf(rng.random()).floor() as u32).clamp(1, settings.largest_odds))
            .collect();
        let tokens = policy.score(&sequences)?;
        Ok(Self {
            device: device.clone(),
            policy,
            sequences,
            rewards: odds.iter().map(|&k| f64::from(k).ln()).collect(),
            odds,
            reference: sums(&tokens),
            tokens,
        })
    }

    /// Number of responses.
    pub fn len(&self) -> usize {
        self.sequences.len()
    }

    /// `log pi(y)` of each response under `policy`, in nats.
    pub fn logprobs(&self, policy: &Policy) -> Result<Vec<f64>> {
        Ok(sums(&policy.score(&self.sequences)?))
    }

    /// The reward as a scorer.
    pub fn scorer(&self) -> Arc<dyn Scorer> {
        let scores = self.rewards.iter().map(|&reward| reward as f32);
        Arc::new(Table(self.sequences.iter().map(|s| s.response.clone()).zip(scores).collect()))
    }

    /// `E_pi_ref[exp(r / beta)]` from the leaves of the tree of tokens to its root, one token at a time: Z of
    /// a beginning is the mean of Z over the next token.
    pub fn backward_partition(&self, beta: f64) -> f64 {
        let mut values: BTreeMap<&[u32], f64> = BTreeMap::new();
        let mut steps: BTreeMap<&[u32], f32> = BTreeMap::new();
        for ((sequence, reward), tokens) in self.sequences.iter().zip(&self.rewards).zip(&self.tokens) {
            values.insert(&sequence.response, (reward / beta).exp());
            for (position, logprob) in tokens.iter().enumerate() {
                steps.insert(&sequence.response[..=position], *logprob);
            }
        }
        let longest = steps.keys().map(|node| node.len()).max().unwrap_or(0);
        for length in (1..=longest).rev() {
            for (node, logprob) in steps.iter().filter(|(node, _)| node.len() == length) {
                let value = f64::from(*logprob).exp() * values.get(node).copied().unwrap_or(0.0);
                *values.entry(&node[..length - 1]).or_insert(0.0) += value;
            }
        }
        values.get(&[][..]).copied().unwrap_or(0.0)
    }
}

fn sums(rows: &[Vec<f32>]) -> Vec<f64> {
    rows.iter().map(|row| row.iter().map(|&value| f64::from(value)).sum()).collect()
}

/// A score for each response.
struct Table(HashMap<Vec<u32>, f32>);

impl Scorer for Table {
    fn score(&self, sequences: &[Sequence]) -> Result<Vec<f32>, LmError> {
        let of_response = |(index, sequence): (usize, &Sequence)| {
            self.0.get(&sequence.response).copied().ok_or_else(|| LmError::Sequence {
                index,
                found: format!("the response {:?}", sequence.response),
                expected: format!("one of the {} that are listed", self.0.len()),
            })
        };
        sequences.iter().enumerate().map(of_response).collect()
    }
}
