//! The state of a training: it is whole, its file is as documented, and what does not fit is refused by name.

use std::path::Path;

use lm::optimizer::Algorithm;
use lm::sft::{Corpus, SftConfig, SftTrainer};
use lm::{LmError, Metrics, OptimizerConfig, State, Trainer};
use proptest::prelude::*;
use safetensors::SafeTensors;
use serde_json::{Value, json};

use crate::support::{adamw, device, random_policy, sequence, shape};

const RMSPROP: Algorithm = Algorithm::Rmsprop { alpha: 0.9, epsilon: 1e-8 };

/// Texts of several lengths, so that windows are drawn, and fewer of them than two batches hold.
fn corpus(texts: u32) -> Corpus {
    let documents = (0..texts).map(|i| (0..5 + 3 * i).map(|t| 1 + (i * 5 + t) % 20).collect()).collect();
    Corpus::Documents { documents, context: 8, opening_share: 0.4, ends: 0.into() }
}

fn trainer_of(layers: usize, texts: u32, algorithm: Option<Algorithm>, seed: u64) -> SftTrainer {
    let policy = random_policy(&shape(21, 8, 8, layers), 0.4, 3, 0.9);
    let plain = adamw(1e-2);
    let optimizer = OptimizerConfig { algorithm: algorithm.unwrap_or(plain.algorithm.clone()), ..plain };
    let config = SftConfig { steps: 20, batch_size: 3, optimizer };
    SftTrainer::new(&policy, corpus(texts), &config, seed).unwrap()
}

fn state(trainer: &impl Trainer) -> State {
    let mut state = State::new();
    trainer.save(&mut state);
    state
}

fn file(trainer: &impl Trainer, path: &Path) -> Vec<u8> {
    state(trainer).write(path).unwrap();
    std::fs::read(path).unwrap()
}

fn steps(trainer: &mut impl Trainer, count: usize) -> Vec<Metrics> {
    (0..count).map(|_| trainer.step().unwrap()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn a_restored_training_goes_on_to_the_bit(before in 0_usize..7, seed in 0_u64..100, rmsprop: bool) {
        // A GPU adds gradients of a table's row up in any order.
        if lm::device::on_host(&device()) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("state.safetensors");
            let make = || trainer_of(1, 5, rmsprop.then_some(RMSPROP), seed);
            let mut whole = make();
            let log = steps(&mut whole, 2 * before);
            let mut begun = make();
            steps(&mut begun, before);
            file(&begun, &path);
            let mut restored = make();
            restored.restore(&State::read(&path).unwrap()).unwrap();
            prop_assert_eq!(steps(&mut restored, before), &log[before..]);
            prop_assert_eq!(file(&restored, &path), file(&whole, &path));
        }
    }
}

/// Names of tensors and counters, as whoever reads the file without this crate finds them.
#[test]
fn the_file_is_as_documented() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.safetensors");
    let mut trainer = trainer_of(1, 5, None, 0);
    steps(&mut trainer, 3);
    let bytes = file(&trainer, &path);
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    for name in [
        "policy/h.0.attn.c_attn.weight",
        "optimizer/exp_avg/h.0.attn.c_attn.weight",
        "optimizer/exp_avg_sq/h.0.attn.c_attn.weight",
    ] {
        let tensor = tensors.tensor(name).unwrap();
        assert_eq!((tensor.shape(), tensor.dtype()), ([8, 24].as_slice(), safetensors::Dtype::F32), "{name}");
    }
    // The parameters of a layer, two tables, a norm at the end; and two moments of each.
    assert_eq!(tensors.len(), 3 * (12 + 2 + 2));
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let about = header.metadata().clone().unwrap();
    let counters: Value = serde_json::from_str(&about["training_state"]).unwrap();
    assert_eq!(
        counters,
        json!({
            "format": "1",
            "trainer": "sft",
            "step": "3",
            "tokens": trainer.tokens().to_string(),
            "epochs/examples": "5",
            "epochs/epoch": "1",
            "epochs/cursor": "4",
            "optimizer/algorithm": "adamw",
            "optimizer/step": "3",
        })
    );
}

/// The message with which `trainer` refuses a state, after which it is as it was.
#[track_caller]
fn refused(mut trainer: SftTrainer, from: &State) -> String {
    let before = state(&trainer);
    let error = trainer.restore(from).expect_err("a state that does not fit");
    assert!(matches!(error, LmError::State { .. }), "{error}");
    assert_eq!(state(&trainer), before, "a refused state has left something behind");
    error.to_string()
}

#[test]
fn a_state_that_does_not_fit_is_refused_by_name() {
    let saved = |mut trainer: SftTrainer| {
        steps(&mut trainer, 2);
        state(&trainer)
    };
    let ours = || trainer_of(2, 5, None, 0);
    for (trainer, from, message) in [
        (ours(), State::new(), "`trainer`: found no such counter, expected one, as this trainer writes it"),
        (ours(), saved(trainer_of(2, 4, None, 0)), "`epochs/examples`: found 4, expected 5"),
        (
            ours(),
            saved(trainer_of(2, 5, Some(RMSPROP), 0)),
            "`optimizer/algorithm`: found rmsprop, expected adamw",
        ),
        (
            ours(),
            saved(trainer_of(1, 5, None, 0)),
            "`policy/h.1.ln_1.weight`: found no such tensor, expected shape [8]",
        ),
        (
            trainer_of(1, 5, None, 0),
            saved(ours()),
            "`policy/h.1.attn.c_attn.bias`: found a tensor of shape [24], expected none: the model has no such parameter",
        ),
    ] {
        assert_eq!(refused(trainer, &from), format!("state of a training: {message}"));
    }

    let narrow = random_policy(&shape(21, 8, 4, 1), 0.4, 3, 0.9);
    let config = SftConfig { steps: 20, batch_size: 3, optimizer: adamw(1e-2) };
    let narrow = SftTrainer::new(&narrow, corpus(5), &config, 0).unwrap();
    let message = refused(narrow, &saved(trainer_of(1, 5, None, 0)));
    assert!(message.contains("found shape [") && message.contains("expected shape ["), "{message}");

    let changed = |name: &str, value: &str| {
        let mut from = saved(ours());
        from.set(name, value);
        refused(ours(), &from)
    };
    assert!(changed("trainer", "dpo").ends_with("`trainer`: found dpo, expected sft"));
    assert!(changed("step", "many").ends_with("`step`: found `many`, expected a number of type u64"));
    // The next step could not be counted: a fuzzer's finding.
    for (name, value) in
        [("step", u64::MAX), ("tokens", u64::MAX), ("optimizer/step", 1 << 60), ("epochs/epoch", 1 << 54)]
    {
        let message = changed(name, &value.to_string());
        assert!(
            message.ends_with(&format!("`{name}`: found `{value}`, expected at most 9007199254740992")),
            "{message}"
        );
    }
    assert!(changed("epochs/cursor", "6").ends_with("`epochs/cursor`: found 6, expected at most 5"));
}

#[test]
fn a_corpus_of_responses_is_restored_too() {
    let make = || {
        let policy = random_policy(&shape(21, 8, 8, 1), 0.4, 3, 0.9);
        let responses = (1..6).map(|i| sequence(&[0, i], &[i + 1, i + 2])).collect();
        let config = SftConfig { steps: 20, batch_size: 2, optimizer: adamw(1e-2) };
        SftTrainer::new(&policy, Corpus::Responses(responses), &config, 0).unwrap()
    };
    let mut begun = make();
    steps(&mut begun, 4);
    let mut restored = make();
    restored.restore(&state(&begun)).unwrap();
    assert_eq!(restored.tokens(), begun.tokens());
    assert_eq!(state(&restored), state(&begun));
}

#[test]
fn other_files_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.safetensors");
    let refused = || {
        let message = State::read(&path).unwrap_err().to_string();
        assert!(message.contains(&path.display().to_string()), "{message}");
        message
    };
    refused();
    std::fs::write(&path, "no tensors").unwrap();
    assert!(refused().contains("expected a safetensors file with the state of a training"));
    let whole = file(&trainer_of(1, 5, None, 0), &path);
    std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    assert!(refused().contains("expected a safetensors file with the state of a training"));
    std::fs::copy(crate::support::fixture("gpt2").join("model.safetensors"), &path).unwrap();
    assert!(refused().contains("found a file that holds no state of a training"), "{}", refused());
    let about = [("training_state".to_owned(), r#"{"format": "2"}"#.to_owned())].into();
    let none: [(&str, safetensors::tensor::TensorView<'_>); 0] = [];
    safetensors::serialize_to_file(none, Some(about), &path).unwrap();
    assert!(refused().ends_with("found format `2`, expected format `1`"), "{}", refused());
}
