//! How it is measured: steps before the clock starts, steps while it runs, and the line of their median.

use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use crate::{Case, CaseError};

/// Fewest steps before the clock starts.
const WARM_UP: usize = 2;
/// Most steps and seconds before the clock starts on a device other than the CPU.
const LONGEST_WARM_UP: (usize, f64) = (10, 20.0);
/// Fewest timed steps.
const STEPS: usize = 3;
/// Seconds of timed steps unless the case says `budget=`.
const BUDGET: f64 = 6.0;

impl Case {
    /// Times `step`, which processes `tokens` tokens, again and again until the budget is spent, and prints
    /// the line.
    ///
    /// Two steps run before the clock starts. On a device other than the CPU (key `device`), where the first
    /// steps compile kernels and try variants of them, more follow until two in a row differ by less than 30%
    /// of the shorter one, but no more than 10 steps or 20 seconds.
    ///
    /// A step must finish all of its work: what a device still computes afterwards would be counted with the
    /// next step, or not at all.
    ///
    /// # Errors
    /// [`CaseError::Value`] for an impossible `budget`; what `step` returns.
    pub fn measure<E: From<CaseError>>(
        &self,
        tokens: usize,
        mut step: impl FnMut() -> Result<(), E>,
    ) -> Result<(), E> {
        let budget: f64 = self.find("budget")?.unwrap_or(BUDGET);
        let budget = Duration::try_from_secs_f64(budget)
            .map_err(|_| self.refuse("budget", "expected seconds, 0 or more".to_owned()))?;
        let mut timed = || {
            let start = Instant::now();
            step()?;
            Ok::<f64, E>(start.elapsed().as_secs_f64())
        };
        self.warm_up(&mut timed)?;
        let begun = Instant::now();
        let mut seconds = Vec::new();
        while seconds.len() < STEPS || begun.elapsed() < budget {
            seconds.push(timed()?);
        }
        seconds.sort_by(f64::total_cmp);
        self.report(tokens, seconds[seconds.len() / 2], seconds.len());
        Ok(())
    }

    fn warm_up<E>(&self, timed: &mut impl FnMut() -> Result<f64, E>) -> Result<(), E> {
        let begun = Instant::now();
        let on_cpu = self.keys.get("device").is_none_or(|device| device == "cpu");
        let (mut last, mut settled) = (f64::INFINITY, false);
        for count in 1.. {
            let seconds = timed()?;
            settled |= (seconds - last).abs() < 0.3 * seconds.min(last);
            last = seconds;
            let out_of_time =
                count >= LONGEST_WARM_UP.0 || begun.elapsed().as_secs_f64() >= LONGEST_WARM_UP.1;
            if count >= WARM_UP && (on_cpu || settled || out_of_time) {
                break;
            }
        }
        Ok(())
    }

    /// Prints the line of a measurement made by the caller: `seconds` for `tokens`.
    #[expect(clippy::print_stdout, reason = "this line is what a measurement is made for")]
    pub fn report(&self, tokens: usize, seconds: f64, steps: usize) {
        let mut line: Map<String, Value> = [("side", "ours"), ("case", &self.name)]
            .map(|(key, value)| (key.to_owned(), json!(value)))
            .into_iter()
            .chain(self.keys.iter().map(|(key, value)| {
                let number: Option<f64> = value.parse().ok();
                (key.clone(), number.map_or_else(|| json!(value), |number| json!(number)))
            }))
            .collect();
        line.insert("tokens".to_owned(), json!(tokens));
        line.insert("seconds".to_owned(), json!(seconds));
        line.insert("steps".to_owned(), json!(steps));
        if let Some(peak) = peak_mib() {
            line.insert("peak_mib".to_owned(), json!(peak));
        }
        println!("{}", Value::Object(line));
    }
}

/// Largest resident memory of this process so far, in MiB.
fn peak_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Steps before the clock starts, of the given seconds each.
    fn warm_up(device: &str, seconds: &[f64]) -> usize {
        let case = Case::parse(["train", device]).unwrap();
        let mut count = 0;
        let mut timed = || {
            count += 1;
            Ok::<f64, CaseError>(seconds[count - 1])
        };
        case.warm_up(&mut timed).unwrap();
        count
    }

    #[test]
    fn a_gpu_warms_up_until_steps_are_alike() {
        assert_eq!(warm_up("device=cpu", &[9.0, 1.0, 1.0]), 2);
        assert_eq!(warm_up("threads=1", &[9.0, 1.0, 1.0]), 2);
        assert_eq!(warm_up("device=cuda", &[1.0, 1.1, 1.0]), 2);
        assert_eq!(warm_up("device=cuda", &[9.0, 4.0, 1.0, 1.29, 1.0]), 4);
        let halved: Vec<f64> = (0..12).map(|i| 0.5_f64.powi(i)).collect();
        assert_eq!(warm_up("device=cuda", &halved), 10);
    }

    #[test]
    fn an_impossible_budget_is_an_error_and_so_is_a_failed_step() {
        let case = Case::parse(["train", "budget=-1"]).unwrap();
        let result = case.measure::<CaseError>(1, || Ok(()));
        assert_eq!(result.unwrap_err().to_string(), "train: `budget=-1`: expected seconds, 0 or more");
        let case = Case::parse(["train", "budget=0"]).unwrap();
        assert_eq!(case.measure(1, || Err(CaseError::Empty)), Err(CaseError::Empty));
    }
}
