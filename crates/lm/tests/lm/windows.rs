//! Which windows of a text are trained on: the loss of a step tells, because every window has another
//! likelihood.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use lm::sft::{Corpus, SftConfig, SftTrainer, openings};
use lm::tokenizer::Ends;
use lm::{Policy, Sequence, Trainer};
use proptest::prelude::*;

use crate::support::{END, adamw, random_policy, sequence, shape};

const VOCAB: u32 = 40;

static POLICY: LazyLock<Policy> =
    LazyLock::new(|| random_policy(&shape(VOCAB as usize, 12, 8, 1), 0.6, 9, 1.0));

/// The window of a text that starts at `start`: after the end token at the opening, else after the token
/// before; as many tokens as fit `context`; with the end token if the text ends and there is room for it.
fn window(text: &[u32], start: usize, context: usize) -> Sequence {
    let first = if start == 0 { END } else { text[start - 1] };
    let mut tokens = text[start..].to_vec();
    tokens.push(END);
    tokens.truncate(context - 1);
    sequence(&[first], &tokens)
}

/// Loss and tokens of the first step on one text.
fn first_step(text: &[u32], context: usize, opening_share: f64, seed: u64) -> (f64, usize) {
    let corpus =
        Corpus::Documents { documents: vec![text.to_vec()], context, opening_share, ends: END.into() };
    let config = SftConfig { steps: 1, batch_size: 1, optimizer: adamw(1e-3) };
    let mut trainer = SftTrainer::new(&POLICY, corpus, &config, seed).unwrap();
    let metrics: BTreeMap<_, _> = trainer.step().unwrap().into_iter().collect();
    (metrics["loss"], metrics["num_tokens"] as usize)
}

fn is_window(step: (f64, usize), window: &Sequence) -> bool {
    let row = &POLICY.score(std::slice::from_ref(window)).unwrap()[0];
    let loss = -row.iter().map(|&x| f64::from(x)).sum::<f64>() / row.len() as f64;
    step.1 == window.len() && (step.0 - loss).abs() < 2e-5
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn windows_open_with_the_end_token_or_follow_the_text(
        text in prop::collection::vec(1..VOCAB, 0..30),
        context in 2_usize..=12,
        opening_share in prop::sample::select(vec![0.0, 0.5, 1.0]),
        seed in any::<u64>(),
    ) {
        let step = first_step(&text, context, opening_share, seed);
        prop_assert!(step.1 <= context, "a window of {} tokens in a context of {context}", step.1);
        let opening = window(&text, 0, context);
        // A text that fits with both its ends is never cut.
        if opening_share == 1.0 || text.len() + 2 <= context {
            prop_assert!(is_window(step, &opening), "the opening was not trained on");
        } else {
            let starts = usize::from(opening_share == 0.0)..=text.len();
            let found = starts.clone().any(|start| is_window(step, &window(&text, start, context)));
            prop_assert!(found, "none of the windows {starts:?} has loss {} and {} tokens", step.0, step.1);
        }
    }
}

#[test]
fn a_text_that_fits_ends_with_the_end_token() {
    let text = [5, 6, 7];
    let whole = sequence(&[END], &[5, 6, 7, END]);
    assert!(is_window(first_step(&text, 12, 0.0, 0), &whole));
    assert!(is_window(first_step(&text, 5, 0.0, 0), &whole));
    // One token less and the end does not fit: the opening is cut before it.
    assert!(is_window(first_step(&text, 4, 1.0, 0), &sequence(&[END], &[5, 6, 7])));
}

#[test]
fn windows_of_a_long_text_start_in_many_places() {
    let text: Vec<u32> = (1..=30).collect();
    let mut starts = std::collections::BTreeSet::new();
    for seed in 0..60 {
        let step = first_step(&text, 8, 0.0, seed);
        starts.extend((0..30).find(|&start| is_window(step, &window(&text, start, 8))));
    }
    assert!(starts.len() > 10, "{starts:?}");
    assert!(!starts.contains(&0));
    // The last half window is never a start, so no window is shorter than half the context.
    assert!(starts.iter().all(|&start| start < 30 - 4), "{starts:?}");
}

#[test]
fn openings_begin_with_the_end_token() {
    let documents = [vec![1, 2, 3, 4, 5], vec![], vec![6]];
    let windows = openings(&documents, 4, END);
    assert_eq!(windows.len(), 2, "an empty text has no opening");
    assert_eq!(windows[0], sequence(&[END], &[1, 2, 3]));
    assert_eq!((&windows[1].prompt, windows[1].response[0]), (&vec![END], 6));
}

#[test]
fn a_begin_token_of_its_own_begins_and_an_end_token_ends() {
    let windows = openings(&[vec![5, 6]], 8, Ends { begin: 3, end: 4 });
    assert_eq!(windows, [sequence(&[3], &[5, 6, 4])]);
}
