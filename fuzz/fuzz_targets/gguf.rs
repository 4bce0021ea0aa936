//! A model in a GGUF file.
#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target};

fuzz_target!(init: fuzz::quiet_panics(), |bytes: &[u8]| {
    let folder = fuzz::folder("");
    let file = folder.join("model.gguf");
    fuzz::write(&file, bytes);
    fuzz::bounded(bytes, || drop(lm::files::import_gguf(&file, &folder.join("out"))));
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    fuzz::mutate_binary(data, size, max_size, seed)
});
