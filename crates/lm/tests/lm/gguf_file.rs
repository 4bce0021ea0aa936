//! A writer of GGUF files, to the letter of their description, that can also write what it does not allow.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use serde_json::Value as Json;
use tempfile::TempDir;

use crate::support::fixture;

/// A value of the metadata.
#[derive(Clone)]
pub(crate) enum Value {
    U32(u32),
    F32(f32),
    Text(String),
    Texts(Vec<String>),
    I32s(Vec<i32>),
    /// A type and bytes of any kind.
    Raw(u32, Vec<u8>),
}

/// A tensor with the dimensions in the file's order, the innermost first.
#[derive(Clone)]
pub(crate) struct Tensor {
    pub(crate) dims: Vec<u64>,
    pub(crate) kind: u32,
    pub(crate) data: Vec<u8>,
    /// Where the file says it is; behind the tensor before it if none is said.
    pub(crate) offset: Option<u64>,
}

/// A file that is about to be written.
#[derive(Clone)]
pub(crate) struct File {
    pub(crate) version: u32,
    pub(crate) metadata: Vec<(String, Value)>,
    pub(crate) tensors: Vec<(String, Tensor)>,
    /// How many keys and tensors it claims to have, if not as many as it has.
    pub(crate) claimed: Option<[u64; 2]>,
}

pub(crate) fn text(value: &str) -> Vec<u8> {
    [&(value.len() as u64).to_le_bytes()[..], value.as_bytes()].concat()
}

impl Value {
    fn bytes(&self) -> Vec<u8> {
        let array =
            |kind: u32, count: usize| [&kind.to_le_bytes()[..], &(count as u64).to_le_bytes()].concat();
        let (kind, bytes) = match self {
            Self::U32(number) => (4, number.to_le_bytes().to_vec()),
            Self::F32(number) => (6, number.to_le_bytes().to_vec()),
            Self::Text(value) => (8, text(value)),
            Self::Texts(values) => {
                (9, [array(8, values.len()), values.iter().flat_map(|value| text(value)).collect()].concat())
            }
            Self::I32s(values) => {
                (9, [array(5, values.len()), values.iter().flat_map(|v| v.to_le_bytes()).collect()].concat())
            }
            Self::Raw(kind, bytes) => (*kind, bytes.clone()),
        };
        [&u32::to_le_bytes(kind)[..], &bytes].concat()
    }
}

impl File {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let [keys, tensors] = self.claimed.unwrap_or([self.metadata.len() as u64, self.tensors.len() as u64]);
        let mut out = b"GGUF".to_vec();
        out.extend(self.version.to_le_bytes());
        out.extend(tensors.to_le_bytes());
        out.extend(keys.to_le_bytes());
        for (key, value) in &self.metadata {
            out.extend(text(key));
            out.extend(value.bytes());
        }
        let mut data = Vec::new();
        for (name, tensor) in &self.tensors {
            data.resize(data.len().next_multiple_of(32), 0_u8);
            out.extend(text(name));
            out.extend((tensor.dims.len() as u32).to_le_bytes());
            out.extend(tensor.dims.iter().flat_map(|size| size.to_le_bytes()));
            out.extend(tensor.kind.to_le_bytes());
            out.extend(tensor.offset.unwrap_or(data.len() as u64).to_le_bytes());
            data.extend(&tensor.data);
        }
        out.resize(out.len().next_multiple_of(32), 0);
        out.extend(data);
        out
    }

    /// Writes the file into a folder of its own.
    pub(crate) fn written(&self) -> (TempDir, PathBuf) {
        written(&self.bytes())
    }

    pub(crate) fn set(&mut self, key: &str, value: Value) {
        match self.metadata.iter_mut().find(|(name, _)| name == key) {
            Some((_, old)) => *old = value,
            None => self.metadata.push((key.to_owned(), value)),
        }
    }

    pub(crate) fn tensor(&mut self, name: &str) -> &mut Tensor {
        &mut self.tensors.iter_mut().find(|(found, _)| found == name).unwrap().1
    }
}

pub(crate) fn written(bytes: &[u8]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    fs::write(&path, bytes).unwrap();
    (folder, path)
}

fn config(folder: &Path) -> Json {
    serde_json::from_slice(&fs::read(folder.join("config.json")).unwrap()).unwrap()
}

/// The rows of queries or keys as llama.cpp's converter orders them: its
/// `reshape(heads, 2, head_dim / 2, columns).swapaxes(1, 2)`.
fn permuted(data: &[u8], heads: usize, rows: usize) -> Vec<u8> {
    let row = data.len() / rows;
    let half = rows / heads / 2;
    let mut out = Vec::new();
    for head in 0..heads {
        for i in 0..half {
            for part in 0..2 {
                let from = (head * 2 + part) * half + i;
                out.extend(&data[from * row..(from + 1) * row]);
            }
        }
    }
    out
}

/// The name that llama.cpp gives a tensor of a Llama.
fn renamed(name: &str) -> String {
    [
        ("model.layers.", "blk."),
        ("model.embed_tokens", "token_embd"),
        ("model.norm", "output_norm"),
        ("lm_head", "output"),
        ("self_attn.q_proj", "attn_q"),
        ("self_attn.k_proj", "attn_k"),
        ("self_attn.v_proj", "attn_v"),
        ("self_attn.o_proj", "attn_output"),
        ("input_layernorm", "attn_norm"),
        ("post_attention_layernorm", "ffn_norm"),
        ("mlp.gate_proj", "ffn_gate"),
        ("mlp.up_proj", "ffn_up"),
        ("mlp.down_proj", "ffn_down"),
    ]
    .iter()
    .fold(name.to_owned(), |name, (from, to)| name.replace(from, to))
}

/// The tensors of a folder in one file or in shards.
fn tensors(folder: &Path) -> BTreeMap<String, (Vec<usize>, Vec<u8>)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "safetensors") {
            let bytes = fs::read(path).unwrap();
            for (name, view) in SafeTensors::deserialize(&bytes).unwrap().tensors() {
                assert_eq!(view.dtype(), safetensors::Dtype::F32);
                found.insert(name, (view.shape().to_vec(), view.data().to_vec()));
            }
        }
    }
    found
}

/// A fixture's folder as a GGUF file.
pub(crate) fn of_fixture(name: &str) -> File {
    let folder = fixture(name);
    let config = config(&folder);
    let count = |key: &str| config[key].as_u64().unwrap() as u32;
    let mut metadata = vec![("general.architecture".to_owned(), Value::Text("llama".to_owned()))];
    for (key, value) in [
        ("block_count", "num_hidden_layers"),
        ("context_length", "max_position_embeddings"),
        ("embedding_length", "hidden_size"),
        ("feed_forward_length", "intermediate_size"),
        ("attention.head_count", "num_attention_heads"),
        ("attention.head_count_kv", "num_key_value_heads"),
        ("rope.dimension_count", "head_dim"),
    ] {
        metadata.push((format!("llama.{key}"), Value::U32(count(value))));
    }
    for (key, value) in
        [("rope.freq_base", "rope_theta"), ("attention.layer_norm_rms_epsilon", "rms_norm_eps")]
    {
        metadata.push((format!("llama.{key}"), Value::F32(config[value].as_f64().unwrap() as f32)));
    }
    metadata.extend(tokenizer(&folder));
    for (key, id) in [("bos", "bos"), ("eos", "eos"), ("padding", "pad")] {
        metadata
            .push((format!("tokenizer.ggml.{key}_token_id"), Value::U32(count(&format!("{id}_token_id")))));
    }
    let tensor = |(name, (shape, data)): (String, (Vec<usize>, Vec<u8>))| {
        let heads = match name.as_str() {
            name if name.contains("q_proj") => Some(count("num_attention_heads")),
            name if name.contains("k_proj") => Some(count("num_key_value_heads")),
            _ => None,
        };
        let data = heads.map_or(data.clone(), |heads| permuted(&data, heads as usize, shape[0]));
        let dims = shape.iter().rev().map(|&size| size as u64).collect();
        (renamed(&name), Tensor { dims, kind: 0, data, offset: None })
    };
    let tensors = tensors(&folder).into_iter().map(tensor).collect();
    File { version: 3, metadata, tensors, claimed: None }
}

/// The metadata of the fixture's tokenizer.
fn tokenizer(folder: &Path) -> Vec<(String, Value)> {
    let file: Json = serde_json::from_slice(&fs::read(folder.join("tokenizer.json")).unwrap()).unwrap();
    let vocabulary = file["model"]["vocab"].as_object().unwrap();
    let mut tokens = vec![String::new(); vocabulary.len()];
    for (token, id) in vocabulary {
        tokens[id.as_u64().unwrap() as usize].clone_from(token);
    }
    let merge = |pair: &Json| format!("{} {}", pair[0].as_str().unwrap(), pair[1].as_str().unwrap());
    let merges = file["model"]["merges"].as_array().unwrap().iter().map(merge).collect();
    // Three control tokens, then normal ones.
    let types = (0..tokens.len()).map(|id| if id < 3 { 3 } else { 1 }).collect();
    [
        ("model", Value::Text("gpt2".to_owned())),
        ("pre", Value::Text("smollm".to_owned())),
        ("tokens", Value::Texts(tokens)),
        ("token_type", Value::I32s(types)),
        ("merges", Value::Texts(merges)),
    ]
    .map(|(key, value)| (format!("tokenizer.ggml.{key}"), value))
    .to_vec()
}
