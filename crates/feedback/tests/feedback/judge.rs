//! A score as a judge, and contests in either order.

use feedback::contest::{Contest, Ending, Orders, decide};
use feedback::judge::{Judge, Pair, Preference, ProgramJudge, ScorerJudge};
use feedback::{FeedbackError, ProgramLimits, TextScorer};
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

#[test]
#[cfg(unix)]
fn a_program_decides() {
    // The longer text; a pair of equal ones is not decided, and a prompt `odd` confuses it.
    let source = r#"
import json, sys
for line in sys.stdin:
    asked = json.loads(line)
    a, b = len(asked["first"]), len(asked["second"])
    word = "first" if a > b else "second" if b > a else "neither"
    print(json.dumps({"preferred": 7 if asked["prompt"] == "wrong" else "left" if asked["prompt"] == "odd" else word}))
"#;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("judge.py");
    std::fs::write(&path, source).unwrap();
    let command = format!("python3 '{}'", path.display());
    let judge = ProgramJudge::new(&command, ProgramLimits { timeout: 20.0, restarts: 0 }).unwrap();
    assert_eq!(judge.name(), command);
    let odd = Pair { prompt: "odd".to_owned(), ..pair("a", "b") };
    let pairs = [pair("aa", "\"a\n"), pair("a", "aaaa"), pair("ab", "ba"), odd];
    let expected = [Preference::Second, Preference::Second, Preference::Neither, Preference::Unreadable];
    assert_eq!(judge.compare(&pairs).unwrap(), expected);
    let wrong = Pair { prompt: "wrong".to_owned(), ..pair("a", "b") };
    let message = judge.compare(&[wrong]).unwrap_err().to_string();
    assert!(
        message.starts_with("judge `python3") && message.contains("answered request 1 with"),
        "{message}"
    );
    // A judge that failed starts again.
    assert_eq!(judge.compare(&pairs[..1]).unwrap(), expected[..1]);
}
