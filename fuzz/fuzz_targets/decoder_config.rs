//! The config.json of a language model, beside the weights of the family that it names, by default
//! a GPT-2.
#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target};

fuzz_target!(init: fuzz::quiet_panics(), |bytes: &[u8]| {
    let names = |family: &str| bytes.windows(family.len()).any(|word| word == family.as_bytes());
    let family = ["llama", "gptj"].into_iter().find(|family| names(family)).unwrap_or("gpt2");
    let folder = fuzz::folder(family);
    fuzz::write(&folder.join("config.json"), bytes);
    let device = lm::DeviceSpec::CPU.open().expect("the CPU");
    fuzz::bounded(bytes, || {
        if let Ok((policy, _)) = lm::files::load_policy(&folder, 1.0, &device) {
            let sequence = lm::Sequence { prompt: vec![0], response: vec![1] };
            drop(policy.score(&[sequence]));
        }
    });
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    fuzz::mutate_text(data, size, max_size, seed)
});
