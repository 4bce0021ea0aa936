//! How often intervals hold the truth.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use frontier::Estimate;

/// A statistic's intervals over the studies.
#[derive(Default)]
pub(crate) struct Count {
    pub(crate) truth: f64,
    pub(crate) studies: usize,
    pub(crate) covered: usize,
    pub(crate) below: usize,
    pub(crate) error: f64,
    pub(crate) width: f64,
}

/// Counts by the design of the study and the name of the statistic.
pub(crate) type Counts = BTreeMap<(usize, String), Count>;

impl Count {
    pub(crate) fn add(&mut self, truth: f64, estimate: &Estimate) {
        let (low, high) = estimate.interval;
        self.truth += truth;
        self.studies += 1;
        self.covered += usize::from(low <= truth && truth <= high);
        self.below += usize::from(high < truth);
        self.error += estimate.value - truth;
        self.width += high - low;
    }
}

/// A row for each statistic of each design.
pub(crate) fn csv(counts: &Counts, designs: &[&str]) -> String {
    let mut text = "design,statistic,truth,studies,coverage,misses_above,bias,mean_width\n".to_owned();
    for ((design, name), count) in counts {
        let n = count.studies as f64;
        let numbers = [
            count.truth / n,
            n,
            count.covered as f64 / n,
            count.below as f64 / n,
            count.error / n,
            count.width / n,
        ];
        let numbers = numbers.map(|number| format!("{number:.4}")).join(",");
        let _ = writeln!(text, "\"{}\",{name},{numbers}", designs[*design]);
    }
    text
}

/// A table for each design.
pub(crate) fn tables(counts: &Counts, designs: &[&str]) -> String {
    let mut text = String::new();
    for (index, design) in designs.iter().enumerate() {
        let _ = writeln!(
            text,
            "\n## {design}\n\n| Statistic | Truth | Bias | Mean width | Coverage | Truth above |\n|-|-:|-:|-:|-:|-:|"
        );
        for ((_, name), count) in counts.iter().filter(|((of, _), _)| *of == index) {
            let n = count.studies as f64;
            let _ = writeln!(
                text,
                "| {name} | {:.3} | {:+.4} | {:.3} | {:.1}% | {:.1}% |",
                count.truth / n,
                count.error / n,
                count.width / n,
                100.0 * count.covered as f64 / n,
                100.0 * count.below as f64 / n
            );
        }
    }
    text
}
