//! The size of a model, in the words that all families share.

use crate::problem::Problem;

/// No size of a model is larger: small multiples of what a file claims beyond it may overflow.
pub(crate) const LARGEST: usize = 1 << 42;

/// The problems of sizes by their keys: each is from 1 to [`LARGEST`].
pub(crate) fn size_problems<'a>(
    sizes: impl IntoIterator<Item = (&'a str, usize)>,
) -> impl Iterator<Item = Problem> {
    let problem = |(key, size): (&'a str, usize)| {
        let too_large = || Problem::unless(size <= LARGEST, key, size, format!("at most {LARGEST}"));
        Problem::unless_counted(key, size).or_else(too_large)
    };
    sizes.into_iter().filter_map(problem)
}

/// A problem of heads unless they share the width, or the heads of queries, evenly.
pub(crate) fn heads_problem(
    (key, heads): (&str, usize),
    (shared_key, shared): (&str, usize),
) -> Option<Problem> {
    let divides = heads == 0 || shared.is_multiple_of(heads);
    Problem::unless(divides, key, heads, format!("a divisor of {shared_key} = {shared}"))
}

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
