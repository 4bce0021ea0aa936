//! A running program: requests go in on one thread, answers and complaints come out on two others.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::records::shown;

/// The longest answer that is read; what follows in its line would be the next.
const MAX_ANSWER_BYTES: u64 = 1 << 20;
/// Lines of standard error that are kept, and the most bytes of each.
const KEPT_LINES: usize = 5;
const KEPT_BYTES: u64 = 400;
/// How long a program may take to end once nothing more is asked.
const FAREWELL: Duration = Duration::from_millis(500);

/// What a program did next.
pub(super) enum Event {
    /// It wrote a line.
    Line(Vec<u8>),
    /// It ended, or closed its output: how, and its last words.
    Ended(String),
    /// Nothing, for as long as it was given.
    Silent,
}

#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    /// Gone once nothing more is asked.
    requests: Option<Sender<String>>,
    answers: Receiver<Vec<u8>>,
    complaints: Arc<Mutex<VecDeque<String>>>,
    complaining: Option<JoinHandle<()>>,
}

impl Process {
    /// Starts a command by the shell, in a process group of its own so that all of it can be ended.
    pub(super) fn start(command: &str) -> std::io::Result<Self> {
        let mut shell = shell(command);
        // Python keeps answers back in a buffer unless it is told not to.
        shell.env("PYTHONUNBUFFERED", "1");
        shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = shell.spawn()?;
        let missing = || std::io::Error::other("a process without pipes");
        let stdin = child.stdin.take().ok_or_else(missing)?;
        let stdout = child.stdout.take().ok_or_else(missing)?;
        let stderr = child.stderr.take().ok_or_else(missing)?;
        let (requests, to_write) = channel();
        let (read, answers) = channel();
        let complaints = Arc::new(Mutex::new(VecDeque::new()));
        std::thread::spawn(move || write(stdin, &to_write));
        std::thread::spawn(move || listen(stdout, &read));
        let kept = complaints.clone();
        let complaining = Some(std::thread::spawn(move || keep(stderr, &kept)));
        Ok(Self { child, requests: Some(requests), answers, complaints, complaining })
    }

    /// Hands requests to the thread that writes them.
    pub(super) fn send(&self, requests: &[String]) {
        let lines: String = requests.iter().flat_map(|request| [request.as_str(), "\n"]).collect();
        // A program that has ended is heard of where its answers are awaited.
        let _gone = self.requests.as_ref().map(|to_write| to_write.send(lines));
    }

    /// A line that was there before anything was asked.
    pub(super) fn unasked(&self) -> Option<String> {
        let line = self.answers.try_recv().ok()?;
        Some(shown(&Value::from(String::from_utf8_lossy(&line).trim())))
    }

    /// Waits for what the program does next.
    pub(super) fn next(&mut self, timeout: Duration) -> Event {
        match self.answers.recv_timeout(timeout) {
            Ok(line) => Event::Line(line),
            Err(RecvTimeoutError::Timeout) => Event::Silent,
            Err(RecvTimeoutError::Disconnected) => {
                let how = match self.wait(FAREWELL) {
                    Some(status) => format!("ended ({status})"),
                    None => "closed its output".to_owned(),
                };
                Event::Ended(format!("{how}{}", self.last_words()))
            }
        }
    }

    /// What it last said on standard error, ready to be appended.
    pub(super) fn last_words(&mut self) -> String {
        if self.child.try_wait().is_ok_and(|status| status.is_some())
            && let Some(complaining) = self.complaining.take()
        {
            // A child of the program may hold its standard error: its last words are not waited for.
            let started = Instant::now();
            while !complaining.is_finished() && started.elapsed() < FAREWELL {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        let complaints = self.complaints.lock().unwrap_or_else(PoisonError::into_inner);
        if complaints.is_empty() {
            return String::new();
        }
        let lines: Vec<&str> = complaints.iter().map(String::as_str).collect();
        format!("; standard error: {}", lines.join(" | "))
    }

    /// How the program ended, if it does within some time.
    fn wait(&mut self, most: Duration) -> Option<std::process::ExitStatus> {
        let started = Instant::now();
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Some(status),
                Ok(None) if started.elapsed() < most => std::thread::sleep(Duration::from_millis(5)),
                Ok(None) | Err(_) => return None,
            }
        }
    }
}

impl Drop for Process {
    /// Lets the program end by itself, which the end of its input tells it to, and ends it if it does not.
    fn drop(&mut self) {
        self.requests = None;
        if self.wait(FAREWELL).is_none() {
            end(&mut self.child);
            // It is gone, or out of reach.
            let _ended = self.child.wait();
        }
    }
}

#[cfg(unix)]
fn shell(command: &str) -> Command {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(command);
    std::os::unix::process::CommandExt::process_group(&mut shell, 0);
    shell
}

#[cfg(not(unix))]
fn shell(command: &str) -> Command {
    let mut shell = Command::new("cmd");
    shell.arg("/C").arg(command);
    shell
}

/// Ends a shell and what it has started.
fn end(child: &mut Child) {
    #[cfg(unix)]
    {
        let group = format!("-{}", child.id());
        let kill = Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status();
        if kill.is_ok_and(|status| status.success()) {
            return;
        }
    }
    // It may have ended on its own just now.
    let _gone = child.kill();
}

fn write(mut stdin: ChildStdin, requests: &Receiver<String>) {
    for lines in requests {
        if stdin.write_all(lines.as_bytes()).and_then(|()| stdin.flush()).is_err() {
            return;
        }
    }
}

fn listen(stdout: ChildStdout, answers: &Sender<Vec<u8>>) {
    let mut reader = BufReader::new(stdout);
    loop {
        let mut line = Vec::new();
        match (&mut reader).take(MAX_ANSWER_BYTES).read_until(b'\n', &mut line) {
            Ok(read) if read > 0 && answers.send(line).is_ok() => {}
            Ok(_) | Err(_) => return,
        }
    }
}

fn keep(stderr: ChildStderr, kept: &Mutex<VecDeque<String>>) {
    let mut reader = BufReader::new(stderr);
    loop {
        let mut line = Vec::new();
        match (&mut reader).take(KEPT_BYTES).read_until(b'\n', &mut line) {
            Ok(read) if read > 0 => {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                if !text.is_empty() {
                    kept.push_back(text);
                }
                if kept.len() > KEPT_LINES {
                    kept.pop_front();
                }
            }
            Ok(_) | Err(_) => return,
        }
    }
}
