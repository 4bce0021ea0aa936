//! The accuracy on held-out pairs, counted by hand on a tiny model.

use feedback::{HeldOutPairs, LabelledPair};
use lm::{
    Decoder, DecoderConfig, DeviceSpec, Policy, PreferencePair, ReferencePolicy, Sequence, Shape, Stream,
};

fn policy(seed: u64) -> Policy {
    let shape = Shape { vocabulary: 12, context: 8, width: 16, layers: 1, heads: 2 };
    let device = DeviceSpec::CPU.open().unwrap();
    let model = Decoder::random(&DecoderConfig::gpt2(shape), Stream::new(seed, "test"), &device).unwrap();
    Policy::new(model, 1.0, 0).unwrap()
}

/// Three responses to each of `prompts` prompts, scored by their first token.
fn pairs(prompts: u32) -> Vec<LabelledPair> {
    let labelled = |prompt: u32, chosen: u32, rejected: u32| LabelledPair {
        pair: PreferencePair {
            prompt: vec![0, 1 + prompt % 5],
            chosen: vec![chosen, 3, prompt % 11],
            rejected: vec![rejected, 3, prompt % 11],
            probability: 1.0,
        },
        prompt_index: prompt as usize,
        chosen_score: chosen as f32,
        rejected_score: rejected as f32,
    };
    // The last label of each prompt is against the scores, as a drawn one may be.
    (0..prompts).flat_map(|i| [labelled(i, 7, 4), labelled(i, 7, 5), labelled(i, 4, 5)]).collect()
}

#[test]
fn accuracy_counts_the_pairs_that_the_log_ratio_orders_as_the_scores_do() {
    let (reference, tilted) = (ReferencePolicy::new(&policy(1)), policy(2));
    let pairs = pairs(9);
    let held_out = HeldOutPairs::new(&reference, &pairs, 1000).unwrap();
    assert_eq!(held_out.len(), 27);

    let reward = |sequence: &Sequence| {
        let sum = |rows: Vec<Vec<f32>>| rows[0].iter().map(|&value| f64::from(value)).sum::<f64>();
        let one = std::slice::from_ref(sequence);
        sum(tilted.score(one).unwrap()) - sum(reference.score(one).unwrap())
    };
    let right = pairs.iter().filter(|labelled| {
        let (chosen, rejected) = (labelled.pair.chosen_sequence(), labelled.pair.rejected_sequence());
        (reward(&chosen) > reward(&rejected)) == (labelled.chosen_score > labelled.rejected_score)
    });
    let expected = right.count() as f64 / 27.0;
    assert!((0.01..0.99).contains(&expected), "no test: {expected}");
    let found = held_out.accuracy(&tilted).unwrap();
    assert!((found - expected).abs() < 1e-12, "{found}, expected {expected}");
    // The reference has no implicit reward: every pair is a tie.
    assert!((held_out.accuracy(&policy(1)).unwrap() - 0.5).abs() < 1e-12);
}

#[test]
fn whole_prompts_are_taken_and_ties_left_out() {
    let reference = ReferencePolicy::new(&policy(1));
    let mut pairs = pairs(9);
    assert_eq!(HeldOutPairs::new(&reference, &pairs, 4).unwrap().len(), 6, "two prompts of three responses");
    for labelled in &mut pairs {
        labelled.rejected_score = labelled.chosen_score;
    }
    let ties = HeldOutPairs::new(&reference, &pairs, 1000).unwrap();
    assert!(ties.is_empty() && ties.accuracy(&policy(2)).unwrap().is_nan());
}
