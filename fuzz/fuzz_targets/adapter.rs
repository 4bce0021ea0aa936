//! A LoRA adapter for a GPT-2. The first byte says which of its two files is read. What is read computes.
#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use lm::Policy;

thread_local! {
    static BASE: Policy = {
        let device = lm::DeviceSpec::CPU.open().expect("the CPU");
        lm::files::load_policy(&fuzz::folder("gpt2"), 1.0, &device).expect("a model").0
    };
}

fuzz_target!(init: fuzz::quiet_panics(), |bytes: &[u8]| {
    let Some((which, content)) = bytes.split_first() else { return };
    let folder = fuzz::folder("adapter");
    let path = folder.join(["adapter_config.json", "adapter_model.safetensors"][*which as usize % 2]);
    let before = std::fs::read(&path).expect("the file of the adapter");
    fuzz::write(&path, content);
    let base = BASE.with(Clone::clone);
    fuzz::bounded(content, || {
        if let Ok(adapted) = lm::files::load_adapter(&folder, &base) {
            let sequence = lm::Sequence { prompt: vec![0], response: vec![3, 4] };
            assert_eq!(adapted.score(&[sequence]).expect("a sequence that fits").len(), 1);
        }
    });
    fuzz::write(&path, &before);
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    if data.first().is_some_and(|which| which % 2 == 1) && size > 1 {
        1 + fuzz::mutate_headed(&mut data[1..], size - 1, max_size - 1, seed)
    } else {
        fuzz::mutate_text(data, size, max_size, seed)
    }
});
