//! Activation recomputation, which others call gradient checkpointing (Chen et al. 2016, arXiv 1604.06174): a
//! training step in the memory of one block.
//!
//! A backward pass needs what the forward pass computed, in a decoder some `16 d` numbers for each token
//! and block. With [`Activations::Recomputed`] a pass keeps of each block only what goes in, the d
//! numbers of the residual stream:
//!
//! ```text
//! forward    x_0 = embed(tokens), x_{i+1} = block_i(x_i)   without a graph; every x_i is kept
//! loss       L = f(norm(x_n))                              a graph from the leaf x_n; backward gives dL/dx_n
//! backward   of the last block to the first:
//!            y = block_i(x_i), with a graph from the leaf x_i and the block's parameters
//!            backward of sum(y dL/dx_{i+1}) gives dL/dx_i and the gradients of the block's parameters
//!            and at last backward of sum(embed(tokens) dL/dx_0)
//! ```
//!
//! Each block is computed twice, so a step takes about a third longer. The gradients are the same to the bit
//! where kernels repeat to the bit, as on the CPU: the same operations on the same numbers, and a parameter
//! that two stages read, such as an embedding that is tied to the head, has a sum of two terms either way. A
//! block below which nothing trains, as with adapters at the last blocks alone, is not computed again.
//!
//! Why here, and not by an operation in the graph. burn's own checkpointing saves nothing, as the hot
//! operations are `fused`'s, each of which keeps its inputs. A custom operation for a whole block would
//! have as many parents as the block has parameters, where burn fixes their number in the type, and a
//! backward pass inside another one, under its lock. Cutting the graph at the blocks takes only what
//! every backend has, and no `unsafe`; in exchange, whoever differentiates a loss hands its [`Segments`]
//! on to [`crate::Gradients`].

use burn::module::Module;
use burn::tensor::{Gradients, Int, Tensor};
use serde::{Deserialize, Serialize};

use crate::architecture::{Decoder, Input};
use crate::batch::Tokens;

/// What a training step does with the activations of its forward pass. In a configuration it is the answer to
/// `gradient_checkpointing`, true or false.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "bool", into = "bool")]
pub enum Activations {
    /// It keeps them for the backward pass.
    #[default]
    Kept,
    /// It keeps what each block reads, and computes the rest again in the backward pass.
    Recomputed,
}

impl From<bool> for Activations {
    fn from(recompute: bool) -> Self {
        if recompute { Self::Recomputed } else { Self::Kept }
    }
}

impl From<Activations> for bool {
    fn from(activations: Activations) -> Self {
        activations == Activations::Recomputed
    }
}

/// The part of a forward pass that the graph of its loss does not hold: none, or all blocks and
/// the embeddings below them.
///
/// Whoever differentiates the loss has to differentiate these too: [`crate::Gradients::add`] does.
#[derive(Debug, Default)]
#[must_use = "without them the gradient lacks all blocks"]
pub struct Segments(Option<Blocks>);

#[derive(Debug)]
struct Blocks {
    model: Decoder,
    tokens: Tokens,
    at: Option<Tensor<1, Int>>,
    /// The residual stream before each block that has a gradient, `[N, d]`, without gradients.
    before: Vec<Tensor<2>>,
    /// The residual stream after the last block, where the graph of the loss begins.
    last: Tensor<2>,
}

/// [`Decoder::hidden`] of a model that trains, and what the graph of its result lacks.
pub(crate) fn hidden(
    model: &Decoder,
    (tokens, at): (&Tokens, Option<&Tensor<1, Int>>),
    activations: Activations,
) -> (Tensor<2>, Segments) {
    match activations {
        Activations::Kept => (model.hidden(tokens, at), Segments::default()),
        Activations::Recomputed => {
            let inner = (tokens.without_autodiff(), at.map(|at| at.clone().without_autodiff()));
            let input = Input { tokens: &inner.0, at: inner.1.as_ref() };
            let (before, last) = model.valid().residuals(input, model.frozen_blocks());
            let last = Tensor::from_inner(last).set_require_grad(!before.is_empty());
            let hidden = model.norm(last.clone());
            let (model, tokens, at) = (model.clone(), tokens.clone(), at.cloned());
            (hidden, Segments(Some(Blocks { model, tokens, at, before, last })))
        }
    }
}

impl Segments {
    /// Goes on from the gradients of a loss, stage by stage; `found` is given those of each in turn, the
    /// loss's first.
    pub(crate) fn differentiate(self, mut of_loss: Gradients, mut found: impl FnMut(Gradients)) {
        let Some(Blocks { model, tokens, at, before, last }) = self.0 else { return found(of_loss) };
        let upstream = last.grad_remove(&mut of_loss);
        drop(last);
        found(of_loss);
        if let Some(upstream) = upstream {
            let input = Input { tokens: &tokens, at: at.as_ref() };
            model.differentiate(input, before, upstream, found);
        }
    }
}
