//! The config.json of a language model, beside the weights of the family that it names, by default
//! a GPT-2. What its memory would be is planned; what is read computes.
#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use lm::architecture::LoraConfig;
use lm::memory::{Footprint, Memory, Place};
use lm::{DecoderConfig, OptimizerConfig};

const OPTIMIZER: &str = r#"{"algorithm": {"name": "adamw", "beta1": 0.9, "beta2": 0.95, "epsilon": 1e-8, "weight_decay": 0.0},
    "learning_rate": 0.01, "schedule": {"warmup_steps": 0, "decay": "constant", "floor": 1.0}, "max_grad_norm": 1.0}"#;


/// What `--plan` counts before a weight is read.
fn plan(config: &DecoderConfig) {
    let optimizer: OptimizerConfig = serde_json::from_str(OPTIMIZER).expect("a configuration");
    let (model, parameters) = (Footprint::from(config), config.parameters() as u64);
    for place in [Place::Host { threads: 2 }, Place::Gpu] {
        let memory = Memory::new(place).frozen(model).learning(parameters, &optimizer);
        let memory = memory.training_on(model, parameters, 1 << 40, 1 << 40);
        assert!(memory.scoring(model, 1 << 40).sampling(model, 1 << 40, 1 << 40).peak() > parameters);
    }
    assert!(config.forward_flops_per_token() > 0.0);
    let targets = config.lora_targets(&[]);
    let lora = LoraConfig { rank: 1 << 40, alpha: 1.0, rslora: false, targets };
    // One may be too deep for adapters.
    drop(config.adapter_parameters(&lora));
}

fuzz_target!(init: fuzz::quiet_panics(), |bytes: &[u8]| {
    let names = |family: &str| bytes.windows(family.len()).any(|word| word == family.as_bytes());
    let family = ["llama", "gptj"].into_iter().find(|family| names(family)).unwrap_or("gpt2");
    let folder = fuzz::folder(family);
    fuzz::write(&folder.join("config.json"), bytes);
    let device = lm::DeviceSpec::CPU.open().expect("the CPU");
    fuzz::bounded(bytes, || {
        if let Ok(config) = lm::files::read_config(&folder.join("config.json")) {
            plan(&config);
        }
        if let Ok((policy, _)) = lm::files::load_policy(&folder, 1.0, &device) {
            let sequence = lm::Sequence { prompt: vec![0], response: vec![1] };
            drop(policy.score(&[sequence]));
        }
    });
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    fuzz::mutate_text(data, size, max_size, seed)
});
