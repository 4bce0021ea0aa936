//! What each family calls the tensors of an encoder.

use crate::architecture::EncoderFamily;

/// Where the values of a parameter stand in a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The tensors, one but for the joined queries, keys and values: side by side along the last axis in
    /// memory.
    pub(super) tensors: Vec<Tensor>,
    /// Whether a file has the matrix as `[out, in]`.
    pub(super) transposed: bool,
}

/// A tensor in a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tensor {
    /// As a model with a head names it; the name that is written.
    pub(super) name: String,
    /// Other names that files have: without the body's prefix, and with the first names of scale and shift.
    others: Vec<String>,
}

impl Tensor {
    /// The names to look for, in order.
    pub(super) fn names(&self) -> Vec<&str> {
        std::iter::once(&self.name).chain(&self.others).map(String::as_str).collect()
    }
}

/// Where the parameter at `path` of the module stands in a file of the family.
pub(super) fn place(family: EncoderFamily, path: &str) -> Place {
    let (module, kind) = path.rsplit_once('.').unwrap_or((path, ""));
    let part = module.rsplit('.').next().unwrap_or(module);
    let is_body = module.starts_with("body.") || (family == EncoderFamily::Bert && module == "dense");
    let prefix = if is_body { format!("{}.", family.name()) } else { String::new() };
    let tensor = |module: String| {
        let mut others = Vec::new();
        if is_body {
            others.push(format!("{module}.{kind}"));
        }
        // The first files of BERT.
        if let Some(old) = old_kind(part, kind) {
            others.extend([format!("{prefix}{module}.{old}"), format!("{module}.{old}")]);
        }
        Tensor { name: format!("{prefix}{module}.{kind}"), others }
    };
    Place {
        tensors: modules(family, module).into_iter().map(tensor).collect(),
        transposed: kind == "weight" && matches!(part, "qkv" | "out" | "up" | "down" | "dense" | "output"),
    }
}

fn old_kind(part: &str, kind: &str) -> Option<&'static str> {
    match (part, kind) {
        ("norm" | "attention_norm" | "output_norm", "weight") => Some("gamma"),
        ("norm" | "attention_norm" | "output_norm", "bias") => Some("beta"),
        _ => None,
    }
}

/// The modules in a file that one of ours stands for.
fn modules(family: EncoderFamily, module: &str) -> Vec<String> {
    let one = |name: &str| vec![name.to_owned()];
    let distil = family == EncoderFamily::Distilbert;
    match (module, family) {
        ("body.words", _) => one("embeddings.word_embeddings"),
        ("body.positions", _) => one("embeddings.position_embeddings"),
        ("body.types", _) => one("embeddings.token_type_embeddings"),
        ("body.norm", _) => one("embeddings.LayerNorm"),
        ("dense", EncoderFamily::Bert) => one("pooler.dense"),
        ("dense", EncoderFamily::Roberta) => one("classifier.dense"),
        ("dense", EncoderFamily::Distilbert) => one("pre_classifier"),
        ("output", EncoderFamily::Roberta) => one("classifier.out_proj"),
        ("output", EncoderFamily::Bert | EncoderFamily::Distilbert) => one("classifier"),
        (layer, _) => {
            let (index, part) = layer
                .strip_prefix("body.layers.")
                .and_then(|rest| rest.split_once('.'))
                .unwrap_or(("", layer));
            let names: &[&str] = match (part, distil) {
                ("qkv", false) => &["attention.self.query", "attention.self.key", "attention.self.value"],
                ("out", false) => &["attention.output.dense"],
                ("attention_norm", false) => &["attention.output.LayerNorm"],
                ("up", false) => &["intermediate.dense"],
                ("down", false) => &["output.dense"],
                ("output_norm", false) => &["output.LayerNorm"],
                ("qkv", true) => &["attention.q_lin", "attention.k_lin", "attention.v_lin"],
                ("out", true) => &["attention.out_lin"],
                ("attention_norm", true) => &["sa_layer_norm"],
                ("up", true) => &["ffn.lin1"],
                ("down", true) => &["ffn.lin2"],
                ("output_norm", true) => &["output_layer_norm"],
                (other, _) => &[other],
            };
            let layers = if distil { "transformer" } else { "encoder" };
            names.iter().map(|name| format!("{layers}.layer.{index}.{name}")).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use EncoderFamily::{Bert, Distilbert, Roberta};

    #[test]
    fn each_family_has_its_names() {
        let names = |family, path: &str| {
            let place = place(family, path);
            place.tensors.into_iter().map(|tensor| tensor.name).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(
            names(Bert, "body.layers.3.qkv.weight"),
            "bert.encoder.layer.3.attention.self.query.weight bert.encoder.layer.3.attention.self.key.weight \
             bert.encoder.layer.3.attention.self.value.weight"
        );
        assert_eq!(names(Roberta, "body.types.weight"), "roberta.embeddings.token_type_embeddings.weight");
        assert_eq!(
            names(Distilbert, "body.layers.0.down.bias"),
            "distilbert.transformer.layer.0.ffn.lin2.bias"
        );
        assert_eq!(names(Bert, "dense.weight"), "bert.pooler.dense.weight");
        assert_eq!(names(Roberta, "dense.weight"), "classifier.dense.weight");
        assert_eq!(names(Roberta, "output.bias"), "classifier.out_proj.bias");
        assert_eq!(names(Distilbert, "dense.bias"), "pre_classifier.bias");
        assert_eq!(names(Distilbert, "output.weight"), "classifier.weight");
    }

    #[test]
    fn older_names_are_looked_for_after_the_usual_one() {
        let place = place(Bert, "body.norm.weight");
        assert_eq!(
            place.tensors[0].names(),
            [
                "bert.embeddings.LayerNorm.weight",
                "embeddings.LayerNorm.weight",
                "bert.embeddings.LayerNorm.gamma",
                "embeddings.LayerNorm.gamma"
            ]
        );
        assert!(!place.transposed);
    }
}
