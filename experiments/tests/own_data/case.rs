//! A folder with a tiny random GPT-2 and data, and the commands in it.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use assert_cmd::assert::OutputAssertExt;
use lm::files::{Precision, save_policy};
use lm::{Decoder, DecoderConfig, DeviceSpec, Policy, Shape, Stream, Tokenizer};
use predicates::str::contains;
use serde_json::{Value, json};

/// Scores a response by the length of its request, whatever that is worth.
pub(crate) const LENGTH: &str = "while read -r line; do echo ${#line}; done";

/// A model and data in a folder of their own.
pub(crate) struct Case {
    dir: tempfile::TempDir,
}

impl Case {
    pub(crate) fn new() -> Self {
        let case = Self { dir: tempfile::tempdir().unwrap() };
        let texts = ["the old house was warm and the cold rain fell on the old road"; 4];
        let tokenizer = Tokenizer::train(&texts, 300).unwrap();
        let vocabulary = tokenizer.vocab_size();
        let config = DecoderConfig::gpt2(Shape { vocabulary, context: 48, width: 16, layers: 2, heads: 2 });
        let device = DeviceSpec::CPU.open().unwrap();
        let model = Decoder::random(&config, Stream::new(1, "model"), &device).unwrap();
        let policy = Policy::new(model, 1.0, tokenizer.end()).unwrap();
        save_policy(&case.path("model"), &policy, &tokenizer, Precision::F32).unwrap();
        case
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn text(&self, name: &str) -> String {
        let path = self.path(name);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    pub(crate) fn bytes(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    pub(crate) fn write(&self, name: &str, lines: &[Value]) {
        let lines: Vec<String> = lines.iter().map(Value::to_string).collect();
        std::fs::write(self.path(name), lines.join("\n") + "\n").unwrap();
    }

    /// A command in the folder, whose paths are therefore short.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_experiments"));
        command.current_dir(self.dir.path()).args(arguments);
        command
    }

    pub(crate) fn pairs(&self) {
        let pair = |i: usize| {
            let (warm, cold) = ("warm ".repeat(1 + i % 3), "cold ".repeat(1 + i % 2));
            json!({ "prompt": format!("the house {i} was "), "chosen": warm, "rejected": cold })
        };
        self.write("pairs.jsonl", &(0..40).map(pair).collect::<Vec<_>>());
    }

    pub(crate) fn prompts(&self) {
        let prompt = |i: usize| json!({ "prompt": format!("the road {i} ") });
        self.write("prompts.jsonl", &(0..24).map(prompt).collect::<Vec<_>>());
    }

    pub(crate) fn dpo(&self, out: &str, more: &[&str]) -> Command {
        let mut command = self.command(&["dpo", "--model", "model", "--pairs", "pairs.jsonl", "--out", out]);
        command.args(["--learning-rate", "1e-3", "--device", "cpu"]).args(more);
        command
    }

    pub(crate) fn ppo(&self, out: &str, more: &[&str]) -> Command {
        let mut command = self.command(&["ppo", "--model", "model", "--prompts", "prompts.jsonl"]);
        command
            .args(["--out", out, "--scorer-command", LENGTH, "--batch-size", "16", "--device", "cpu"])
            .args(["--max-new-tokens", "8", "--set", "standardize_on=32"])
            .args(more);
        command
    }

    /// Runs a training, kills it once it has a checkpoint, and lets the same command finish.
    pub(crate) fn killed(&self, out: &str, mut command: impl FnMut() -> Command) {
        let mut child = command().stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let (state, started) = (self.path(&format!("{out}/training/state.safetensors")), Instant::now());
        while !state.exists() {
            assert!(started.elapsed() < Duration::from_mins(3), "no checkpoint");
            assert!(child.try_wait().unwrap().is_none(), "it ended before a checkpoint");
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(
            !self.path(&format!("{out}/training/done.json")).exists(),
            "it was finished before it was killed"
        );
        command().assert().success().stderr(contains("goes on from step"));
    }

    /// A table without its column of seconds.
    pub(crate) fn without_seconds(&self, name: &str) -> Vec<Vec<String>> {
        let mut reader = csv::Reader::from_path(self.path(name)).unwrap();
        let seconds = reader.headers().unwrap().iter().position(|name| name == "seconds");
        let row = |row: csv::StringRecord| {
            let cells = row.iter().enumerate().filter(|(at, _)| Some(*at) != seconds);
            cells.map(|(_, cell)| cell.to_owned()).collect()
        };
        reader.records().map(|record| row(record.unwrap())).collect()
    }

    /// The messages of an event file, without their times.
    pub(crate) fn events(&self, out: &str) -> Vec<Vec<u8>> {
        let bytes = self.bytes(&format!("{out}/events.out.tfevents.training"));
        let (mut messages, mut rest) = (Vec::new(), bytes.as_slice());
        while !rest.is_empty() {
            let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
            let message = &rest[12..12 + length];
            assert_eq!(message[0], 9, "a message begins with its time");
            messages.push(message[9..].to_vec());
            rest = &rest[16 + length..];
        }
        messages
    }

    pub(crate) fn same_results(&self, a: &str, b: &str) {
        let model = if self.path(&format!("{a}/adapter_config.json")).exists() {
            ["adapter_model.safetensors", "adapter_config.json"]
        } else {
            ["model.safetensors", "config.json"]
        };
        for name in model.into_iter().chain(["evals.csv", "samples.jsonl", "config.toml"]) {
            assert!(self.bytes(&format!("{a}/{name}")) == self.bytes(&format!("{b}/{name}")), "{name}");
        }
        let metrics = [a, b].map(|out| self.without_seconds(&format!("{out}/metrics.csv")));
        assert!(metrics[0] == metrics[1], "metrics.csv");
        assert!(self.events(a) == self.events(b), "events");
    }

    /// Rows of an evaluation file by the name of a column.
    pub(crate) fn column(&self, file: &str, name: &str) -> Vec<f64> {
        let mut reader = csv::Reader::from_path(self.path(file)).unwrap();
        let at = reader.headers().unwrap().iter().position(|column| column == name).unwrap();
        reader.records().map(|row| row.unwrap()[at].parse().unwrap()).collect()
    }
}
