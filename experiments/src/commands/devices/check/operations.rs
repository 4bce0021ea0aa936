//! Every operation of `fused`, forward and backward, at odd sizes.

use anyhow::Result;
use burn::tensor::Tensor;
use fused::{AdamW, Packing, RmsProp, Weight};
use lm::sequences::to_vec;

use super::case::{Case, ids, numbers};
use super::checks::{Checks, Measure, relative};
use super::{encoder, gptj, llama};

/// Rows of activations: one, a few, and more than any block of a kernel.
const ROWS: [usize; 3] = [1, 7, 1000];
/// A width that no vector of a kernel divides.
pub const WIDTH: usize = 33;
/// Parameters of an optimiser's step.
const LENGTHS: [usize; 3] = [1, WIDTH * 65, 1_000_003];
/// A vocabulary that no block of a kernel divides.
pub const VOCAB: usize = 4096 + 3;

pub fn check(checks: &mut Checks<'_>) -> Result<()> {
    for case in cases() {
        checks.check(&case.name, |checks| {
            let values: Vec<Vec<f32>> =
                case.inputs.iter().map(|(name, length)| numbers(*length, name)).collect();
            let (expected, expected_gradients) = checks.expected(|host| case.evaluate(&values, host))?;
            let (found, gradients) = case.evaluate(&values, &checks.device)?;
            let tolerance = checks.tolerance.values;
            let mut measures = vec![Measure::new("forward", relative(&found, &expected), tolerance)];
            for ((name, _), (found, expected)) in
                case.inputs.iter().zip(gradients.iter().zip(&expected_gradients))
            {
                measures.push(Measure::new(format!("d{name}"), relative(found, expected), tolerance));
            }
            Ok(measures)
        })?;
    }
    for length in LENGTHS {
        checks.check(&format!("sum_of_squares {length}"), |checks| {
            let values = numbers(length, "x");
            // burn's own sum on the CPU is no measure: it loses half of the digits of a million numbers.
            let expected: f64 = values.iter().map(|value| f64::from(*value).powi(2)).sum();
            let found = {
                // The same numbers in one tensor and, for a GPU that takes many at once, in three.
                let all = Tensor::from_floats(values.as_slice(), &checks.device);
                let [one, many] = [vec![all.clone()], vec![all.clone(), all.clone(), all]]
                    .map(|tensors| to_vec(fused::sum_of_squares(tensors))[0]);
                vec![one, many / 3.0]
            };
            Ok(vec![Measure::new("sum", relative(&found, &[expected as f32; 2]), checks.tolerance.values)])
        })?;
    }
    Ok(())
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for rows in ROWS {
        cases.extend([
            linear(rows, 65),
            linear_add(rows, 65),
            layer_norm(rows, WIDTH),
            gelu(rows),
            target_logprobs(rows),
            embedding(rows),
            token_kl(rows),
        ]);
    }
    cases.push(layer_norm(7, 1600));
    // So many rows that a GPU gives each of them one unit, and a product that it cuts into parts
    // and tiles of 128 columns.
    cases.push(attention("as many", Packing::new((0..1500).map(|_| (4, vec![8, 6]))), 3, 32));
    cases.push(linear(3000, 256));
    for [heads, head_dim] in [[3, 32], [2, 64]] {
        let small = Packing::new([(3, vec![2, 0, 1]), (0, vec![4]), (2, vec![]), (1, vec![1])]);
        let long = Packing::new([(5, vec![70, 33]), (0, vec![129])]);
        let many = Packing::new((0..40).map(|i| (6, vec![10, i % 9, 5])));
        cases.extend(
            [("small", small), ("long", long), ("many", many)]
                .map(|(name, packing)| attention(name, packing, heads, head_dim)),
        );
        cases.extend(
            [(1, 0), (7, 33), (200, 69)]
                .map(|(batch, position)| decode_attention(batch, position, heads, head_dim)),
        );
    }
    cases.extend(ROWS.into_iter().flat_map(llama::cases));
    cases.extend(ROWS.into_iter().flat_map(gptj::cases));
    cases.extend(ROWS.into_iter().flat_map(encoder::cases));
    for length in LENGTHS {
        cases.extend([adamw(length), rmsprop(length)]);
    }
    cases
}

fn linear(rows: usize, outputs: usize) -> Case {
    let inputs = [("x", rows * WIDTH), ("weight", WIDTH * outputs), ("bias", outputs)];
    Case::new(format!("linear {rows} x {WIDTH} to {outputs}"), &inputs, move |x| {
        let (input, weight) = (x[0].clone().reshape([rows, WIDTH]), x[1].clone().reshape([WIDTH, outputs]));
        fused::linear(input, weight, x[2].clone()).reshape([rows * outputs])
    })
}

fn linear_add(rows: usize, outputs: usize) -> Case {
    let inputs =
        [("residual", rows * outputs), ("x", rows * WIDTH), ("weight", WIDTH * outputs), ("bias", outputs)];
    Case::new(format!("linear_add {rows} x {WIDTH} to {outputs}"), &inputs, move |x| {
        let (input, weight) = (x[1].clone().reshape([rows, WIDTH]), x[2].clone().reshape([WIDTH, outputs]));
        fused::linear_add(x[0].clone().reshape([rows, outputs]), input, weight, x[3].clone())
            .reshape([rows * outputs])
    })
}

fn layer_norm(rows: usize, width: usize) -> Case {
    let inputs = [("x", rows * width), ("gamma", width), ("beta", width)];
    Case::new(format!("layer_norm {rows} x {width}"), &inputs, move |x| {
        fused::layer_norm(x[0].clone().reshape([rows, width]), x[1].clone(), x[2].clone(), 1e-5)
            .reshape([rows * width])
    })
}

fn gelu(rows: usize) -> Case {
    Case::new(format!("gelu {rows} x {WIDTH}"), &[("x", rows * WIDTH)], move |x| {
        fused::gelu(x[0].clone().reshape([rows, WIDTH]) * 2.0).reshape([rows * WIDTH])
    })
}

fn attention(name: &str, packing: Packing, heads: usize, head_dim: usize) -> Case {
    let (rows, width) = (packing.rows(), heads * head_dim);
    let name = format!("causal_attention {name} packing of {rows} rows, {heads} heads of {head_dim}");
    Case::new(name, &[("qkv", rows * 3 * width)], move |x| {
        fused::causal_attention(x[0].clone().reshape([rows, 3 * width]), &packing, heads)
            .reshape([rows * width])
    })
}

fn target_logprobs(rows: usize) -> Case {
    let inputs = [("hidden", rows * WIDTH), ("head", VOCAB * WIDTH)];
    Case::new(format!("target_logprobs {rows} x {WIDTH} over {VOCAB}"), &inputs, move |x| {
        let (hidden, head) = (x[0].clone().reshape([rows, WIDTH]), x[1].clone().reshape([VOCAB, WIDTH]));
        fused::target_logprobs(hidden, head, ids(rows, VOCAB, &x[0].device()))
    })
}

fn embedding(rows: usize) -> Case {
    Case::new(format!("embedding of {rows} of {VOCAB} x {WIDTH}"), &[("table", VOCAB * WIDTH)], move |x| {
        let table = x[0].clone().reshape([VOCAB, WIDTH]);
        fused::embedding(table, ids(rows, VOCAB, &x[0].device())).reshape([rows * WIDTH])
    })
}

/// Against a reference of another width, scaled so that the divergence is of the order of 1.
fn token_kl(rows: usize) -> Case {
    const OTHER: usize = 40;
    let inputs = [
        ("hidden", rows * WIDTH),
        ("head", VOCAB * WIDTH),
        ("reference hidden", rows * OTHER),
        ("reference head", VOCAB * OTHER),
    ];
    Case::new(format!("token_kl {rows} rows over {VOCAB}"), &inputs, move |x| {
        let matrix = |i: usize, rows: usize, columns: usize| {
            x[i].clone().reshape([rows, columns]) * (columns as f32).powf(-0.25)
        };
        let (exact, k1) = fused::token_kl(
            matrix(0, rows, WIDTH),
            matrix(1, VOCAB, WIDTH),
            matrix(2, rows, OTHER),
            matrix(3, VOCAB, OTHER),
            ids(rows, VOCAB, &x[0].device()),
        );
        Tensor::cat(vec![exact, k1], 0)
    })
    .without_gradient()
}

fn decode_attention(batch: usize, position: usize, heads: usize, head_dim: usize) -> Case {
    const CAPACITY: usize = 70;
    let (width, cache) = (heads * head_dim, batch * heads * CAPACITY * head_dim);
    let name = format!("decode_attention {batch} rows at {position}, {heads} heads of {head_dim}");
    Case::new(name, &[("qkv", batch * 3 * width), ("keys", cache), ("values", cache)], move |x| {
        let [keys, values] = [1, 2].map(|i| x[i].clone().reshape([batch, heads, CAPACITY, head_dim]));
        let qkv = x[0].clone().reshape([batch, 3 * width]);
        let (mixed, keys, values) = fused::decode_attention(qkv, keys, values, position, heads);
        Tensor::cat(vec![mixed.reshape([batch * width]), keys.reshape([cache]), values.reshape([cache])], 0)
    })
    .without_gradient()
}

fn adamw(length: usize) -> Case {
    let rule = AdamW {
        learning_rate: 0.01,
        beta1: 0.9,
        beta2: 0.95,
        epsilon: 1e-8,
        weight_decay: 0.1,
        step: 3,
        gradient_scale: 0.7,
    };
    let inputs = [("parameter", length), ("gradient", length), ("first", length), ("second", length)];
    Case::new(format!("adamw {length}"), &inputs, move |x| {
        let moments = [x[2].clone(), x[3].clone().square() + 0.1];
        // Twice the same, since a GPU updates many in one launch.
        let weight = || Weight { value: x[0].clone(), gradient: x[1].clone(), moments: moments.clone() };
        let updated = fused::adamw(vec![weight(), weight()], rule).into_iter();
        Tensor::cat(updated.flat_map(|one| [vec![one.value], one.moments.to_vec()].concat()).collect(), 0)
    })
    .without_gradient()
}

fn rmsprop(length: usize) -> Case {
    let rule = RmsProp { learning_rate: 0.01, alpha: 0.9, epsilon: 1e-8, gradient_scale: 0.7 };
    let inputs = [("parameter", length), ("gradient", length), ("second", length)];
    Case::new(format!("rmsprop {length}"), &inputs, move |x| {
        let moments = [x[2].clone().square() + 0.1];
        let weight = || Weight { value: x[0].clone(), gradient: x[1].clone(), moments: moments.clone() };
        let updated = fused::rmsprop(vec![weight(), weight()], rule).into_iter();
        Tensor::cat(updated.flat_map(|one| [vec![one.value], one.moments.to_vec()].concat()).collect(), 0)
    })
    .without_gradient()
}
