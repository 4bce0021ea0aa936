//! Drawing tokens: what is drawn, what is recorded of it, and whether score agrees.

use anyhow::{Context, Result};
use burn::tensor::{Device, Tensor, TensorData};
use lm::sequences::to_vec;
use lm::{Generation, Policy, ReferencePolicy, Sampling, Stream};
use rand::RngExt;

use super::case::numbers;
use super::checks::{Checks, Measure, relative};
use super::model::{LENGTH, Models};
use super::operations::{VOCAB, WIDTH};

pub fn check(checks: &mut Checks<'_>) -> Result<()> {
    for rows in [1, 7, 1000] {
        checks.check(&format!("sample {rows} rows over {VOCAB}"), |checks| draws(checks, rows))?;
    }
    checks.check("sampling: generate of the shipped reference", generate)?;
    checks.check("sampling: KL of a policy from itself", kl_from_itself)
}

/// Hidden states and a head whose logits have a standard deviation of 2: a few hundred tokens share most of
/// the mass.
fn states(rows: usize, device: &Device) -> (Tensor<2>, Tensor<2>) {
    let scale = 2.0 / (WIDTH as f32).sqrt();
    let head: Vec<f32> = numbers(VOCAB * WIDTH, "head").into_iter().map(|value| value * scale).collect();
    let matrix = |values: Vec<f32>, rows: usize| {
        Tensor::<2>::from_data(TensorData::new(values, [rows, WIDTH]), device)
    };
    (matrix(numbers(rows * WIDTH, "hidden"), rows), matrix(head, VOCAB))
}

/// One draw for each row, the last two at the ends of [0, 1).
fn draws(checks: &Checks<'_>, rows: usize) -> Result<Vec<Measure>> {
    let mut rng = Stream::new(0, "uniforms").rng();
    let mut uniforms: Vec<f64> = (0..rows).map(|_| rng.random()).collect();
    if rows > 2 {
        uniforms[rows - 2] = 0.0;
        uniforms[rows - 1] = 1.0 - f64::EPSILON / 2.0;
    }
    let draw = |device: &Device| {
        let (hidden, head) = states(rows, device);
        let (tokens, logprobs) = fused::sample(hidden, head, &uniforms);
        (tokens.into_data().iter::<i64>().collect::<Vec<i64>>(), to_vec(logprobs))
    };
    let (expected, _) = checks.expected(draw);
    let (tokens, recorded) = draw(&checks.device);
    if let Some(token) = tokens.iter().find(|token| !(0..VOCAB as i64).contains(token)) {
        anyhow::bail!("drew token {token} of a vocabulary of {VOCAB}");
    }
    let (hidden, head) = states(rows, &checks.device);
    let targets = Tensor::from_data(
        TensorData::new(tokens.iter().map(|&token| token as i32).collect(), [rows]),
        &checks.device,
    );
    let scored = to_vec(fused::target_logprobs(hidden.clone(), head.clone(), targets));
    let (hidden, head) = (to_vec(hidden), to_vec(head));
    let outside = (0..rows).map(|row| {
        let state = &hidden[row * WIDTH..(row + 1) * WIDTH];
        let logit = |token: &[f32]| -> f64 {
            state.iter().zip(token).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
        };
        distance(&head.chunks(WIDTH).map(logit).collect::<Vec<f64>>(), tokens[row] as usize, uniforms[row])
    });
    let outside = outside.fold(0.0, f64::max);
    let others = tokens.iter().zip(&expected).filter(|(a, b)| a != b).count();
    Ok(vec![
        Measure::new("other tokens than the CPU", others as f64 / rows as f64, checks.tolerance.draws),
        Measure::new("uniform outside the token's interval", outside, checks.tolerance.boundary),
        Measure::new("recorded less scored", relative(&recorded, &scored), checks.tolerance.values),
    ])
}

/// How far `uniform` is outside the interval of `token` in the cumulative distribution of softmax(logits).
fn distance(logits: &[f64], token: usize, uniform: f64) -> f64 {
    let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = logits.iter().map(|logit| (logit - largest).exp()).collect();
    let total: f64 = weights.iter().sum();
    let before = weights[..token].iter().sum::<f64>() / total;
    let after = before + weights[token] / total;
    (before - uniform).max(uniform - after).max(0.0)
}

/// Whole responses with the numbers that the CPU draws with. After the first token that differs a response
/// goes its own way, so it counts up to there.
fn generate(checks: &Checks<'_>) -> Result<Vec<Measure>> {
    let models = Models::load(checks)?;
    let count = 64;
    let prompts: Vec<Vec<u32>> = models.prompts.iter().cycle().take(count).cloned().collect();
    let sampling = Sampling { max_new_tokens: LENGTH, batch_size: 64 };
    let stream = Stream::new(1, "device check");
    let expected = checks.expected(|_| models.host.generate(&prompts, &sampling, stream))?;
    // A GPU tries several kernels for a product when it meets one first, and they differ by rounding.
    models.device.generate(&prompts, &sampling, stream)?;
    let found = models.device.generate(&prompts, &sampling, stream)?;
    if models.device.generate(&prompts, &sampling, stream)? != found {
        anyhow::bail!("generate gives other responses when it is repeated");
    }
    let sequences: Vec<lm::Sequence> = prompts
        .iter()
        .zip(&found)
        .map(|(prompt, drawn)| lm::Sequence { prompt: prompt.clone(), response: drawn.response.clone() })
        .collect();
    let scored = models.device.score(&sequences)?.concat();
    let recorded: Vec<f32> = found.iter().flat_map(|generation| generation.logprobs.clone()).collect();
    let (mut draws, mut others, mut outside) = (0, 0, 0.0_f64);
    for (row, (prompt, (found, expected))) in prompts.iter().zip(found.iter().zip(&expected)).enumerate() {
        let same = agreement(found, expected);
        draws += same;
        if found.response != expected.response {
            draws += 1;
            others += 1;
            let uniform: f64 =
                stream.child(row as u64).rng().random_iter().nth(same).context("numbers of a stream")?;
            let token = *found.response.get(same).context("a response that ends where the CPU's goes on")?;
            let logits = next_logits(&models.host, &[prompt, &found.response[..same]].concat());
            outside = outside.max(distance(&logits, token as usize, uniform));
        }
    }
    Ok(vec![
        Measure::new("other tokens than the CPU", f64::from(others) / draws as f64, checks.tolerance.draws),
        Measure::new("uniform outside the token's interval", outside, checks.tolerance.boundary),
        Measure::new("recorded less scored", relative(&recorded, &scored), checks.tolerance.values),
    ])
}

/// Tokens up to the first that differs.
fn agreement(found: &Generation, expected: &Generation) -> usize {
    found.response.iter().zip(&expected.response).take_while(|(a, b)| a == b).count()
}

/// Logits of the token after these.
fn next_logits(policy: &Policy, tokens: &[u32]) -> Vec<f64> {
    let model = policy.model();
    let tokens = lm::Tokens::new(tokens, lm::Packing::equal(1, tokens.len()), &policy.device());
    let hidden = model.hidden(&tokens, None);
    let [rows, width] = hidden.dims();
    let last = hidden.slice([rows - 1..rows, 0..width]);
    to_vec(model.logits(last)).into_iter().map(|logit| f64::from(logit) / policy.temperature()).collect()
}

fn kl_from_itself(checks: &Checks<'_>) -> Result<Vec<Measure>> {
    let models = Models::load(checks)?;
    let kl = models.device.sequence_kl(&ReferencePolicy::new(&models.device), &models.sequences)?;
    let most = |of: fn(&lm::policy::SequenceKl) -> f64| kl.iter().map(of).map(f64::abs).fold(0.0, f64::max);
    Ok(vec![Measure::new("exact", most(|kl| kl.exact), 0.0), Measure::new("k1", most(|kl| kl.k1), 0.0)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uniform_number_lies_in_its_tokens_interval_or_so_far_outside() {
        // 1/4, 1/2, 1/4.
        let logits = [0.0, 2.0_f64.ln(), 0.0];
        for (token, uniform, expected) in
            [(0, 0.1, 0.0), (1, 0.1, 0.15), (1, 0.5, 0.0), (1, 0.8, 0.05), (2, 0.8, 0.0), (2, 0.0, 0.75)]
        {
            assert!((distance(&logits, token, uniform) - expected).abs() < 1e-12, "{token} at {uniform}");
        }
    }
}
