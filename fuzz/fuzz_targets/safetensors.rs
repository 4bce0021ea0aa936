//! The weights of a language model. What is read computes.
#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target};

fuzz_target!(init: fuzz::quiet_panics(), |bytes: &[u8]| {
    let folder = fuzz::folder("llama");
    fuzz::write(&folder.join("model.safetensors"), bytes);
    let device = lm::DeviceSpec::CPU.open().expect("the CPU");
    fuzz::bounded(bytes, || {
        if let Ok((policy, _)) = lm::files::load_policy(&folder, 1.0, &device) {
            let sequence = lm::Sequence { prompt: vec![0, 3], response: vec![4, 5] };
            assert_eq!(policy.score(&[sequence]).expect("a sequence that fits").len(), 1);
        }
    });
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    fuzz::mutate_headed(data, size, max_size, seed)
});
