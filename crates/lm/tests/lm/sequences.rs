//! Ragged rows and padded tensors, groups by length, refusals, masked means.

use burn::tensor::{Tensor, TensorData};
use lm::sequences::{by_length, check, to_vec};
use lm::{Batch, ResponseMask, Sequence, WholeBatch, masked};
use proptest::prelude::*;

use crate::support::{device, sequence};

proptest! {
    #[test]
    fn rows_survive_padding(rows in prop::collection::vec(prop::collection::vec(-9.0_f32..9.0, 0..6), 1..6)) {
        let mask = ResponseMask::from_lengths(rows.iter().map(Vec::len).collect());
        prop_assume!(mask.count() > 0);
        let width = rows.iter().map(Vec::len).max().unwrap();
        let padded = mask.pad(&rows, &device());
        prop_assert_eq!(mask.dims(), [rows.len(), width]);
        prop_assert_eq!(padded.dims(), mask.dims());
        prop_assert_eq!(mask.count(), rows.concat().len());
        prop_assert_eq!(mask.rows(padded.clone()), rows.clone());

        let real = to_vec(mask.tensor(&device()));
        for (b, row) in rows.iter().enumerate() {
            for t in 0..width {
                prop_assert_eq!(real[b * width + t], if t < row.len() { 1.0 } else { 0.0 });
            }
        }
        // What is not real is zero, so the padded sum is the sum of the rows.
        let total: f32 = rows.iter().flatten().sum();
        prop_assert!((to_vec(padded.sum())[0] - total).abs() < 1e-4);
    }

    #[test]
    fn groups_hold_every_index_once_in_order_of_length(
        lengths in prop::collection::vec(0_usize..9, 0..40),
        size in 1_usize..7,
    ) {
        let groups = by_length(&lengths, size);
        prop_assert!(groups.iter().all(|group| !group.is_empty() && group.len() <= size));
        let flat = groups.concat();
        let mut sorted = flat.clone();
        sorted.sort_unstable();
        prop_assert_eq!(sorted, (0..lengths.len()).collect::<Vec<_>>());
        prop_assert!(flat.is_sorted_by_key(|&i| (lengths[i], i)));
    }
}

#[test]
fn padding_by_hand() {
    let mask = ResponseMask::from_lengths(vec![2, 0, 3]);
    let padded = mask.pad(&[vec![1.0, 2.0], vec![], vec![3.0, 4.0, 5.0]], &device());
    assert_eq!(to_vec(padded), [1.0, 2.0, 0.0, 0.0, 0.0, 0.0, 3.0, 4.0, 5.0]);
    assert_eq!(to_vec(mask.tensor(&device())), [1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0]);
    assert_eq!(mask.lengths(), [2, 0, 3]);
}

#[test]
#[should_panic(expected = "row 0 has 1 values, its mask 2 tokens")]
fn a_row_of_another_length_is_a_bug() {
    ResponseMask::from_lengths(vec![2]).pad(&[vec![1.0]], &device());
}

#[test]
fn batches_count_real_tokens() {
    let (a, b) = (sequence(&[0, 1], &[2, 3, 0]), sequence(&[0], &[4]));
    let batch = Batch::new(&[&a, &b], &device());
    assert_eq!((batch.tokens(), batch.mask().lengths()), (7, [3, 1].as_slice()));
    // The last token of each is fed only where it is read.
    let whole = WholeBatch::new(&[&a, &b], &device());
    assert_eq!((whole.tokens(), whole.fed().rows(), batch.fed().rows()), (7, 7, 5));
    assert_eq!(a.tokens(), [0, 1, 2, 3, 0]);
    assert_eq!((a.len(), a.is_empty(), sequence(&[], &[]).is_empty()), (5, false, true));
}

#[test]
fn what_does_not_fit_is_named() {
    let fits = sequence(&[0, 4], &[3]);
    let refuse = |bad: Sequence| check(&[fits.clone(), bad], 5, 4).unwrap_err().to_string();
    assert!(check(&[fits.clone(), sequence(&[0, 1, 2, 3], &[])], 5, 4).is_ok());
    assert_eq!(
        refuse(sequence(&[], &[1])),
        "sequence 1: found an empty prompt, expected at least the begin token"
    );
    assert_eq!(refuse(sequence(&[0, 1, 2], &[3, 4])), "sequence 1: found 5 tokens, expected at most 4");
    assert_eq!(refuse(sequence(&[0, 5], &[])), "sequence 1: found token id 5, expected ids below 5");
    assert_eq!(refuse(sequence(&[0], &[7, 9])), "sequence 1: found token id 9, expected ids below 5");
    assert_eq!(
        refuse(sequence(&[0], &[u32::MAX])),
        "sequence 1: found token id 4294967295, expected ids below 5"
    );
}

#[test]
fn masked_means_see_real_tokens_only() {
    let tensor =
        |values: [f32; 4]| Tensor::<2>::from_data(TensorData::new(values.to_vec(), [2, 2]), &device());
    let values = tensor([1.0, 2.0, 6.0, 1e6]);
    assert_eq!(to_vec(masked::mean(values.clone(), tensor([1.0, 1.0, 1.0, 0.0]))), [3.0]);
    assert_eq!(to_vec(masked::mean(values, tensor([0.0; 4]))), [0.0]);
}
