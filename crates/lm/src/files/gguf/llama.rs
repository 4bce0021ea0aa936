//! A Llama in the words of llama.cpp.

use std::collections::BTreeSet;

use super::header::Header;
use super::tensors::Tensor;
use crate::LmError;
use crate::architecture::LlamaConfig;
use crate::parameters::Values;
use crate::problem::Config;

/// The configuration that the metadata says.
///
/// # Errors
/// [`LmError::File`] with the key that is missing, impossible, or not computed here.
pub(super) fn config(header: &Header) -> Result<LlamaConfig, LmError> {
    let metadata = &header.metadata;
    let architecture = metadata.required("general.architecture", metadata.text("general.architecture")?)?;
    if architecture != "llama" {
        return Err(metadata.refuse("general.architecture", &format!("{architecture:?}"), "\"llama\""));
    }
    let count = |key: &str| metadata.count(&format!("llama.{key}"));
    let needed = |key: &str| metadata.required(&format!("llama.{key}"), count(key)?);
    let float = |key: &str| metadata.float(&format!("llama.{key}"));
    let (width, heads) = (needed("embedding_length")?, needed("attention.head_count")?);
    let head_dim = match count("attention.key_length")? {
        Some(length) => length,
        None if heads > 0 && width.is_multiple_of(heads) => width / heads,
        None => {
            let expected = format!("a divisor of llama.embedding_length = {width}");
            return Err(metadata.refuse("llama.attention.head_count", &heads.to_string(), expected));
        }
    };
    for key in ["attention.value_length", "rope.dimension_count"] {
        if let Some(found) = count(key)?.filter(|&found| found != head_dim) {
            let expected = format!("{head_dim}, the width of a head");
            return Err(metadata.refuse(&format!("llama.{key}"), &found.to_string(), expected));
        }
    }
    if let Some(found) = count("expert_count")?.filter(|&found| found > 0) {
        return Err(metadata.refuse("llama.expert_count", &found.to_string(), "no experts"));
    }
    if let Some(found) = metadata.text("llama.rope.scaling.type")?.filter(|&found| found != "none") {
        return Err(metadata.refuse("llama.rope.scaling.type", &format!("{found:?}"), "\"none\""));
    }
    for key in ["llama.rope.scale_linear", "llama.rope.scaling.factor"] {
        if let Some(found) = metadata.float(key)?.filter(|&found| (found - 1.0).abs() > f64::EPSILON) {
            return Err(metadata.refuse(key, &found.to_string(), "1"));
        }
    }
    let embedding = tensor(header, EMBEDDING)?;
    let config = LlamaConfig {
        vocab_size: embedding.shape[0],
        max_position_embeddings: needed("context_length")?,
        hidden_size: width,
        intermediate_size: needed("feed_forward_length")?,
        num_hidden_layers: needed("block_count")?,
        num_attention_heads: heads,
        num_key_value_heads: count("attention.head_count_kv")?.unwrap_or(heads),
        head_dim,
        rms_norm_eps: metadata.required(EPSILON, metadata.float(EPSILON)?)?,
        rope_theta: float("rope.freq_base")?.unwrap_or(10_000.0),
        initializer_range: 0.02,
        tie_word_embeddings: !header.tensors.contains_key(HEAD),
    };
    config
        .check()
        .map_err(|problems| LmError::file(&header.path, problems.to_string(), "the sizes of a Llama"))?;
    Ok(config)
}

const EPSILON: &str = "llama.attention.layer_norm_rms_epsilon";
const EMBEDDING: &str = "token_embd.weight";
const HEAD: &str = "output.weight";

/// How the rows of a tensor are ordered in a file.
#[derive(Clone, Copy, Debug)]
pub(super) enum Order {
    /// As in Hugging Face's.
    Same,
    /// Those of each head so that what is rotated together is adjacent, where Hugging Face has it half a head
    /// apart.
    Pairs { head_dim: usize },
}

impl Order {
    /// The tensor in Hugging Face's order.
    pub(super) fn undo(self, tensor: Values) -> Values {
        let Self::Pairs { head_dim } = self else { return tensor };
        let Values { shape, values } = tensor;
        let width = shape[1];
        let row = |row: usize| {
            let (head, i) = (row / head_dim, row % head_dim);
            let from = head * head_dim + 2 * (i % (head_dim / 2)) + i / (head_dim / 2);
            &values[from * width..(from + 1) * width]
        };
        let values = (0..shape[0]).flat_map(row).copied().collect();
        Values { shape, values }
    }
}

/// A tensor of a file and what it is in a Hugging Face folder.
pub(super) struct Place<'a> {
    pub(super) tensor: &'a Tensor,
    pub(super) name: String,
    pub(super) order: Order,
}

/// The place of every tensor.
///
/// # Errors
/// [`LmError::Tensor`] for one that is missing, misshapen, or that a Llama does not have.
pub(super) fn places<'a>(header: &'a Header, config: &LlamaConfig) -> Result<Vec<Place<'a>>, LmError> {
    let (d, inner, vocabulary) = (config.hidden_size, config.intermediate_size, config.vocab_size);
    let head_dim = config.head_dim;
    // Heads times their width may be beyond any number; such a shape is no tensor's.
    let [queries, keys] =
        [config.num_attention_heads, config.num_key_value_heads].map(|heads| heads.saturating_mul(head_dim));
    let mut places = Vec::new();
    let mut place = |theirs: &str, name: &str, shape: &[usize], order: Order| {
        let tensor = tensor(header, theirs)?;
        if tensor.shape != shape {
            let found = format!("shape {:?}", tensor.shape);
            return Err(tensor.refuse(&header.path, found, format!("shape {shape:?}")));
        }
        places.push(Place { tensor, name: name.to_owned(), order });
        Ok(())
    };
    place(EMBEDDING, "model.embed_tokens.weight", &[vocabulary, d], Order::Same)?;
    place("output_norm.weight", "model.norm.weight", &[d], Order::Same)?;
    if !config.tie_word_embeddings {
        place(HEAD, "lm_head.weight", &[vocabulary, d], Order::Same)?;
    }
    let pairs = Order::Pairs { head_dim };
    let parts: [(&str, &str, &[usize], Order); 9] = [
        ("attn_norm", "input_layernorm", &[d], Order::Same),
        ("attn_q", "self_attn.q_proj", &[queries, d], pairs),
        ("attn_k", "self_attn.k_proj", &[keys, d], pairs),
        ("attn_v", "self_attn.v_proj", &[keys, d], Order::Same),
        ("attn_output", "self_attn.o_proj", &[d, queries], Order::Same),
        ("ffn_norm", "post_attention_layernorm", &[d], Order::Same),
        ("ffn_gate", "mlp.gate_proj", &[inner, d], Order::Same),
        ("ffn_up", "mlp.up_proj", &[inner, d], Order::Same),
        ("ffn_down", "mlp.down_proj", &[d, inner], Order::Same),
    ];
    // The first layer that a file lacks ends this, however many it claims.
    for layer in 0..config.num_hidden_layers {
        for (theirs, ours, shape, order) in parts {
            let theirs = format!("blk.{layer}.{theirs}.weight");
            place(&theirs, &format!("model.layers.{layer}.{ours}.weight"), shape, order)?;
        }
    }
    let known: BTreeSet<&str> = places.iter().map(|place| place.tensor.name.as_str()).collect();
    match header.tensors.values().find(|tensor| !known.contains(tensor.name.as_str())) {
        None => Ok(places),
        Some(other) => Err(other.refuse(&header.path, "it".to_owned(), "the tensors of a Llama only")),
    }
}

fn tensor<'a>(header: &'a Header, name: &str) -> Result<&'a Tensor, LmError> {
    header.tensors.get(name).ok_or_else(|| LmError::Tensor {
        path: header.path.clone(),
        tensor: name.to_owned(),
        found: "no such tensor".to_owned(),
        expected: "the tensors of a Llama".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_taken_apart() {
        // Two heads of 4 rows, one column: a file has the pairs (0, 2) and (1, 3) of each head adjacent.
        let stored = Values { shape: vec![8, 1], values: vec![0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0] };
        let undone = Order::Pairs { head_dim: 4 }.undo(stored.clone());
        assert_eq!(undone.values, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
        assert_eq!(Order::Same.undo(stored.clone()), stored);
    }
}
