//! Folders whose weights lie in several files, as `save_pretrained(max_shard_size=...)` writes them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use lm::{LmError, files};
use safetensors::SafeTensors;
use safetensors::tensor::serialize_to_file;
use serde_json::json;
use tempfile::TempDir;

use crate::damaged::copy_of_fixture;
use crate::support::{device, fixture, parameters};
use crate::transformers::expected;

const INDEX: &str = "model.safetensors.index.json";

fn shard(number: usize) -> String {
    format!("model-0000{number}-of-00002.safetensors")
}

/// The fixture with every other tensor in another file.
fn sharded() -> TempDir {
    let folder = copy_of_fixture();
    let whole = folder.path().join("model.safetensors");
    let bytes = fs::read(&whole).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap().tensors();
    let mut map = BTreeMap::new();
    for number in [1, 2] {
        let part: Vec<_> = tensors.iter().skip(number - 1).step_by(2).cloned().collect();
        map.extend(part.iter().map(|(name, _)| (name.clone(), shard(number))));
        serialize_to_file(part, None, &folder.path().join(shard(number))).unwrap();
    }
    let index = json!({ "metadata": { "total_size": bytes.len() }, "weight_map": map });
    fs::write(folder.path().join(INDEX), index.to_string()).unwrap();
    fs::remove_file(whole).unwrap();
    folder
}

fn refused(folder: &Path) -> LmError {
    files::load_policy(folder, 1.0, &device()).expect_err("a damaged folder")
}

fn edit_index(folder: &Path, from: &str, to: &str) {
    let index = fs::read_to_string(folder.join(INDEX)).unwrap();
    assert!(index.contains(from));
    fs::write(folder.join(INDEX), index.replacen(from, to, 1)).unwrap();
}

#[test]
fn shards_are_one_model() {
    let folder = sharded();
    let (whole, _) = files::load_policy(&fixture("gpt2"), 1.0, &device()).unwrap();
    let (parts, _) = files::load_policy(folder.path(), 1.0, &device()).unwrap();
    assert_eq!(parameters(&parts), parameters(&whole));
    let cases = expected().cases;
    assert_eq!(parts.score(&cases).unwrap(), whole.score(&cases).unwrap());
}

#[test]
fn all_files_of_a_folder_are_known() {
    let names = |folder: &Path| -> Vec<String> {
        let files = files::files_of(folder).unwrap();
        files.iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&fixture("gpt2")), ["config.json", "tokenizer.json", "model.safetensors"]);
    let parts = ["config.json", "tokenizer.json", INDEX, &shard(1), &shard(2)];
    assert_eq!(names(sharded().path()), parts);
}

#[test]
fn a_missing_shard_is_named() {
    let folder = sharded();
    fs::remove_file(folder.path().join(shard(2))).unwrap();
    let path = folder.path().join(shard(2));
    let expected =
        format!("{}: found no such file, expected 14 of the tensors that {INDEX} names", path.display());
    assert_eq!(refused(folder.path()).to_string(), expected);
}

#[test]
fn a_tensor_that_its_shard_lacks_is_named() {
    let folder = sharded();
    edit_index(folder.path(), "wte.weight", "wte.tensor");
    let message = refused(folder.path()).to_string();
    let wanted =
        format!("tensor `transformer.wte.tensor`: found no such tensor, expected it, as {INDEX} names");
    assert!(message.contains(&wanted) && message.contains("model-0000"), "{message}");
}

#[test]
fn a_tensor_that_no_shard_has_is_named() {
    let folder = sharded();
    let mut index: serde_json::Value =
        serde_json::from_slice(&fs::read(folder.path().join(INDEX)).unwrap()).unwrap();
    // A whole shard that the index does not name.
    let map = index["weight_map"].as_object_mut().unwrap();
    map.retain(|_, place| *place == json!(shard(1)));
    fs::write(folder.path().join(INDEX), index.to_string()).unwrap();
    let message = refused(folder.path()).to_string();
    assert!(message.contains(INDEX) && message.contains("found no such tensor"), "{message}");
}

#[test]
fn shards_outside_the_folder_are_refused() {
    for place in ["../model.safetensors", "/etc/passwd", ".."] {
        let folder = sharded();
        edit_index(folder.path(), &shard(1), place);
        let message = refused(folder.path()).to_string();
        assert!(message.contains(&format!("the shard `{place}`")) && message.contains(INDEX), "{message}");
    }
}

#[test]
fn a_damaged_index_is_refused() {
    let folder = sharded();
    for text in ["{}", "[1]", "{\"weight_map\": 3}"] {
        fs::write(folder.path().join(INDEX), text).unwrap();
        let message = refused(folder.path()).to_string();
        assert!(message.contains(INDEX) && message.contains("JSON with a `weight_map`"), "{message}");
    }
}

#[test]
fn a_pointer_of_git_lfs_among_the_shards_is_told() {
    let folder = sharded();
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n";
    fs::write(folder.path().join(shard(2)), pointer).unwrap();
    let message = refused(folder.path()).to_string();
    assert!(message.contains("a pointer of Git LFS") && message.contains(&shard(2)), "{message}");
}
