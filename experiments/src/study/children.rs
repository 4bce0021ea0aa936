//! Runs as child processes of this binary, a few side by side: one thread each on the CPU, and on a GPU a
//! share of the cores, for the text that is scored between its steps.
//!
//! A crash costs one run; a list of runs can as well be handed to a cluster's scheduler.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use anyhow::{Context, Result};
use lm::DeviceSpec;
use lm::device::cores;

use crate::exit::Outcome;
use crate::progress::{Progress, Task};
use crate::study::folder::Folder;
use crate::study::interrupt::Watch;
use crate::study::work::RunWork;

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    Done,
    /// With the last lines of its log.
    Failed(String),
    Interrupted,
}

/// A run that goes on.
struct Working {
    index: usize,
    child: Child,
    task: Task,
    device: DeviceSpec,
}

enum Event {
    Line(usize, String),
    Closed(usize),
}

/// Where runs go and what they leave.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    /// At most so many at a time.
    pub jobs: usize,
    /// Each on the least busy of these.
    pub devices: &'a [DeviceSpec],
    /// Whether each keeps its last policy.
    pub keep_policies: bool,
}

/// Runs all `runs` until they are done or the program is asked to stop.
pub fn run_all(
    runs: &[&RunWork],
    folder: &Folder,
    place: Place<'_>,
    progress: &Progress,
    watch: &Watch,
) -> Result<Vec<Ending>> {
    let Place { jobs, devices, keep_policies } = place;
    let (sender, events) = channel();
    let mut endings = vec![Ending::Interrupted; runs.len()];
    let mut waiting: Vec<usize> = (0..runs.len()).rev().collect();
    let mut working: Vec<Working> = Vec::new();
    let mut total = progress.task("runs", runs.len() as u64);
    let mut finished = 0;
    while !(waiting.is_empty() && working.is_empty()) {
        if watch.asked() {
            for run in &mut working {
                // A child that is already gone cannot be killed, which is as good.
                let _gone = run.child.kill();
                run.child.wait().context("waiting for a stopped run")?;
            }
            return Ok(endings);
        }
        while working.len() < jobs
            && let Some(index) = waiting.pop()
        {
            let device = least_busy(devices, &working)?;
            let (child, lines) =
                spawn(runs[index], folder, (device, threads(device, jobs, cores())), keep_policies)?;
            listen(index, lines, sender.clone());
            let task = progress.task(&runs[index].name, runs[index].steps as u64);
            working.push(Working { index, child, task, device });
        }
        let Some(index) = next_closed(&events, &mut working) else { continue };
        let Some(place) = working.iter().position(|run| run.index == index) else { continue };
        let Working { mut child, task, .. } = working.swap_remove(place);
        let status = child.wait().context("waiting for a run")?;
        finished += 1;
        endings[index] = if status.success() {
            task.done("");
            Ending::Done
        } else if has_interrupt(status) {
            task.done("interrupted");
            Ending::Interrupted
        } else {
            let log = tail(folder, &runs[index].name);
            task.done("failed");
            tracing::error!("{} failed ({status}): {log}", runs[index].name);
            Ending::Failed(format!("{status}: {log}"))
        };
        total.at(finished, runs.len() as u64, "");
    }
    total.done("");
    Ok(endings)
}

/// Whether a signal ended a run: in a terminal Ctrl-C reaches the runs as well as this
/// program, and often sooner.
fn has_interrupt(status: ExitStatus) -> bool {
    #[cfg(unix)]
    {
        /// SIGINT and SIGTERM on every Unix, in the moment before a run listens.
        const SIGNALS: [Option<i32>; 2] = [Some(2), Some(15)];
        if SIGNALS.contains(&std::os::unix::process::ExitStatusExt::signal(&status)) {
            return true;
        }
    }
    status.code() == Some(Outcome::Interrupted.code().into())
}

/// The device with the fewest runs on it, the first of them where several are.
fn least_busy(devices: &[DeviceSpec], working: &[Working]) -> Result<DeviceSpec> {
    let busy = |device: &DeviceSpec| working.iter().filter(|run| run.device == *device).count();
    devices.iter().copied().min_by_key(busy).context("no device to run on")
}

/// Threads of a run. On a GPU only one of them asks for tensors; the others read and score texts, whose
/// results do not depend on their number.
fn threads(device: DeviceSpec, jobs: usize, cores: usize) -> usize {
    if device.is_cpu() { 1 } else { (cores / jobs).max(1) }
}

fn spawn(
    run: &RunWork,
    folder: &Folder,
    (device, threads): (DeviceSpec, usize),
    keep_policy: bool,
) -> Result<(Child, ChildStdout)> {
    let log = folder.log(&run.name);
    let file = std::fs::File::create(&log).with_context(|| log.display().to_string())?;
    let mut child = Command::new(std::env::current_exe().context("the path of this program")?)
        .arg("run")
        .arg(folder.root())
        .arg(&run.name)
        .args(["--device", &device.to_string(), "--precision", device.precision.name()])
        .args(keep_policy.then_some("--keep-policy"))
        .env("RAYON_NUM_THREADS", threads.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(file)
        .spawn()
        .with_context(|| format!("starting {}", run.name))?;
    let lines = child.stdout.take().context("a run without standard output")?;
    Ok((child, lines))
}

fn listen(index: usize, lines: ChildStdout, sender: Sender<Event>) {
    std::thread::spawn(move || {
        for line in BufReader::new(lines).lines().map_while(Result::ok) {
            if sender.send(Event::Line(index, line)).is_err() {
                return;
            }
        }
        // The receiver is gone only when nobody waits any more.
        let _nobody = sender.send(Event::Closed(index));
    });
}

/// Waits for the next event and shows progress; returns a run whose output has ended.
fn next_closed(events: &Receiver<Event>, working: &mut [Working]) -> Option<usize> {
    match events.recv_timeout(Duration::from_millis(200)) {
        Ok(Event::Line(index, line)) => {
            let mut words = line.splitn(3, ' ');
            let mut number = || words.next().and_then(|word| word.parse().ok());
            if let (Some(done), Some(total)) = (number(), number())
                && let Some(run) = working.iter_mut().find(|run| run.index == index)
            {
                run.task.at(done, total, words.next().unwrap_or_default());
            }
            None
        }
        Ok(Event::Closed(index)) => Some(index),
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => None,
    }
}

/// The last lines of a run's log.
fn tail(folder: &Folder, name: &str) -> String {
    let mut text = String::new();
    if let Ok(mut file) = std::fs::File::open(folder.log(name)) {
        // A log that is not UTF-8 ends where it stops being text.
        let _read = file.read_to_string(&mut text);
    }
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(3)..].join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_has_one_thread_on_the_cpu_and_its_share_of_the_cores_on_a_gpu() {
        let gpu: DeviceSpec = "cuda:1".parse().unwrap();
        assert_eq!(threads(DeviceSpec::CPU, 4, 16), 1);
        assert_eq!(threads(gpu, 4, 16), 4);
        assert_eq!(threads(gpu, 4, 2), 1);
    }
}
