//! Sequence KL against the enumeration of every response of a tiny model.

use lm::sequences::to_vec;
use lm::{Packing, Policy, ReferencePolicy, Sampling, Sequence, SequenceKl, Stream, Tokens};

use crate::support::{END, device, mean, prompts, random_policy, sequence, shape, standard_error};

const VOCAB: usize = 5;
const PROMPT: [u32; 3] = [END, 2, 4];

fn pair(temperature: f64) -> (Policy, ReferencePolicy) {
    let tiny = |seed| random_policy(&shape(VOCAB, 8, 8, 1), 0.7, seed, temperature);
    (tiny(1), ReferencePolicy::new(&tiny(2)))
}

/// Log-probabilities of the next token after `tokens`, in f64 from the logits.
fn next(policy: &Policy, tokens: &[u32]) -> Vec<f64> {
    let tokens = Tokens::new(tokens, Packing::equal(1, tokens.len()), &device());
    let logits = to_vec(policy.model().logits(policy.model().hidden(&tokens, None)));
    let last: Vec<f64> =
        logits[logits.len() - VOCAB..].iter().map(|&x| f64::from(x) / policy.temperature()).collect();
    let log_total = last.iter().map(|x| x.exp()).sum::<f64>().ln();
    last.iter().map(|x| x - log_total).collect()
}

/// A response with what the two policies say of it.
struct Listed {
    sequence: Sequence,
    logprob: f64,
    kl: SequenceKl,
}

/// Every response of at most two tokens: the end token alone, or a token and any second one.
fn enumerate(policy: &Policy, reference: &Policy) -> Vec<Listed> {
    let step_kl = |p: &[f64], q: &[f64]| p.iter().zip(q).map(|(p, q)| p.exp() * (p - q)).sum::<f64>();
    let (p, q) = (next(policy, &PROMPT), next(reference, &PROMPT));
    let mut listed = Vec::new();
    for first in 0..VOCAB {
        let exact = step_kl(&p, &q);
        let k1 = p[first] - q[first];
        if first as u32 == END {
            let kl = SequenceKl { exact, k1 };
            listed.push(Listed { sequence: sequence(&PROMPT, &[END]), logprob: p[first], kl });
            continue;
        }
        let state = [PROMPT.as_slice(), &[first as u32]].concat();
        let (p2, q2) = (next(policy, &state), next(reference, &state));
        for second in 0..VOCAB {
            listed.push(Listed {
                sequence: sequence(&PROMPT, &[first as u32, second as u32]),
                logprob: p[first] + p2[second],
                kl: SequenceKl { exact: exact + step_kl(&p2, &q2), k1: k1 + p2[second] - q2[second] },
            });
        }
    }
    listed
}

/// `sum_y pi(y) (log pi(y) - log pi_ref(y))` over the listed responses.
fn enumerated_kl(listed: &[Listed]) -> f64 {
    listed.iter().map(|one| one.logprob.exp() * one.kl.k1).sum()
}

#[test]
fn every_listed_response_has_its_kl() {
    for temperature in [1.0, 0.7] {
        let (policy, reference) = pair(temperature);
        let listed = enumerate(&policy, &reference.start());
        assert_eq!(listed.len(), 1 + 4 * 5);
        assert!((listed.iter().map(|one| one.logprob.exp()).sum::<f64>() - 1.0).abs() < 1e-9);
        let sequences: Vec<Sequence> = listed.iter().map(|one| one.sequence.clone()).collect();
        for (one, kl) in listed.iter().zip(policy.sequence_kl(&reference, &sequences).unwrap()) {
            let (exact, k1) = (kl.exact - one.kl.exact, kl.k1 - one.kl.k1);
            assert!(exact.abs() < 1e-5 && k1.abs() < 1e-5, "{kl:?} is not {:?}", one.kl);
        }
        for (one, row) in listed.iter().zip(policy.score(&sequences).unwrap()) {
            assert!((one.logprob - row.iter().map(|&x| f64::from(x)).sum::<f64>()).abs() < 1e-5);
        }
    }
}

#[test]
fn both_estimates_have_the_kl_of_the_enumeration_as_their_mean() {
    let (policy, reference) = pair(1.0);
    let listed = enumerate(&policy, &reference.start());
    let sequences: Vec<Sequence> = listed.iter().map(|one| one.sequence.clone()).collect();
    let kl = policy.sequence_kl(&reference, &sequences).unwrap();
    let expect = |value: fn(&SequenceKl) -> f64| -> f64 {
        listed.iter().zip(&kl).map(|(one, kl)| one.logprob.exp() * value(kl)).sum()
    };
    let want = enumerated_kl(&listed);
    assert!(want > 0.05, "policy and reference are too alike: {want}");
    assert!((expect(|kl| kl.exact) - want).abs() < 1e-5);
    assert!((expect(|kl| kl.k1) - want).abs() < 1e-5);
}

#[test]
fn samples_converge_to_the_enumeration() {
    let (policy, reference) = pair(1.0);
    let listed = enumerate(&policy, &reference.start());
    let want = enumerated_kl(&listed);
    let prompts = vec![PROMPT.to_vec(); 2000];
    let sampling = Sampling { max_new_tokens: 2, batch_size: 64 };
    let drawn = policy.generate(&prompts, &sampling, Stream::new(1, "evaluation")).unwrap();
    let sequences: Vec<Sequence> = drawn.iter().map(|one| sequence(&PROMPT, &one.response)).collect();
    let kl = policy.sequence_kl(&reference, &sequences).unwrap();
    let (exact, k1) = (kl.iter().map(|kl| kl.exact), kl.iter().map(|kl| kl.k1));
    let difference = kl.iter().map(|kl| kl.k1 - kl.exact);
    assert!(mean(exact.clone()) > 0.0 && mean(k1.clone()) > 0.0);
    assert!((mean(exact.clone()) - want).abs() < 3.0 * standard_error(exact));
    assert!((mean(k1.clone()) - want).abs() < 3.0 * standard_error(k1));
    assert!(mean(difference.clone()).abs() < 3.0 * standard_error(difference));

    // The responses themselves come as often as the enumeration says.
    for one in &listed {
        let share = mean(sequences.iter().map(|drawn| f64::from(u8::from(*drawn == one.sequence))));
        let p = one.logprob.exp();
        let tolerance = 4.0 * (p * (1.0 - p) / 2000.0).sqrt() + 1e-3;
        assert!((share - p).abs() < tolerance, "{:?}: {share} is not {p}", one.sequence.response);
    }
}

#[test]
fn the_kl_of_a_policy_from_itself_is_zero() {
    let policy = random_policy(&shape(30, 24, 16, 2), 0.5, 4, 0.7);
    let reference = ReferencePolicy::new(&policy);
    let prompts = prompts(40, 2, 9, 30, 5);
    let sampling = Sampling { max_new_tokens: 12, batch_size: 16 };
    let drawn = policy.generate(&prompts, &sampling, Stream::new(1, "evaluation")).unwrap();
    let sequences: Vec<Sequence> =
        prompts.iter().zip(&drawn).map(|(prompt, one)| sequence(prompt, &one.response)).collect();
    for kl in policy.sequence_kl(&reference, &sequences).unwrap() {
        assert_eq!(kl, SequenceKl { exact: 0.0, k1: 0.0 });
    }
    // The reference scores as the policy it was made from.
    assert_eq!(reference.score(&sequences).unwrap(), policy.score(&sequences).unwrap());
    for (sum, row) in
        reference.score_sequences(&sequences).unwrap().iter().zip(policy.score(&sequences).unwrap())
    {
        assert!((sum - row.iter().map(|&x| f64::from(x)).sum::<f64>()).abs() < 1e-9);
    }
}

#[test]
fn exact_kl_is_never_negative_and_grows_with_every_token() {
    let (policy, reference) = pair(1.0);
    let response = [3, 1, 4, 2, END];
    let prefixes: Vec<Sequence> = (1..=5).map(|t| sequence(&PROMPT, &response[..t])).collect();
    let kl = policy.sequence_kl(&reference, &prefixes).unwrap();
    let exact: Vec<f64> = kl.iter().map(|kl| kl.exact).collect();
    assert!(exact[0] > 0.0 && exact.is_sorted_by(|a, b| a < b), "{exact:?}");
}

#[test]
fn more_rows_than_one_chunk_of_the_vocabulary_product() {
    // 32 sequences of 33 tokens are 1056 rows: several chunks, the last one partial.
    let policy = random_policy(&shape(VOCAB, 40, 8, 1), 0.7, 1, 1.0);
    let reference = ReferencePolicy::new(&random_policy(&shape(VOCAB, 40, 8, 1), 0.7, 2, 1.0));
    let sequences: Vec<Sequence> = (0..32_u32)
        .map(|i| sequence(&PROMPT, &(0..33).map(|t| (i * 7 + t * (i + 3)) % 5).collect::<Vec<_>>()))
        .collect();
    let together = policy.sequence_kl(&reference, &sequences).unwrap();
    for (one, want) in sequences.iter().zip(&together) {
        let alone = policy.sequence_kl(&reference, std::slice::from_ref(one)).unwrap()[0];
        assert!((alone.exact - want.exact).abs() < 1e-4 && (alone.k1 - want.k1).abs() < 1e-4);
    }
}
