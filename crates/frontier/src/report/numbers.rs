//! Numbers with their intervals, as tables and sentences write them.

use crate::statistics::costs::Threshold;
use crate::statistics::intervals::Estimate;

/// `1 nat`, `0.5 nats`.
pub fn nats(kl: f64) -> String {
    format!("{kl} nat{}", if kl.total_cmp(&1.0).is_eq() { "" } else { "s" })
}

/// `0.712 [0.690, 0.734]`
pub(crate) fn estimate(estimate: &Estimate) -> String {
    let (low, high) = estimate.interval;
    format!("{:.3} [{low:.3}, {high:.3}]", estimate.value)
}

/// `61% [57, 66]`: a share with its interval.
pub fn percent(share: &Estimate) -> String {
    let [value, low, high] = [share.value, share.interval.0, share.interval.1].map(|x| 100.0 * x);
    format!("{value:.0}% [{low:.0}, {high:.0}]")
}

/// `+6 [+1, +11]`: a difference of shares in points, with its interval.
pub(crate) fn points(difference: &Estimate) -> String {
    let (low, high) = difference.interval;
    let [value, low, high] = [difference.value, low, high].map(|x| (100.0 * x).round());
    // Adding 0 makes a negative zero positive.
    format!("{:+} [{:+}, {:+}]", value + 0.0, low + 0.0, high + 0.0)
}

/// `[-0.010, +0.034]`
pub(crate) fn signed((low, high): (f64, f64)) -> String {
    format!("[{low:+.3}, {high:+.3}]")
}

/// `1.20 [1.00, -]`: `-` where nothing that was measured gets there.
pub(crate) fn threshold(threshold: &Threshold, unit: f64, digits: usize) -> String {
    if threshold.low.is_none() {
        return dash();
    }
    let text = |x: Option<f64>| number(x.map(|x| x * unit), digits);
    format!("{} [{}, {}]", text(threshold.value), text(threshold.low), text(threshold.high))
}

pub(crate) fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(dash, |value| format!("{value:.digits$}"))
}

pub(crate) fn dash() -> String {
    "-".to_owned()
}

/// `a`, `a and b`, `a, b and c`, with a comma before the last *and* where the parts have
/// commas or *and* themselves.
pub(crate) fn listed(parts: &[String]) -> Option<String> {
    let (last, rest) = parts.split_last()?;
    let clauses = rest.len() > 1 && parts.iter().any(|part| part.contains(' '));
    Some(match rest {
        [] => last.clone(),
        _ => format!("{}{} and {last}", rest.join(", "), if clauses { "," } else { "" }),
    })
}
