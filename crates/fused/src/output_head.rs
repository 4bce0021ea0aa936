//! Output heads.

use burn::tensor::Tensor;

use crate::affine::{affine, product};
use crate::switch::{is_cube, is_fused};

/// An output head: logits `hidden weight^T + bias`.
///
/// A head with a bias has kernels on the CPU; on a GPU it is burn's own operations.
#[derive(Clone, Debug)]
pub struct OutputHead {
    /// The output embedding `[V, d]`.
    pub weight: Tensor<2>,
    /// What is added to the logits, `[V]`.
    pub bias: Option<Tensor<1>>,
}

/// A head without a bias, such as a tied embedding.
impl From<Tensor<2>> for OutputHead {
    fn from(weight: Tensor<2>) -> Self {
        Self { weight, bias: None }
    }
}

impl OutputHead {
    /// Next-token logits of hidden states: `[N, d]` to `[N, V]`.
    ///
    /// # Panics
    /// If the shapes do not agree.
    pub fn logits(self, hidden: Tensor<2>) -> Tensor<2> {
        let Self { weight, bias } = self;
        match bias {
            None => product(hidden, weight),
            Some(bias) => affine(hidden, weight, bias),
        }
    }

    /// The bias, or zeros.
    pub(crate) fn bias_or_zeros(&self) -> Tensor<1> {
        let [vocab, _] = self.weight.dims();
        self.bias.clone().unwrap_or_else(|| Tensor::zeros([vocab], &self.weight.device()))
    }

    /// Whether this head has kernels where it is: GPUs have none for a bias.
    pub(crate) fn is_fused(&self) -> bool {
        let device = self.weight.device();
        is_fused(&device) && !(self.bias.is_some() && is_cube(&device))
    }

    /// # Panics
    /// If the head does not fit the hidden states, or its bias not its weight.
    pub(crate) fn check(&self, operation: &str, hidden: &Tensor<2>) {
        let ([_, d], [vocab, head_d]) = (hidden.dims(), self.weight.dims());
        assert!(d == head_d, "{operation}: hidden has {d} columns, the head has {head_d}");
        let biases = self.bias.as_ref().map_or(vocab, |bias| bias.dims()[0]);
        assert!(biases == vocab, "{operation}: the head has {vocab} rows and {biases} biases");
    }
}
