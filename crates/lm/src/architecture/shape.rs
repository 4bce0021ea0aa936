//! The size of a model, in the words that all families share.

use crate::problem::Problem;

/// No size of a model is larger.
const LARGEST: usize = 1 << 42;
/// No model has more parameters. Every size of a tensor is at most their number, so whatever is counted of a
/// model below it fits in 64 bits.
const MOST_PARAMETERS: usize = 1 << 56;

/// The problems of a model's sizes by their keys, each from 1 to [`LARGEST`], and of the number of
/// `parameters` that they make, which saturates.
pub(crate) fn size_problems<'a>(
    sizes: impl IntoIterator<Item = (&'a str, usize)>,
    parameters: usize,
) -> Vec<Problem> {
    let problem = |(key, size): (&'a str, usize)| {
        let too_large = || Problem::unless(size <= LARGEST, key, size, format!("at most {LARGEST}"));
        Problem::unless_counted(key, size).or_else(too_large)
    };
    let mut problems: Vec<Problem> = sizes.into_iter().filter_map(problem).collect();
    if problems.is_empty() {
        let found = if parameters == usize::MAX { "2^64 or more".to_owned() } else { parameters.to_string() };
        let expected = format!("at most {MOST_PARAMETERS} by the sizes");
        problems.extend(Problem::unless(parameters <= MOST_PARAMETERS, "parameters", found, expected));
    }
    problems
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
