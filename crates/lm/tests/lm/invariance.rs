//! Padding, company and the number of threads change nothing.

use burn::module::Module;
use lm::sequences::to_vec;
use lm::sft::{Corpus, SftConfig, SftTrainer};
use lm::{Batch, Policy, ReferencePolicy, Sampling, Sequence, Stream, Trainer};
use rand::RngExt;

use crate::support::{
    adamw, assert_close, cpu, parameters, prompts, random_policy, sequence, shape, with_threads,
};

const VOCAB: u32 = 50;

fn policy() -> Policy {
    random_policy(&shape(VOCAB as usize, 24, 16, 2), 0.4, 8, 1.0)
}

fn ragged(count: usize) -> Vec<Sequence> {
    let mut rng = Stream::new(4, "test responses").rng();
    prompts(count, 1, 8, VOCAB, 3)
        .into_iter()
        .map(|prompt| {
            let length = rng.random_range(1..=16);
            Sequence { prompt, response: (0..length).map(|_| rng.random_range(0..VOCAB)).collect() }
        })
        .collect()
}

#[test]
fn scoring_alone_equals_scoring_in_company() {
    let (policy, sequences) = (policy(), ragged(70));
    let together = policy.score(&sequences).unwrap();
    for (sequence, row) in sequences.iter().zip(&together) {
        assert_close(&policy.score(std::slice::from_ref(sequence)).unwrap()[0], row, 1e-5);
    }
    // One unsorted padded batch, padded far beyond most rows.
    let batch = Batch::new(&sequences.iter().collect::<Vec<_>>(), &cpu());
    let logprobs = policy.logprobs(&batch);
    let padded = batch.mask().rows(logprobs.values());
    for (got, want) in padded.iter().zip(&together) {
        assert_close(got, want, 1e-5);
    }
    let sums: Vec<f32> = together.iter().map(|row| row.iter().sum()).collect();
    assert_close(&to_vec(logprobs.clone().sum().0), &sums, 1e-4);
    let at_padding = logprobs.values() * (batch.mask().tensor(&cpu()).neg() + 1.0);
    assert!(to_vec(at_padding).iter().all(|&value| value == 0.0));
}

#[test]
fn a_row_does_not_change_with_a_longer_neighbour() {
    let policy = policy();
    let short = sequence(&[0, 7], &[9, 4]);
    let long = sequence(&[0, 1, 2, 3, 4, 5, 6, 7], &[8; 16]);
    let alone = policy.logprobs(&Batch::new(&[&short], &cpu()));
    let beside = policy.logprobs(&Batch::new(&[&long, &short], &cpu()));
    assert_eq!(beside.values().dims(), [2, 16]);
    assert_close(&beside.mask().rows(beside.values())[1], &to_vec(alone.values()), 1e-5);
}

#[test]
fn a_prompt_token_is_not_scored_and_a_response_token_is_seen() {
    let policy = policy();
    let scores = policy
        .score(&[sequence(&[0, 7], &[9, 4, 5]), sequence(&[0, 7, 9], &[4, 5]), sequence(&[0, 8], &[9, 4, 5])])
        .unwrap();
    // The same tokens with the boundary moved: the same log-probs where both have them.
    assert_close(&scores[0][1..], &scores[1], 1e-5);
    assert!((scores[0][1] - scores[2][1]).abs() > 1e-3, "the prompt has no influence");
}

#[test]
fn padding_takes_no_part_in_gradients() {
    let policy = policy().train();
    let short = sequence(&[0, 7], &[9, 4]);
    let gradients = |batch: &[&Sequence], row: usize| {
        let batch = Batch::new(batch, &policy.device());
        let sum = policy.logprobs(&batch).sum().0;
        let loss = sum.narrow(0, row, 1).sum();
        to_vec(policy.model().head().grad(&loss.backward()).unwrap())
    };
    let long = sequence(&[0, 1, 2, 3, 4, 5, 6, 7], &[8; 16]);
    assert_close(&gradients(&[&long, &short], 1), &gradients(&[&short], 0), 1e-5);
}

/// Everything that computes, at a size where the kernels do cut work into pieces.
fn everything() -> (Vec<u32>, Vec<u32>) {
    let vocab = 600;
    let policy = random_policy(&shape(vocab, 40, 64, 2), 0.1, 1, 1.0);
    let reference = ReferencePolicy::new(&random_policy(&shape(vocab, 40, 64, 2), 0.1, 2, 1.0));
    let prompts = prompts(40, 2, 9, vocab as u32, 9);
    let sampling = Sampling { max_new_tokens: 24, batch_size: 16 };
    let generations = policy.generate(&prompts, &sampling, Stream::new(0, "rollouts")).unwrap();
    let sequences: Vec<Sequence> =
        prompts.iter().zip(&generations).map(|(prompt, drawn)| sequence(prompt, &drawn.response)).collect();
    let mut numbers: Vec<f32> = generations.iter().flat_map(|drawn| drawn.logprobs.clone()).collect();
    numbers.extend(policy.score(&sequences).unwrap().concat());
    let kl = policy.sequence_kl(&reference, &sequences).unwrap();
    numbers.extend(kl.iter().flat_map(|kl| [kl.exact as f32, kl.k1 as f32]));

    let config = SftConfig { steps: 3, batch_size: 16, optimizer: adamw(1e-3) };
    let mut trainer = SftTrainer::new(&policy, Corpus::Responses(sequences), &config, 6).unwrap();
    for _ in 0..config.steps {
        let metrics = trainer.step().unwrap();
        numbers.extend(metrics.iter().map(|&(_, value)| value as f32));
    }
    numbers.extend(parameters(&trainer.policy()).into_values().flatten());
    let tokens = generations.into_iter().flat_map(|drawn| drawn.response).collect();
    (tokens, numbers.into_iter().map(f32::to_bits).collect())
}

#[test]
fn one_and_two_threads_agree_to_the_bit() {
    let (tokens, bits) = with_threads(1, everything);
    assert!(tokens.len() > 500, "only {} tokens", tokens.len());
    let (tokens_of_two, bits_of_two) = with_threads(2, everything);
    assert_eq!(tokens, tokens_of_two);
    assert!(bits == bits_of_two, "numbers differ between 1 and 2 threads");
}
