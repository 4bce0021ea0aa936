//! What win rates are of, in words for the figure and the pages.

use feedback::judge::Question;
use serde::Serialize;

use crate::tldr::manifest::Manifest;
use crate::tldr::settings::Policies;

/// Words for pages.
#[derive(Clone, Debug, Serialize)]
pub struct Words {
    pub title: &'static str,
    /// By what a response wins, and how that stands to the paper's figure.
    pub wins_by: &'static str,
    pub subtitle: String,
    /// What is compared, and how partial its judges are.
    pub about: String,
    /// The score that policies were trained for.
    pub reward: &'static str,
    /// A prompt.
    pub prompt: &'static str,
    /// Whether the paper's judge was asked the same.
    #[serde(skip)]
    pub paper: bool,
}

impl Words {
    pub fn of(manifest: &Manifest) -> Self {
        let (settings, seeds) = (&manifest.settings, manifest.seeds.len());
        let (plural, prompts) = (if seeds == 1 { "" } else { "s" }, settings.prompts);
        let n = settings.best_of_n;
        match &settings.policies {
            Policies::Study(study) => Self {
                title: "Positive continuations: win rate against the reviews' own, by temperature",
                wins_by: "A response wins by a continuation that is more positive than the review's own. It stands in for \
                          the better summary of the paper's figure (Rafailov et al. 2023, Figure 2 right): the models and \
                          texts of the sentiment study are at hand, the paper's are not.",
                subtitle: format!(
                    "Policies of preset {}, {seeds} seed{plural}, {prompts} openings of held-out reviews",
                    study.preset
                ),
                about: format!(
                    "Every policy answers the same openings; the other text is the review's own continuation, as many tokens \
                     as a response may have. r* is what the methods were trained for; the second opinion learned from other \
                     reviews. The best of {n} is chosen by r*, so r* is a partial judge of it."
                ),
                reward: "r*",
                prompt: "opening",
                paper: false,
            },
            Policies::Posts(_) => Self {
                title: "TL;DR: win rate against the summaries of the posts' authors, by temperature",
                wins_by: match settings.question {
                    Question::Concise => {
                        "A response wins by being the better summary of its post, without what is not needed, as in the \
                         paper's figure (Rafailov et al. 2023, Figure 2 right)."
                    }
                    Question::Simple | Question::Positive => {
                        "A response wins by being the better summary of its post, as in the paper's figure (Rafailov et al. \
                         2023, Figure 2 right)."
                    }
                },
                subtitle: format!(
                    "Policies trained on {}, {seeds} seed{plural}, {prompts} held-out posts",
                    if manifest.is_synthetic() { "posts that a program made up" } else { "TL;DR" }
                ),
                about: format!(
                    "Every policy summarises the same posts; the other text is the author's own summary. The reward model is \
                     what PPO learned from and what the best of {n} is chosen by: it is a partial judge of both. The second \
                     opinion learned from other comparisons."
                ),
                reward: "reward model",
                prompt: "post",
                // Of posts that are made up the paper says nothing.
                paper: !manifest.is_synthetic(),
            },
        }
    }
}
