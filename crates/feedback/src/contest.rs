//! Responses of a policy against other texts for the same prompts, in an order that does not favour either.

use lm::Stream;
use rand::RngExt;

use crate::error::FeedbackError;
use crate::judge::{Judge, Pair, Preference};

/// A response against another text, mostly one that a person wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contest {
    /// What both answer.
    pub prompt: String,
    /// The policy's response.
    pub response: String,
    /// What it is compared with.
    pub other: String,
}

/// In which order the two are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Orders {
    /// One that is drawn for each contest.
    Random,
    /// Both, one after the other: twice as many questions.
    Both,
}

impl Orders {
    /// Questions for each contest.
    pub fn questions(self) -> usize {
        match self {
            Self::Random => 1,
            Self::Both => 2,
        }
    }
}

/// How a contest ended for the policy's response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It is preferred.
    Win,
    /// Neither is.
    Tie,
    /// The other text is preferred.
    Loss,
    /// The judge's answer could not be read.
    Unreadable,
}

/// One question and its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decided {
    /// The contest's position.
    pub contest: usize,
    /// Whether the policy's response was shown first.
    pub shown_first: bool,
    /// How it ended.
    pub ending: Ending,
}

/// Lets a judge decide contests. The order of contest i is drawn from `stream.child(i)`, whatever the
/// other contests are: with one stream the responses of several policies to the same prompts are
/// shown in the same places.
///
/// # Errors
/// If the judge fails, or does not answer every question once.
pub fn decide(
    judge: &dyn Judge,
    contests: &[Contest],
    orders: Orders,
    stream: Stream,
) -> Result<Vec<Decided>, FeedbackError> {
    let questions: Vec<(usize, bool)> = (0..contests.len())
        .flat_map(|contest| {
            let first = stream.child(contest as u64).rng().random::<bool>();
            [(contest, first), (contest, !first)].into_iter().take(orders.questions())
        })
        .collect();
    let pair = |&(contest, shown_first): &(usize, bool)| {
        let Contest { prompt, response, other } = contests[contest].clone();
        let (first, second) = if shown_first { (response, other) } else { (other, response) };
        Pair { prompt, first, second }
    };
    let pairs: Vec<Pair> = questions.iter().map(pair).collect();
    let answers = judge.compare(&pairs)?;
    if answers.len() != pairs.len() {
        let (found, expected) = (answers.len().to_string(), format!("{}, one per question", pairs.len()));
        return Err(FeedbackError::Unfit { what: "answers of a judge", found, expected });
    }
    let decided = questions.into_iter().zip(answers).map(|((contest, shown_first), answer)| Decided {
        contest,
        shown_first,
        ending: match (answer, shown_first) {
            (Preference::First, true) | (Preference::Second, false) => Ending::Win,
            (Preference::First, false) | (Preference::Second, true) => Ending::Loss,
            (Preference::Neither, _) => Ending::Tie,
            (Preference::Unreadable, _) => Ending::Unreadable,
        },
    });
    Ok(decided.collect())
}
