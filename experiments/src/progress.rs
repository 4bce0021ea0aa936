//! Progress: bars with an estimate of the time left on a terminal, one line a step elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// How often a plain log repeats itself at most.
const QUIET: Duration = Duration::from_secs(15);

/// A group of bars, or none where standard error is not a terminal.
#[derive(Clone)]
pub struct Progress {
    bars: Option<MultiProgress>,
}

/// One piece of long work.
pub struct Task {
    name: String,
    bar: Option<ProgressBar>,
    started: Instant,
    spoke: Option<Instant>,
}

impl Progress {
    pub fn new() -> Self {
        Self { bars: std::io::stderr().is_terminal().then(MultiProgress::new) }
    }

    /// Starts a task of `total` steps; 0 when the number is not known.
    pub fn task(&self, name: &str, total: u64) -> Task {
        let bar = self.bars.as_ref().map(|bars| {
            let bar = bars.add(if total > 0 { ProgressBar::new(total) } else { ProgressBar::new_spinner() });
            let template = if total > 0 {
                "{prefix:<28} {bar:30} {pos:>5}/{len:<5} {elapsed:>4} left {eta:>4} {msg}"
            } else {
                "{prefix:<28} {spinner} {elapsed:>4} {msg}"
            };
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar.set_prefix(name.to_owned());
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        if bar.is_none() {
            tracing::info!("{name}: started");
        }
        Task { name: name.to_owned(), bar, started: Instant::now(), spoke: None }
    }
}

impl Task {
    /// Reports that `done` of `total` steps are finished.
    pub fn at(&mut self, done: u64, total: u64, message: &str) {
        if let Some(bar) = &self.bar {
            bar.set_length(total);
            bar.set_position(done);
            bar.set_message(message.to_owned());
            return;
        }
        if self.spoke.is_some_and(|spoke| spoke.elapsed() < QUIET) && done < total {
            return;
        }
        self.spoke = Some(Instant::now());
        let elapsed = self.started.elapsed().as_secs_f64();
        let left = if done > 0 { elapsed * (total - done.min(total)) as f64 / done as f64 } else { f64::NAN };
        tracing::info!("{}: {done}/{total}, {elapsed:.0} s, {left:.0} s left {message}", self.name);
    }

    /// Says something beside the bar.
    pub fn say(&self, message: &str) {
        let say = || tracing::info!("{}: {message}", self.name);
        self.bar.as_ref().map_or_else(say, |bar| bar.suspend(say));
    }

    /// Ends the task with a closing word.
    pub fn done(self, message: &str) {
        let seconds = self.started.elapsed().as_secs_f64();
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
            let line = format!("{:<28} {seconds:>6.1} s  {message}", self.name);
            bar.suspend(|| tracing::info!("{line}"));
        } else {
            tracing::info!("{}: done in {seconds:.1} s {message}", self.name);
        }
    }
}
