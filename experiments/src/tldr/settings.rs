//! What `experiments tldr-winrate` does, as written in TOML.

use anyhow::Result;
use feedback::contest::Orders;
use lm::{Config, Problem};
use serde::{Deserialize, Serialize};

use crate::cli::WinRateOptions;
use crate::settings::{FromFile, read_file, read_text};

const SHIPPED: &str = include_str!("../../presets/tldr-winrate.toml");

/// As written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// One sentence for people.
    pub description: String,
    /// The preset of `imdb-frontier` whose policies are sampled.
    pub study: String,
    /// Overrides of that preset, as its `--set` takes them.
    pub set: Vec<String>,
    /// Names of its runs without `-sSEED`.
    pub runs: Vec<String>,
    /// Sampling temperatures.
    pub temperatures: Vec<f64>,
    /// Evaluation prompts.
    pub prompts: usize,
    /// Samples of the reference of which the best is taken; 1 leaves best-of-n out.
    pub best_of_n: usize,
    /// In which order the two texts are shown.
    pub orders: Orders,
}

impl Settings {
    pub fn load(options: &WinRateOptions) -> Result<Self> {
        let overrides = &options.study.overrides;
        match &options.preset {
            Some(path) => read_file(path, SHIPPED, overrides),
            None => read_text("tldr-winrate", SHIPPED, SHIPPED, overrides),
        }
    }
}

impl FromFile for Settings {}

impl Config for Settings {
    fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let possible = |temperature: &f64| (0.0..=10.0).contains(temperature);
        for (index, temperature) in self.temperatures.iter().enumerate() {
            let (key, expected) = (format!("temperatures[{index}]"), "a number from 0 to 10");
            problems.extend(Problem::unless(possible(temperature), key, temperature, expected));
        }
        let increasing = self.temperatures.windows(2).all(|pair| pair[0] < pair[1]);
        let found = format!("{:?}", self.temperatures);
        let some = !self.temperatures.is_empty() && increasing;
        problems.extend(Problem::unless(some, "temperatures", found, "one or more, increasing"));
        problems.extend(Problem::unless_counted("prompts", self.prompts));
        problems.extend(Problem::unless_counted("best_of_n", self.best_of_n));
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_wrong_is_named_at_once() {
        let text = SHIPPED
            .replace("[0.0, 0.25, 0.5, 0.75, 1.0]", "[0.0, -1.0, 11.0]")
            .replace("prompts = 256", "prompts = 0")
            .replace("orders = \"random\"", "orders = \"left\"");
        let message = read_text::<Settings>("test", &text, SHIPPED, &[]).unwrap_err().to_string();
        for expected in
            ["temperatures[1]: found -1", "temperatures[2]: found 11", "prompts: found 0", "orders: found"]
        {
            assert!(message.contains(expected), "{expected}: {message}");
        }
    }
}
