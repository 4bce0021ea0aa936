//! The operations of a Llama's blocks, forward and backward.

use burn::tensor::Tensor;
use fused::{Heads, Packing, Rotation};

use super::case::Case;

/// A width that no vector of a kernel divides.
const WIDTH: usize = 33;
const HEADS: Heads = Heads { queries: 6, keys: 2 };
const HEAD_DIM: usize = 10;

/// Every operation at so many rows.
pub fn cases(rows: usize) -> Vec<Case> {
    vec![
        product(rows, 65),
        product_add(rows, 65),
        rms_norm(rows),
        rope(rows),
        swiglu(rows),
        attention(rows),
        decode(rows),
    ]
}

fn product(rows: usize, outputs: usize) -> Case {
    let inputs = [("x", rows * WIDTH), ("weight", outputs * WIDTH)];
    Case::new(format!("product {rows} x {WIDTH} to {outputs}"), &inputs, move |x| {
        let (input, weight) = (x[0].clone().reshape([rows, WIDTH]), x[1].clone().reshape([outputs, WIDTH]));
        fused::product(input, weight).reshape([rows * outputs])
    })
}

fn product_add(rows: usize, outputs: usize) -> Case {
    let inputs = [("residual", rows * outputs), ("x", rows * WIDTH), ("weight", outputs * WIDTH)];
    Case::new(format!("product_add {rows} x {WIDTH} to {outputs}"), &inputs, move |x| {
        let (input, weight) = (x[1].clone().reshape([rows, WIDTH]), x[2].clone().reshape([outputs, WIDTH]));
        fused::product_add(x[0].clone().reshape([rows, outputs]), input, weight).reshape([rows * outputs])
    })
}

fn rms_norm(rows: usize) -> Case {
    Case::new(format!("rms_norm {rows} x {WIDTH}"), &[("x", rows * WIDTH), ("gamma", WIDTH)], move |x| {
        let input = x[0].clone().reshape([rows, WIDTH]);
        fused::rms_norm(input, x[1].clone(), 1e-5).reshape([rows * WIDTH])
    })
}

fn rope(rows: usize) -> Case {
    let packed = HEADS.packed() * HEAD_DIM;
    Case::new(format!("rope {rows} rows, {HEADS:?} of {HEAD_DIM}"), &[("qkv", rows * packed)], move |x| {
        let positions: Vec<usize> = (0..rows).map(|row| row * row % 101).collect();
        let rotation = Rotation::new(&positions, HEAD_DIM, 10_000.0);
        fused::rope(x[0].clone().reshape([rows, packed]), &rotation, HEADS).reshape([rows * packed])
    })
}

fn swiglu(rows: usize) -> Case {
    let inputs = [("gate", rows * WIDTH), ("up", rows * WIDTH)];
    Case::new(format!("swiglu {rows} x {WIDTH}"), &inputs, move |x| {
        let [gate, up] = [0, 1].map(|i| x[i].clone().reshape([rows, WIDTH]) * 2.0);
        fused::swiglu(gate, up).reshape([rows * WIDTH])
    })
}

/// Prefixes of 3 rows with two branches, and what is left as one sequence.
fn attention(rows: usize) -> Case {
    let packed = HEADS.packed() * HEAD_DIM;
    let trees = rows / 10;
    let packing = Packing::new(
        (0..trees).map(|_| (3, vec![5, 2])).chain(std::iter::once((rows - 10 * trees, Vec::new()))),
    );
    let name = format!("causal_attention of {rows} rows, {HEADS:?} of {HEAD_DIM}");
    Case::new(name, &[("qkv", rows * packed)], move |x| {
        let mixed = fused::causal_attention(x[0].clone().reshape([rows, packed]), &packing, HEADS);
        mixed.reshape([rows * HEADS.queries * HEAD_DIM])
    })
}

fn decode(rows: usize) -> Case {
    const CAPACITY: usize = 20;
    let (batch, packed) = (rows.min(50), HEADS.packed() * HEAD_DIM);
    let cache = batch * HEADS.keys * CAPACITY * HEAD_DIM;
    let name = format!("decode_attention {batch} rows at 13, {HEADS:?} of {HEAD_DIM}");
    Case::new(name, &[("qkv", batch * packed), ("keys", cache), ("values", cache)], move |x| {
        let [keys, values] = [1, 2].map(|i| x[i].clone().reshape([batch, HEADS.keys, CAPACITY, HEAD_DIM]));
        let qkv = x[0].clone().reshape([batch, packed]);
        let (mixed, keys, values) = fused::decode_attention(qkv, keys, values, 13, HEADS);
        let mixed = mixed.reshape([batch * HEADS.queries * HEAD_DIM]);
        Tensor::cat(vec![mixed, keys.reshape([cache]), values.reshape([cache])], 0)
    })
    .without_gradient()
}
