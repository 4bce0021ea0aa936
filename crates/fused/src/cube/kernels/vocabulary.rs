//! Kernels over rows of logits `[rows, vocab]`, one cube per row: log-probabilities, divergence, sampling. A
//! target beyond the vocabulary counts as its last token, so that no access leaves its buffer.

use cubecl::prelude::*;

use super::rows::{LOWEST, cube_max, cube_sum};

/// Units per cube.
pub(in crate::cube) const UNITS: usize = 256;
/// Units whose sums [`draw`] joins in one go; `GROUP * GROUP = UNITS`, so that the scan has two short levels.
const GROUP: usize = 16;

/// Largest logit of row `CUBE_POS` and the sum of `exp(logit - largest)`.
#[cube]
fn normaliser(logits: &[f32], vocab: usize) -> (f32, f32) {
    let start = CUBE_POS * vocab;
    let mut largest = LOWEST.runtime();
    let mut v = UNIT_POS as usize;
    while v < vocab {
        largest = max(largest, logits[start + v]);
        v += UNITS;
    }
    let largest = cube_max(largest, UNITS);
    let mut sum = 0.0f32;
    let mut v = UNIT_POS as usize;
    while v < vocab {
        sum += (logits[start + v] - largest).exp();
        v += UNITS;
    }
    (largest, cube_sum(sum, UNITS))
}

/// Log-probability of each row's target, and the row's log-sum-exp.
#[cube(launch_unchecked)]
pub(in crate::cube) fn target_logprobs<I: Int>(
    logits: &[f32],
    targets: &[I],
    out: &mut [f32],
    lse: &mut [f32],
    rows: usize,
    vocab: usize,
    #[define(I)] _targets: ElemType,
) {
    if CUBE_POS < rows {
        let (largest, sum) = normaliser(logits, vocab);
        if UNIT_POS == 0 {
            let target = min(usize::cast_from(targets[CUBE_POS]), vocab - 1);
            let log = sum.ln();
            lse[CUBE_POS] = largest + log;
            out[CUBE_POS] = logits[CUBE_POS * vocab + target] - largest - log;
        }
    }
}

/// Gradient of the logits, `g[n] (1[v = target] - softmax(logits)[n, v])`; may overwrite them.
#[cube(launch_unchecked)]
pub(in crate::cube) fn target_logprobs_gradient<I: Int>(
    logits: &[f32],
    targets: &[I],
    lse: &[f32],
    g: &[f32],
    out: &mut [f32],
    count: usize,
    vocab: usize,
    #[define(I)] _targets: ElemType,
) {
    if ABSOLUTE_POS < count {
        let row = ABSOLUTE_POS / vocab;
        let target = min(usize::cast_from(targets[row]), vocab - 1);
        let hit = select(ABSOLUTE_POS % vocab == target, 1.0f32, 0.0f32);
        out[ABSOLUTE_POS] = g[row] * (hit - (logits[ABSOLUTE_POS] - lse[row]).exp());
    }
}

/// Exact divergence and k1 of each row.
#[cube(launch_unchecked)]
pub(in crate::cube) fn token_kl<I: Int>(
    logits: &[f32],
    reference: &[f32],
    targets: &[I],
    exact: &mut [f32],
    k1: &mut [f32],
    rows: usize,
    vocab: usize,
    #[define(I)] _targets: ElemType,
) {
    if CUBE_POS < rows {
        let (largest, sum) = normaliser(logits, vocab);
        let (other_largest, other_sum) = normaliser(reference, vocab);
        let lse = largest + sum.ln();
        let other_lse = other_largest + other_sum.ln();
        let start = CUBE_POS * vocab;
        let mut kl = 0.0f32;
        let mut v = UNIT_POS as usize;
        while v < vocab {
            let logprob = logits[start + v] - lse;
            kl += logprob.exp() * (logprob - (reference[start + v] - other_lse));
            v += UNITS;
        }
        let kl = cube_sum(kl, UNITS);
        if UNIT_POS == 0 {
            let target = start + min(usize::cast_from(targets[CUBE_POS]), vocab - 1);
            exact[CUBE_POS] = kl;
            k1[CUBE_POS] = (logits[target] - lse) - (reference[target] - other_lse);
        }
    }
}

/// Draws one token per row by inverting the cumulative distribution at the row's uniform number.
///
/// Unit u sums the weights of its own block of tokens; two short serial scans make the blocks' bounds, which
/// therefore never decrease; the one unit whose bounds enclose `uniform * total` looks for the token in its
/// block.
#[cube(launch_unchecked)]
pub(in crate::cube) fn draw(
    logits: &[f32],
    uniforms: &[f32],
    tokens: &mut [i32],
    logprobs: &mut [f32],
    rows: usize,
    vocab: usize,
) {
    if CUBE_POS < rows {
        let unit = UNIT_POS as usize;
        let start = CUBE_POS * vocab;
        let block = vocab.div_ceil(UNITS);
        let first = min(unit * block, vocab);
        let last = min(first + block, vocab);
        let mut largest = LOWEST.runtime();
        for v in first..last {
            largest = max(largest, logits[start + v]);
        }
        let largest = cube_max(largest, UNITS);
        let mut sum = 0.0f32;
        for v in first..last {
            sum += (logits[start + v] - largest).exp();
        }
        let mut bounds = Shared::<[f32]>::new_slice(UNITS);
        let mut groups = Shared::<[f32]>::new_slice(GROUP);
        bounds[unit] = sum;
        sync_cube();
        if unit < GROUP {
            let mut upto = 0.0f32;
            for i in 0..GROUP {
                upto += bounds[unit * GROUP + i];
                bounds[unit * GROUP + i] = upto;
            }
        }
        sync_cube();
        if unit == 0 {
            let mut upto = 0.0f32;
            for i in 0..GROUP {
                groups[i] = upto;
                upto += bounds[i * GROUP + GROUP - 1];
            }
        }
        sync_cube();
        let end = groups[unit / GROUP] + bounds[unit];
        let total = groups[GROUP - 1] + bounds[UNITS - 1];
        let begin =
            if unit % GROUP == 0 { groups[unit / GROUP] } else { groups[unit / GROUP] + bounds[unit - 1] };
        // Just below the total: 1 - 2^-24 is the largest float below 1.
        let aim = min(uniforms[CUBE_POS] * total, total * 0.999_999_94f32);
        // In a row that is not finite no unit's bounds enclose the point; the log-probability shows it.
        let is_finite = total < f32::MAX;
        if unit == 0 && !is_finite {
            tokens[CUBE_POS] = 0i32;
            logprobs[CUBE_POS] = total * 0.0f32;
        }
        if begin <= aim && aim < end {
            let mut upto = begin;
            let mut token = first;
            let mut found = false;
            for v in first..last {
                let weight = (logits[start + v] - largest).exp();
                if !found && weight > 0.0f32 {
                    token = v;
                    upto += weight;
                    found = aim < upto;
                }
            }
            tokens[CUBE_POS] = token as i32;
            logprobs[CUBE_POS] = logits[start + token] - largest - total.ln();
        }
    }
}
