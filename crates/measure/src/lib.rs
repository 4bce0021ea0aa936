//! One measurement of one case: `CASE key=value ...` on the command line, one line of JSON on standard output.
//!
//! The benchmarks of the other crates are programs of this form, and so is the PyTorch side in `scripts/peers`, so that
//! a script can run both sides in turn. Without a case a benchmark runs its own list.
//!
//! The line holds the keys of the case, `tokens` of one step, `seconds`, the median of the timed steps, `steps`, their
//! number, and `peak_mib`, the largest resident memory of the process so far (Linux; absent elsewhere).

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

/// Steps before the clock starts.
const WARM_UP: usize = 2;
/// Fewest timed steps.
const STEPS: usize = 3;
/// Seconds of timed steps unless the case says `budget=`.
const BUDGET: f64 = 6.0;

/// A case with its keys.
#[derive(Clone, Debug)]
pub struct Case {
    name: String,
    keys: BTreeMap<String, String>,
}

/// A GPT-2 shape as the key `shape` gives it: `LxD/V`.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Blocks.
    pub layers: usize,
    /// Width.
    pub width: usize,
    /// Vocabulary.
    pub vocab: usize,
}

impl Shape {
    /// Attention heads: 12 for GPT-2 small's width, else one for every 32 columns.
    pub fn heads(&self) -> usize {
        if self.width == 768 { 12 } else { self.width / 32 }
    }
}

impl FromStr for Shape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<usize> = text.split(['x', '/']).filter_map(|part| part.parse().ok()).collect();
        match parts[..] {
            [layers, width, vocab] => Ok(Self { layers, width, vocab }),
            _ => Err("expected layers x width / vocabulary, such as 4x192/4096".to_owned()),
        }
    }
}

impl Case {
    /// A case from its name and `key=value` words.
    ///
    /// # Panics
    /// If a word is not `key=value`.
    pub fn new<'a>(name: &str, words: impl IntoIterator<Item = &'a str>) -> Self {
        let pair = |word: &str| match word.split_once('=') {
            Some((key, value)) => (key.to_owned(), value.to_owned()),
            None => panic!("found `{word}`, expected key=value"),
        };
        Self { name: name.to_owned(), keys: words.into_iter().map(pair).collect() }
    }

    /// The case's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The value of a key.
    ///
    /// # Panics
    /// If the key is missing or its value is of another form: the command line is wrong.
    pub fn get<T: FromStr>(&self, key: &str) -> T {
        self.find(key).unwrap_or_else(|| panic!("{}: the key `{key}` is missing", self.name))
    }

    /// The value of a key that may be absent.
    ///
    /// # Panics
    /// If its value is of another form.
    pub fn find<T: FromStr>(&self, key: &str) -> Option<T> {
        let value = self.keys.get(key)?;
        Some(value.parse().unwrap_or_else(|_| panic!("{}: `{key}={value}` cannot be read", self.name)))
    }

    /// Times `step`, which processes `tokens`, until the budget is spent, and prints the line.
    pub fn measure(&self, tokens: usize, mut step: impl FnMut()) {
        for _ in 0..WARM_UP {
            step();
        }
        let budget = Duration::from_secs_f64(self.find("budget").unwrap_or(BUDGET));
        let begun = Instant::now();
        let mut seconds = Vec::new();
        while seconds.len() < STEPS || begun.elapsed() < budget {
            let start = Instant::now();
            step();
            seconds.push(start.elapsed().as_secs_f64());
        }
        seconds.sort_by(f64::total_cmp);
        self.report(tokens, seconds[seconds.len() / 2], seconds.len());
    }

    /// Prints the line of a measurement made by the caller: `seconds` for `tokens`.
    #[allow(clippy::print_stdout, reason = "this line is what a benchmark is run for")]
    pub fn report(&self, tokens: usize, seconds: f64, steps: usize) {
        let mut line: Map<String, Value> = [("side", "ours"), ("case", &self.name)]
            .map(|(key, value)| (key.to_owned(), json!(value)))
            .into_iter()
            .chain(self.keys.iter().map(|(key, value)| {
                let number: Option<f64> = value.parse().ok();
                (key.clone(), number.map_or_else(|| json!(value), |number| json!(number)))
            }))
            .collect();
        line.insert("tokens".to_owned(), json!(tokens));
        line.insert("seconds".to_owned(), json!(seconds));
        line.insert("steps".to_owned(), json!(steps));
        if let Some(peak) = peak_mib() {
            line.insert("peak_mib".to_owned(), json!(peak));
        }
        println!("{}", Value::Object(line));
    }
}

/// Runs the case of the command line, or all of `list` if there is none; words of the list are as on the command line.
pub fn run(list: &[&str], case: impl Fn(&Case)) {
    // cargo adds `--bench`.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let each = |words: Vec<&str>| {
        if let [name, keys @ ..] = &words[..] {
            case(&Case::new(name, keys.iter().copied()));
        }
    };
    if arguments.is_empty() {
        for line in list {
            each(line.split_whitespace().collect());
        }
    } else {
        each(arguments.iter().map(String::as_str).collect());
    }
}

/// Largest resident memory of this process so far, in MiB.
fn peak_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib / 1024.0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests may panic")]
    use super::*;

    #[test]
    fn reads_a_case() {
        let case = Case::new("train", ["shape=4x192/4096", "threads=2"]);
        let shape: Shape = case.get("shape");
        assert_eq!((shape.layers, shape.width, shape.vocab, shape.heads()), (4, 192, 4096, 6));
        assert_eq!((case.get::<usize>("threads"), case.find::<usize>("jobs")), (2, None));
        assert!("4x192".parse::<Shape>().is_err());
    }

    #[test]
    #[should_panic(expected = "the key `batch` is missing")]
    fn names_a_missing_key() {
        let _: usize = Case::new("train", []).get("batch");
    }
}
