//! What `generate` records is what `score` says, and a row's response is its own affair.

use std::collections::BTreeSet;

use lm::{Generation, Policy, Sampling, Sequence, Stream};

use crate::support::{END, assert_close, families, prompts, random_policy, sequence};

const VOCAB: u32 = 12;
const MAX_NEW: usize = 10;

/// One of every family.
fn policies(temperature: f64) -> [Policy; 3] {
    families(VOCAB as usize, 19, 16, 2).map(|config| random_policy(&config, 0.5, 3, temperature))
}

fn policy(temperature: f64) -> Policy {
    let [first, ..] = policies(temperature);
    first
}

fn generate(policy: &Policy, prompts: &[Vec<u32>], batch_size: usize) -> Vec<Generation> {
    let sampling = Sampling { max_new_tokens: MAX_NEW, batch_size };
    policy.generate(prompts, &sampling, Stream::new(5, "rollouts")).unwrap()
}

#[test]
fn recorded_logprobs_are_those_of_scoring() {
    for (temperature, batch_size) in [(1.0, 1), (1.0, 3), (1.0, 64), (0.7, 64)] {
        for policy in policies(temperature) {
            let prompts = prompts(96, 2, 9, VOCAB, 1);
            let generations = generate(&policy, &prompts, batch_size);
            let sequences: Vec<Sequence> = prompts
                .iter()
                .zip(&generations)
                .map(|(prompt, generation)| sequence(prompt, &generation.response))
                .collect();
            for (generation, scored) in generations.iter().zip(policy.score(&sequences).unwrap()) {
                assert_close(&generation.logprobs, &scored, 1e-4);
            }
        }
    }
}

#[test]
fn responses_end_with_the_end_token_or_at_the_limit() {
    let generations = generate(&policy(1.0), &prompts(96, 2, 9, VOCAB, 1), 64);
    for Generation { response, logprobs, ended } in &generations {
        assert_eq!(response.len(), logprobs.len());
        let (last, before) = response.split_last().expect("at least one token");
        assert!(!before.contains(&END), "{response:?} goes on after its end");
        assert_eq!(*ended, *last == END);
        assert!(*ended || response.len() == MAX_NEW, "{response:?} stopped early");
        assert!(logprobs.iter().all(|&logprob| logprob <= 0.0));
    }
    // Both kinds and many lengths are there, so rows did leave the batch while others went on.
    assert!(generations.iter().any(|generation| !generation.ended));
    let lengths: BTreeSet<usize> = generations.iter().map(|generation| generation.response.len()).collect();
    assert!(lengths.len() > 5, "{lengths:?}");
}

#[test]
fn rows_do_not_depend_on_the_batch() {
    for policy in policies(1.0) {
        let prompts = prompts(40, 2, 9, VOCAB, 2);
        let together = generate(&policy, &prompts, 64);
        for batch_size in [1, 3, 7] {
            for (a, b) in together.iter().zip(generate(&policy, &prompts, batch_size)) {
                assert_eq!(a.response, b.response);
                assert_close(&a.logprobs, &b.logprobs, 1e-5);
            }
        }
        // Other rows: row i stays what it was when every other prompt changes.
        for row in [0, 13, 39] {
            let mut others = crate::support::prompts(40, 2, 9, VOCAB, 77);
            others[row].clone_from(&prompts[row]);
            let changed = generate(&policy, &others, 64);
            assert_eq!(changed[row].response, together[row].response);
            assert_close(&changed[row].logprobs, &together[row].logprobs, 1e-5);
        }
    }
}

#[test]
fn the_stream_decides_the_numbers() {
    let policy = policy(1.0);
    let prompts = prompts(16, 2, 9, VOCAB, 2);
    let sampling = Sampling { max_new_tokens: MAX_NEW, batch_size: 8 };
    let draw = |stream| policy.generate(&prompts, &sampling, stream).unwrap();
    assert_eq!(draw(Stream::new(5, "rollouts")), draw(Stream::new(5, "rollouts")));
    assert_ne!(draw(Stream::new(5, "rollouts")), draw(Stream::new(6, "rollouts")));
    assert_ne!(draw(Stream::new(5, "rollouts")), draw(Stream::new(5, "evaluation")));
    // Two rows with one prompt draw apart.
    let twins = policy.generate(&vec![vec![END, 1]; 8], &sampling, Stream::new(5, "rollouts")).unwrap();
    assert!(twins.iter().any(|twin| twin.response != twins[0].response));
}

#[test]
fn nothing_to_draw_is_not_an_error() {
    let policy = policy(1.0);
    assert_eq!(generate(&policy, &[], 8), []);
    let sampling = Sampling { max_new_tokens: 0, batch_size: 8 };
    let none = policy.generate(&[vec![END, 3]], &sampling, Stream::new(0, "rollouts")).unwrap();
    assert_eq!(none, [Generation { response: vec![], logprobs: vec![], ended: false }]);
}

#[test]
fn the_context_can_be_filled_and_not_exceeded() {
    let policy = policy(1.0);
    // 9 + 10 tokens are the 19 positions.
    assert_eq!(generate(&policy, &prompts(8, 9, 9, VOCAB, 4), 8).len(), 8);
    let sampling = Sampling { max_new_tokens: MAX_NEW, batch_size: 8 };
    let refuse = |prompt: Vec<u32>| {
        let error = policy.generate(&[vec![END], prompt], &sampling, Stream::new(0, "rollouts")).unwrap_err();
        error.to_string()
    };
    assert_eq!(refuse(vec![END; 10]), "sequence 1: found 10 tokens, expected at most 9");
    assert_eq!(refuse(vec![]), "sequence 1: found an empty prompt, expected at least the begin token");
    assert_eq!(refuse(vec![END, 12]), "sequence 1: found token id 12, expected ids below 12");
    let endless = Sampling { max_new_tokens: usize::MAX, batch_size: 8 };
    assert!(policy.generate(&[vec![END]], &endless, Stream::new(0, "rollouts")).is_err());
}
