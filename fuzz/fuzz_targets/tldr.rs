//! OpenAI's files of TL;DR. The first byte says which of the two kinds.
#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use source::openai;

// The reader is part of a binary, which no other crate can name.
#[path = "../../experiments/src/tldr"]
#[allow(dead_code)]
mod source {
    pub mod openai;
}

fuzz_target!(init: fuzz::quiet_panics(), |bytes: &[u8]| {
    let Some((which, content)) = bytes.split_first() else { return };
    let file = fuzz::folder("").join("tldr.jsonl");
    fuzz::write(&file, content);
    fuzz::bounded(content, || match which % 2 {
        0 => drop(openai::posts(&file).map(|posts| posts.iter().map(|(post, _)| post.prompt()).count())),
        _ => drop(openai::comparisons(&file).map(|all| all.iter().map(|one| one.preferred().0.len()).count())),
    });
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    fuzz::mutate_text(data, size, max_size, seed)
});
