//! The configuration of a Llama.

use std::num::Saturating;

use fused::Heads;
use serde::{Deserialize, Serialize};

use super::shape::{Shape, heads_problem, size_problems};
use crate::problem::{Config, Problem};

/// The configuration of a Llama, with the keys of Hugging Face's `config.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LlamaConfig {
    /// Number of token ids, V.
    pub vocab_size: usize,
    /// Longest sequence in tokens.
    pub max_position_embeddings: usize,
    /// Width of the residual stream, d.
    pub hidden_size: usize,
    /// Width of the MLP.
    pub intermediate_size: usize,
    /// Number of blocks.
    pub num_hidden_layers: usize,
    /// Heads of queries.
    pub num_attention_heads: usize,
    /// Heads of keys and values; divides `num_attention_heads`.
    pub num_key_value_heads: usize,
    /// Width of a head, even: its two halves are rotated against each other.
    pub head_dim: usize,
    /// Epsilon of the norms.
    pub rms_norm_eps: f64,
    /// The base of the rotary positions' frequencies.
    pub rope_theta: f64,
    /// Standard deviation of random weights.
    pub initializer_range: f64,
    /// Whether the output embedding is the input embedding.
    pub tie_word_embeddings: bool,
}

impl Config for LlamaConfig {
    fn problems(&self) -> Vec<Problem> {
        let (heads, keys) = (self.num_attention_heads, self.num_key_value_heads);
        let sizes = [
            ("vocab_size", self.vocab_size),
            ("max_position_embeddings", self.max_position_embeddings),
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", heads),
            ("num_key_value_heads", keys),
            ("head_dim", self.head_dim),
        ];
        let sizes = size_problems(sizes, self.parameters());
        let divisor = heads_problem(("num_key_value_heads", keys), ("num_attention_heads", heads));
        let even = self.head_dim.is_multiple_of(2);
        let even = Problem::unless(even, "head_dim", self.head_dim, "an even number");
        let positive = [
            ("rms_norm_eps", self.rms_norm_eps),
            ("rope_theta", self.rope_theta),
            ("initializer_range", self.initializer_range),
        ];
        let positive = positive.into_iter().filter_map(|(key, number)| Problem::unless_positive(key, number));
        sizes.into_iter().chain(divisor).chain(even).chain(positive).collect()
    }
}

impl LlamaConfig {
    /// The size, in the words that all families share.
    pub fn shape(&self) -> Shape {
        Shape {
            vocabulary: self.vocab_size,
            context: self.max_position_embeddings,
            width: self.hidden_size,
            layers: self.num_hidden_layers,
            heads: self.num_attention_heads,
        }
    }

    /// Heads of queries and of keys.
    pub(super) fn heads(&self) -> Heads {
        Heads { queries: self.num_attention_heads, keys: self.num_key_value_heads }
    }

    /// Number of parameters; a head that is tied to the embedding counts once. The largest number for
    /// sizes that no model has.
    pub fn parameters(&self) -> usize {
        let [vocabulary, d, layers] =
            [self.vocab_size, self.hidden_size, self.num_hidden_layers].map(Saturating);
        let tables = Saturating(if self.tie_word_embeddings { 1 } else { 2 });
        (tables * vocabulary * d + layers * (self.multiplied() + Saturating(2) * d) + d).0
    }

    /// Floating-point operations of one forward pass per token, matrix products only: 2 per weight that
    /// multiplies.
    pub fn forward_flops_per_token(&self) -> f64 {
        let head = self.vocab_size as f64 * self.hidden_size as f64;
        2.0 * (self.num_hidden_layers as f64 * self.multiplied().0 as f64 + head)
    }

    /// Weights of a block's matrices: q, k, v and o, and the three of the MLP.
    fn multiplied(&self) -> Saturating<usize> {
        let [d, inner, head_dim] = [self.hidden_size, self.intermediate_size, self.head_dim].map(Saturating);
        let heads = Saturating(self.num_attention_heads) + Saturating(self.num_key_value_heads);
        d * (Saturating(2) * heads * head_dim + Saturating(3) * inner)
    }
}
