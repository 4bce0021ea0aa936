//! Files of pairs, prompts and texts: what is read from them, and what is said of bad lines.

use std::path::{Path, PathBuf};

use feedback::FeedbackError;
use feedback::chat::ChatTemplate;
use feedback::records::{
    Examples, Limits, Lines, PairLabels, PreferenceRecord, Reader, Text, TooLong, read_responses,
};
use lm::{PreferencePair, Tokenizer};
use proptest::prelude::*;

/// A file of its own that goes with the value.
struct Lined {
    _dir: tempfile::TempDir,
    path: PathBuf,
}

fn file(bytes: impl AsRef<[u8]>) -> Lined {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data.jsonl");
    std::fs::write(&path, bytes).unwrap();
    Lined { _dir: dir, path }
}

/// One id for each byte, and the two special tokens.
fn bytes() -> Tokenizer {
    Tokenizer::train(&["a"], 258).unwrap()
}

fn reader() -> Reader {
    Reader::new(bytes(), None)
}

fn chat_reader(template: &str) -> Reader {
    let tokens = [String::new(), "<|endoftext|>".to_owned()];
    let template =
        ChatTemplate::new(PathBuf::from("chat_template.jinja"), template.to_owned(), tokens).unwrap();
    Reader::new(bytes(), Some(template))
}

fn limits(max_length: usize, max_prompt_length: usize, too_long: TooLong) -> Limits {
    Limits { max_length, max_prompt_length, too_long }
}

fn roomy() -> Limits {
    limits(1000, 500, TooLong::Refuse)
}

fn pairs(reader: &Reader, text: &str, limits: &Limits) -> Result<Examples<PreferencePair>, FeedbackError> {
    reader.preferences(&file(text).path, limits, &PairLabels::AsWritten)
}

/// Prompt, chosen and rejected as text, without special tokens.
fn texts(reader: &Reader, pair: &PreferencePair) -> [String; 3] {
    [&pair.prompt, &pair.chosen, &pair.rejected].map(|ids| reader.tokenizer().decode(ids).unwrap())
}

/// The message about the only line of a file, after its path.
fn complaint(error: &FeedbackError) -> String {
    let message = error.to_string();
    message.split_once("data.jsonl:").unwrap_or_else(|| panic!("{message}")).1.to_owned()
}

#[test]
fn prompt_and_responses_are_tokenised_apart_with_begin_and_end() {
    let reader = reader();
    let read =
        pairs(&reader, r#"{"prompt": "ab", "chosen": "c", "rejected": "dé", "more": 1}"#, &roomy()).unwrap();
    let pair = &read.examples[0];
    let (end, id) = (reader.tokenizer().end(), |text: &str| reader.tokenizer().encode(text).unwrap());
    assert_eq!(pair.prompt, [vec![end], id("ab")].concat());
    assert_eq!(pair.chosen, [id("c"), vec![end]].concat());
    assert_eq!((pair.rejected.len(), pair.probability), (4, 1.0));
    assert_eq!((read.skipped, read.truncated), (0, 0));
}

/// The cases of TRL's `extract_prompt`, by hand.
#[test]
fn an_implicit_prompt_is_what_both_responses_begin_with() {
    for (chosen, rejected, expected) in [
        // A space before the difference belongs to the responses.
        ("The sky is blue.", "The sky is green.", ["The sky is", " blue.", " green."]),
        ("The film:good", "The film:bad", ["The film:", "good", "bad"]),
        // Where one is the beginning of the other, its last character is left to it.
        ("ab", "abc", ["a", "b", "bc"]),
        ("abé!", "abé", ["ab", "é!", "é"]),
        // é and è share a byte, and no character.
        ("é", "è", ["", "é", "è"]),
        ("x", "y", ["", "x", "y"]),
    ] {
        let reader = reader();
        let line = serde_json::json!({ "chosen": chosen, "rejected": rejected }).to_string();
        let read = pairs(&reader, &line, &roomy()).unwrap();
        assert_eq!(texts(&reader, &read.examples[0]), expected);
    }
}

const CHAT: &str = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{{ eos_token if m.role == 'assistant' }}\n\
                    {% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}";

#[test]
fn conversations_are_what_the_template_writes() {
    let reader = chat_reader(CHAT);
    let explicit = r#"{"prompt": [{"role": "user", "content": "hi"}],
        "chosen": [{"role": "assistant", "content": "yes"}], "rejected": [{"role": "assistant", "content": "no"}]}"#;
    let implicit = r#"{"chosen": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes"}],
        "rejected": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "no"}]}"#;
    let end = reader.tokenizer().end();
    for line in [explicit, implicit] {
        let read = pairs(&reader, &line.replace('\n', ""), &roomy()).unwrap();
        let pair = &read.examples[0];
        assert_eq!(texts(&reader, pair), ["[user]hi\n[assistant]", "yes", "no"]);
        // The template's own end token is one, the newline behind it is no part of the response.
        assert_eq!(pair.chosen.iter().filter(|&&id| id == end).count(), 1);
        assert_eq!(pair.chosen.last(), Some(&end));
        // What the template writes is all that the prompt is.
        assert_ne!(pair.prompt[0], end);
    }
    // A template that writes no end token has one appended.
    let open = chat_reader("{% for m in messages %}{{ m.content }}|{% endfor %}");
    let read = pairs(&open, &explicit.replace('\n', ""), &roomy()).unwrap();
    assert_eq!(texts(&open, &read.examples[0]), ["hi|", "yes|", "no|"]);
    assert_eq!(read.examples[0].chosen.last(), Some(&end));
}

#[test]
fn labels_are_probabilities_of_the_line_or_of_its_scores() {
    let line = r#"{"prompt": "p", "chosen": "a", "rejected": "b", "probability": 0.75, "score_chosen": 2, "score_rejected": 1}"#;
    let reader = reader();
    let read =
        |labels| reader.preferences(&file(line).path, &roomy(), &labels).unwrap().examples[0].probability;
    assert_eq!(read(PairLabels::AsWritten), 0.75);
    // sigma(ln 3) = 3/4 and sigma(2 ln 3) = 9/10.
    let odds = 3.0_f64.ln();
    assert!((read(PairLabels::Scores { scale: odds }) - 0.75).abs() < 1e-6);
    assert!((read(PairLabels::Scores { scale: 2.0 * odds }) - 0.9).abs() < 1e-6);
    for (keys, message) in [
        (
            r#""score_chosen": 1, "score_rejected": 2"#,
            "1:score_chosen: found 1, expected at least score_rejected = 2",
        ),
        (r#""x": 1"#, "1:score_chosen: found no such key, expected a number: labels are made of scores"),
    ] {
        let line = format!(r#"{{"prompt": "p", "chosen": "a", "rejected": "b", {keys}}}"#);
        let error = reader.preferences(&file(line).path, &roomy(), &PairLabels::Scores { scale: 1.0 });
        assert_eq!(complaint(&error.unwrap_err()), message);
    }
}

#[test]
fn every_bad_pair_is_named_by_line_and_key() {
    let ok = r#"{"prompt": "p", "chosen": "a", "rejected": "b"}"#;
    for (line, message) in [
        ("{", "3: found EOF while parsing an object at column 1, expected a JSON object"),
        ("[1]", "3: found a list of 1, expected a JSON object"),
        (
            r#"{"prompt": "p", "chosen": "a"}"#,
            "3:rejected: found no such key among chosen, prompt, expected text or a list of messages",
        ),
        (
            r#"{"prompt": 7, "chosen": "a", "rejected": "b"}"#,
            "3:prompt: found 7, expected text or a list of messages",
        ),
        (
            r#"{"prompt": "p", "chosen": "", "rejected": "b"}"#,
            "3:chosen: found an empty response, expected at least one character",
        ),
        (
            r#"{"prompt": "p", "chosen": "a", "rejected": "a"}"#,
            "3:rejected: found the chosen response, expected another one",
        ),
        (
            r#"{"prompt": "p", "chosen": "a", "rejected": "b", "probability": 0.25}"#,
            "3:probability: found 0.25, expected 0.5 to 1: below that the other response is the better one",
        ),
        (
            r#"{"prompt": "p", "chosen": "a", "rejected": "b", "probability": "high"}"#,
            "3:probability: found the text \"high\", expected a number",
        ),
        (
            r#"{"prompt": "p", "chosen": "a", "rejected": "b", "score_chosen": 1}"#,
            "3:score_rejected: found no such key, expected a number beside `score_chosen`",
        ),
        (
            r#"{"prompt": [{"role": "user", "content": "hi"}], "chosen": "a", "rejected": "b"}"#,
            "3:chosen: found text, expected a list of messages, as the prompt is",
        ),
        (
            r#"{"prompt": "p", "chosen": [{"role": "assistant"}], "rejected": "b"}"#,
            "3:chosen[0].content: found no such key, expected text",
        ),
        (
            r#"{"prompt": "p", "chosen": [{"role": "assistant", "content": "x", "tool_calls": []}], "rejected": "b"}"#,
            "3:chosen[0].tool_calls: found a key, expected a message with `role` and `content`",
        ),
        (
            r#"{"chosen": [{"role": "user", "content": "x"}], "rejected": [{"role": "user", "content": "y"}]}"#,
            "3:chosen: found a first message that is not that of `rejected`, expected the prompt's messages, or a key `prompt`",
        ),
        (
            r#"{"prompt": [{"role": "user", "content": "hi"}], "chosen": [{"role": "assistant", "content": "x"}], "rejected": [{"role": "assistant", "content": "y"}]}"#,
            "3:prompt: found a list of messages, expected text: the model's folder has no chat template",
        ),
    ] {
        // A blank line counts and says nothing.
        let error = pairs(&reader(), &format!("{ok}\n\n{line}\n{ok}"), &roomy()).unwrap_err();
        assert_eq!(complaint(&error), message);
    }
    let bad = [ok.as_bytes(), b"\n{\"prompt\": \"\xff\"}"].concat();
    let error = reader().preferences(&file(bad).path, &roomy(), &PairLabels::AsWritten).unwrap_err();
    assert_eq!(complaint(&error), "2: found no UTF-8 at byte 12, expected UTF-8");
}

#[test]
fn bad_conversations_are_named_too() {
    let reader = chat_reader(
        "{% for m in messages %}{{ raise_exception('no') if m.content == 'bad' }}{{ m.content }}{% endfor %}",
    );
    let user = |text: &str| format!(r#"{{"role": "user", "content": "{text}"}}"#);
    let assistant = |text: &str| format!(r#"{{"role": "assistant", "content": "{text}"}}"#);
    for (prompt, chosen, message) in [
        (
            user("bad"),
            assistant("x"),
            "1:prompt: found what the chat template refuses (no), expected a conversation that it takes",
        ),
        (
            user("a"),
            assistant("bad"),
            "1:chosen: found what the chat template refuses (no), expected a conversation that it takes",
        ),
        (user("a"), user("x"), "1:chosen[0].role: found \"user\", expected \"assistant\""),
        (
            user("a"),
            format!("{}, {}", assistant("x"), assistant("z")),
            "1:chosen: found 2 messages, expected one message of the assistant",
        ),
        (
            assistant("a"),
            assistant("x"),
            "1:prompt: found a last message of \"assistant\", expected one of \"user\", which the model answers",
        ),
    ] {
        let line =
            format!(r#"{{"prompt": [{prompt}], "chosen": [{chosen}], "rejected": [{}]}}"#, assistant("y"));
        assert_eq!(complaint(&pairs(&reader, &line, &roomy()).unwrap_err()), message);
    }
}

#[test]
fn what_is_too_long_is_left_out_cut_or_refused() {
    // With begin and end: prompts of 3 and 5 tokens, responses of 2 and 4.
    let short = r#"{"prompt": "ab", "chosen": "c", "rejected": "d"}"#;
    let long_prompt = r#"{"prompt": "abcd", "chosen": "c", "rejected": "d"}"#;
    let long_response = r#"{"prompt": "ab", "chosen": "c", "rejected": "def"}"#;
    let all = [short, long_prompt, long_response].join("\n");
    let reader = reader();
    let skipped = pairs(&reader, &all, &limits(6, 4, TooLong::Skip)).unwrap();
    assert_eq!((skipped.examples.len(), skipped.skipped, skipped.truncated), (1, 2, 0));
    let cut = pairs(&reader, &all, &limits(6, 4, TooLong::Truncate)).unwrap();
    assert_eq!((cut.examples.len(), cut.skipped, cut.truncated), (3, 0, 2));
    assert_eq!(texts(&reader, &cut.examples[1]), ["bcd", "c", "d"]);
    assert_eq!(texts(&reader, &cut.examples[2]), ["ab", "c", "def"]);
    assert_eq!(cut.examples[2].rejected.len(), 3, "the end token is what was cut");
    for (line, message) in [
        (long_prompt, "1:prompt: found 5 tokens, expected at most 4"),
        (long_response, "1:rejected: found 4 tokens, expected at most 3"),
    ] {
        let error = pairs(&reader, line, &limits(6, 4, TooLong::Refuse)).unwrap_err();
        assert_eq!(complaint(&error), message);
    }
    let none = pairs(&reader, long_prompt, &limits(6, 4, TooLong::Skip)).unwrap_err().to_string();
    assert!(
        none.ends_with(
            "found 1 preference pairs, all of them too long, expected at least one that fits the model"
        ),
        "{none}"
    );
    let none = pairs(&reader, "\n", &roomy()).unwrap_err().to_string();
    assert!(none.contains("found no preference pairs"), "{none}");
    // Two responses that are the same once they are cut are no pair.
    let same = r#"{"prompt": "ab", "chosen": "cde", "rejected": "cdf"}"#;
    let cut = pairs(&reader, &format!("{same}\n{short}"), &limits(5, 4, TooLong::Truncate)).unwrap();
    assert_eq!((cut.examples.len(), cut.skipped, cut.truncated), (1, 1, 0));
}

#[test]
fn prompts_keep_their_lines() {
    let reader = reader();
    let lines = "{\"prompt\": \"a\"}\n\n{\"prompt\": \"abcdef\", \"answer\": 1}\n{\"prompt\": \"bc\"}\n";
    let read = reader.prompts(&file(lines).path, &limits(8, 4, TooLong::Skip)).unwrap();
    let found: Vec<(usize, usize)> =
        read.examples.iter().map(|prompt| (prompt.line, prompt.ids.len())).collect();
    assert_eq!((found, read.skipped), (vec![(1, 2), (4, 3)], 1));
    let error = reader.prompts(&file("{\"text\": \"a\"}").path, &roomy()).unwrap_err();
    assert_eq!(
        complaint(&error),
        "1:prompt: found no such key among text, expected text or a list of messages"
    );
}

#[test]
fn texts_completions_and_last_messages_are_learned() {
    let reader = chat_reader(CHAT);
    let lines = [
        r#"{"text": "abc"}"#,
        r#"{"prompt": "a", "completion": "bc"}"#,
        r#"{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes"}]}"#,
    ];
    let read = reader.supervised(&file(lines.join("\n")).path, &roomy()).unwrap();
    let decode = |ids: &[u32]| reader.tokenizer().decode(ids).unwrap();
    let found: Vec<[String; 2]> =
        read.examples.iter().map(|s| [decode(&s.prompt), decode(&s.response)]).collect();
    assert_eq!(found, [["", "abc"], ["a", "bc"], ["[user]hi\n[assistant]", "yes"]]);
    for (line, message) in [
        (r#"{"text": ""}"#, "1:text: found an empty text, expected at least one character"),
        (
            r#"{"prompt": "a"}"#,
            "1:completion: found no such key among prompt, expected text or a list of messages",
        ),
        (
            r#"{"x": 1}"#,
            "1:prompt: found no such key among x, expected `text`, `prompt` with `completion`, or `messages`",
        ),
        (
            r#"{"messages": [{"role": "user", "content": "hi"}]}"#,
            "1:messages: found 1 messages that do not end so, expected a prompt and then a message of the assistant",
        ),
    ] {
        let error = reader.supervised(&file(line).path, &roomy()).unwrap_err();
        assert_eq!(complaint(&error), message);
    }
}

#[test]
fn responses_are_text() {
    let read = read_responses(&file(r#"{"prompt": "a", "response": "", "line": 3}"#).path).unwrap();
    assert_eq!((read[0].prompt.as_str(), read[0].response.as_str()), ("a", ""));
    let error = read_responses(&file(r#"{"prompt": "a"}"#).path).unwrap_err();
    assert_eq!(complaint(&error), "1:response: found no such key among prompt, expected text");
    assert!(read_responses(Path::new("/nowhere.jsonl")).unwrap_err().to_string().contains("/nowhere.jsonl"));
}

proptest! {
    /// Whatever stands in a file, it is read or refused by its line.
    #[test]
    fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let file = file(&bytes);
        for record in Lines::open(&file.path).unwrap() {
            let _read = record.and_then(PreferenceRecord::read).map_err(|error| error.to_string());
        }
    }

    /// Prompt and response together are the text that stands in the file, and no response is empty.
    #[test]
    fn an_implicit_prompt_loses_nothing(common in "[ab é]{0,6}", chosen in "[ab é]{0,4}", rejected in "[ab é]{0,4}") {
        let (chosen, rejected) = (format!("{common}{chosen}"), format!("{common}{rejected}"));
        prop_assume!(chosen != rejected && !chosen.is_empty() && !rejected.is_empty());
        let line = serde_json::json!({ "chosen": &chosen, "rejected": &rejected }).to_string();
        let record = Lines::open(&file(line).path).unwrap().next().unwrap().unwrap();
        let read = PreferenceRecord::read(record).unwrap();
        let text = |text: &Text| match text { Text::Plain(text) => text.clone(), Text::Conversation(_) => unreachable!() };
        prop_assert_eq!(format!("{}{}", text(&read.prompt), text(&read.chosen)), chosen);
        prop_assert_eq!(format!("{}{}", text(&read.prompt), text(&read.rejected)), rejected);
        prop_assert!(!read.chosen.is_empty() && !read.rejected.is_empty());
    }
}
