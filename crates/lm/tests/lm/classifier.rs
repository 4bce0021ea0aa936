//! Classifiers against `transformers` and `PyTorch` (scripts/reference/encoder.py), and what is refused.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use lm::architecture::Activation;
use lm::classifier::{Classifier, ProblemType, Truncation, Window};
use lm::files::{self, Precision};
use lm::sft::SftConfig;
use lm::{ClassifierTrainer, LabelledText, LmError, OptimizerConfig, ScoreUnit, State, Stream, Trainer};
use proptest::prelude::*;
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::damaged::edit_tensors;
use crate::support::{assert_close, device, fixture, parameters, with_threads};

const FAMILIES: [&str; 3] = ["bert", "roberta", "distilbert"];

#[derive(Deserialize)]
struct Expected {
    longest: usize,
    texts: Vec<Read>,
    logits: Vec<Vec<f32>>,
    padded: Vec<Vec<f32>>,
    gelu_new: Option<Vec<Vec<f32>>>,
    trained: Vec<usize>,
    labels: Vec<usize>,
    optimizer: OptimizerConfig,
    training: Training,
}

#[derive(Deserialize)]
struct Read {
    text: String,
    /// The ids of the text before it is cut.
    whole: Vec<u32>,
    ids: Vec<u32>,
}

#[derive(Deserialize)]
struct Training {
    steps: Vec<BTreeMap<String, f64>>,
    /// Of each tensor, the change of some elements, by their index.
    updates: BTreeMap<String, Vec<(usize, f32)>>,
    logits: Vec<Vec<f32>>,
}

fn folder(family: &str) -> PathBuf {
    fixture("encoder").join(family)
}

fn load(family: &str) -> (Classifier, Expected) {
    let expected = fs::read(folder(family).join("expected.json")).unwrap();
    let classifier = files::load_classifier(&folder(family), &device()).unwrap();
    (classifier, serde_json::from_slice(&expected).unwrap())
}

fn texts(expected: &Expected) -> Vec<&str> {
    expected.texts.iter().map(|text| text.text.as_str()).collect()
}

/// A copy of a fixture's folder, to be changed.
fn copy(family: &str) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(folder(family)).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
    }
    copy
}

fn edit_json(path: &Path, edit: impl FnOnce(&mut Value)) {
    let mut value: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    edit(&mut value);
    fs::write(path, value.to_string()).unwrap();
}

fn edit_config(folder: &TempDir, key: &str, value: Value) {
    edit_json(&folder.path().join("config.json"), |config| config[key] = value);
}

#[track_caller]
fn assert_logits(found: &[Vec<f32>], want: &[Vec<f32>]) {
    assert_eq!(found.len(), want.len());
    for (found, want) in found.iter().zip(want) {
        assert_close(found, want, 1e-5);
    }
}

#[test]
fn token_ids_are_those_of_transformers() {
    for family in FAMILIES {
        let (classifier, expected) = load(family);
        assert_eq!(classifier.window(), Window { tokens: expected.longest, truncation: Truncation::Head });
        let cut = classifier.encode(&texts(&expected)).unwrap();
        for (ids, text) in cut.iter().zip(&expected.texts) {
            assert_eq!(*ids, text.ids, "{family}: {:?}", text.text);
            let whole = classifier.tokenizer().encode(&text.text, usize::MAX, Truncation::Head).unwrap();
            assert_eq!(whole, text.whole, "{family}: {:?}", text.text);
        }
        assert!(expected.texts.iter().any(|text| text.whole.len() > text.ids.len()));
    }
}

#[test]
fn logits_are_those_of_transformers() {
    for family in FAMILIES {
        let (classifier, expected) = load(family);
        let all = classifier.logits(&texts(&expected)).unwrap();
        assert_logits(&all, &expected.logits);
        // Theirs are computed with padding and a mask there.
        assert_logits(&all, &expected.padded);
        for (text, want) in texts(&expected).into_iter().zip(&expected.logits) {
            assert_logits(&classifier.logits(&[text]).unwrap(), std::slice::from_ref(want));
        }
        assert!(classifier.logits(&[]).unwrap().is_empty());
    }
}

#[test]
fn order_company_and_threads_do_not_change_a_logit() {
    let (classifier, expected) = load("roberta");
    let mut many: Vec<&str> = texts(&expected).repeat(30);
    let all = with_threads(2, || classifier.logits(&many).unwrap());
    many.reverse();
    let mut reversed = with_threads(1, || classifier.logits(&many).unwrap());
    reversed.reverse();
    assert_logits(&all, &reversed);
    assert_logits(&all, &vec![expected.logits.as_slice(); 30].concat());
}

#[test]
fn every_activation_is_honoured_or_refused_by_name() {
    let (_, expected) = load("bert");
    let folder = copy("bert");
    let want = expected.gelu_new.as_ref().unwrap();
    assert!((want[0][0] - expected.logits[0][0]).abs() > 3e-5, "the two forms must differ here");
    for name in Activation::TanhGelu.names() {
        edit_config(&folder, "hidden_act", json!(name));
        let classifier = files::load_classifier(folder.path(), &device()).unwrap();
        assert_logits(&classifier.logits(&texts(&expected)).unwrap(), want);
    }
    for name in ["silu", "quick_gelu", "gelu_10"] {
        edit_config(&folder, "hidden_act", json!(name));
        assert_refused(
            folder.path(),
            &["config.json", &format!("hidden_act = \"{name}\""), "gelu, gelu_new"],
        );
    }
}

#[track_caller]
fn assert_refused(folder: &Path, parts: &[&str]) {
    let message = files::load_classifier(folder, &device()).expect_err("a bad folder").to_string();
    for part in parts {
        assert!(message.contains(part), "`{message}` does not say `{part}`");
    }
}

#[test]
fn what_is_not_computed_here_is_refused_by_name() {
    let cases = [
        ("position_embedding_type", json!("relative_key"), "\"absolute\""),
        ("is_decoder", json!(true), "false"),
        ("model_type", json!("deberta"), "\"bert\", \"roberta\", \"distilbert\""),
        ("problem_type", json!("ranking"), "regression"),
        ("id2label", json!({"0": "A", "2": "B"}), "names of the labels"),
        ("id2label", json!({}), "names of the labels"),
        ("num_attention_heads", json!(5), "a divisor of hidden_size = 24"),
        ("hidden_size", json!(-24), "a whole number"),
        ("layer_norm_eps", json!(0), "a positive number"),
        ("num_hidden_layers", json!(1_000_000_000), "1000000000 layers"),
        ("hidden_size", json!(3_000_000), "shape"),
        ("hidden_size", json!(3_000_000_000_000_u64), "parameters: found 2^64 or more"),
        ("vocab_size", json!(100), "an embedding for every token"),
        ("pad_token_id", json!(200), "below vocab_size = 200"),
    ];
    for (key, value, expected) in cases {
        let folder = copy("bert");
        edit_config(&folder, key, value);
        assert_refused(folder.path(), &[expected]);
    }
    let roberta = copy("roberta");
    edit_config(&roberta, "max_position_embeddings", json!(2));
    assert_refused(roberta.path(), &["max_position_embeddings", "more than 2"]);
    let distilbert = copy("distilbert");
    edit_config(&distilbert, "sinusoidal_pos_embds", json!(true));
    assert_refused(distilbert.path(), &["sinusoidal_pos_embds = true", "false"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_value_of_a_key_makes_reading_panic(
        family in prop::sample::select(&FAMILIES), file in 0_usize..2, key in 0_usize..40, value in 0_usize..16,
    ) {
        let values = [
            json!(null), json!(true), json!(-1), json!(0), json!(1), json!(3), json!(u64::MAX), json!(1_u64 << 40),
            json!(1e300), json!(0.5), json!(""), json!("gelu"), json!([1]), json!({}), json!({"0": 1}), json!("1"),
        ];
        let folder = copy(family);
        let path = folder.path().join(["config.json", "tokenizer_config.json"][file]);
        if path.exists() {
            let mut changed = String::new();
            edit_json(&path, |json| {
                let keys: Vec<String> = json.as_object().unwrap().keys().cloned().collect();
                changed.clone_from(&keys[key % keys.len()]);
                json[&changed] = values[value].clone();
            });
            // What is read computes, too.
            if let Ok(classifier) = files::load_classifier(folder.path(), &device()) {
                let logits = classifier.logits(&["the film", ""]).unwrap();
                prop_assert!(logits.iter().flatten().all(|logit| logit.is_finite()), "{changed}");
            }
        }
    }
}

#[test]
fn damaged_tensors_and_tokenizers_are_refused() {
    let query = "bert.encoder.layer.1.attention.self.query.weight";
    let folder = copy("bert");
    edit_tensors(folder.path(), |tensors| drop(tensors.remove(query).unwrap()));
    assert_refused(folder.path(), &[query, "no such tensor", "[24, 24]"]);

    let folder = copy("bert");
    edit_tensors(folder.path(), |tensors| tensors.get_mut("classifier.weight").unwrap().1 = vec![24, 2]);
    assert_refused(folder.path(), &["classifier.weight", "shape [24, 2]", "shape [2, 24]"]);

    let folder = copy("bert");
    edit_json(&folder.path().join("tokenizer.json"), |json| json["post_processor"] = Value::Null);
    assert_refused(folder.path(), &["tokenizer.json", "[CLS]"]);

    // The library panics where it is to put a token that the file does not describe.
    let folder = copy("bert");
    edit_json(&folder.path().join("tokenizer.json"), |json| {
        json["post_processor"]["single"][0]["SpecialToken"]["id"] = json!("[NONE]");
    });
    assert_refused(folder.path(), &["tokenizer.json", "cannot take", "a tokenizer that can read a text"]);

    let folder = copy("bert");
    fs::write(folder.path().join("tokenizer.json"), "{\"version\":\"1.0\",\"model\":7}").unwrap();
    assert_refused(folder.path(), &["tokenizer.json"]);
    fs::remove_file(folder.path().join("tokenizer.json")).unwrap();
    assert_refused(folder.path(), &["tokenizer.json", "No such file"]);

    for (file, text) in [("vocab.json", "{\"a\":0}"), ("vocab.json", "[]"), ("merges.txt", "one two three\n")]
    {
        let folder = copy("roberta");
        fs::write(folder.path().join(file), text).unwrap();
        assert_refused(folder.path(), &["vocab.json"]);
    }
    let folder = copy("bert");
    edit_json(&folder.path().join("tokenizer_config.json"), |json| json["model_max_length"] = json!(2));
    assert_refused(folder.path(), &["window", "found 2", "3 to 64"]);
}

#[test]
fn names_without_the_prefix_and_the_first_names_of_scale_and_shift_are_read() {
    let (_, expected) = load("bert");
    let folder = copy("bert");
    edit_tensors(folder.path(), |tensors| {
        let old = std::mem::take(tensors);
        tensors.extend(old.into_iter().map(|(name, tensor)| {
            let name = name.strip_prefix("bert.").unwrap_or(&name);
            let name = name.replace("LayerNorm.weight", "LayerNorm.gamma");
            (name.replace("LayerNorm.bias", "LayerNorm.beta"), tensor)
        }));
        // A buffer that older files have.
        tensors.insert("embeddings.position_ids".to_owned(), (Dtype::I64, vec![1, 1], vec![0; 8]));
    });
    let classifier = files::load_classifier(folder.path(), &device()).unwrap();
    assert_logits(&classifier.logits(&texts(&expected)).unwrap(), &expected.logits);
}

#[test]
fn an_encoder_without_a_head_gets_a_new_one() {
    let stream = Stream::new(3, "head");
    for family in FAMILIES {
        let folder = copy(family);
        edit_tensors(folder.path(), |tensors| {
            tensors.retain(|name, _| !name.contains("classifier"));
        });
        assert_refused(folder.path(), &["classifier.", "no such tensor"]);
        let made = files::load_encoder(folder.path(), &["BAD", "FAIR", "GOOD"], stream, &device()).unwrap();
        let again = files::load_encoder(folder.path(), &["BAD", "FAIR", "GOOD"], stream, &device()).unwrap();
        assert_eq!(made.labelling().labels, ["BAD", "FAIR", "GOOD"]);
        assert_eq!(made.labelling().problem_type, ProblemType::SingleLabel);
        let (with_head, found) = (parameters(load(family).0.model()), parameters(made.model()));
        assert_eq!(found, parameters(again.model()), "the head is drawn from the stream alone");
        for (path, values) in &found {
            match path.as_str() {
                "output.weight" | "dense.weight" if family != "bert" || path != "dense.weight" => {
                    let square: f64 = values.iter().map(|&value| f64::from(value).powi(2)).sum();
                    let std = (square / values.len() as f64).sqrt();
                    assert!((0.015..0.025).contains(&std), "{family} {path}: {std}");
                }
                "output.bias" | "dense.bias" if family != "bert" || path != "dense.bias" => {
                    assert!(values.iter().all(|&value| value == 0.0));
                }
                // The pooler of BERT is no part of the head that is missing.
                _ => assert_eq!(*values, with_head[path], "{family} {path}"),
            }
        }
    }
    let refused = files::load_encoder(&folder("bert"), &["A", "B", "C"], stream, &device()).unwrap_err();
    assert!(refused.to_string().contains("a head of 2 labels, NEGATIVE, POSITIVE"), "{refused}");
    let kept = files::load_encoder(&folder("bert"), &["no", "yes"], stream, &device()).unwrap();
    assert_eq!(parameters(kept.model()), parameters(load("bert").0.model()));
}

#[test]
fn scores_are_of_the_label_and_in_the_unit_that_are_asked_for() {
    let (classifier, expected) = load("bert");
    let text = [expected.texts[0].text.as_str()];
    let [z0, z1] = [expected.logits[0][0], expected.logits[0][1]].map(f64::from);
    let score = |label: &str, unit| {
        f64::from(classifier.scores(&text, classifier.label(label).unwrap(), unit).unwrap()[0])
    };
    for positive in ["POSITIVE", "positive", "LABEL_1", "1"] {
        assert!((score(positive, ScoreUnit::LogOdds) - (z1 - z0)).abs() < 1e-5);
    }
    assert!((score("NEGATIVE", ScoreUnit::Probability) - z0.exp() / (z0.exp() + z1.exp())).abs() < 1e-6);
    assert!((score("NEGATIVE", ScoreUnit::Logit) - z0).abs() < 1e-5);
    for unknown in ["NEUTRAL", "2", "LABEL_7", ""] {
        let message = classifier.label(unknown).unwrap_err().to_string();
        assert!(message.contains("one of NEGATIVE, POSITIVE"), "{message}");
    }
    let folder = copy("bert");
    edit_config(&folder, "problem_type", json!("regression"));
    let regression = files::load_classifier(folder.path(), &device()).unwrap();
    assert!(matches!(regression.scores(&text, 1, ScoreUnit::Probability), Err(LmError::Config(_))));
    assert_close(&regression.scores(&text, 1, ScoreUnit::Logit).unwrap(), &[z1 as f32], 1e-5);
}

#[test]
fn a_window_reads_the_head_or_both_ends() {
    let (classifier, expected) = load("distilbert");
    let long = expected.texts.iter().max_by_key(|text| text.whole.len()).unwrap();
    let whole = &long.whole;
    let cut = |tokens, truncation| {
        let window = classifier.with_window(Window { tokens, truncation }).unwrap();
        window.encode(&[&long.text]).unwrap().remove(0)
    };
    let last = whole.len() - 1;
    // [CLS], 20 tokens, [SEP]; of both ends 5 and 15.
    assert_eq!(cut(22, Truncation::Head), [&whole[..21], &whole[last..]].concat());
    assert_eq!(cut(22, Truncation::Ends), [&whole[..6], &whole[last - 15..]].concat());
    assert_eq!(cut(3, Truncation::Ends), [whole[0], whole[1], whole[last]]);
    for tokens in [0, 2, 57] {
        let error = classifier.with_window(Window { tokens, truncation: Truncation::Head }).unwrap_err();
        assert!(error.to_string().contains("expected 3 to 56"), "{error}");
    }
}

fn examples(expected: &Expected) -> Vec<LabelledText> {
    let example =
        |&i: &usize| LabelledText { text: expected.texts[i].text.clone(), label: expected.labels[i] };
    expected.trained.iter().map(example).collect()
}

fn trainer(classifier: &Classifier, expected: &Expected, batch_size: usize) -> ClassifierTrainer {
    let steps = expected.training.steps.len();
    let config = SftConfig { steps, batch_size, optimizer: expected.optimizer.clone() };
    ClassifierTrainer::new(classifier, &examples(expected), &config, 5).unwrap()
}

#[test]
fn ten_steps_of_fine_tuning_are_those_of_pytorch() {
    for family in FAMILIES {
        let (classifier, expected) = load(family);
        let mut trainer = trainer(&classifier, &expected, expected.trained.len());
        for (step, want) in expected.training.steps.iter().enumerate() {
            let found: BTreeMap<_, _> = trainer.step().unwrap().into_iter().collect();
            for (name, want) in want {
                let error = (found[name.as_str()] - want).abs() / want.abs().max(1e-9);
                assert!(error < 1e-4, "{family} step {step}: {name} is {}, not {want}", found[name.as_str()]);
            }
        }
        let trained = trainer.classifier();
        assert_logits(&trained.logits(&texts(&expected)).unwrap(), &expected.training.logits);

        let (before, after) = (tensors_of(&classifier), tensors_of(&trained));
        assert_eq!(after.keys().collect::<Vec<_>>(), expected.training.updates.keys().collect::<Vec<_>>());
        for (name, updates) in &expected.training.updates {
            for &(at, want) in updates {
                let found = after[name][at] - before[name][at];
                // Ten steps move a weight by up to 0.015.
                assert!((found - want).abs() < 3e-5, "{family} {name} {at}: moved by {found}, not {want}");
            }
        }
    }
}

/// The tensors of the file that a classifier is written to.
fn tensors_of(classifier: &Classifier) -> BTreeMap<String, Vec<f32>> {
    let folder = tempfile::tempdir().unwrap();
    files::save_classifier(folder.path(), classifier, Precision::F32).unwrap();
    let bytes = fs::read(folder.path().join("model.safetensors")).unwrap();
    let values = |data: &[u8]| {
        data.as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect::<Vec<_>>()
    };
    let tensors = SafeTensors::deserialize(&bytes).unwrap().tensors();
    tensors.into_iter().map(|(name, view)| (name, values(view.data()))).collect()
}

#[test]
fn a_training_goes_on_from_its_state_to_the_bit() {
    let (classifier, expected) = load("bert");
    let mut whole = trainer(&classifier, &expected, 4);
    let mut state = State::new();
    for step in 0..6 {
        if step == 3 {
            whole.save(&mut state);
        }
        whole.step().unwrap();
    }
    let mut rest = trainer(&classifier, &expected, 4);
    rest.restore(&state).unwrap();
    for _ in 3..6 {
        rest.step().unwrap();
    }
    let [restored, through] = [&rest, &whole].map(|trainer| parameters(trainer.classifier().model()));
    assert_eq!(restored.keys().collect::<Vec<_>>(), through.keys().collect::<Vec<_>>());
    // A GPU adds the gradients of a table's row up in any order.
    let tolerance = if lm::device::on_host(&device()) { 0.0 } else { 1e-5 };
    for (name, through) in &through {
        assert_close(&restored[name], through, tolerance);
    }
    assert_eq!(rest.tokens(), whole.tokens());
}

#[test]
fn what_cannot_be_trained_is_refused() {
    let (classifier, expected) = load("bert");
    let config = SftConfig { steps: 1, batch_size: 1, optimizer: expected.optimizer.clone() };
    let refused = |classifier: &Classifier, examples: &[LabelledText], part: &str| {
        let error = ClassifierTrainer::new(classifier, examples, &config, 0).err().unwrap().to_string();
        assert!(error.contains(part), "`{error}` does not say `{part}`");
    };
    refused(&classifier, &[], "texts: found none");
    let unknown = LabelledText { text: "a film".to_owned(), label: 2 };
    refused(&classifier, &[unknown], "found label 2, expected a label below 2");
    let folder = copy("bert");
    edit_config(&folder, "problem_type", json!("multi_label_classification"));
    let multi = files::load_classifier(folder.path(), &device()).unwrap();
    refused(&multi, &examples(&expected), "problem_type: found multi_label_classification");
}

#[test]
fn folders_are_written_as_transformers_writes_them() {
    for family in FAMILIES {
        let (classifier, expected) = load(family);
        let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("export-{family}"));
        files::save_classifier(&out, &classifier, Precision::F32).unwrap();
        let read = |path: &Path| {
            let bytes = fs::read(path.join("model.safetensors")).unwrap();
            let tensors = SafeTensors::deserialize(&bytes).unwrap().tensors();
            let plain =
                |view: &safetensors::tensor::TensorView| (view.shape().to_vec(), view.data().to_vec());
            tensors.iter().map(|(name, view)| (name.clone(), plain(view))).collect::<BTreeMap<_, _>>()
        };
        assert!(read(&out) == read(&folder(family)), "{family}: names, shapes or bytes differ");
        let again = files::load_classifier(&out, &device()).unwrap();
        assert_eq!(again.labelling(), classifier.labelling());
        assert_eq!(again.window(), classifier.window());
        assert_eq!(again.model().config(), classifier.model().config());
        let cut = again.encode(&texts(&expected)).unwrap();
        assert!(cut.iter().zip(&expected.texts).all(|(ids, text)| *ids == text.ids), "{family}");

        // For scripts/reference/check_export.py.
        let logits = again.logits(&texts(&expected)).unwrap();
        let rows = expected.texts.iter().zip(&cut).zip(&logits);
        let rows: Vec<Value> = rows
            .map(|((text, ids), logits)| json!({ "text": text.text, "ids": ids, "logits": logits }))
            .collect();
        fs::write(out.join("classifier.json"), Value::from(rows).to_string()).unwrap();
    }
}
