//! A score as a judge, and contests in either order.

use feedback::contest::{Contest, Ending, Orders, decide};
use feedback::judge::{Judge, Pair, Preference, ScorerJudge};
use feedback::{FeedbackError, TextScorer};
use lm::Stream;

/// The length of the response; a response of nine letters has no score.
struct Length;

impl TextScorer for Length {
    fn score(&self, texts: &[(String, String)]) -> Result<Vec<f32>, FeedbackError> {
        let score = |text: &str| if text.len() == 9 { f32::NAN } else { text.len() as f32 };
        Ok(texts.iter().map(|(_, response)| score(response)).collect())
    }
}

fn pair(first: &str, second: &str) -> Pair {
    Pair { prompt: "p".to_owned(), first: first.to_owned(), second: second.to_owned() }
}

#[test]
fn the_higher_score_is_preferred_in_either_place() {
    let judge = ScorerJudge::new("length", Length);
    let pairs = [pair("aa", "a"), pair("a", "aa"), pair("ab", "ba")];
    let expected = [Preference::First, Preference::Second, Preference::Neither];
    assert_eq!(judge.compare(&pairs).unwrap(), expected);
    assert_eq!(judge.name(), "length");
    let message = judge.compare(&[pair("a", "ninenines")]).unwrap_err().to_string();
    assert!(message.contains("NaN for response 1"), "{message}");
}

#[test]
fn endings_are_the_responses_own_whatever_the_order() {
    let judge = ScorerJudge::new("length", Length);
    let contest = |response: &str, other: &str| Contest {
        prompt: "p".to_owned(),
        response: response.to_owned(),
        other: other.to_owned(),
    };
    let three = [contest("aaa", "a"), contest("a", "aaa"), contest("a", "b")];
    let contests: Vec<Contest> = (0..20).flat_map(|_| three.clone()).collect();
    let decided = decide(&judge, &contests, Orders::Random, Stream::new(3, "order")).unwrap();
    for one in &decided {
        assert_eq!(one.ending, [Ending::Win, Ending::Loss, Ending::Tie][one.contest % 3]);
    }
    let first = decided.iter().filter(|one| one.shown_first).count();
    assert!((15..45).contains(&first), "{first} of 60 shown first");
    // The order belongs to the contest's place, not to the others.
    let some = decide(&judge, &contests[..5], Orders::Random, Stream::new(3, "order")).unwrap();
    assert_eq!(some, decided[..5]);
}
