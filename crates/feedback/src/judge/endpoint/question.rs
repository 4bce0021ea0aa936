//! What a language model is asked, and how its answer is read.

use crate::judge::pair::{Pair, Preference};

/// What is asked of a pair. As in the paper there is a plain question about summaries and one that also asks
/// for brevity, since judges tend to prefer longer texts; the words are ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Question {
    /// Which summary is better.
    Simple,
    /// Which summary is better, with nothing that is not needed.
    Concise,
    /// Which continuation of a film review is more positive.
    Positive,
}

/// How the answer should end.
const ANSWER: &str = "Say in one sentence why. Then write a last line that says \"Preferred: A\", \"Preferred: B\" or, if \
                      neither is better, \"Preferred: neither\".";

impl Question {
    /// The name in records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Simple => "simple",
            Self::Concise => "concise",
            Self::Positive => "positive",
        }
    }

    /// The question about a pair: A is what is shown first.
    pub fn ask(self, pair: &Pair) -> String {
        let (task, given, text) = match self {
            Self::Simple => (
                "Which of these two summaries of a forum post tells its main points better?",
                "Post",
                "Summary",
            ),
            Self::Concise => (
                "Which of these two summaries of a forum post tells its main points better, without details that nobody \
                 needs? A good summary is both right and brief.",
                "Post",
                "Summary",
            ),
            Self::Positive => (
                "Which of these two continuations of the beginning of a film review is more positive about the film?",
                "Beginning",
                "Continuation",
            ),
        };
        let Pair { prompt, first, second } = pair;
        format!("{task}\n\n{given}:\n{prompt}\n\n{text} A:\n{first}\n\n{text} B:\n{second}\n\n{ANSWER}")
    }
}

/// Reads the verdict: the word after the last `Preferred:`, or the whole answer if that is one word.
pub(super) fn read(answer: &str) -> Preference {
    const MARK: &str = "preferred:";
    // ASCII letters alone change, so that positions stay.
    let lower = answer.to_ascii_lowercase();
    let rest = lower.rfind(MARK).map_or(lower.as_str(), |at| &lower[at + MARK.len()..]);
    let words: Vec<&str> =
        rest.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let marked = rest.len() < lower.len();
    match words.as_slice() {
        [word] => one(word),
        [word, ..] if marked => one(word),
        _ => Preference::Unreadable,
    }
}

fn one(word: &str) -> Preference {
    match word {
        "a" => Preference::First,
        "b" => Preference::Second,
        "neither" | "tie" => Preference::Neither,
        _ => Preference::Unreadable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_are_read_and_all_else_is_not() {
        use Preference::{First, Neither, Second, Unreadable};
        let answers = [
            ("A is longer.\nPreferred: A", First),
            ("preferred: **B**.", Second),
            ("Preferred: \"neither\"", Neither),
            ("Preferred: A at first, but no.\nPreferred: B", Second),
            (" b\n", Second),
            ("Tie", Neither),
            ("", Unreadable),
            ("I prefer A", Unreadable),
            ("Preferred:", Unreadable),
            ("Preferred: both", Unreadable),
            ("Preferred: Ärger", Unreadable),
            ("Sorry, I cannot say.", Unreadable),
        ];
        for (answer, expected) in answers {
            assert_eq!(read(answer), expected, "{answer}");
        }
    }

    #[test]
    fn a_question_has_both_texts_in_their_places() {
        let pair = Pair { prompt: "the post".into(), first: "one".into(), second: "two".into() };
        for question in [Question::Simple, Question::Concise, Question::Positive] {
            let asked = question.ask(&pair);
            let places =
                ["the post", " A:\none", " B:\ntwo", "Preferred: A"].map(|part| asked.find(part).unwrap());
            assert!(places.is_sorted(), "{asked}");
        }
    }
}
