//! The kernels against `PyTorch`: fixtures written by `scripts/reference/fused.py`.

#![expect(clippy::unwrap_used, reason = "tests may panic")]

mod support;

use serde::Deserialize;
use support::{Case, evaluate, inputs, switched};

#[derive(Deserialize)]
struct Fixture {
    op: String,
    dims: Vec<usize>,
    amplitude: f64,
    /// `(index, value)` of some elements.
    output: Vec<(usize, f64)>,
    gradients: Vec<Vec<(usize, f64)>>,
}

fn case(fixture: &Fixture) -> Case {
    let dims = &fixture.dims;
    match fixture.op.as_str() {
        "linear" => support::linear(dims.as_slice().try_into().unwrap()),
        "layer_norm" => support::layer_norm(dims.as_slice().try_into().unwrap()),
        "gelu" => support::gelu(dims.as_slice().try_into().unwrap()),
        "causal_attention" => support::attention(dims.as_slice().try_into().unwrap()),
        "target_logprobs" => support::logprobs(dims.as_slice().try_into().unwrap()),
        "embedding" => support::embedding(dims.as_slice().try_into().unwrap()),
        "grouped_attention" => support::grouped_attention(dims.as_slice().try_into().unwrap()),
        "product" => support::product(dims.as_slice().try_into().unwrap()),
        "rms_norm" => support::rms_norm(dims.as_slice().try_into().unwrap()),
        "rope" => support::rope(dims.as_slice().try_into().unwrap()),
        "affine" => support::affine(dims.as_slice().try_into().unwrap()),
        "biased_logprobs" => support::biased_logprobs(dims.as_slice().try_into().unwrap()),
        "rope_of_neighbours" => support::rope_of_neighbours(dims.as_slice().try_into().unwrap()),
        "swiglu" => support::swiglu(dims.as_slice().try_into().unwrap()),
        other => panic!("unknown operation {other}"),
    }
}

fn assert_elements(name: &str, got: &[f32], expected: &[(usize, f64)]) {
    assert!(!expected.is_empty(), "{name}: empty fixture");
    for &(at, expected) in expected {
        let got = f64::from(got[at]);
        let error = (got - expected).abs() / (1.0 + expected.abs());
        assert!(error < support::tolerance(2e-5), "{name} at {at}: {got}, PyTorch has {expected}");
    }
}

#[test]
fn every_operation_agrees_with_pytorch() {
    let fixtures: Vec<Fixture> = serde_json::from_str(include_str!("fixtures/fused.json")).unwrap();
    assert!(fixtures.len() > 20);
    let _guard = switched(true);
    for fixture in fixtures {
        let case = case(&fixture);
        let outcome = evaluate(&case, &inputs(&case, fixture.amplitude));
        assert_elements(&format!("{}: output", case.name), &outcome.output, &fixture.output);
        for (i, (got, expected)) in outcome.gradients.iter().zip(&fixture.gradients).enumerate() {
            assert_elements(&format!("{}: gradient {i}", case.name), got, expected);
        }
    }
}
