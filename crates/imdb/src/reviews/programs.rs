//! Programs that download, which end when this one does.

use std::io::{self, Read};
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdout, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::{ImdbError, io};

static DOWNLOADS: Mutex<Downloads> = Mutex::new(Downloads { stopped: false, programs: Vec::new() });

struct Downloads {
    /// Whether no more may begin.
    stopped: bool,
    /// Those that run at the moment.
    programs: Vec<Child>,
}

fn downloads() -> MutexGuard<'static, Downloads> {
    DOWNLOADS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends all downloads, and lets no other begin: they fail. For a process that is about to exit, as a program
/// that it left behind would go on writing to the cache.
pub fn stop_downloads() {
    let mut downloads = downloads();
    downloads.stopped = true;
    for child in &mut downloads.programs {
        // One that has ended by itself cannot be ended, which is as good.
        let _ended = child.kill();
    }
}

/// Runs a program to its end, keeping its output off the terminal.
pub(super) fn output(command: &mut Command, program: &Path) -> Result<Output, ImdbError> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    wait(command).map_err(io("run", program))
}

fn wait(command: &mut Command) -> io::Result<Output> {
    let (id, out, errors) = begin(command)?;
    let errors = std::thread::spawn(move || read(errors));
    let stdout = read(out);
    // The thread only reads, which does not panic.
    let stderr = errors.join().unwrap_or_else(|_| Ok(Vec::new()));
    let mut downloads = downloads();
    let place = downloads.programs.iter().position(|child| child.id() == id);
    let child = place.map(|place| downloads.programs.swap_remove(place));
    drop(downloads);
    let mut child = child.ok_or(io::ErrorKind::NotFound)?;
    Ok(Output { status: child.wait()?, stdout: stdout?, stderr: stderr? })
}

/// Starts a program; returns its number and its output.
fn begin(command: &mut Command) -> io::Result<(u32, Option<ChildStdout>, Option<ChildStderr>)> {
    let mut downloads = downloads();
    if downloads.stopped {
        return Err(io::ErrorKind::Interrupted.into());
    }
    let mut child = command.spawn()?;
    let begun = (child.id(), child.stdout.take(), child.stderr.take());
    downloads.programs.push(child);
    Ok(begun)
}

fn read(pipe: Option<impl Read>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        pipe.read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}
