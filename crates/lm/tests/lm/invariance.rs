//! Padding, company and the number of threads change nothing.

use burn::module::Module;
use burn::tensor::{Tensor, TensorData};
use lm::sequences::to_vec;
use lm::sft::{Corpus, SftConfig, SftTrainer};
use lm::{
    Batch, DecoderConfig, Optimizer, OptimizerConfig, Policy, PolicyTrainer, ReferencePolicy, Sampling,
    ScalarModel, Scorer, Sequence, Stream, Trainer, WholeBatch,
};
use rand::RngExt;

use crate::support::{
    adamw, assert_close, device, families, parameters, prompts, random_policy, sequence, with_threads,
};

const VOCAB: u32 = 50;

/// One of every family.
fn policies() -> [Policy; 4] {
    families(VOCAB as usize, 24, 16, 2).map(|config| random_policy(&config, 0.4, 8, 1.0))
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
    for policy in policies() {
        let sequences = ragged(70);
        let together = policy.score(&sequences).unwrap();
        for (sequence, row) in sequences.iter().zip(&together) {
            assert_close(&policy.score(std::slice::from_ref(sequence)).unwrap()[0], row, 1e-5);
        }
        // One unsorted padded batch, padded far beyond most rows.
        let batch = Batch::new(&sequences.iter().collect::<Vec<_>>(), &device());
        let logprobs = policy.logprobs(&batch);
        let padded = batch.mask().rows(logprobs.values());
        for (got, want) in padded.iter().zip(&together) {
            assert_close(got, want, 1e-5);
        }
        let sums: Vec<f32> = together.iter().map(|row| row.iter().sum()).collect();
        assert_close(&to_vec(logprobs.clone().sum().0), &sums, 1e-4);
        let at_padding = logprobs.values() * (batch.mask().tensor(&device()).neg() + 1.0);
        assert!(to_vec(at_padding).iter().all(|&value| value == 0.0));
    }
}

#[test]
fn a_row_does_not_change_with_a_longer_neighbour() {
    for policy in policies() {
        let short = sequence(&[0, 7], &[9, 4]);
        let long = sequence(&[0, 1, 2, 3, 4, 5, 6, 7], &[8; 16]);
        let alone = policy.logprobs(&Batch::new(&[&short], &device()));
        let beside = policy.logprobs(&Batch::new(&[&long, &short], &device()));
        assert_eq!(beside.values().dims(), [2, 16]);
        assert_close(&beside.mask().rows(beside.values())[1], &to_vec(alone.values()), 1e-5);
    }
}

#[test]
fn a_prompt_token_is_not_scored_and_a_response_token_is_seen() {
    for policy in policies() {
        let scores = policy
            .score(&[
                sequence(&[0, 7], &[9, 4, 5]),
                sequence(&[0, 7, 9], &[4, 5]),
                sequence(&[0, 8], &[9, 4, 5]),
            ])
            .unwrap();
        // The same tokens with the boundary moved: the same log-probs where both have them.
        assert_close(&scores[0][1..], &scores[1], 1e-5);
        // One of two tokens may hardly change by chance.
        let change = |i: usize| (scores[0][i] - scores[2][i]).abs();
        assert!(change(1).max(change(2)) > 1e-3, "the prompt has no influence");
    }
}

#[test]
fn padding_takes_no_part_in_gradients() {
    for policy in policies() {
        let policy = policy.train();
        let short = sequence(&[0, 7], &[9, 4]);
        let gradients = |batch: &[&Sequence], row: usize| {
            let batch = Batch::new(batch, &policy.device());
            let sum = policy.logprobs(&batch).sum().0;
            let loss = sum.narrow(0, row, 1).sum();
            to_vec(policy.model().head().weight.grad(&loss.backward()).unwrap())
        };
        let long = sequence(&[0, 1, 2, 3, 4, 5, 6, 7], &[8; 16]);
        assert_close(&gradients(&[&long, &short], 1), &gradients(&[&short], 0), 1e-5);
    }
}

/// Values and gradient of the head for the log-probs of some rows of a batch, each row weighted differently.
fn weighted(policy: &Policy, batch: &Batch) -> (Vec<Vec<f32>>, Vec<f32>) {
    let values = policy.logprobs(batch).values();
    let [rows, width] = values.dims();
    let weights: Vec<f32> = (0..rows * width).map(|i| (i as f32).sin()).collect();
    let weights = Tensor::<2>::from_data(TensorData::new(weights, [rows, width]), &policy.device());
    let gradients = (values.clone() * weights).sum().backward();
    (batch.mask().rows(values), to_vec(policy.model().head().weight.grad(&gradients).unwrap()))
}

#[test]
fn responses_that_share_a_prompt_are_as_alone() {
    for policy in policies() {
        let policy = policy.train();
        // Two prompts, interleaved, one of them a prefix of the other; one response ends at once.
        let sequences = [
            sequence(&[0, 7, 3], &[9, 4, 5, 6]),
            sequence(&[0, 7], &[3, 9, 4]),
            sequence(&[0, 7, 3], &[1]),
            sequence(&[0, 7], &[3, 9, 4]),
            sequence(&[0, 7, 3], &[9, 4, 2]),
        ];
        let together = Batch::new(&sequences.iter().collect::<Vec<_>>(), &policy.device());
        // 3 prompt tokens and 3 + 0 + 2 response tokens are fed; 2 and 2 + 2.
        assert_eq!(together.fed().rows(), 3 + 5 + 2 + 4);
        assert_eq!(together.tokens(), 7 + 5 + 4 + 5 + 6);
        let (rows, gradient) = weighted(&policy, &together);
        let alone: Vec<Vec<f32>> = sequences
            .iter()
            .map(|sequence| weighted(&policy, &Batch::new(&[sequence], &policy.device())).0.remove(0))
            .collect();
        for (got, want) in rows.iter().zip(&alone) {
            assert_close(got, want, 1e-5);
        }
        let mut total = vec![0.0; gradient.len()];
        for (b, one) in sequences.iter().enumerate() {
            let batch = Batch::new(&[one], &policy.device());
            let values = policy.logprobs(&batch).values();
            let width = values.dims()[1];
            let weights: Vec<f32> = (0..width).map(|t| ((b * 4 + t) as f32).sin()).collect();
            let weights = Tensor::<2>::from_data(TensorData::new(weights, [1, width]), &policy.device());
            let gradients = (values * weights).sum().backward();
            let part = to_vec(policy.model().head().weight.grad(&gradients).unwrap());
            total.iter_mut().zip(part).for_each(|(total, part)| *total += part);
        }
        assert_close(&gradient, &total, 1e-4);
    }
}

#[test]
fn scalar_outputs_at_the_end_and_before_every_token() {
    for policy in policies() {
        let mut model = ScalarModel::with_zero_head(policy.model().clone());
        let sequences = [sequence(&[0, 7, 3], &[9, 4]), sequence(&[0, 7, 3], &[5]), sequence(&[0], &[])];
        assert_eq!(model.score(&sequences).unwrap(), [0.0; 3]);
        // One step on the sum of the scores gives the head a direction.
        let config = OptimizerConfig { max_grad_norm: 1e9, ..adamw(0.05) };
        model = model.train();
        let batch = WholeBatch::new(&sequences.iter().collect::<Vec<_>>(), &model.device());
        let loss = model.scores(&batch).sum();
        Optimizer::new(&config, 10).unwrap().step(&mut model, &loss).unwrap();
        let scores = model.score(&sequences).unwrap();
        for (sequence, score) in sequences.iter().zip(&scores) {
            // The output after the last token is the value before a token that would follow.
            let longer = Sequence { response: [&sequence.response[..], &[1]].concat(), ..sequence.clone() };
            let values = model.values_of(&[longer]).unwrap().remove(0);
            assert!((values[values.len() - 1] - score).abs() < 1e-5 && score.abs() > 1e-3);
        }
    }
}

/// Everything that computes, at a size where the kernels do cut work into pieces.
fn everything(config: &DecoderConfig) -> (Vec<u32>, Vec<u32>) {
    let vocab = config.shape().vocabulary;
    let policy = random_policy(config, 0.1, 1, 1.0);
    let reference = ReferencePolicy::new(&random_policy(config, 0.1, 2, 1.0));
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
    // A GPU adds gradients of a table's row up in any order.
    if !lm::device::on_host(&device()) {
        return;
    }
    for config in families(600, 40, 64, 2) {
        let (tokens, bits) = with_threads(1, || everything(&config));
        assert!(tokens.len() > 500, "only {} tokens", tokens.len());
        let (tokens_of_two, bits_of_two) = with_threads(2, || everything(&config));
        assert_eq!(tokens, tokens_of_two);
        assert!(bits == bits_of_two, "numbers differ between 1 and 2 threads");
    }
}
