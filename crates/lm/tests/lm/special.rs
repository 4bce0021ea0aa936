//! Special tokens and chat templates as the files of a folder name them.

use std::fs;
use std::path::Path;

use lm::files::{self, load_tokenizer};
use serde_json::{Value, json};

use crate::damaged::{copy_of, edit_json};
use crate::support::device;

fn special(folder: &Path) -> (u32, u32, u32) {
    let tokenizer = load_tokenizer(folder).unwrap();
    (tokenizer.begin(), tokenizer.end(), tokenizer.pad())
}

fn write(folder: &Path, file: &str, content: &Value) {
    fs::write(folder.join(file), content.to_string()).unwrap();
}

#[test]
fn the_first_file_that_names_a_token_counts() {
    let folder = copy_of("llama/full-tied");
    let folder = folder.path();
    for file in ["tokenizer_config.json", "special_tokens_map.json", "generation_config.json"] {
        fs::remove_file(folder.join(file)).unwrap();
    }
    let edit = |key: &str, value: Value| edit_json(folder, "config.json", |config| config[key] = value);
    // config.json alone: ids; of several the first; -1 for none.
    edit("bos_token_id", json!(10));
    edit("eos_token_id", json!([11, 12]));
    edit("pad_token_id", json!(-1));
    assert_eq!(special(folder), (10, 11, 11));
    write(folder, "generation_config.json", &json!({ "eos_token_id": [12, 11], "pad_token_id": 13 }));
    assert_eq!(special(folder), (10, 12, 13));
    // By text, as a string or as an object.
    write(
        folder,
        "special_tokens_map.json",
        &json!({ "eos_token": { "content": "</s>" }, "pad_token": "<s>" }),
    );
    assert_eq!(special(folder), (10, 2, 1));
    write(
        folder,
        "tokenizer_config.json",
        &json!({ "bos_token": "<s>", "eos_token": null, "pad_token": "<pad>" }),
    );
    assert_eq!(special(folder), (1, 2, 0));
}

#[test]
fn without_a_begin_token_a_sequence_begins_with_the_end() {
    let folder = copy_of("llama/full-tied");
    for file in ["tokenizer_config.json", "special_tokens_map.json", "generation_config.json"] {
        fs::remove_file(folder.path().join(file)).unwrap();
    }
    edit_json(folder.path(), "config.json", |config| {
        for key in ["bos_token_id", "pad_token_id"] {
            config[key] = Value::Null;
        }
    });
    assert_eq!(special(folder.path()), (2, 2, 2));
    let (policy, tokenizer) = files::load_policy(folder.path(), 1.0, &device()).unwrap();
    assert_eq!((policy.end(), tokenizer.end()), (2, 2));
}

#[test]
fn tokens_that_the_vocabulary_lacks_are_refused() {
    for (file, key, value, name) in [
        ("tokenizer_config.json", "eos_token", json!("<end>"), "`<end>`"),
        ("generation_config.json", "pad_token_id", json!(300), "300"),
    ] {
        let folder = copy_of("llama/full-tied");
        for other in ["tokenizer_config.json", "special_tokens_map.json"] {
            if other != file {
                fs::remove_file(folder.path().join(other)).unwrap();
            }
        }
        edit_json(folder.path(), file, |content| content[key] = value);
        let message = load_tokenizer(folder.path()).unwrap_err().to_string();
        let path = folder.path().join(file);
        let expected = folder.path().join("tokenizer.json");
        assert_eq!(
            message,
            format!(
                "{}: found the special token {name}, expected a token of {}",
                path.display(),
                expected.display()
            )
        );
    }
    let folder = copy_of("llama/full-tied");
    fs::write(folder.path().join("generation_config.json"), "{").unwrap();
    let message = load_tokenizer(folder.path()).unwrap_err().to_string();
    assert!(message.contains("generation_config.json") && message.contains("expected JSON"), "{message}");
}

#[test]
fn a_chat_template_survives() {
    let folder = copy_of("llama/full-tied");
    assert_eq!(load_tokenizer(folder.path()).unwrap().chat_template(), None);
    let several = json!([{ "name": "tools", "template": "T" }, { "name": "default", "template": "D" }]);
    edit_json(folder.path(), "tokenizer_config.json", |config| config["chat_template"] = several);
    assert_eq!(load_tokenizer(folder.path()).unwrap().chat_template(), Some("D"));
    edit_json(folder.path(), "tokenizer_config.json", |config| {
        config["chat_template"] = json!("{{ messages }}");
    });
    let (policy, tokenizer) = files::load_policy(folder.path(), 1.0, &device()).unwrap();
    let written = tempfile::tempdir().unwrap();
    files::save_policy(written.path(), &policy, &tokenizer, files::Precision::F32).unwrap();
    assert_eq!(load_tokenizer(written.path()).unwrap().chat_template(), Some("{{ messages }}"));
    assert_eq!(special(written.path()), (1, 2, 0));
    fs::write(folder.path().join("chat_template.jinja"), "{# a file #}").unwrap();
    assert_eq!(load_tokenizer(folder.path()).unwrap().chat_template(), Some("{# a file #}"));
}
