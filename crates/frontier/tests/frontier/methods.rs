//! Methods by name: any, in one order, and a new one in every figure and table.
use frontier::best_of_n::best_of_n_curve;
use frontier::figures::{
    Clock, FrontierFigure, ahead_figure, drift_figure, frontier_figure, histogram_figure,
    overoptimization_figure, training_figure,
};
use frontier::optimum::optimum_curve;
use frontier::{
    Analysis, Bootstrap, Method, MethodCosts, Metrics, PromptScore, Run, markdown_table, summarise,
};

use crate::synthetic;

#[test]
fn names_are_read_stored_once_and_ordered() {
    let named = |name: &str| Method::named(name).unwrap();
    assert_eq!((named("ppo-gt"), named("ppo-gt").label()), (Method::PPO_GT, "PPO-GT"));
    let hinge = named(&String::from("hinge"));
    assert_eq!((hinge.name(), hinge.label(), hinge.is_trained()), ("hinge", "hinge", true));
    assert!(std::ptr::eq(hinge.name(), named("hinge").name()));
    let mixed = ["hinge", "best-of-n", "reference", "SimPO", "ppo", "2nd_try", "dpo", "hinge"].map(named);
    let order: Vec<&str> = Method::trained(mixed).into_iter().map(Method::name).collect();
    assert_eq!(order, ["dpo", "ppo", "2nd_try", "SimPO", "hinge"]);
    for bad in ["", "my loss", "-x", "_x", "a/b", "härte", "a.b"] {
        let message = Method::named(bad).unwrap_err().to_string();
        assert!(message.starts_with(&format!("method `{bad}`: a name of letters")), "{message}");
    }
    let json = serde_json::to_string(&hinge).unwrap();
    assert_eq!((json.as_str(), serde_json::from_str::<Method>(&json).unwrap()), ("\"hinge\"", hinge));
    assert!(serde_json::from_str::<Method>("\"../x\"").is_err());
}

/// A sweep whose DPO runs are of the method `hinge`, with records of prompts and metrics; DPO's own beside
/// it.
fn runs_with_hinge() -> Vec<Run> {
    let mut rows = synthetic::sweep(2, 3);
    let mut of_hinge: Vec<_> = rows.iter().filter(|row| row.eval.method == Method::DPO).cloned().collect();
    for row in &mut of_hinge {
        row.run = row.run.replace("dpo", "hinge");
        row.eval.method = Method::named("hinge").unwrap();
    }
    rows.extend(of_hinge);
    let mut runs = Run::of_rows(rows);
    for run in runs.iter_mut().filter(|run| run.evals[0].knob == "beta") {
        let columns =
            ["step", "seconds", "num_tokens", "rewards/chosen", "rewards/margins"].map(str::to_owned);
        run.metrics = Metrics { columns: columns.into(), rows: vec![vec![1.0; 5], vec![150.0; 5]] };
        for eval in &mut run.evals {
            let prompt = PromptScore { score: eval.score, sequence_kl: eval.sequence_kl };
            run.prompts.insert(eval.step, vec![prompt; 32]);
        }
    }
    runs
}

#[test]
fn a_new_method_has_its_name_in_figures_and_tables() {
    let (runs, samples) = (runs_with_hinge(), synthetic::samples(32, 32));
    let analysis = Analysis::new(&runs, &samples, 8.0, Bootstrap { resamples: 50, seed: 0 }).unwrap();
    let (summary, curves) = summarise(&analysis, &MethodCosts::new(), &[]);
    let tables = markdown_table(&summary);
    // Rewards by envelope, areas, shares, KLs, costs: as many rows as DPO has, which is also
    // among the methods by loss.
    let rows = |name: &str| tables.matches(&format!("\n| {name} |")).count();
    assert!(rows("hinge") >= 4 && rows("hinge") + 1 == rows("DPO"), "{tables}");
    assert!(tables.contains("| hinge - DPO | 1 |"), "{tables}");
    let (all, start) = (Run::rows(&runs), analysis.reference().mean);
    let figures = [
        frontier_figure(&FrontierFigure {
            rows: &all,
            curves: &curves,
            reference: analysis.reference(),
            optimum: &optimum_curve(&samples, 8.0),
            best_of_n: analysis.best_of_n(),
            hard_labels: analysis.hard_labels(),
            failed_runs: 0,
            subtitle: "",
            paper: false,
        }),
        overoptimization_figure(&runs, start, &best_of_n_curve(&samples), ""),
        training_figure(&runs, Clock::Tokens, ""),
        drift_figure(&runs, ""),
        ahead_figure(&curves, ""),
        histogram_figure(&samples, &runs, ""),
    ];
    for (index, figure) in figures.into_iter().enumerate() {
        let svg = figure.unwrap();
        assert!(svg.contains("hinge"), "figure {index}");
        // Tol's green, which no known method has.
        assert!(svg.to_uppercase().contains("#117733"), "figure {index}");
    }
}
