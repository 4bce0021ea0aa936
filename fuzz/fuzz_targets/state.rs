//! The state of a training. What is read goes on.
#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use lm::sft::{Corpus, SftConfig, SftTrainer};
use lm::{Sequence, State, Trainer};

const CONFIG: &str = r#"{"steps": 4, "batch_size": 1, "optimizer": {
    "algorithm": {"name": "adamw", "beta1": 0.9, "beta2": 0.95, "epsilon": 1e-8, "weight_decay": 0.0},
    "learning_rate": 0.01, "schedule": {"warmup_steps": 0, "decay": "constant", "floor": 1.0}, "max_grad_norm": 1.0}}"#;

fuzz_target!(init: fuzz::quiet_panics(), |bytes: &[u8]| {
    let file = fuzz::folder("").join("state.safetensors");
    fuzz::write(&file, bytes);
    let device = lm::DeviceSpec::CPU.open().expect("the CPU");
    let (policy, _) = lm::files::load_policy(&fuzz::folder("gpt2"), 1.0, &device).expect("a model");
    let corpus = Corpus::Responses(vec![Sequence { prompt: vec![0], response: vec![3, 4] }; 3]);
    let config: SftConfig = serde_json::from_str(CONFIG).expect("a configuration");
    let mut trainer = SftTrainer::new(&policy, corpus, &config, 1).expect("a trainer");
    fuzz::bounded(bytes, || {
        if let Ok(state) = State::read(&file) {
            drop(trainer.restore(&state));
        }
        // Whether it was restored or not it goes on, unless its weights are no numbers. A backward pass
        // is also what burn waits for before it forgets parameters that were given up without one,
        // those of the last execution.
        drop(trainer.step());
    });
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    fuzz::mutate_headed(data, size, max_size, seed)
});
