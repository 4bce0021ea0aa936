//! One request to an endpoint, by `curl`: it knows the user's proxies and certificates, as it does for
//! downloads.

use std::ffi::OsString;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

/// The most bytes of a reply that are read.
const MAX_REPLY: usize = 1 << 20;
/// What stands between a reply's body and what curl says of it.
const MARK: &str = "\n\u{1}status ";

/// What came back.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Reply {
    pub(super) status: u16,
    /// The seconds of a header `Retry-After`, if it has a number.
    pub(super) retry_after: Option<f64>,
    pub(super) body: Vec<u8>,
}

/// Where requests go.
#[derive(Clone)]
pub(super) struct Client {
    pub(super) url: String,
    pub(super) key: Option<String>,
    pub(super) timeout: Duration,
    /// The program `curl`.
    pub(super) curl: OsString,
}

impl Client {
    /// Posts JSON; an error says why there is no reply. The key and the body go to curl by its standard
    /// input: a command line is for all to read.
    pub(super) fn post(&self, body: &str) -> Result<Reply, String> {
        let mut curl = Command::new(&self.curl);
        curl.args(["--silent", "--show-error", "--include", "--config", "-", "--write-out"])
            .arg(format!("{MARK}%{{http_code}}"))
            .arg("--max-time")
            .arg(format!("{:.3}", self.timeout.as_secs_f64()))
            // A reply to `Expect: 100-continue` would stand before the real one.
            .args(["--header", "Expect:", "--header", "Content-Type: application/json"])
            .args(["--max-redirs", "0", "--url"])
            .arg(&self.url);
        if is_here(&self.url) {
            curl.args(["--noproxy", "*"]);
        }
        curl.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let shown = self.curl.to_string_lossy();
        let mut child = curl.spawn().map_err(|error| format!("cannot start {shown}: {error}"))?;
        let data = format!("data-binary = {}\n", quoted(body));
        let key = self.key.as_ref().map_or_else(String::new, |key| {
            format!("header = {}\n", quoted(&format!("Authorization: Bearer {key}")))
        });
        if let Some(mut stdin) = child.stdin.take() {
            // A curl that ends early says why on its standard error.
            let _ended = stdin.write_all((data + &key).as_bytes());
        }
        let output = child.wait_with_output().map_err(|error| format!("{shown}: {error}"))?;
        if !output.status.success() {
            let words = String::from_utf8_lossy(&output.stderr);
            let last = words.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no message");
            return Err(last.trim().to_owned());
        }
        read(&output.stdout)
    }
}

/// Whether an address is this machine's own, which no proxy can reach.
fn is_here(url: &str) -> bool {
    let host = url.split_once("://").map_or(url, |(_, rest)| rest);
    ["localhost", "127.0.0.1", "[::1]"]
        .iter()
        .any(|own| host.strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '/'])))
}

/// A word of curl's configuration: control characters have names.
fn quoted(text: &str) -> String {
    let mut quoted = "\"".to_owned();
    for character in text.chars() {
        match character {
            '\\' => quoted.push_str("\\\\"),
            '"' => quoted.push_str("\\\""),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

/// Head, body and status of what curl printed.
pub(super) fn read(printed: &[u8]) -> Result<Reply, String> {
    let at = printed.windows(MARK.len()).rposition(|part| part == MARK.as_bytes());
    let (reply, status) = at.map_or((printed, &[][..]), |at| (&printed[..at], &printed[at + MARK.len()..]));
    let status = std::str::from_utf8(status).ok().and_then(|text| text.trim().parse().ok());
    let status = status.filter(|status| *status > 0).ok_or("no status in what curl printed")?;
    let (mut head, mut body) = split(reply);
    // Each answer of a proxy has a head of its own.
    while body.starts_with(b"HTTP/") {
        (head, body) = split(body);
    }
    if body.len() > MAX_REPLY {
        return Err(format!("a reply of {} bytes, expected at most {MAX_REPLY}", body.len()));
    }
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    let waits = head.lines().find_map(|line| line.strip_prefix("retry-after:"));
    let retry_after = waits.and_then(|text| text.trim().parse::<f64>().ok()).filter(|wait| *wait >= 0.0);
    Ok(Reply { status, retry_after, body: body.to_vec() })
}

fn split(reply: &[u8]) -> (&[u8], &[u8]) {
    const END: &[u8] = b"\r\n\r\n";
    let at = reply.windows(END.len()).position(|part| part == END);
    at.map_or((reply, &[]), |at| (&reply[..at], &reply[at + END.len()..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_curl_prints_is_taken_apart() {
        let printed = |text: &str| read(text.as_bytes());
        let reply = printed("HTTP/1.1 429 Slow\r\nRetry-After: 2\r\nX: y\r\n\r\n{\"a\": 1}\n\u{1}status 429")
            .unwrap();
        assert_eq!(
            (reply.status, reply.retry_after, reply.body.as_slice()),
            (429, Some(2.0), &b"{\"a\": 1}"[..])
        );
        let proxied =
            "HTTP/1.1 200 Connection established\r\n\r\nHTTP/1.1 200 OK\r\nA: b\r\n\r\nbody\n\u{1}status 200";
        assert_eq!(printed(proxied).unwrap().body, b"body");
        // A date is no number of seconds.
        let date = "HTTP/1.1 503 X\r\nretry-after: Fri, 01 Jan 2027 00:00:00 GMT\r\n\r\n\n\u{1}status 503";
        assert_eq!(printed(date).unwrap().retry_after, None);
        assert!(printed("HTTP/1.1 200 OK\r\n\r\nbody").is_err());
        assert!(printed("\n\u{1}status 000").is_err());
    }

    #[test]
    fn this_machine_needs_no_proxy() {
        let here = ["http://127.0.0.1:8000/v1", "http://localhost/v1", "http://[::1]:80/v1"];
        let elsewhere =
            ["https://api.example.com/v1", "http://localhost.example.com/v1", "http://127.0.0.10/"];
        assert!(here.iter().all(|url| is_here(url)) && !elsewhere.iter().any(|url| is_here(url)));
    }

    #[test]
    fn a_word_of_the_configuration_is_one_line() {
        assert_eq!(quoted("a \"b\" \\ c\nd\te"), "\"a \\\"b\\\" \\\\ c\\nd\\te\"");
    }
}
