//! Several responses to each prompt.

use lm::{Generation, LmError, Policy, Sampling, Sequence, Stream};

/// Samples `n` responses to each prompt; those of prompt `i` are at `i * n .. (i + 1) * n`.
///
/// # Errors
/// If a prompt does not fit the model.
pub fn sample(
    policy: &Policy,
    prompts: &[Vec<u32>],
    n: usize,
    sampling: &Sampling,
    stream: Stream,
) -> Result<Vec<Sequence>, LmError> {
    let repeated: Vec<Vec<u32>> =
        prompts.iter().flat_map(|prompt| std::iter::repeat_n(prompt.clone(), n)).collect();
    let drawn: Vec<Generation> = policy.generate(&repeated, sampling, stream)?;
    Ok(repeated.into_iter().zip(drawn).map(|(prompt, g)| Sequence { prompt, response: g.response }).collect())
}
