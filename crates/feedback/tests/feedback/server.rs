//! A server on loopback that stands in for a language model's endpoint, in all its moods.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

/// A request that came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) path: String,
    pub(crate) authorization: Option<String>,
    pub(crate) body: Value,
}

impl Seen {
    /// What was asked.
    pub(crate) fn question(&self) -> &str {
        self.body["messages"][0]["content"].as_str().unwrap()
    }

    /// The texts that are shown as A and B.
    pub(crate) fn texts(&self) -> [&str; 2] {
        let question = self.question();
        let (a, rest) =
            question.split_once("Summary A:\n").unwrap().1.split_once("\n\nSummary B:\n").unwrap();
        [a, rest.split_once("\n\n").unwrap().0]
    }
}

/// What the server does with a request.
pub(crate) enum Mood {
    /// Answers with this text.
    Says(String),
    /// The same after a while.
    Late(Duration, String),
    /// Refuses with a status and further lines of the head.
    Refuses(u16, &'static str, String),
    /// Sends a body of another form, with status 200.
    Garbles(String),
    /// Closes the line in the middle of the head.
    Cuts,
}

/// The server; it lives as long as the test's process.
pub(crate) struct Server {
    pub(crate) url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Server {
    /// Serves by `mood`, which sees the request and how often the same question came before.
    pub(crate) fn start(mood: impl Fn(&Seen, usize) -> Mood + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let (kept, mood) = (seen.clone(), Arc::new(mood));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (kept, mood) = (kept.clone(), mood.clone());
                std::thread::spawn(move || serve(stream, &kept, mood.as_ref()));
            }
        });
        Self { url, seen }
    }

    /// All requests so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

fn serve(mut stream: TcpStream, kept: &Mutex<Vec<Seen>>, mood: &dyn Fn(&Seen, usize) -> Mood) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        if line.trim().is_empty() {
            break;
        }
        head.push(line.trim().to_owned());
    }
    let field = |name: &str| {
        let found = head.iter().find(|line| line.to_ascii_lowercase().starts_with(name));
        found.map(|line| line[name.len()..].trim().to_owned())
    };
    let mut body = vec![0; field("content-length:").unwrap().parse().unwrap()];
    reader.read_exact(&mut body).unwrap();
    let path = head[0].split(' ').nth(1).unwrap().to_owned();
    let seen =
        Seen { path, authorization: field("authorization:"), body: serde_json::from_slice(&body).unwrap() };
    let before = {
        let mut kept = kept.lock().unwrap();
        let before = kept.iter().filter(|other| other.question() == seen.question()).count();
        kept.push(seen.clone());
        before
    };
    let (status, more, body) = match mood(&seen, before) {
        Mood::Says(text) => (200, "", completion(&text)),
        Mood::Late(wait, text) => {
            std::thread::sleep(wait);
            (200, "", completion(&text))
        }
        Mood::Refuses(status, more, body) => (status, more, body),
        Mood::Garbles(body) => (200, "", body),
        Mood::Cuts => {
            // Whoever waits may be gone.
            let _gone = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-");
            return;
        }
    };
    let head =
        format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n{more}\r\n", body.len());
    let _gone = stream.write_all((head + &body).as_bytes());
}

/// A reply of the API with 20 tokens of question and 5 of answer.
fn completion(text: &str) -> String {
    let usage = json!({ "prompt_tokens": 20, "completion_tokens": 5 });
    json!({ "choices": [{ "message": { "role": "assistant", "content": text } }], "usage": usage })
        .to_string()
}
