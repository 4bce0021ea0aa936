//! What `generate` records is what `score` says, and a row's response is its own affair.

use std::collections::BTreeSet;

use lm::{Decoding, Generation, Policy, Sampling, Sequence, Stream};

use crate::support::{END, assert_close, families, prompts, random_policy, sequence};

const VOCAB: u32 = 12;
const MAX_NEW: usize = 10;

/// One of every family.
fn policies(temperature: f64) -> [Policy; 4] {
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

fn generate_by(decoding: Decoding, policy: &Policy, prompts: &[Vec<u32>]) -> Vec<Generation> {
    let sampling = Sampling { max_new_tokens: MAX_NEW, batch_size: 5 };
    policy.generate_by(decoding, prompts, &sampling, Stream::new(5, "rollouts")).unwrap()
}

/// Log-probabilities of every token that could follow, by scoring each.
fn next(policy: &Policy, prompt: &[u32], before: &[u32]) -> Vec<f32> {
    let follow = |token| sequence(prompt, &[before, &[token]].concat());
    let rows = policy.score(&(0..VOCAB).map(follow).collect::<Vec<_>>()).unwrap();
    rows.iter().map(|row| *row.last().unwrap()).collect()
}

#[test]
fn a_greedy_response_has_the_most_probable_token_everywhere() {
    let policy = policy(0.7);
    let prompts = prompts(12, 2, 9, VOCAB, 1);
    for (prompt, greedy) in prompts.iter().zip(generate_by(Decoding::Greedy, &policy, &prompts)) {
        for (at, (&token, &logprob)) in greedy.response.iter().zip(&greedy.logprobs).enumerate() {
            let next = next(&policy, prompt, &greedy.response[..at]);
            let highest = next.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            assert!(next[token as usize] > highest - 1e-4, "{token} of {next:?}");
            assert!((logprob - next[token as usize]).abs() < 1e-4);
        }
    }
}

#[test]
fn filters_that_keep_all_change_nothing_and_others_keep_what_they_promise() {
    let policy = policy(1.0);
    let prompts = prompts(24, 2, 9, VOCAB, 1);
    let all = Decoding::Filtered { top_k: Some(VOCAB as usize), top_p: Some(1.0) };
    let responses = |of: Vec<Generation>| of.into_iter().map(|g| g.response).collect::<Vec<_>>();
    assert_eq!(responses(generate_by(all, &policy, &prompts)), responses(generate(&policy, &prompts, 64)));
    let three = generate_by(Decoding::Filtered { top_k: Some(3), top_p: None }, &policy, &prompts);
    for (prompt, generation) in prompts.iter().zip(&three) {
        for (at, &token) in generation.response.iter().enumerate() {
            let next = next(&policy, prompt, &generation.response[..at]);
            let better = next.iter().filter(|&&other| other > next[token as usize] + 1e-4).count();
            assert!(better < 3, "{token} is number {} of {next:?}", better + 1);
        }
    }
    assert_ne!(responses(three), responses(generate(&policy, &prompts, 64)));
}
