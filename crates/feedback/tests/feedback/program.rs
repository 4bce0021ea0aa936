//! Programs that score: those that answer well, slowly, once, never, wrongly.
#![cfg(unix)]

use std::path::Path;
use std::time::{Duration, Instant};

use feedback::{FeedbackError, ProgramLimits, ProgramScorer, TextScorer};

fn scorer(command: &str) -> ProgramScorer {
    ProgramScorer::new(command, ProgramLimits { timeout: 20.0, restarts: 2 }).unwrap()
}

fn texts(responses: &[&str]) -> Vec<(String, String)> {
    responses.iter().map(|response| ("a prompt: \"x\"\n".to_owned(), (*response).to_owned())).collect()
}

fn complaint(result: Result<Vec<f32>, FeedbackError>) -> String {
    result.unwrap_err().to_string()
}

/// A Python program in a file.
fn python(dir: &Path, source: &str) -> String {
    let path = dir.join("reward.py");
    std::fs::write(&path, source).unwrap();
    format!("python3 '{}'", path.display())
}

const LENGTHS: &str = r#"
import json, sys
for line in sys.stdin:
    request = json.loads(line)
    assert request["prompt"] == "a prompt: \"x\"\n"
    print(json.dumps({"score": len(request["response"])}))
"#;

#[test]
fn one_process_answers_every_batch() {
    let dir = tempfile::tempdir().unwrap();
    let scorer = scorer(&python(dir.path(), LENGTHS));
    assert_eq!(scorer.score(&texts(&["", "abc", "é\n"])).unwrap(), [0.0, 3.0, 2.0]);
    assert_eq!(scorer.score(&[]).unwrap(), [0.0_f32; 0]);
    assert_eq!(scorer.score(&texts(&["ab"])).unwrap(), [2.0]);
    // Its number of requests goes on counting.
    let counting = self::scorer("n=0; while read -r line; do n=$((n+1)); echo $n; done");
    assert_eq!(counting.score(&texts(&["a", "b"])).unwrap(), [1.0, 2.0]);
    assert_eq!(counting.score(&texts(&["a"])).unwrap(), [3.0]);
}

/// Requests and answers of more than any pipe holds, from a program that answers as it reads: were they
/// written before the first answer was read, both sides would wait for ever.
#[test]
fn a_long_batch_does_not_block() {
    let dir = tempfile::tempdir().unwrap();
    let source = r#"
import json, sys
for line in sys.stdin:
    print(json.dumps({"score": len(json.loads(line)["response"]), "padding": "x" * 500}))
"#;
    let scorer = scorer(&python(dir.path(), source));
    let long = "y".repeat(500);
    let scores = scorer.score(&texts(&vec![long.as_str(); 3000])).unwrap();
    assert_eq!(scores, vec![500.0; 3000]);
}

/// One that reads all of a batch before it answers the first, and slowly.
#[test]
fn answers_may_come_late_and_together() {
    let scorer = scorer("while read -r a && read -r b; do sleep 0.3; echo 1; echo 2; done");
    assert_eq!(scorer.score(&texts(&["a", "b", "c", "d"])).unwrap(), [1.0, 2.0, 1.0, 2.0]);
}

#[test]
fn a_program_that_dies_is_started_again_and_asked_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let mark = dir.path().join("mark");
    // The first process answers one request of three.
    let command = format!(
        "if [ -e '{0}' ]; then while read -r l; do echo 7; done; else touch '{0}'; read -r l; echo 5; exit 3; fi",
        mark.display()
    );
    let scorer = scorer(&command);
    assert_eq!(scorer.score(&texts(&["a", "b", "c"])).unwrap(), [5.0, 7.0, 7.0]);
}

#[test]
fn a_program_that_always_dies_is_given_up_with_its_last_words() {
    let message = complaint(scorer("echo 'no such model' >&2; exit 3").score(&texts(&["a", "b"])));
    let expected = "ended (exit status: 3); standard error: no such model before it answered request 1 of 2, after 2 restarts";
    assert!(message.contains(expected), "{message}");
    let message = complaint(scorer("no-such-program-here").score(&texts(&["a"])));
    assert!(message.contains("exit status: 127") && message.contains("not found"), "{message}");
}

/// Two answers of five, and then its end.
#[test]
fn too_few_answers_are_named() {
    let none = ProgramScorer::new("head -n 2 | sed 's/.*/1/'", ProgramLimits { timeout: 20.0, restarts: 0 })
        .unwrap();
    let message = complaint(none.score(&texts(&["a", "b", "c", "d", "e"])));
    assert!(message.contains("before it answered request 3 of 5"), "{message}");
}

#[test]
fn rubbish_is_named_with_the_number_of_its_request() {
    for (answer, found) in [
        ("good", "the text \"good\""),
        ("{\"value\": 1}", "an object without `score`"),
        ("NaN", "the text \"NaN\""),
        ("", "the text \"\""),
    ] {
        let command = format!("read -r l; echo 1; read -r l; echo '{answer}'; cat > /dev/null");
        let message = complaint(scorer(&command).score(&texts(&["a", "b", "c"])));
        let expected =
            format!("answered request 2 with {found}, expected a finite number or {{\"score\": number}}");
        assert!(message.contains(&expected), "{message}");
    }
}

#[test]
fn a_silent_program_is_ended_after_its_time() {
    let limits = ProgramLimits { timeout: 0.5, restarts: 2 };
    let dir = tempfile::tempdir().unwrap();
    let pid = dir.path().join("pid");
    // It neither answers nor ends when its input does; `sleep` is a process beside the shell.
    let command = format!("echo loading >&2; sleep 600 & echo $! > '{}'; wait", pid.display());
    let scorer = ProgramScorer::new(command, limits).unwrap();
    let started = Instant::now();
    let message = complaint(scorer.score(&texts(&["a"])));
    assert!(message.contains("did not answer request 1 of 1 within 0.5 s"), "{message}");
    assert!(message.contains("standard error: loading"), "{message}");
    assert!(started.elapsed() < Duration::from_secs(15));
    // What the shell had started is gone too.
    let pid = std::fs::read_to_string(pid).unwrap();
    let there = || Path::new(&format!("/proc/{}/cmdline", pid.trim())).exists();
    while cfg!(target_os = "linux") && there() && started.elapsed() < Duration::from_secs(15) {
        let gone = std::fs::read_to_string(format!("/proc/{}/cmdline", pid.trim())).unwrap_or_default();
        if gone.is_empty() {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(started.elapsed() < Duration::from_secs(15), "sleep is still there");
}

/// After a failure nothing of the old process is left to be taken for an answer.
#[test]
fn a_failure_does_not_shift_later_answers() {
    let dir = tempfile::tempdir().unwrap();
    let source = r#"
import json, sys
for line in sys.stdin:
    response = json.loads(line)["response"]
    print("what?" if response == "bad" else len(response))
"#;
    let scorer = scorer(&python(dir.path(), source));
    assert!(scorer.score(&texts(&["a", "bad", "abc", "abcd"])).is_err());
    assert_eq!(scorer.score(&texts(&["ab", "abcde"])).unwrap(), [2.0, 5.0]);
}

#[test]
fn impossible_settings_are_refused() {
    let refuse = |command: &str, timeout| {
        ProgramScorer::new(command, ProgramLimits { timeout, restarts: 0 }).unwrap_err().to_string()
    };
    assert!(refuse(" ", 1.0).contains("command: found an empty one"));
    for timeout in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e300] {
        assert!(refuse("true", timeout).contains("timeout: found"), "{timeout}");
    }
}
