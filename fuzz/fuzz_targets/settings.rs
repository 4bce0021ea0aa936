//! Settings in TOML, of a kind that has all that settings have: nested tables, choices, lists,
//! numbers with limits. The first line may be one of `--set`. What is refused is bad input, and what
//! is read passes its own checks.
#![no_main]

use feedback::records::Limits;
use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use lm::sft::SftConfig;
use lm::{Config, Problem};
use serde::{Deserialize, Serialize};
use source::{exit, settings};

// The reader is part of a binary, which no other crate can name.
#[path = "../../experiments/src"]
#[allow(dead_code, unused_imports)]
mod source {
    pub mod exit;
    pub mod settings;
}

const TEMPLATE: &str = include_str!("../seeds/settings/whole");

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    description: String,
    sweep: Vec<f64>,
    sft: SftConfig,
    limits: Option<Limits>,
}

impl settings::FromFile for Settings {}

impl Config for Settings {
    fn problems(&self) -> Vec<Problem> {
        let limits = self.limits.iter().flat_map(|limits| limits.problems_within("limits"));
        self.sft.problems_within("sft").into_iter().chain(limits).collect()
    }
}

fuzz_target!(init: fuzz::quiet_panics(), |bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (first, rest) = text.split_once('\n').unwrap_or(("", text));
    let set: Vec<String> = first.strip_prefix("#set ").map(str::to_owned).into_iter().collect();
    fuzz::bounded(bytes, || match settings::read_text::<Settings>("fuzz", rest, TEMPLATE, &set) {
        Ok(read) => assert!(read.problems().is_empty()),
        Err(error) => assert!(error.downcast_ref::<exit::BadInput>().is_some(), "{error}"),
    });
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    fuzz::mutate_text(data, size, max_size, seed)
});
