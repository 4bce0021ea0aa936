//! Ctrl-C and requests to terminate. The program ends at once, whatever it does, and nothing is lost: files
//! are written beside their place and renamed, and work counts only once its marker is written.
//!
//! Two things are seen to before the end. A study's record says that it was interrupted ([`record`]). And who
//! has child processes ends them itself ([`Watch`]).

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::exit::Outcome;
use crate::study::folder::write_text;

/// How long the last word may take: whoever should read it may have stopped reading.
const LAST_WORD: Duration = Duration::from_millis(200);

/// Whether the program was asked to stop while it was watched.
static ASKED: AtomicBool = AtomicBool::new(false);

static STATE: Mutex<State> = Mutex::new(State { watched: false, record: None });

struct State {
    /// Whether somebody looks at [`ASKED`] often enough.
    watched: bool,
    /// The file that tells of the interruption, and its text.
    record: Option<(PathBuf, String)>,
}

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has signals heard from now on. `stop_others` ends what else would outlive the program.
pub fn listen(stop_others: fn()) -> Result<()> {
    ctrlc::set_handler(move || heard(stop_others)).context("a handler for Ctrl-C")
}

/// Writes a record, and remembers what is to stand there should the program be interrupted from now on.
pub fn record(path: &Path, text: &str, interrupted: String) -> Result<()> {
    let mut state = state();
    state.record = Some((path.to_owned(), interrupted));
    // Under the lock, so that this text never follows that of an interruption.
    write_text(path, text)
}

/// The record is final.
pub fn forget_record() {
    state().record = None;
}

/// While it lives, the first signal only sets a flag.
pub struct Watch(&'static AtomicBool);

impl Watch {
    pub fn begin() -> Self {
        state().watched = true;
        Self(&ASKED)
    }

    /// Whether to stop.
    pub fn asked(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// Ends the watch; returns whether there was a signal.
    pub fn end(self) -> bool {
        state().watched = false;
        self.asked()
    }
}

/// On a thread of its own, not in the signal's context.
fn heard(stop_others: fn()) {
    let mut state = state();
    if state.watched && !ASKED.swap(true, Ordering::SeqCst) {
        drop(state);
        say("interrupted: stopping the runs");
        return;
    }
    stop_others();
    let recorded = state.record.take().map(|(path, text)| write_text(&path, &text));
    say(match recorded {
        Some(Ok(())) => "interrupted; the same command goes on from here",
        Some(Err(_)) => "interrupted, and the manifest cannot be written; the same command goes on from here",
        None => "interrupted",
    });
    std::process::exit(Outcome::Interrupted.code().into());
}

/// Logs, but waits only so long: another thread may hold standard error, blocked by a reader that has
/// stopped.
fn say(words: &'static str) {
    let (said, heard) = channel();
    std::thread::spawn(move || {
        tracing::warn!("{words}");
        // Nobody waits any more if it took too long.
        let _late = said.send(());
    });
    // Said or not, the program goes on.
    let _silent = heard.recv_timeout(LAST_WORD);
}
