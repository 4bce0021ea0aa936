//! A run with all that it recorded.

use std::path::Path;

use crate::prompts::{PromptScores, read_prompts};
use crate::records::read_table;
use crate::{Error, EvalRow, FIXED_KL_COEF, FrontierRow, Method, read_frontier};

/// One run of a sweep.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Run {
    /// The name.
    pub name: String,
    /// Its evaluations.
    pub evals: Vec<EvalRow>,
    /// The prompts of each evaluation; empty if they were not recorded.
    pub prompts: PromptScores,
    /// The trainer's numbers; empty if they are not at hand.
    pub metrics: Metrics,
}

/// `metrics.csv`: the trainer's numbers, a row for each of its steps.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics {
    /// Names of the columns.
    pub columns: Vec<String>,
    /// The rows; each is as long as `columns`.
    pub rows: Vec<Vec<f64>>,
}

impl Metrics {
    /// Reads a table of numbers with a header.
    ///
    /// # Errors
    /// [`Error::BadValue`] for a field that is not a number.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, Error> {
        let (columns, rows) = read_table(path.as_ref())?;
        Ok(Self { columns, rows })
    }

    /// The values of a column; `None` if there is no such column.
    pub fn column(&self, name: &str) -> Option<impl Iterator<Item = f64>> {
        let index = self.columns.iter().position(|column| column == name)?;
        Some(self.rows.iter().map(move |row| row[index]))
    }

    /// The value of `column` in the last row whose `step` is at most `step`.
    pub fn at(&self, step: u64, column: &str) -> Option<f64> {
        let steps = self.column("step")?;
        let last = steps.zip(self.column(column)?).take_while(|(at, _)| *at <= step as f64).last();
        last.map(|(_, value)| value)
    }
}

impl Run {
    /// Seconds of training up to `step`, evaluations not counted; `None` without metrics.
    pub fn seconds(&self, step: u64) -> Option<f64> {
        if step == 0 { Some(0.0) } else { self.metrics.at(step, "seconds") }
    }

    /// Whether this is PPO with a `kl_coef` of 0.
    pub fn without_penalty(&self) -> bool {
        self.evals.first().is_some_and(|eval| eval.knob == FIXED_KL_COEF && eval.value == 0.0)
    }

    /// The trained methods of these runs, in order.
    pub fn methods(runs: &[Self]) -> Vec<Method> {
        Method::trained(runs.iter().flat_map(|run| &run.evals).map(|eval| eval.method))
    }

    /// The rows of `frontier.csv` that these runs are: [`Run::of_rows`] gives the runs back.
    pub fn rows(runs: &[Self]) -> Vec<FrontierRow> {
        let of_run = |run: &Self| {
            let row = |eval: &EvalRow| FrontierRow { run: run.name.clone(), eval: eval.clone() };
            run.evals.iter().map(row).collect::<Vec<_>>()
        };
        runs.iter().flat_map(of_run).collect()
    }

    /// The runs of `rows` in the order of their first row, each with its evaluations alone.
    pub fn of_rows(rows: impl IntoIterator<Item = FrontierRow>) -> Vec<Self> {
        let mut runs: Vec<Self> = Vec::new();
        for row in rows {
            match runs.iter_mut().find(|run| run.name == row.run) {
                Some(run) => run.evals.push(row.eval),
                None => runs.push(Self { name: row.run, evals: vec![row.eval], ..Self::default() }),
            }
        }
        runs
    }
}

/// Reads `frontier.csv` of `dir` and, where they exist, `runs/<run>/prompts.csv` and `runs/<run>/metrics.csv`.
pub fn read_runs(dir: impl AsRef<Path>) -> Result<Vec<Run>, Error> {
    let dir = dir.as_ref();
    let mut runs = Run::of_rows(read_frontier(dir.join("frontier.csv"))?);
    for run in &mut runs {
        let folder = dir.join("runs").join(&run.name);
        let (prompts, metrics) = (folder.join("prompts.csv"), folder.join("metrics.csv"));
        if prompts.is_file() {
            run.prompts = read_prompts(prompts)?;
        }
        if metrics.is_file() {
            run.metrics = Metrics::read(metrics)?;
        }
    }
    Ok(runs)
}
