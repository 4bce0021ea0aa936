//! The index of weights in several files.
#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target};

fuzz_target!(init: fuzz::quiet_panics(), |bytes: &[u8]| {
    let folder = fuzz::folder("sharded");
    fuzz::write(&folder.join("model.safetensors.index.json"), bytes);
    let device = lm::DeviceSpec::CPU.open().expect("the CPU");
    fuzz::bounded(bytes, || drop(lm::files::load_policy(&folder, 1.0, &device)));
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    fuzz::mutate_text(data, size, max_size, seed)
});
