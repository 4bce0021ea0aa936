//! Folders of adapters: written as PEFT reads them, read back to the bit, and refused by name where they ask
//! for what is not computed here.

use std::fs;
use std::path::{Path, PathBuf};

use lm::files::{self, ModelFolder, Precision};
use lm::sequences::to_vec;
use lm::{LoraConfig, Packing, Policy, ScalarModel, Scorer, Sequence, Stream, Tokenizer, Tokens};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::damaged::{copy_of, edit_json, edit_tensors_of};
use crate::support::{device, families, fixture, parameters, random_policy};

const TEXTS: [&str; 2] = ["The film was warm and funny.", "one\ntwo\n\n  three "];
const CONFIG: &str = "adapter_config.json";
const TENSORS: &str = "adapter_model.safetensors";

/// A policy of a family with adapters, none of which is zero, and the folder of its base.
fn adapted(name: &str, family: usize, targets: &[&str]) -> (Policy, Tokenizer, PathBuf) {
    let tokenizer = Tokenizer::train(&TEXTS, 300).unwrap();
    let config = &families(tokenizer.vocab_size(), 24, 16, 2)[family];
    let base = random_policy(config, 0.4, 11, 1.0);
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    files::save_policy(&dir, &base, &tokenizer, Precision::F32).unwrap();
    let targets = targets.iter().map(|&target| target.to_owned()).collect();
    let lora = LoraConfig { rank: 3, alpha: 5.0, rslora: family == 0, targets };
    let adapted = base.with_adapter(&lora, Stream::new(1, "adapter")).unwrap();
    let spread = random_adapters(&adapted);
    (spread, tokenizer, dir)
}

/// Gives every matrix of the adapters values that are not zero.
fn random_adapters(policy: &Policy) -> Policy {
    use burn::module::{Module, ModuleMapper, Param};
    use burn::tensor::Tensor;

    struct Ramp(f32);
    impl ModuleMapper for Ramp {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            if !param.is_require_grad() {
                return param;
            }
            param.map(|old| {
                let values: Vec<f32> = (0..old.dims().iter().product())
                    .map(|_: usize| {
                        self.0 += 1.0;
                        0.3 * (1.7 * self.0).sin()
                    })
                    .collect();
                let shape = old.dims();
                let data = burn::tensor::TensorData::new(values, shape);
                Tensor::from_data(data, &old.device()).require_grad()
            })
        }
    }
    policy.clone().train().map(&mut Ramp(0.0)).valid()
}

/// Leaves token ids with the logits or scores of a model, and texts with their ids, for `check_export.py`.
fn write_outputs(dir: &Path, key: &str, tokenizer: &Tokenizer, of: impl Fn(&[u32]) -> Vec<f32>) {
    let sequences = [vec![0_u32, 5, 259, 120, 7], vec![0], (0..24).map(|i| i * 11).collect()];
    let outputs: Vec<Vec<f32>> = sequences.iter().map(|ids| of(ids)).collect();
    let texts: Vec<Value> =
        TEXTS.iter().map(|text| json!({ "text": text, "ids": tokenizer.encode(text).unwrap() })).collect();
    let content = json!({ "sequences": sequences, key: outputs, "texts": texts });
    fs::write(dir.join("logits.json"), content.to_string()).unwrap();
}

fn logits(policy: &Policy, ids: &[u32]) -> Vec<f32> {
    let tokens = Tokens::new(ids, Packing::equal(1, ids.len()), &device());
    to_vec(policy.model().logits(policy.model().hidden(&tokens, None)))
}

#[test]
fn folders_of_adapters_are_bit_equal_when_read_back() {
    for (name, family, targets) in [
        ("export-lora-gpt2", 0, &["c_attn", "mlp.c_proj"][..]),
        ("export-lora-llama", 2, &["q_proj", "v_proj", "down_proj"][..]),
        ("export-lora-gptj", 3, &["v_proj", "out_proj", "fc_in", "fc_out"][..]),
    ] {
        let (policy, tokenizer, base) = adapted(&format!("{name}-base"), family, targets);
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        files::save_policy_adapter(&dir, &policy, &base.to_string_lossy(), &tokenizer).unwrap();
        write_outputs(&dir, "logits", &tokenizer, |ids| logits(&policy, ids));
        let (plain, _) = files::load_policy(&base, 1.0, &device()).unwrap();
        let again = files::load_adapter(&dir, &plain).unwrap();
        assert_eq!(parameters(&again), parameters(&policy));
        assert_eq!(again.model().lora(), policy.model().lora());
        // What transformers reads without PEFT, and what the adapter's folder is here, is the merged model.
        let merged = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-merged"));
        files::save_policy(&merged, &policy, &tokenizer, Precision::F32).unwrap();
        write_outputs(&merged, "logits", &tokenizer, |ids| logits(&policy, ids));
        let [merged, beside] = [&merged, &dir].map(|dir| files::load_policy(dir, 1.0, &device()).unwrap().0);
        assert_eq!(parameters(&merged), parameters(&beside));
        // The base may lie elsewhere than the adapter says.
        let moved = tempfile::tempdir().unwrap();
        for file in [CONFIG, TENSORS] {
            fs::copy(dir.join(file), moved.path().join(file)).unwrap();
        }
        edit_json(moved.path(), CONFIG, |config| config["base_model_name_or_path"] = "gone".into());
        let told = ModelFolder::open(moved.path(), Some(&base)).unwrap();
        assert!(told.is_adapter() && told.tokenizer_dir() == base);
        assert_eq!(parameters(&told.policy(1.0, &device()).unwrap().0), parameters(&merged));
        let lost = ModelFolder::open(moved.path(), None).err().unwrap().to_string();
        assert!(lost.contains("base_model_name_or_path = `gone`"), "{lost}");
    }
}

#[test]
fn a_scalar_model_s_adapter_has_its_head() {
    let (policy, tokenizer, base) = adapted("export-lora-score-base", 1, &["o_proj", "up_proj"]);
    let model = ScalarModel::with_random_head(policy.model().clone(), Stream::new(3, "head"));
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("export-lora-score");
    files::save_scalar_adapter(&dir, &model, &base.to_string_lossy(), &tokenizer).unwrap();
    let whole = |ids: &[u32]| Sequence { prompt: ids.to_vec(), response: Vec::new() };
    write_outputs(&dir, "scores", &tokenizer, |ids| model.score(&[whole(ids)]).unwrap());
    let again = files::load_scalar_model(&dir, &device()).unwrap();
    let sequences = [whole(&[0, 5, 9]), whole(&[0, 100, 20, 3])];
    let (got, want) = (again.score(&sequences).unwrap(), model.score(&sequences).unwrap());
    crate::support::assert_close(&got, &want, 1e-5);
    assert_eq!(to_vec(again.head()), to_vec(model.head()));
    let refused = files::load_policy(&dir, 1.0, &device()).unwrap_err().to_string();
    assert!(refused.contains("task_type = \"SEQ_CLS\", expected \"CAUSAL_LM\""), "{refused}");
}

#[test]
fn a_model_without_adapters_has_none_to_write() {
    let (_, tokenizer, base) = adapted("lora-none-base", 0, &["c_fc"]);
    let (plain, _) = files::load_policy(&base, 1.0, &device()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let error = files::save_policy_adapter(dir.path(), &plain, "base", &tokenizer).unwrap_err().to_string();
    assert!(error.contains("model: found no adapters"), "{error}");
}

/// The message with which the copy of an adapter's folder is refused that `edit` has changed.
fn refusal(edit: impl FnOnce(&Path)) -> String {
    let folder: TempDir = copy_of("lora/gpt2");
    edit(folder.path());
    let base = fixture("gpt2");
    let read = ModelFolder::open(folder.path(), Some(&base)).and_then(|f| f.policy(1.0, &device()));
    let message = read.expect_err("a damaged folder").to_string();
    let named = [CONFIG, TENSORS].map(|file| folder.path().join(file).display().to_string());
    assert!(named.iter().any(|path| message.contains(path)), "{message}");
    message
}

#[test]
fn what_is_not_computed_is_refused_by_its_key() {
    for (key, value) in [
        ("peft_type", json!("IA3")),
        ("peft_type", Value::Null),
        ("use_dora", json!(true)),
        ("lora_bias", json!(true)),
        ("use_qalora", json!(true)),
        ("bias", json!("lora_only")),
        ("rank_pattern", json!({ "c_attn": 4 })),
        ("alpha_pattern", json!({ "c_attn": 4 })),
        ("layers_to_transform", json!([0])),
        ("layer_replication", json!([[0, 2]])),
        ("exclude_modules", json!(["c_proj"])),
        ("target_parameters", json!(["experts"])),
        ("trainable_token_indices", json!([3])),
        ("modules_to_save", json!(["wte"])),
        ("init_lora_weights", json!("pissa")),
        ("invented_by_a_later_version", json!(1)),
        ("r", json!(0)),
        ("r", json!(-3)),
        ("r", json!(2.5)),
        ("lora_alpha", json!(0)),
        ("lora_alpha", json!("16")),
        ("target_modules", json!(".*attn.*")),
        ("target_modules", json!([])),
        ("target_modules", json!([7])),
        ("task_type", json!("SEQ_2_SEQ_LM")),
    ] {
        let message = refusal(|folder| edit_json(folder, CONFIG, |config| config[key] = value.clone()));
        assert!(message.contains(&format!("{key} = {value}")), "{key} = {value}: {message}");
    }
    let message =
        refusal(|folder| edit_json(folder, CONFIG, |config| config["target_modules"] = json!(["q_proj"])));
    assert!(
        message.contains("target_modules with \"q_proj\", expected names of layers: c_attn"),
        "{message}"
    );
    for text in ["", "[]", "{", "7"] {
        refusal(|folder| fs::write(folder.join(CONFIG), text).unwrap());
    }
}

#[test]
fn what_has_no_effect_after_training_is_read() {
    let folder = copy_of("lora/gpt2");
    let read = || {
        let folder = ModelFolder::open(folder.path(), Some(&fixture("gpt2"))).unwrap();
        parameters(&folder.policy(1.0, &device()).unwrap().0)
    };
    let before = read();
    for (key, value) in [
        ("lora_dropout", json!(0.1)),
        ("fan_in_fan_out", json!(false)),
        ("task_type", Value::Null),
        ("init_lora_weights", json!("gaussian")),
        ("invented_by_a_later_version", Value::Null),
        ("peft_version", json!("0.99")),
    ] {
        edit_json(folder.path(), CONFIG, |config| config[key] = value.clone());
        assert_eq!(read(), before, "{key}");
    }
}

#[test]
fn tensors_that_do_not_fit_are_named() {
    const A: &str = "base_model.model.transformer.h.1.attn.c_attn.lora_A.weight";
    let edit = |edit: fn(&mut crate::damaged::Tensors)| {
        refusal(|folder| edit_tensors_of(&folder.join(TENSORS), edit))
    };
    let missing = edit(|tensors| drop(tensors.remove(A)));
    assert!(missing.contains(A) && missing.contains("no such tensor, expected shape [3, 24]"), "{missing}");
    let misshapen = edit(|tensors| tensors.get_mut(A).unwrap().1 = vec![24, 3]);
    assert!(misshapen.contains(A) && misshapen.contains("found shape [24, 3]"), "{misshapen}");
    let extra = edit(|tensors| {
        let one = tensors[A].clone();
        tensors.insert("base_model.model.score.weight".to_owned(), one);
    });
    assert!(extra.contains("base_model.model.score.weight"), "{extra}");
    // A rank that the tensors do not have is not believed.
    let lie = refusal(|folder| edit_json(folder, CONFIG, |config| config["r"] = json!(u64::MAX / 2)));
    assert!(lie.contains("lora_A.weight") && lie.contains("found shape [3, 24]"), "{lie}");
    let bytes = fs::read(fixture("lora/gpt2").join(TENSORS)).unwrap();
    for length in [0, 7, 8, 100, bytes.len() - 1] {
        refusal(|folder| fs::write(folder.join(TENSORS), &bytes[..length]).unwrap());
    }
    let pickle = {
        let folder = copy_of("lora/gpt2");
        fs::rename(folder.path().join(TENSORS), folder.path().join("adapter_model.bin")).unwrap();
        ModelFolder::open(folder.path(), Some(&fixture("gpt2"))).err().unwrap().to_string()
    };
    assert!(pickle.contains("adapter_model.bin") && pickle.contains("pickle"), "{pickle}");
    let not_one = ModelFolder::open(&fixture("gpt2"), Some(&fixture("gpt2"))).err().unwrap().to_string();
    assert!(not_one.contains("found no adapter"), "{not_one}");
}
