//! The config.json of a classifier, beside the weights of the family that it names. What is read computes.
#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use lm::memory::{Footprint, Memory, Place};

fuzz_target!(init: fuzz::quiet_panics(), |bytes: &[u8]| {
    let names = |family: &str| bytes.windows(family.len()).any(|word| word == family.as_bytes());
    let family = ["distilbert", "roberta"].into_iter().find(|family| names(family)).unwrap_or("bert");
    let folder = fuzz::folder(family);
    fuzz::write(&folder.join("config.json"), bytes);
    let device = lm::DeviceSpec::CPU.open().expect("the CPU");
    fuzz::bounded(bytes, || {
        if let Ok((config, labelling)) = lm::files::read_encoder_config(&folder.join("config.json")) {
            let footprint = Footprint::of_encoder(&config, labelling.labels.len());
            let memory = Memory::new(Place::Host { threads: 2 }).frozen(footprint).scoring(footprint, 1 << 40);
            assert!(memory.peak() > footprint.parameters && config.forward_flops_per_token() > 0.0);
        }
        if let Ok(classifier) = lm::files::load_classifier(&folder, &device) {
            assert_eq!(classifier.logits(&["w5 w6", ""]).expect("logits").len(), 2);
        }
    });
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    fuzz::mutate_text(data, size, max_size, seed)
});
