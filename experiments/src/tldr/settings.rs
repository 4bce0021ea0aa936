//! What `experiments tldr-winrate` does, as written in TOML.

use std::path::Path;

use anyhow::Result;
use feedback::contest::Orders;
use feedback::judge::Question;
use lm::{Config, Problem};
use serde::{Deserialize, Serialize};

use crate::cli::WinRateOptions;
use crate::exit::BadInput;
use crate::settings::{FromFile, read_file, read_text};
use crate::tldr::policies::Folders;
use crate::tldr::posts::Posts;
use crate::tldr::study::Study;

/// The presets that ship, by name.
const SHIPPED: [(&str, &str); 3] = [
    ("tldr-winrate", include_str!("../../presets/tldr-winrate.toml")),
    ("tldr", include_str!("../../presets/tldr.toml")),
    ("tldr-tiny", include_str!("../../presets/tldr-tiny.toml")),
];

/// As written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// One sentence for people.
    pub description: String,
    /// What judges are asked, and so what a response wins by.
    pub question: Question,
    /// Where policies, prompts and what people wrote come from.
    pub policies: Policies,
    /// More policies.
    pub folders: Folders,
    /// Sampling temperatures.
    pub temperatures: Vec<f64>,
    /// Held-out prompts.
    pub prompts: usize,
    /// Samples of the reference of which the best is taken; 1 leaves best-of-n out.
    pub best_of_n: usize,
    /// In which order the two texts are shown.
    pub orders: Orders,
}

/// Where policies come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Policies {
    /// A study of `imdb-frontier`.
    Study(Study),
    /// Trainings on posts and on comparisons of summaries.
    Posts(Posts),
}

impl Settings {
    /// The preset that the options name, with their overrides and folders.
    pub fn load(options: &WinRateOptions) -> Result<Self> {
        let overrides = &options.study.overrides;
        let name = options.preset.as_str();
        let shipped = SHIPPED.iter().find(|(known, _)| *known == name);
        let mut settings: Self = match shipped {
            Some((name, text)) => read_text(name, text, text, overrides)?,
            None if Path::new(name).extension().is_some_and(|end| end == "toml") => {
                let path = Path::new(name);
                read_file(path, template(path), overrides)?
            }
            None => {
                let known = SHIPPED.map(|(name, _)| name).join(", ");
                let expected = format!("one of {known}, or the path of a TOML file");
                return Err(BadInput(format!("--preset: found {name}, expected {expected}")).into());
            }
        };
        for named in &options.policies {
            settings.folders.entry(named.method).or_default().push(named.folder.clone());
        }
        Ok(settings)
    }
}

/// The shipped preset of the same kind as a file.
fn template(path: &Path) -> &'static str {
    let table = std::fs::read_to_string(path).ok().and_then(|text| text.parse::<toml::Table>().ok());
    let posts = table.is_some_and(|table| table.get("policies").is_some_and(|of| of.get("posts").is_some()));
    let name = if posts { "tldr-tiny" } else { "tldr-winrate" };
    SHIPPED.iter().find(|(known, _)| *known == name).map_or("", |(_, text)| *text)
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
        let summaries = matches!(self.question, Question::Simple | Question::Concise);
        match &self.policies {
            Policies::Study(_) => {
                let (found, expected) = (self.question.name(), "positive, as continuations are judged");
                problems.extend(Problem::unless(!summaries, "question", found, expected));
            }
            Policies::Posts(posts) => {
                let (found, expected) = (self.question.name(), "simple or concise, as summaries are judged");
                problems.extend(Problem::unless(summaries, "question", found, expected));
                problems.extend(posts.problems_within("policies.posts"));
            }
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_ships_is_whole() {
        for (name, text) in SHIPPED {
            read_text::<Settings>(name, text, text, &[]).unwrap();
        }
    }

    #[test]
    fn all_that_is_wrong_is_named_at_once() {
        let shipped = SHIPPED[0].1;
        let text = shipped
            .replace("[0.0, 0.25, 0.5, 0.75, 1.0]", "[0.0, -1.0, 11.0]")
            .replace("prompts = 256", "prompts = 0")
            .replace("\"positive\"", "\"simple\"")
            .replace("orders = \"random\"", "orders = \"left\"");
        let message = read_text::<Settings>("test", &text, shipped, &[]).unwrap_err().to_string();
        for expected in [
            "temperatures[1]: found -1",
            "temperatures[2]: found 11",
            "prompts: found 0",
            "question: found simple, expected positive",
            "orders: found",
        ] {
            assert!(message.contains(expected), "{expected}: {message}");
        }
    }
}
