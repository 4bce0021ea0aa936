//! The configuration of a GPT-J.

use std::num::Saturating;

use serde::{Deserialize, Serialize};

use super::shape::{Shape, heads_problem, size_problems};
use crate::problem::{Config, Problem};

/// The configuration of a GPT-J, with the keys of Hugging Face's `config.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GptJConfig {
    /// Number of token ids, V.
    pub vocab_size: usize,
    /// Longest sequence in tokens.
    pub n_positions: usize,
    /// Width of the residual stream, d.
    pub n_embd: usize,
    /// Number of blocks.
    pub n_layer: usize,
    /// Attention heads; divides `n_embd`.
    pub n_head: usize,
    /// Width of the MLP.
    pub n_inner: usize,
    /// How many columns of a head are rotated, from its first: an even number.
    pub rotary_dim: usize,
    /// Epsilon of the layer norms.
    pub layer_norm_epsilon: f64,
    /// Standard deviation of random weights.
    pub initializer_range: f64,
}

impl Config for GptJConfig {
    fn problems(&self) -> Vec<Problem> {
        let (width, heads) = (self.n_embd, self.n_head);
        let sizes = [
            ("vocab_size", self.vocab_size),
            ("n_positions", self.n_positions),
            ("n_embd", width),
            ("n_layer", self.n_layer),
            ("n_head", heads),
            ("n_inner", self.n_inner),
            ("rotary_dim", self.rotary_dim),
        ];
        let sizes = size_problems(sizes, self.parameters());
        let divisor = heads_problem(("n_head", heads), ("n_embd", width));
        let head_dim = width.checked_div(heads).unwrap_or(self.rotary_dim);
        let rotates = self.rotary_dim.is_multiple_of(2) && self.rotary_dim <= head_dim;
        let expected = format!("an even number of a head's {head_dim} columns");
        let rotated = Problem::unless(rotates, "rotary_dim", self.rotary_dim, expected);
        let positive =
            [("layer_norm_epsilon", self.layer_norm_epsilon), ("initializer_range", self.initializer_range)];
        let positive = positive.into_iter().filter_map(|(key, number)| Problem::unless_positive(key, number));
        sizes.into_iter().chain(divisor).chain(rotated).chain(positive).collect()
    }
}

impl GptJConfig {
    /// The size, in the words that all families share.
    pub fn shape(&self) -> Shape {
        Shape {
            vocabulary: self.vocab_size,
            context: self.n_positions,
            width: self.n_embd,
            layers: self.n_layer,
            heads: self.n_head,
        }
    }

    /// Number of parameters. The largest number for sizes that no model has.
    pub fn parameters(&self) -> usize {
        let [vocabulary, d, inner, layers] =
            [self.vocab_size, self.n_embd, self.n_inner, self.n_layer].map(Saturating);
        // The biases of the MLP, and scale and shift of the norm.
        let block = self.multiplied() + inner + d + Saturating(2) * d;
        ((Saturating(2) * d + Saturating(1)) * vocabulary + layers * block + Saturating(2) * d).0
    }

    /// Floating-point operations of one forward pass per token, matrix products only: 2 per weight that
    /// multiplies.
    pub fn forward_flops_per_token(&self) -> f64 {
        let head = self.vocab_size as f64 * self.n_embd as f64;
        2.0 * (self.n_layer as f64 * self.multiplied().0 as f64 + head)
    }

    /// Weights of a block's matrices: q, k, v and the output, and the two of the MLP.
    fn multiplied(&self) -> Saturating<usize> {
        let [d, inner] = [self.n_embd, self.n_inner].map(Saturating);
        d * (Saturating(4) * d + Saturating(2) * inner)
    }
}
