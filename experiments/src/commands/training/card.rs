//! A trained model's card, `README.md`: what it was made of, how, and what came of it.

use std::fmt::Write;
use std::path::Path;

use anyhow::Result;
use lm::LoraConfig;

use super::record::Evaluations;

/// What a card says.
pub struct Card<'a> {
    /// `DPO`, `PPO`, ...
    pub method: &'a str,
    /// The method's paper.
    pub citation: &'a str,
    /// The class of `transformers` that reads the folder.
    pub class: &'a str,
    /// The folder of the model that it was trained from.
    pub base: &'a Path,
    /// What it was trained on, a line each.
    pub data: Vec<String>,
    /// The adapters that were trained; at rank 0 all weights were.
    pub lora: &'a LoraConfig,
    pub steps: usize,
    pub tokens: u64,
    /// The command that made it.
    pub command: &'a str,
    pub evaluations: &'a Evaluations,
    /// The folder that it is in.
    pub out: &'a Path,
}

/// The papers, as the cards cite them.
pub mod papers {
    pub const DPO: &str = "Rafailov et al. 2023, Direct Preference Optimization, \
                           [arXiv 2305.18290](https://arxiv.org/abs/2305.18290)";
    pub const CDPO: &str = "Mitchell 2023, A note on DPO with noisy preferences and relationship to IPO; and \
                            Rafailov et al. 2023, [arXiv 2305.18290](https://arxiv.org/abs/2305.18290)";
    pub const IPO: &str = "Azar et al. 2023, A General Theoretical Paradigm to Understand Learning from Human \
                           Preferences, [arXiv 2310.12036](https://arxiv.org/abs/2310.12036)";
    pub const HINGE: &str = "Zhao et al. 2023, SLiC-HF, [arXiv 2305.10425](https://arxiv.org/abs/2305.10425)";
    pub const PPO: &str = "Schulman et al. 2017, Proximal Policy Optimization Algorithms, \
                           [arXiv 1707.06347](https://arxiv.org/abs/1707.06347); Ziegler et al. 2019, Fine-Tuning \
                           Language Models from Human Preferences, \
                           [arXiv 1909.08593](https://arxiv.org/abs/1909.08593)";
    pub const RLOO: &str = "Ahmadian et al. 2024, Back to Basics, \
                            [arXiv 2402.14740](https://arxiv.org/abs/2402.14740)";
    pub const ONLINE_DPO: &str = "Guo et al. 2024, Direct Language Model Alignment from Online AI Feedback, \
                                  [arXiv 2402.04792](https://arxiv.org/abs/2402.04792)";
    pub const REWARD_MODEL: &str = "Christiano et al. 2017, Deep Reinforcement Learning from Human Preferences, \
                                    [arXiv 1706.03741](https://arxiv.org/abs/1706.03741)";
    pub const SFT: &str = "Ouyang et al. 2022, Training language models to follow instructions with human \
                           feedback, [arXiv 2203.02155](https://arxiv.org/abs/2203.02155), section 3.5";
}

impl Card<'_> {
    /// The card's text.
    pub fn text(&self) -> Result<String> {
        let (base, out, licence) = (self.base.display(), self.out.display(), licence(self.base));
        let front = licence.as_ref().map_or_else(String::new, |licence| format!("license: {licence}\n"));
        let licence = licence.map_or_else(
            || format!("The licence of `{base}` and of the data holds; its card names none."),
            |licence| format!("That of `{base}`: {licence}."),
        );
        // The model that PEFT wraps is read anew, as one of two labels unless it is told.
        let one = self.lora.rank > 0 && self.class.ends_with("Classification");
        let labels = if one { ", num_labels=1" } else { "" };
        let (library, auto) =
            if self.lora.rank > 0 { ("peft", "AutoPeft") } else { ("transformers", "Auto") };
        let mut text = format!(
            "---\nlibrary_name: {library}\n{front}tags:\n- {}\n---\n\n# `{base}` after {}\n\n| | |\n|-|-|\n\
             | base model | `{base}` |\n| method | {}, {} steps |\n",
            self.method.to_lowercase().replace(' ', "-"),
            self.method,
            self.method,
            self.steps,
        );
        for data in &self.data {
            writeln!(text, "| data | {data} |")?;
        }
        if self.lora.rank > 0 {
            let LoraConfig { rank, alpha, targets, .. } = self.lora;
            writeln!(text, "| adapters | rank {rank}, alpha {alpha}, layers {} |", targets.join(", "))?;
        }
        writeln!(text, "| tokens processed | {} |", self.tokens)?;
        writeln!(text, "| command | `{}` |", self.command)?;
        writeln!(text, "| made by | version {} of this program |\n", env!("CARGO_PKG_VERSION"))?;
        writeln!(text, "`config.toml` is the whole configuration.\n\n## On held-out data\n")?;
        writeln!(text, "| | before | after |\n|-|-|-|")?;
        let Evaluations { first, last, columns } = self.evaluations;
        for column in columns.iter().filter(|column| column.starts_with("eval_")) {
            let value = |row: &std::collections::BTreeMap<String, f64>| {
                row.get(column).map_or_else(|| "-".to_owned(), |value| format!("{value:.4}"))
            };
            writeln!(text, "| {} | {} | {} |", &column["eval_".len()..], value(first), value(last))?;
        }
        writeln!(
            text,
            "\n`_se` is the standard error of the mean above it, over prompts; KL is from the base model in nats per \
             response, exact at every token.\n\n## Use\n\n```python\nfrom {library} import {0}\nfrom transformers import AutoTokenizer\n\n\
             model = {0}.from_pretrained(\"{out}\"{labels})\ntokenizer = AutoTokenizer.from_pretrained(\"{out}\")\n```\n\n\
             ## Licence and citation\n\n{licence} The method: {1}.",
            self.class.replacen("Auto", auto, 1),
            self.citation,
        )?;
        Ok(text)
    }
}

/// The licence that a model's card names in its front matter.
fn licence(model: &Path) -> Option<String> {
    let card = std::fs::read_to_string(model.join("README.md")).ok()?;
    let front = card.strip_prefix("---\n")?.split("\n---").next()?;
    let licence = front.lines().find_map(|line| line.strip_prefix("license:"))?.trim();
    (!licence.is_empty()).then(|| licence.to_owned())
}

/// The command line, as the shell reads it.
pub fn command_line() -> String {
    let quoted = |word: String| {
        let plain = word.chars().all(|c| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c));
        if plain && !word.is_empty() { word } else { format!("'{}'", word.replace('\'', r"'\''")) }
    };
    let words = std::env::args().skip(1).map(quoted);
    ["experiments".to_owned()].into_iter().chain(words).collect::<Vec<_>>().join(" ")
}
