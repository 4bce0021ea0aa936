//! The operations of encoders, forward and backward.

use fused::Packing;

use super::case::Case;

/// Rows by a width that no vector of a kernel divides; sequences of one row, a few and more
/// than a band of a kernel.
pub fn cases(rows: usize) -> Vec<Case> {
    let longest = rows.min(150);
    let lengths = || std::iter::repeat_n(longest, rows / longest).chain([rows % longest, 1]);
    let packing = Packing::new(lengths().filter(|&length| length > 0).map(|length| (length, Vec::new())));
    vec![
        erf_gelu(rows, 33),
        bidirectional_attention(packing.clone(), 3, 32),
        bidirectional_attention(packing, 2, 9),
    ]
}

fn erf_gelu(rows: usize, width: usize) -> Case {
    Case::new(format!("erf_gelu {rows} x {width}"), &[("x", rows * width)], move |x| {
        fused::erf_gelu(x[0].clone().reshape([rows, width]) * 2.0).reshape([rows * width])
    })
}

fn bidirectional_attention(packing: Packing, heads: usize, head_dim: usize) -> Case {
    let (rows, width) = (packing.rows(), heads * head_dim);
    let name = format!("bidirectional_attention {rows} rows, {heads} heads of {head_dim}");
    Case::new(name, &[("qkv", rows * 3 * width)], move |x| {
        fused::bidirectional_attention(x[0].clone().reshape([rows, 3 * width]), &packing, heads)
            .reshape([rows * width])
    })
}
