//! A run with all that it recorded.

use super::evals::{EvalRow, FrontierRow};
use super::metrics::Metrics;
use super::prompts::PromptScores;
use crate::Method;

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

impl Run {
    /// Seconds of training up to `step`, evaluations not counted; `None` without metrics.
    pub fn seconds(&self, step: u64) -> Option<f64> {
        if step == 0 { Some(0.0) } else { self.metrics.at(step, "seconds") }
    }

    /// Whether this is PPO with a `kl_coef` of 0.
    pub fn without_penalty(&self) -> bool {
        self.evals.first().is_some_and(EvalRow::without_penalty)
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
