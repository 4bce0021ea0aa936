//! The kernels against an f64 implementation in plain loops, and their gradients against its
//! central differences.

#![expect(clippy::unwrap_used, reason = "tests may panic")]

mod support;

use support::{Case, evaluate, inputs, odd_cases, switched, upstream};

const OUTPUT_TOLERANCE: f64 = 1e-5;
const GRADIENT_TOLERANCE: f64 = 5e-5;
/// Coordinates differenced per input.
const SAMPLES: usize = 40;

fn loss(case: &Case, inputs: &[Vec<f64>], weights: &[f32]) -> f64 {
    (case.exact)(inputs).iter().zip(weights).map(|(y, w)| y * f64::from(*w)).sum()
}

fn check(case: &Case, amplitude: f64) {
    let inputs = inputs(case, amplitude);
    let outcome = evaluate(case, &inputs);
    let mut exact: Vec<Vec<f64>> =
        inputs.iter().map(|x| x.iter().copied().map(f64::from).collect()).collect();
    let expected = (case.exact)(&exact);
    assert_eq!(expected.len(), outcome.output.len(), "{}", case.name);
    for (i, (got, expected)) in outcome.output.iter().zip(&expected).enumerate() {
        let error = (f64::from(*got) - expected).abs() / (1.0 + expected.abs());
        assert!(error < OUTPUT_TOLERANCE, "{}: output {i} is {got}, expected {expected}", case.name);
    }
    let weights = upstream(expected.len());
    let step = 1e-5;
    for input in 0..inputs.len() {
        let len = inputs[input].len();
        for at in (0..len).step_by(len.div_ceil(SAMPLES)) {
            let x = exact[input][at];
            let mut moved = |to: f64| {
                exact[input][at] = to;
                loss(case, &exact, &weights)
            };
            let slope = (moved(x + step) - moved(x - step)) / (2.0 * step);
            exact[input][at] = x;
            let got = f64::from(outcome.gradients[input][at]);
            let error = (got - slope).abs() / (1.0 + slope.abs());
            assert!(
                error < GRADIENT_TOLERANCE,
                "{}: gradient of input {input} at {at} is {got}, expected {slope}",
                case.name
            );
        }
    }
}

#[test]
fn outputs_and_gradients_match_f64() {
    let _guard = switched(true);
    for case in odd_cases() {
        check(&case, 1.0);
    }
}

#[test]
fn larger_inputs_match_f64() {
    let _guard = switched(true);
    check(&support::gelu([7, 31]), 12.0);
    check(&support::attention([1, 20, 2, 6]), 3.0);
    check(&support::layer_norm([5, 50]), 20.0);
    check(&support::logprobs([4, 6, 50]), 3.0);
    check(&support::biased_logprobs([4, 6, 50]), 3.0);
    check(&support::swiglu([7, 31]), 12.0);
    check(&support::rms_norm([5, 50]), 20.0);
    check(&support::grouped_attention([1, 20, 4, 2, 6]), 3.0);
}
