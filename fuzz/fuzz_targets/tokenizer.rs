//! The files of a tokenizer. The first byte says which one of the folder is read: of a language
//! model's or of an encoder's.
#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use lm::classifier::{TextTokenizer, Truncation};

const TEXTS: [&str; 3] = ["w3 w4, w5!", "", "Zo\u{eb}  \u{1f600}\n9"];

fuzz_target!(init: fuzz::quiet_panics(), |bytes: &[u8]| {
    let Some((which, content)) = bytes.split_first() else { return };
    let files = [
        ("gpt2", "tokenizer.json"),
        ("llama", "tokenizer.json"),
        ("llama", "tokenizer_config.json"),
        ("llama", "generation_config.json"),
        ("llama", "chat_template.jinja"),
        ("bert", "tokenizer.json"),
        ("words", "vocab.json"),
        ("words", "merges.txt"),
    ];
    let (from, name) = files[*which as usize % files.len()];
    let folder = fuzz::folder(from);
    let path = folder.join(name);
    let before = std::fs::read(&path).ok();
    fuzz::write(&path, content);
    fuzz::bounded(content, || match from {
        "bert" | "words" => {
            if let Ok(tokenizer) = TextTokenizer::load(&folder, false) {
                for text in TEXTS {
                    drop(tokenizer.encode(text, 4, Truncation::Ends));
                }
            }
        }
        _ => {
            if let Ok(tokenizer) = lm::files::load_tokenizer(&folder) {
                for text in TEXTS {
                    if let Ok(ids) = tokenizer.encode(text) {
                        drop(tokenizer.decode(&ids));
                    }
                }
            }
        }
    });
    match before {
        Some(before) => fuzz::write(&path, &before),
        None => std::fs::remove_file(&path).expect("the file that was written"),
    }
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    fuzz::mutate_text(data, size, max_size, seed)
});
