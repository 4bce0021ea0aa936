//! The Bradley-Terry likelihood by hand.

use std::f32::consts::LN_2;

use burn::tensor::{Tensor, TensorData};
use lm::sequences::to_vec;
use lm::{DistinctResponses, PreferencePair, bradley_terry_nll};

use crate::support::{assert_close, device, sequence};

fn margins(values: &[f32]) -> Tensor<1> {
    Tensor::from_data(TensorData::new(values.to_vec(), [values.len()]), &device())
}

fn nll(values: &[f32], label_smoothing: f64) -> Vec<f32> {
    to_vec(bradley_terry_nll(margins(values), label_smoothing))
}

fn slope(values: &[f32], label_smoothing: f64) -> Vec<f32> {
    let margin = margins(values).autodiff().require_grad();
    let loss = bradley_terry_nll(margin.clone(), label_smoothing).sum();
    to_vec(margin.grad(&loss.backward()).unwrap())
}

#[test]
fn values_by_hand() {
    // sigma(0) = 1/2; sigma(ln 3) = 3/4; sigma(-ln 3) = 1/4.
    let ln3 = 3.0_f32.ln();
    assert_close(&nll(&[0.0, ln3, -ln3], 0.0), &[LN_2, 0.287_682_1, 1.386_294_4], 1e-6);
    // 0.9 * 0.2876821 + 0.1 * 1.3862944 and 0.9 * 1.3862944 + 0.1 * 0.2876821.
    assert_close(&nll(&[0.0, ln3, -ln3], 0.1), &[LN_2, 0.397_543_3, 1.276_433_2], 1e-6);
}

#[test]
fn slopes_by_hand() {
    // -(1 - eps) sigma(-m) + eps sigma(m).
    let ln3 = 3.0_f32.ln();
    assert_close(&slope(&[0.0, ln3, -ln3], 0.0), &[-0.5, -0.25, -0.75], 1e-6);
    assert_close(&slope(&[0.0, ln3, -ln3], 0.1), &[-0.4, -0.15, -0.65], 1e-6);
}

#[test]
fn margins_of_a_thousand_stay_finite() {
    assert_close(&nll(&[1e3, -1e3], 0.0), &[0.0, 1e3], 1e-3);
    assert_close(&nll(&[1e3, -1e3], 0.1), &[100.0, 900.0], 1e-3);
    assert_close(&slope(&[1e3, -1e3], 0.0), &[0.0, -1.0], 1e-6);
    assert_close(&slope(&[1e3, -1e3], 0.1), &[0.1, -0.9], 1e-6);
}

#[test]
fn swapping_the_pair_is_flipping_the_label() {
    let (values, swapped) = ([-2.0, -0.3, 0.0, 0.7, 5.0], [2.0, 0.3, 0.0, -0.7, -5.0]);
    assert_close(&nll(&values, 0.2), &nll(&swapped, 0.8), 1e-6);
}

#[test]
fn a_pair_is_two_sequences_with_one_prompt() {
    let pair = PreferencePair { prompt: vec![0, 1], chosen: vec![2, 0], rejected: vec![3], probability: 1.0 };
    assert_eq!(pair.chosen_sequence(), sequence(&[0, 1], &[2, 0]));
    assert_eq!(pair.rejected_sequence(), sequence(&[0, 1], &[3]));
}

#[test]
fn each_response_of_several_pairs_is_listed_once() {
    let pair = |prompt: &[u32], chosen: &[u32], rejected: &[u32]| PreferencePair {
        prompt: prompt.to_vec(),
        chosen: chosen.to_vec(),
        rejected: rejected.to_vec(),
        probability: 1.0,
    };
    // Three responses to one prompt make three pairs; the last pair's chosen response follows another prompt.
    let pairs = [
        pair(&[0, 1], &[5], &[6, 6]),
        pair(&[0, 1], &[5], &[7]),
        pair(&[0, 1], &[7], &[6, 6]),
        pair(&[0, 2], &[5], &[8]),
    ];
    let distinct = DistinctResponses::of(&pairs);
    let listed: Vec<(&[u32], &[u32])> =
        distinct.sequences.iter().map(|s| (s.prompt.as_slice(), s.response.as_slice())).collect();
    let expected: [(&[u32], &[u32]); 5] =
        [(&[0, 1], &[5]), (&[0, 1], &[6, 6]), (&[0, 1], &[7]), (&[0, 2], &[5]), (&[0, 2], &[8])];
    assert_eq!(listed, expected);
    assert_eq!(distinct.spread(&[10, 11, 12, 13, 14]), (vec![10, 10, 12, 13], vec![11, 12, 11, 14]));
    assert_eq!(distinct.tokens(), 3 + 4 + 3 + 3 + 3);
}
