//! The size of a model, in the words that all families share.

/// No size of a model is larger: small multiples of what a file claims beyond it may overflow.
pub(crate) const LARGEST: usize = 1 << 42;

/// The size of a decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Number of token ids, V.
    pub vocabulary: usize,
    /// Longest sequence in tokens.
    pub context: usize,
    /// Width of the residual stream, d.
    pub width: usize,
    /// Number of blocks.
    pub layers: usize,
    /// Attention heads of a block.
    pub heads: usize,
}
