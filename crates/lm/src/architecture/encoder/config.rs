//! The configuration of an encoder.

use std::num::Saturating;

use burn::tensor::{Tensor, activation};
use serde::{Deserialize, Serialize};

use crate::architecture::shape::{heads_problem, size_problems};
use crate::problem::{Config, Problem};

/// Which of the families an encoder belongs to: they differ in their embeddings, their heads and the names in
/// their files, and in nothing between.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EncoderFamily {
    /// BERT (Devlin et al. 2019): a pooler with tanh, then the classifier.
    Bert,
    /// RoBERTa (Liu et al. 2019): positions are counted from `pad_token_id + 1`; a dense layer with
    /// tanh, then the classifier.
    Roberta,
    /// DistilBERT (Sanh et al. 2019): no segments; a dense layer with ReLU, then the classifier.
    Distilbert,
}

impl EncoderFamily {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Bert, Self::Roberta, Self::Distilbert];

    /// `model_type` in `config.json`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bert => "bert",
            Self::Roberta => "roberta",
            Self::Distilbert => "distilbert",
        }
    }

    /// The activation between the two layers of the head.
    pub(super) fn between(self, x: Tensor<2>) -> Tensor<2> {
        match self {
            Self::Bert | Self::Roberta => x.tanh(),
            Self::Distilbert => activation::relu(x),
        }
    }
}

/// The activation inside a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Activation {
    /// `x Phi(x)`, `gelu` in a configuration.
    #[serde(rename = "gelu")]
    Gelu,
    /// The tanh form of GELU, `gelu_new`, `gelu_pytorch_tanh` or `gelu_fast` in a configuration.
    #[serde(rename = "gelu_new")]
    TanhGelu,
    /// `max(x, 0)`, `relu` in a configuration.
    #[serde(rename = "relu")]
    Relu,
}

impl Activation {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Gelu, Self::TanhGelu, Self::Relu];

    /// What a configuration may call it; the first name is the one that is written.
    pub fn names(self) -> &'static [&'static str] {
        match self {
            Self::Gelu => &["gelu"],
            Self::TanhGelu => &["gelu_new", "gelu_pytorch_tanh", "gelu_fast"],
            Self::Relu => &["relu"],
        }
    }

    pub(super) fn of(self, x: Tensor<2>) -> Tensor<2> {
        match self {
            Self::Gelu => fused::erf_gelu(x),
            Self::TanhGelu => fused::gelu(x),
            Self::Relu => activation::relu(x),
        }
    }
}

/// The configuration of an encoder, in BERT's words.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EncoderConfig {
    /// The family.
    pub family: EncoderFamily,
    /// Number of token ids, V.
    pub vocab_size: usize,
    /// Rows of the table of positions.
    pub max_position_embeddings: usize,
    /// Rows of the table of segments; 0 where the family has none.
    pub type_vocab_size: usize,
    /// Width, d.
    pub hidden_size: usize,
    /// Width inside the feed-forward part of a layer.
    pub intermediate_size: usize,
    /// Number of layers.
    pub num_hidden_layers: usize,
    /// Attention heads; divides `hidden_size`.
    pub num_attention_heads: usize,
    /// Epsilon of the layer norms.
    pub layer_norm_eps: f64,
    /// The activation inside a layer.
    pub activation: Activation,
    /// The padding token, from which RoBERTa counts its positions.
    pub pad_token_id: usize,
}

impl EncoderConfig {
    /// The row of the table of positions that a sequence begins with.
    pub fn first_position(&self) -> usize {
        match self.family {
            EncoderFamily::Roberta => self.pad_token_id.saturating_add(1),
            EncoderFamily::Bert | EncoderFamily::Distilbert => 0,
        }
    }

    /// Longest sequence in tokens, special tokens included.
    pub fn context(&self) -> usize {
        self.max_position_embeddings.saturating_sub(self.first_position())
    }

    /// Number of parameters, those of a head with so many labels included. The largest number for
    /// sizes that no model has.
    pub fn parameters(&self, labels: usize) -> usize {
        let [d, inner, layers] =
            [self.hidden_size, self.intermediate_size, self.num_hidden_layers].map(Saturating);
        let tables = [self.vocab_size, self.max_position_embeddings, self.type_vocab_size].map(Saturating);
        let rows: Saturating<usize> = tables.into_iter().fold(Saturating(2), |rows, table| rows + table);
        let layer = Saturating(4) * d * d + Saturating(9) * d + Saturating(2) * d * inner + inner;
        (rows * d + layers * layer + (d + Saturating(1)) * (d + Saturating(labels))).0
    }

    /// Floating-point operations of one forward pass per token, matrix products only: 2 per weight that
    /// multiplies.
    pub fn forward_flops_per_token(&self) -> f64 {
        let [d, inner, layers] =
            [self.hidden_size, self.intermediate_size, self.num_hidden_layers].map(|number| number as f64);
        2.0 * layers * (4.0 * d * d + 2.0 * d * inner)
    }

    /// The key of a number in this family's `config.json`.
    fn key(&self, bert: &'static str, distilbert: &'static str) -> &'static str {
        match self.family {
            EncoderFamily::Bert | EncoderFamily::Roberta => bert,
            EncoderFamily::Distilbert => distilbert,
        }
    }
}

impl Config for EncoderConfig {
    fn problems(&self) -> Vec<Problem> {
        let (width, heads) = (self.hidden_size, self.num_attention_heads);
        let (width_key, heads_key) =
            (self.key("hidden_size", "dim"), self.key("num_attention_heads", "n_heads"));
        let sizes = [
            ("vocab_size", self.vocab_size),
            (width_key, width),
            (self.key("intermediate_size", "hidden_dim"), self.intermediate_size),
            (self.key("num_hidden_layers", "n_layers"), self.num_hidden_layers),
            (heads_key, heads),
        ];
        let sizes = size_problems(sizes, self.parameters(1));
        let first = self.first_position();
        let positions = Problem::unless(
            self.context() > 0,
            "max_position_embeddings",
            self.max_position_embeddings,
            format!("more than {first}"),
        );
        let divisor = heads_problem((heads_key, heads), (width_key, width));
        let has_types = self.type_vocab_size > 0 || self.family == EncoderFamily::Distilbert;
        let types = Problem::unless(has_types, "type_vocab_size", self.type_vocab_size, "at least 1");
        let epsilon = Problem::unless_positive("layer_norm_eps", self.layer_norm_eps);
        let pad = Problem::unless(
            self.pad_token_id < self.vocab_size.max(1),
            "pad_token_id",
            self.pad_token_id,
            format!("below vocab_size = {}", self.vocab_size),
        );
        sizes.into_iter().chain(positions).chain(divisor).chain(types).chain(epsilon).chain(pad).collect()
    }
}
