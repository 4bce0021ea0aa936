//! The operations that a GPT-J has beside those of a GPT-2 and a Llama, forward and backward.

use burn::tensor::Tensor;
use fused::{OutputHead, Rotation};

use super::case::{Case, ids};

/// A width that no vector of a kernel divides.
const WIDTH: usize = 33;
/// A vocabulary that no block of a kernel divides.
const VOCAB: usize = 4096 + 3;
const HEADS: usize = 3;
const HEAD_DIM: usize = 10;
/// Columns of a head that are rotated.
const ROTATED: usize = 6;

/// Every operation at so many rows.
pub fn cases(rows: usize) -> Vec<Case> {
    vec![affine(rows, 65), affine_add(rows, 65), rope(rows), target_logprobs(rows), token_kl(rows)]
}

fn affine(rows: usize, outputs: usize) -> Case {
    let inputs = [("x", rows * WIDTH), ("weight", outputs * WIDTH), ("bias", outputs)];
    Case::new(format!("affine {rows} x {WIDTH} to {outputs}"), &inputs, move |x| {
        let (input, weight) = (x[0].clone().reshape([rows, WIDTH]), x[1].clone().reshape([outputs, WIDTH]));
        fused::affine(input, weight, x[2].clone()).reshape([rows * outputs])
    })
}

fn affine_add(rows: usize, outputs: usize) -> Case {
    let inputs =
        [("residual", rows * outputs), ("x", rows * WIDTH), ("weight", outputs * WIDTH), ("bias", outputs)];
    Case::new(format!("affine_add {rows} x {WIDTH} to {outputs}"), &inputs, move |x| {
        let (input, weight) = (x[1].clone().reshape([rows, WIDTH]), x[2].clone().reshape([outputs, WIDTH]));
        fused::affine_add(x[0].clone().reshape([rows, outputs]), input, weight, x[3].clone())
            .reshape([rows * outputs])
    })
}

fn rope(rows: usize) -> Case {
    let packed = 3 * HEADS * HEAD_DIM;
    let name = format!("rope {rows} rows, {ROTATED} columns of {HEADS} heads of {HEAD_DIM}");
    Case::new(name, &[("qkv", rows * packed)], move |x| {
        let positions: Vec<usize> = (0..rows).map(|row| row * row % 101).collect();
        let rotation = Rotation::of_neighbours(&positions, HEAD_DIM, ROTATED, 10_000.0);
        fused::rope(x[0].clone().reshape([rows, packed]), &rotation, HEADS).reshape([rows * packed])
    })
}

/// A head with a bias.
fn target_logprobs(rows: usize) -> Case {
    let inputs = [("hidden", rows * WIDTH), ("head", VOCAB * WIDTH), ("bias", VOCAB)];
    Case::new(format!("biased target_logprobs {rows} x {WIDTH} over {VOCAB}"), &inputs, move |x| {
        let (hidden, weight) = (x[0].clone().reshape([rows, WIDTH]), x[1].clone().reshape([VOCAB, WIDTH]));
        let head = OutputHead { weight, bias: Some(x[2].clone()) };
        fused::target_logprobs(hidden, head, ids(rows, VOCAB, &x[0].device()))
    })
}

/// A head with a bias against one without.
fn token_kl(rows: usize) -> Case {
    let inputs = [("hidden", rows * WIDTH), ("head", VOCAB * WIDTH), ("bias", VOCAB)];
    Case::new(format!("biased token_kl {rows} rows over {VOCAB}"), &inputs, move |x| {
        let scale = (WIDTH as f32).powf(-0.25);
        let (hidden, weight) =
            (x[0].clone().reshape([rows, WIDTH]) * scale, x[1].clone().reshape([VOCAB, WIDTH]) * scale);
        let head = OutputHead { weight: weight.clone(), bias: Some(x[2].clone()) };
        let targets = ids(rows, VOCAB, &x[0].device());
        let (exact, k1) = fused::token_kl(hidden.clone(), head, hidden, weight, targets);
        Tensor::cat(vec![exact, k1], 0)
    })
    .without_gradient()
}
