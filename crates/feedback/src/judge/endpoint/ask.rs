//! One question until it is answered: requests, retries, and what a reply holds.

use std::time::Duration;

use serde_json::{Value, json};

use super::config::EndpointConfig;
use super::http::{Client, Reply};
use super::ledger::Ledger;

/// Bytes of a refusal or of a broken reply that are shown or kept.
const SHOWN: usize = 300;
/// The longest that a server may ask to be left alone.
const LONGEST_WAIT: f64 = 600.0;
/// The longest request: curl reads a line of its settings up to 100 KiB.
pub(super) const MAX_REQUEST: usize = 90_000;

/// The body of a request.
pub(super) fn body(config: &EndpointConfig, question: &str) -> String {
    json!({
        "model": config.model,
        "messages": [{ "role": "user", "content": question }],
        "temperature": 0,
        "max_tokens": config.max_tokens,
    })
    .to_string()
}

/// An answer with the tokens of question and answer.
pub(super) type Answered = (String, (u64, u64));

/// Asks until there is an answer; an error says why there is none. A reply of another form than the API's is
/// asked for again, and in the end taken as an answer that says nothing.
pub(super) fn ask(
    client: &Client,
    (config, ledger): (&EndpointConfig, &Ledger),
    body: &str,
) -> Result<Answered, String> {
    // A token has a byte at least.
    let most = (body.len() as u64, u64::from(config.max_tokens));
    let mut attempt = 0;
    loop {
        std::thread::sleep(ledger.reserve(most)?);
        let (problem, wait) = match client.post(body) {
            Ok(reply) if reply.status == 200 => {
                let answered = content(&reply.body, body.len());
                ledger.settle(most, answered.as_ref().map_or(most, |answered| answered.1));
                if let Some(answered) = answered {
                    return Ok(answered);
                }
                let text = excerpt(&reply.body);
                if attempt >= config.retries {
                    return Ok((text, most));
                }
                (format!("a reply without choices[0].message.content: {text}"), None)
            }
            Ok(reply) => {
                ledger.settle(most, (0, 0));
                let told = format!("status {}: {}", reply.status, excerpt(&reply.body));
                if !is_passing(&reply) {
                    return Err(told);
                }
                (told, reply.retry_after)
            }
            Err(problem) => {
                // The answer may have been made, and billed, before the line was cut.
                ledger.settle(most, most);
                (problem, None)
            }
        };
        if attempt >= config.retries {
            return Err(format!("{problem}, after {attempt} retries"));
        }
        std::thread::sleep(pause(config.backoff, attempt, wait)?);
        tracing::debug!("{}: {problem}; asked again", config.model);
        attempt += 1;
    }
}

/// Whether the same request may succeed later.
fn is_passing(reply: &Reply) -> bool {
    matches!(reply.status, 408 | 425 | 429 | 500..=599)
}

/// Twice as long for each attempt, up to a minute, and as long as the server asks for.
pub(super) fn pause(first: f64, attempt: u32, asked: Option<f64>) -> Result<Duration, String> {
    let own = (first * 2.0_f64.powi(attempt.min(30) as i32)).min(first.max(60.0));
    let wait = asked.map_or(own, |asked| asked.max(own));
    if wait > LONGEST_WAIT.max(own) {
        return Err(format!(
            "the server asks for {wait} seconds of patience, at most {LONGEST_WAIT} are given"
        ));
    }
    Ok(Duration::from_secs_f64(wait))
}

/// The answer in a reply, with tokens as the endpoint counts them or, if it does not, a third of the bytes.
pub(super) fn content(reply: &[u8], asked: usize) -> Option<Answered> {
    let reply: Value = serde_json::from_slice(reply).ok()?;
    let text = reply.pointer("/choices/0/message/content")?.as_str()?.to_owned();
    let count = |key: &str| reply.pointer(&format!("/usage/{key}")).and_then(Value::as_u64);
    let prompt = count("prompt_tokens").unwrap_or(asked as u64 / 3);
    let completion = count("completion_tokens").unwrap_or(text.len() as u64 / 3);
    Some((text, (prompt, completion)))
}

fn excerpt(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN)]);
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_the_server_is_heard() {
        let seconds = |attempt, asked| pause(0.5, attempt, asked).map(|pause| pause.as_secs_f64());
        assert_eq!([0, 1, 2].map(|attempt| seconds(attempt, None)), [Ok(0.5), Ok(1.0), Ok(2.0)]);
        assert_eq!(seconds(20, None), Ok(60.0));
        assert_eq!((seconds(0, Some(7.0)), seconds(4, Some(7.0))), (Ok(7.0), Ok(8.0)));
        assert!(seconds(0, Some(1e9)).is_err());
    }

    #[test]
    fn answers_and_their_tokens() {
        let reply =
            br#"{"choices": [{"message": {"content": "Preferred: A"}}], "usage": {"prompt_tokens": 7}}"#;
        assert_eq!(content(reply, 300), Some(("Preferred: A".to_owned(), (7, 4))));
        for broken in [
            &b"{}"[..],
            b"",
            b"no JSON",
            br#"{"choices": []}"#,
            br#"{"choices":[{"message":{"content":1}}]}"#,
        ] {
            assert_eq!(content(broken, 300), None);
        }
    }
}
