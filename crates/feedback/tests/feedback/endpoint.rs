//! A judge behind an endpoint, against a server on loopback: exact verdicts, no answer lost, none paid for
//! twice, no budget passed, and the key nowhere.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use feedback::FeedbackError;
use feedback::contest::{Contest, Ending, Orders, decide};
use feedback::judge::{EndpointConfig, EndpointJudge, Judge, Pair, Preference, Prices, Question};
use lm::Stream;

use crate::server::{Mood, Seen, Server};

const KEY: &str = "sk-secret-0123456789";

fn config(url: &str) -> EndpointConfig {
    EndpointConfig {
        url: url.to_owned(),
        model: "tiny".to_owned(),
        question: Question::Simple,
        max_tokens: 64,
        timeout: 10.0,
        retries: 3,
        backoff: 0.02,
        parallel: 4,
        requests_per_minute: None,
        max_requests: None,
        prices: None,
        max_cost: None,
    }
}

fn judge(config: EndpointConfig, answers: &Path) -> EndpointJudge {
    EndpointJudge::new(config, Some(KEY.to_owned()), answers).unwrap()
}

/// Pairs of which the better text holds `good`: every third time it is the second one, and both are of
/// one quality once in four.
fn pairs(count: usize) -> Vec<Pair> {
    let pair = |index: usize| {
        let (mut first, mut second) = (format!("good {index}"), format!("bad \"{index}\"\nline\ttab \\ é"));
        if index.is_multiple_of(4) {
            second = format!("good too {index}");
        }
        if index.is_multiple_of(3) {
            std::mem::swap(&mut first, &mut second);
        }
        Pair { prompt: format!("post {index}"), first, second }
    };
    (0..count).map(pair).collect()
}

fn expected(pairs: &[Pair]) -> Vec<Preference> {
    let one = |pair: &Pair| match (pair.first.contains("good"), pair.second.contains("good")) {
        (true, false) => Preference::First,
        (false, true) => Preference::Second,
        _ => Preference::Neither,
    };
    pairs.iter().map(one).collect()
}

/// The verdict of one who knows.
fn verdict(seen: &Seen) -> String {
    let [a, b] = seen.texts().map(|text| text.contains("good"));
    let word = if a == b {
        "neither"
    } else if a {
        "A"
    } else {
        "B"
    };
    format!("It is better.\nPreferred: {word}")
}

/// How often each question came.
fn counts(server: &Server) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for seen in server.seen() {
        *counts.entry(seen.question().to_owned()).or_default() += 1;
    }
    counts
}

#[test]
fn verdicts_are_exact_and_a_second_time_costs_nothing() {
    let server = Server::start(|seen, _| Mood::Says(verdict(seen)));
    let dir = tempfile::tempdir().unwrap();
    let answers = dir.path().join("answers.jsonl");
    let (pairs, priced) = (
        pairs(12),
        EndpointConfig { prices: Some(Prices { prompt: 1e4, completion: 1e5 }), ..config(&server.url) },
    );
    let one = judge(priced.clone(), &answers);
    assert_eq!((one.name(), one.unanswered(&pairs)), ("tiny (simple)", 12));
    assert_eq!(one.compare(&pairs).unwrap(), expected(&pairs));
    // 12 times 20 tokens at 0.01 and 5 at 0.1.
    let spent = one.spent();
    assert_eq!((spent.requests, spent.tokens), (12, (240, 60)));
    assert!((spent.cost.unwrap() - 8.4).abs() < 1e-9);
    let seen = server.seen();
    assert!(seen.iter().all(|seen| seen.path == "/v1/chat/completions" && seen.body["model"] == "tiny"));
    assert!(seen.iter().all(|seen| seen.authorization.as_deref() == Some(&format!("Bearer {KEY}")[..])));
    // The texts arrive as they are.
    let sent: Vec<[&str; 2]> = seen.iter().map(Seen::texts).collect();
    assert!(pairs.iter().all(|pair| sent.contains(&[pair.first.as_str(), pair.second.as_str()])));
    drop(one);

    let again = judge(priced, &answers);
    assert_eq!(again.compare(&pairs).unwrap(), expected(&pairs));
    assert_eq!((server.seen().len(), again.spent()), (12, spent));
    // Another model and another question are asked anew.
    drop(again);
    let other = EndpointConfig { question: Question::Concise, ..config(&server.url) };
    assert_eq!(judge(other, &answers).unanswered(&pairs), 12);
    let other = EndpointConfig { model: "other".to_owned(), ..config(&server.url) };
    assert_eq!(judge(other, &answers).unanswered(&pairs), 12);
}

#[test]
fn a_leaning_to_the_first_text_shows_and_orders_balance_it() {
    let server = Server::start(|_, _| Mood::Says("Preferred: A".to_owned()));
    let dir = tempfile::tempdir().unwrap();
    let one = judge(config(&server.url), &dir.path().join("answers.jsonl"));
    let contest =
        |i: usize| Contest { prompt: i.to_string(), response: format!("r {i}"), other: format!("o {i}") };
    let contests: Vec<Contest> = (0..10).map(contest).collect();
    let both = decide(&one, &contests, Orders::Both, Stream::new(1, "order")).unwrap();
    assert_eq!(both.len(), 20);
    assert!(
        both.iter().all(|one| (one.ending == Ending::Win) == one.shown_first && one.ending != Ending::Tie)
    );
    assert_eq!(both.iter().filter(|one| one.ending == Ending::Win).count(), 10);
    // One order for each: the same as the first of both, so that nothing is asked.
    let random = decide(&one, &contests, Orders::Random, Stream::new(1, "order")).unwrap();
    assert_eq!(random, both.into_iter().step_by(2).collect::<Vec<_>>());
    assert_eq!(server.seen().len(), 20);
    let first = random.iter().filter(|one| one.shown_first).count();
    assert!((1..10).contains(&first), "{first} of 10 shown first");
}

#[test]
fn full_broken_slow_and_cut_servers_are_asked_again() {
    let server = Server::start(|seen, before| match (seen.question().len() % 5, before) {
        (0, 0) => Mood::Refuses(500, "", "oops".to_owned()),
        (1, 0) => Mood::Refuses(429, "Retry-After: 1\r\n", "{}".to_owned()),
        (2, 0) => Mood::Cuts,
        (3, 0) => Mood::Late(Duration::from_secs(4), "Preferred: A".to_owned()),
        (4, 0) => Mood::Garbles("<html>".to_owned()),
        _ => Mood::Says(verdict(seen)),
    });
    let dir = tempfile::tempdir().unwrap();
    let pairs: Vec<Pair> = pairs(10)
        .into_iter()
        .enumerate()
        // Questions of all lengths modulo 5.
        .map(|(i, pair)| Pair { prompt: "x".repeat(i), ..pair })
        .collect();
    let one =
        judge(EndpointConfig { timeout: 2.0, ..config(&server.url) }, &dir.path().join("answers.jsonl"));
    let started = Instant::now();
    assert_eq!(one.compare(&pairs).unwrap(), expected(&pairs));
    assert!(started.elapsed() >= Duration::from_secs(1), "the server asked for a second");
    assert!(counts(&server).values().all(|count| *count == 2));
    assert_eq!(one.spent().requests, 20);
}

#[test]
fn a_server_that_stays_broken_ends_it_and_one_that_stays_garbled_is_unreadable() {
    let server = Server::start(|_, _| Mood::Refuses(503, "", "busy".to_owned()));
    let dir = tempfile::tempdir().unwrap();
    let one = judge(EndpointConfig { parallel: 1, ..config(&server.url) }, &dir.path().join("a.jsonl"));
    let message = one.compare(&pairs(3)).unwrap_err().to_string();
    assert_eq!(message, format!("judge tiny at {}: status 503: busy, after 3 retries", server.url));
    assert_eq!(server.seen().len(), 4);

    let server = Server::start(|seen, _| match seen.texts()[0] {
        "good 1" => Mood::Garbles("{\"choices\": []}".to_owned()),
        "good 2" => Mood::Says("I like both.".to_owned()),
        _ => Mood::Says(verdict(seen)),
    });
    let answers = dir.path().join("b.jsonl");
    let found = judge(config(&server.url), &answers).compare(&pairs(3)).unwrap();
    assert_eq!(found[1..], [Preference::Unreadable; 2]);
    // The garbled one was asked four times, the chatty one once; neither is asked again.
    assert_eq!(server.seen().len(), 6);
    assert_eq!(judge(config(&server.url), &answers).compare(&pairs(3)).unwrap(), found);
    assert_eq!(server.seen().len(), 6);
}

#[test]
fn a_refusal_ends_it_at_once_and_the_key_is_nowhere() {
    let server = Server::start(|seen, _| {
        let sent = seen.authorization.clone().unwrap();
        Mood::Refuses(401, "", format!("{{\"error\": \"no such user: {sent}\"}}"))
    });
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("answers.jsonl");
    let one = judge(EndpointConfig { parallel: 1, ..config(&server.url) }, &path);
    let message = one.compare(&pairs(5)).unwrap_err().to_string();
    assert!(message.ends_with("status 401: {\"error\": \"no such user: Bearer [key]\"}"), "{message}");
    assert_eq!(server.seen().len(), 1);
    drop(one);
    // A model that repeats what it was sent.
    let echo =
        Server::start(|seen, _| Mood::Says(format!("{}\nPreferred: B", seen.authorization.clone().unwrap())));
    let one = judge(config(&echo.url), &path);
    assert_eq!(one.compare(&pairs(2)).unwrap(), [Preference::Second; 2]);
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        assert!(text.contains("[key]") && !text.contains("secret"), "{text}");
    }
    for bad in ["", "two words", "line\nbreak"] {
        let refused = EndpointJudge::new(config(&echo.url), Some(bad.to_owned()), &dir.path().join("c"));
        let message = refused.err().unwrap().to_string();
        assert!(message.contains("key") && (bad.is_empty() || !message.contains(bad)), "{message}");
    }
}

#[test]
fn budgets_hold() {
    let server = Server::start(|seen, _| Mood::Says(verdict(seen)));
    let dir = tempfile::tempdir().unwrap();
    let answers = dir.path().join("answers.jsonl");
    let of = |most: u64| EndpointConfig { max_requests: Some(most), ..config(&server.url) };
    let message = judge(of(5), &answers).compare(&pairs(12)).unwrap_err().to_string();
    assert!(message.ends_with("the budget of 5 requests is spent"), "{message}");
    assert_eq!(server.seen().len(), 5);
    // Kept answers count: nothing more is asked, and with room for the rest each is asked once.
    assert!(judge(of(5), &answers).compare(&pairs(12)).is_err());
    assert_eq!(judge(of(12), &answers).compare(&pairs(12)).unwrap(), expected(&pairs(12)));
    assert!(counts(&server).len() == 12 && counts(&server).values().all(|count| *count == 1));

    // Money: an answer costs 25 tokens of 0.01, and each request on its way is taken for as much as it may
    // cost.
    let answers = dir.path().join("priced.jsonl");
    let prices = Some(Prices { prompt: 1e4, completion: 1e4 });
    let priced = EndpointConfig { prices, max_cost: Some(20.0), parallel: 2, ..config(&server.url) };
    let before = server.seen().len();
    let one = judge(priced, &answers);
    let message = one.compare(&pairs(400)).unwrap_err().to_string();
    assert!(message.contains("the budget of 20 does not hold for one more request"), "{message}");
    let (asked, cost) = (server.seen().len() - before, one.spent().cost.unwrap());
    assert!((cost - 0.25 * asked as f64).abs() < 1e-9);
    // 600 bytes of a question and 64 tokens of an answer may cost 6.6, twice at a time.
    assert!(cost > 5.0 && cost <= 20.0, "{cost}");
}

#[test]
fn the_rate_is_held() {
    let server = Server::start(|seen, _| Mood::Says(verdict(seen)));
    let dir = tempfile::tempdir().unwrap();
    // One every fifth of a second.
    let limited = EndpointConfig { requests_per_minute: Some(300.0), ..config(&server.url) };
    let started = Instant::now();
    judge(limited, &dir.path().join("answers.jsonl")).compare(&pairs(6)).unwrap();
    assert!(started.elapsed() >= Duration::from_secs(1), "{:?}", started.elapsed());
}

#[test]
fn a_file_that_was_cut_short_is_mended_and_a_damaged_one_is_refused() {
    let server = Server::start(|seen, _| Mood::Says(verdict(seen)));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("answers.jsonl");
    let one = judge(config(&server.url), &path);
    one.compare(&pairs(3)).unwrap();
    let busy = EndpointJudge::new(config(&server.url), None, &path).err().unwrap().to_string();
    assert!(busy.contains("another process has it open"), "{busy}");
    drop(one);
    let whole = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() - 9]).unwrap();
    assert_eq!(judge(config(&server.url), &path).compare(&pairs(3)).unwrap(), expected(&pairs(3)));
    assert_eq!(server.seen().len(), 4);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), whole);
    std::fs::write(&path, format!("{whole}{{}}\n")).unwrap();
    let error = EndpointJudge::new(config(&server.url), None, &path).err().unwrap();
    assert!(matches!(error, FeedbackError::Line { line: 4, .. }), "{error}");
}

#[test]
fn tokens_that_no_answer_has_are_counted_without_overflow() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("answers.jsonl");
    let line =
        |key: &str| format!("{{\"key\": \"{key}\", \"text\": \"A\", \"tokens\": [{}, 1]}}\n", u64::MAX);
    std::fs::write(&path, line("a") + &line("b")).unwrap();
    let spent = judge(config("http://x"), &path).spent();
    assert_eq!((spent.requests, spent.tokens), (2, (u64::MAX, 2)));
}

#[test]
fn impossible_settings_are_named_at_once() {
    let bad = EndpointConfig {
        url: "ftp://x".to_owned(),
        model: " ".to_owned(),
        timeout: 0.0,
        parallel: 0,
        // No clock holds the time between two requests.
        requests_per_minute: Some(1e-300),
        max_cost: Some(1.0),
        ..config("http://x")
    };
    let message = EndpointJudge::new(bad, None, Path::new("nowhere")).err().unwrap().to_string();
    for expected in [
        "url: found ftp://x",
        "model: found",
        "timeout: found 0",
        "parallel: found 0",
        "prices: found none",
        "requests_per_minute: found 0.000",
    ] {
        assert!(message.contains(expected), "{expected}: {message}");
    }
}

const URL: &str = "TEST_JUDGE_URL";
const ANSWERS: &str = "TEST_JUDGE_ANSWERS";

/// No test by itself: what the next one starts and kills.
#[test]
#[ignore = "a child process of the next test"]
fn asks_until_it_is_killed() {
    if let (Ok(url), Ok(answers)) = (std::env::var(URL), std::env::var(ANSWERS)) {
        let _killed = judge(config(&url), Path::new(&answers)).compare(&pairs(40));
    }
}

#[test]
fn a_kill_loses_no_answer_and_nothing_is_paid_twice_but_what_was_on_its_way() {
    let slow = |seen: &Seen| Mood::Late(Duration::from_millis(100), verdict(seen));
    let server = Server::start(move |seen, _| slow(seen));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("answers.jsonl");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "endpoint::asks_until_it_is_killed"])
        .env(URL, &server.url)
        .env(ANSWERS, &path)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = || std::fs::read_to_string(&path).map_or(0, |text| text.lines().count());
    let started = Instant::now();
    while lines() < 10 {
        assert!(started.elapsed() < Duration::from_mins(1), "{} answers", lines());
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let kept = lines();
    let one = judge(config(&server.url), &path);
    let open = one.unanswered(&pairs(40));
    assert!(kept >= 10 && open < 31 && open >= 40 - kept, "{kept} kept, {open} open");
    assert_eq!(one.compare(&pairs(40)).unwrap(), expected(&pairs(40)));
    let counts = counts(&server);
    let twice = counts.values().filter(|count| **count == 2).count();
    assert!(counts.len() == 40 && counts.values().all(|count| *count <= 2), "{counts:?}");
    // As many as were on their way at a time.
    assert!(twice <= 4, "{twice} asked twice");
    assert_eq!(lines(), 40);
}
