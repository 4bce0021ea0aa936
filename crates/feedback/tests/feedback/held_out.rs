//! The accuracy on held-out pairs, counted by hand on a tiny model.

use feedback::{ComparedResponses, HeldOutPairs};
use lm::{Comparison, Decoder, DecoderConfig, DeviceSpec, Policy, ReferencePolicy, Sequence, Shape, Stream};

fn policy(seed: u64) -> Policy {
    let shape = Shape { vocabulary: 12, context: 8, width: 16, layers: 1, heads: 2 };
    let device = DeviceSpec::CPU.open().unwrap();
    let model = Decoder::random(&DecoderConfig::gpt2(shape), Stream::new(seed, "test"), &device).unwrap();
    Policy::new(model, 1.0, 0).unwrap()
}

/// Three responses to each of `prompts` prompts, scored by their first token.
fn compared(prompts: u32) -> Vec<ComparedResponses> {
    let pair = |chosen, rejected| Comparison { chosen, rejected, probability: 1.0 };
    let of_prompt = |prompt: u32| ComparedResponses {
        prompt_index: prompt as usize,
        prompt: vec![0, 1 + prompt % 5],
        responses: [7, 4, 5].map(|first| vec![first, 3, prompt % 11]).to_vec(),
        scores: vec![7.0, 4.0, 5.0],
        // The last label is against the scores, as a drawn one may be.
        pairs: vec![pair(0, 1), pair(0, 2), pair(1, 2)],
    };
    (0..prompts).map(of_prompt).collect()
}

#[test]
fn accuracy_counts_the_pairs_that_the_log_ratio_orders_as_the_scores_do() {
    let (reference, tilted) = (ReferencePolicy::new(&policy(1)), policy(2));
    let compared = compared(9);
    let held_out = HeldOutPairs::new(&reference, &compared, 1000).unwrap();
    assert_eq!(held_out.len(), 27);

    let reward = |sequence: &Sequence| {
        let sum = |rows: Vec<Vec<f32>>| rows[0].iter().map(|&value| f64::from(value)).sum::<f64>();
        let one = std::slice::from_ref(sequence);
        sum(tilted.score(one).unwrap()) - sum(reference.score(one).unwrap())
    };
    let pairs = compared.iter().flat_map(|of| of.pairs().zip(of.score_gaps()));
    let right = pairs.filter(|(pair, gap)| {
        (reward(&pair.chosen_sequence()) > reward(&pair.rejected_sequence())) == (*gap > 0.0)
    });
    let expected = right.count() as f64 / 27.0;
    assert!((0.01..0.99).contains(&expected), "no test: {expected}");
    let found = held_out.accuracy(&tilted).unwrap();
    assert!((found - expected).abs() < 1e-12, "{found}, expected {expected}");
    // The reference has no implicit reward: every pair is a tie.
    assert!((held_out.accuracy(&policy(1)).unwrap() - 0.5).abs() < 1e-12);
    assert!((held_out.accuracy_of_reference() - 0.5).abs() < 1e-12);
}

#[test]
fn whole_prompts_are_taken_and_ties_left_out() {
    let reference = ReferencePolicy::new(&policy(1));
    let mut compared = compared(9);
    let few = HeldOutPairs::new(&reference, &compared, 4).unwrap();
    assert_eq!(few.len(), 6, "two prompts of three responses");
    for of_prompt in &mut compared {
        of_prompt.scores = vec![1.0; 3];
    }
    let ties = HeldOutPairs::new(&reference, &compared, 1000).unwrap();
    assert!(ties.is_empty() && ties.accuracy(&policy(2)).unwrap().is_nan());
    assert!(ties.accuracy_of_reference().is_nan());
}
