//! Answers that were paid for: a file of JSON Lines that only grows, so that a question is asked once.
//!
//! A line is written, and the disk has it, before the answer counts. Whatever ends the program, answers that
//! came are kept; a line that was cut short is taken off when the file is opened next.

use std::collections::HashMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::FeedbackError;

/// One line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Answer {
    /// Hash of the model and all that it was asked.
    pub(super) key: String,
    /// What it said.
    pub(super) text: String,
    /// Tokens of the question and of the answer, as the endpoint counts them or as estimated if it does not.
    pub(super) tokens: (u64, u64),
}

/// The file with what it holds.
#[derive(Debug)]
pub(super) struct Answers {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    file: File,
    known: HashMap<String, Answer>,
}

/// The hash of a model and a question.
pub(super) fn key(model: &str, request: &str) -> String {
    let mut hash = Sha256::new();
    // With the length between them, no two pairs are one text.
    hash.update((model.len() as u64).to_le_bytes());
    hash.update(model.as_bytes());
    hash.update(request.as_bytes());
    hash.finalize().iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// Keeps other processes out. A process that was started a moment ago may hold the file of one that has just
/// given it up, so this tries for a while.
fn lock(file: &File) -> std::io::Result<()> {
    const PATIENCE: Duration = Duration::from_secs(1);
    let started = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) if started.elapsed() < PATIENCE => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(TryLockError::WouldBlock) => {
                return Err(std::io::Error::other("another process has it open"));
            }
        }
    }
}

impl Answers {
    /// Opens or creates the file and keeps other processes out of it.
    pub(super) fn open(path: &Path) -> Result<Self, FeedbackError> {
        let io = |action| move |source| FeedbackError::Io { action, path: path.to_owned(), source };
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir).map_err(io("create the folder of"))?;
        }
        let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let mut file = options.map_err(io("open"))?;
        lock(&file).map_err(io("open"))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(io("read"))?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        if whole < bytes.len() {
            tracing::warn!("{}: the last line was cut short and is taken off", path.display());
            file.set_len(whole as u64).map_err(io("mend"))?;
        }
        file.seek(SeekFrom::Start(whole as u64)).map_err(io("read"))?;
        let mut known = HashMap::new();
        for (index, line) in bytes[..whole].split(|byte| *byte == b'\n').enumerate() {
            if line.is_empty() {
                continue;
            }
            let answer: Answer = serde_json::from_slice(line).map_err(|error| FeedbackError::Line {
                path: path.to_owned(),
                line: index + 1,
                found: error.to_string(),
                expected: "an answer of a judge, as this program writes it",
            })?;
            known.insert(answer.key.clone(), answer);
        }
        Ok(Self { path: path.to_owned(), state: Mutex::new(State { file, known }) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, key: &str) -> Option<Answer> {
        self.state().known.get(key).cloned()
    }

    /// Keeps an answer; when this returns the disk has it.
    pub(super) fn keep(&self, answer: Answer) -> Result<(), FeedbackError> {
        let io = |source| FeedbackError::Io { action: "write", path: self.path.clone(), source };
        let mut line = serde_json::to_vec(&answer).map_err(|error| io(error.into()))?;
        line.push(b'\n');
        let mut state = self.state();
        state.file.write_all(&line).and_then(|()| state.file.sync_data()).map_err(io)?;
        state.known.insert(answer.key.clone(), answer);
        Ok(())
    }

    /// Tokens of all questions and answers that the file holds.
    pub(super) fn tokens(&self) -> (u64, u64) {
        let state = self.state();
        state.known.values().fold((0, 0), |sum, one| super::ledger::add(sum, one.tokens))
    }

    pub(super) fn len(&self) -> usize {
        self.state().known.len()
    }
}
