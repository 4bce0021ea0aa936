//! Z(x), exactly and from samples of the reference.

use lm::Stream;
use rand::RngExt;

use super::enumeration::{Optimum, mean_square_weight};
use super::rows::Section;
use super::settings::Settings;
use super::space::Space;

/// Z at one beta, and its estimates.
pub struct Partition {
    pub beta: f64,
    /// `log Z`.
    log_z: f64,
    /// `E[w^2]` of the weights `w = exp(r / beta) / Z`.
    mean_square: f64,
    /// By number of samples.
    pub sizes: Vec<Size>,
}

/// Many independent estimates of Z, each from `samples` samples.
pub struct Size {
    pub samples: usize,
    /// Root of the mean square of the relative error.
    pub error: f64,
    /// Median of the estimates, as a share of Z.
    median: f64,
    /// Mean over the estimates of the effective sample size `(sum w)^2 / sum w^2`.
    effective: f64,
}

impl Partition {
    /// The relative error to expect, `sqrt((E[w^2] - 1) / n)`.
    pub fn expected_error(&self, samples: f64) -> f64 {
        ((self.mean_square - 1.0) / samples).sqrt()
    }

    /// The samples that a relative error takes.
    pub fn samples_for(&self, error: f64) -> f64 {
        (self.mean_square - 1.0) / error.powi(2)
    }
}

/// Estimates Z from samples, `Z ≈ (1/n) sum_i exp(r(y_i) / beta)`, at every beta of the settings.
///
/// A repetition draws once and looks at its first 10, 100, ... samples, at all betas.
pub fn estimate(space: &Space, settings: &Settings) -> Vec<Partition> {
    let config = &settings.partition;
    let optima: Vec<Optimum> =
        config.betas.iter().map(|&beta| Optimum::new(&space.reference, &space.rewards, beta)).collect();
    // exp(r / beta) / Z = pi* / pi_ref
    let weights: Vec<Vec<f64>> = optima
        .iter()
        .map(|optimum| optimum.logprobs.iter().zip(&space.reference).map(|(p, q)| (p - q).exp()).collect())
        .collect();
    let stream = Stream::new(settings.seed, "partition");
    let repetitions: Vec<Vec<Vec<Sums>>> = (0..config.repetitions as u64)
        .map(|index| repetition(&space.reference, &weights, &config.samples, stream.child(index)))
        .collect();
    let partition = |(place, optimum): (usize, &Optimum)| Partition {
        beta: config.betas[place],
        log_z: optimum.log_z,
        mean_square: mean_square_weight(&space.reference, optimum),
        sizes: config
            .samples
            .iter()
            .enumerate()
            .map(|(size, &samples)| {
                let sums: Vec<Sums> = repetitions.iter().map(|sizes| sizes[size][place]).collect();
                Size::new(samples, &sums)
            })
            .collect(),
    };
    optima.iter().enumerate().map(partition).collect()
}

/// Sum and sum of squares of the weights of some samples.
#[derive(Clone, Copy, Default)]
struct Sums {
    weight: f64,
    square: f64,
}

/// Sums after each number of samples, at each beta.
fn repetition(reference: &[f64], weights: &[Vec<f64>], samples: &[usize], stream: Stream) -> Vec<Vec<Sums>> {
    let cumulative: Vec<f64> = reference
        .iter()
        .scan(0.0, |total, logp| {
            *total += logp.exp();
            Some(*total)
        })
        .collect();
    // Rounding may leave the total a little off 1.
    let total = cumulative.last().copied().unwrap_or(1.0);
    let mut rng = stream.rng();
    let mut sums = vec![Sums::default(); weights.len()];
    let mut drawn = 0;
    samples
        .iter()
        .map(|&until| {
            for _ in drawn..until {
                let uniform = total * rng.random::<f64>();
                let y = cumulative.partition_point(|edge| *edge <= uniform).min(reference.len() - 1);
                for (sums, weights) in sums.iter_mut().zip(weights) {
                    sums.weight += weights[y];
                    sums.square += weights[y] * weights[y];
                }
            }
            drawn = until;
            sums.clone()
        })
        .collect()
}

impl Size {
    fn new(samples: usize, sums: &[Sums]) -> Self {
        let count = sums.len() as f64;
        let mut shares: Vec<f64> = sums.iter().map(|sums| sums.weight / samples as f64).collect();
        let squares: f64 = shares.iter().map(|share| (share - 1.0).powi(2)).sum();
        let effective = sums.iter().map(|sums| sums.weight.powi(2) / sums.square).sum::<f64>() / count;
        shares.sort_unstable_by(f64::total_cmp);
        let middle = |index: usize| shares[index.min(shares.len() - 1)];
        let median = f64::midpoint(middle((shares.len() - 1) / 2), middle(shares.len() / 2));
        Self { samples, error: (squares / count).sqrt(), median, effective }
    }
}

/// What the estimates show.
pub fn section(space: &Space, partitions: &[Partition], repetitions: usize) -> Section {
    let needed: Vec<String> =
        partitions.iter().map(|p| format!("{} at β = {}", rounded(p.samples_for(0.01)), p.beta)).collect();
    let mut section = Section::new(
        "partition",
        "Z(x): why nobody computes it",
        format!(
            "Z(x) = E_π_ref[exp(r/β)] sums over everything that can be said. From n samples, its relative error is \
             √((E[w²] − 1) / n), w = exp(r/β) / Z, and n samples count as n / E[w²]: the smaller β, the more of Z is in \
             responses that the reference hardly ever writes, and before one of them is drawn the estimate is too low \
             and does not show it. The samples that an error of 1% takes, for one prompt: {}. The errors below are root mean \
             squares over {repetitions} repetitions, and scatter as such.",
            needed.join(", ")
        ),
    );
    for p in partitions {
        let (beta, exact) = (p.beta, p.log_z.exp());
        section.show(
            format!("Z at β = {beta}, token by token, against the list"),
            space.backward_partition(beta),
            exact,
        );
        for size in &p.sizes {
            let n = size.samples;
            let expected = p.expected_error(n as f64);
            section.show(format!("β = {beta}, {n} samples: relative error"), size.error, expected);
            section.keep(format!("β = {beta}, {n} samples: median estimate / Z"), size.median, 1.0);
            let effective = n as f64 / p.mean_square;
            section.keep(
                format!("β = {beta}, {n} samples: effective sample size"),
                size.effective,
                effective,
            );
        }
        if let (Some(first), Some(last)) = (p.sizes.first(), p.sizes.last()) {
            section.show(
                format!("β = {beta}, {} samples: median estimate / Z", first.samples),
                first.median,
                1.0,
            );
            let (n, effective) = (last.samples, last.samples as f64 / p.mean_square);
            section.show(
                format!("β = {beta}, {n} samples: effective sample size"),
                last.effective,
                effective,
            );
        }
    }
    section
}

/// A count to two digits, with thousands set apart.
pub fn rounded(value: f64) -> String {
    let unit = 10_f64.powf((value.max(1.0).log10().floor() - 1.0).max(0.0));
    let digits = format!("{:.0}", (value / unit).round() * unit);
    let first = (digits.len() - 1) % 3 + 1;
    let mut text = digits[..first].to_owned();
    for start in (first..digits.len()).step_by(3) {
        text += ",";
        text += &digits[start..start + 3];
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn estimates_by_hand() {
        // Two estimates from 4 samples each: weights 1, 1, 1, 1 and 0.5, 0.5, 0.5, 0.5 + 2.
        let sums = [Sums { weight: 4.0, square: 4.0 }, Sums { weight: 4.0, square: 3.0 * 0.25 + 2.5 * 2.5 }];
        let size = Size::new(4, &sums);
        assert_eq!((size.error, size.median), (0.0, 1.0));
        // 16 / 4 and 16 / 7.
        assert!((size.effective - f64::midpoint(4.0, 16.0 / 7.0)).abs() < 1e-12);
        // Shares of 1.5 and 0.5: an error of one half, whose mean square is a quarter.
        let sums = [Sums { weight: 3.0, square: 5.0 }, Sums { weight: 1.0, square: 1.0 }];
        let size = Size::new(2, &sums);
        assert_eq!((size.error, size.median), (0.5, 1.0));
    }

    #[test]
    fn repeated_estimates_have_the_error_to_expect() {
        // The reference says the second of two responses one time in four, with weights (1/3, 3): E[w^2] =
        // 7/3.
        let reference = [0.75_f64.ln(), 0.25_f64.ln()];
        let weights = [vec![1.0 / 3.0, 3.0]];
        let root = Stream::new(1, "test");
        let sums: Vec<Sums> = (0..2000)
            .map(|index| repetition(&reference, &weights, &[10, 50], root.child(index))[1][0])
            .collect();
        let size = Size::new(50, &sums);
        // The standard error of a root mean square of 2000 values is 1 / sqrt(4000) of it; four of them are
        // 0.063.
        let expected = (4.0_f64 / 3.0 / 50.0).sqrt();
        assert!((size.error / expected - 1.0).abs() < 0.063, "{} is not {expected}", size.error);
        assert!((size.median - 1.0).abs() < 0.05 && (size.effective / (50.0 * 3.0 / 7.0) - 1.0).abs() < 0.1);
    }

    #[test]
    fn counts_to_two_digits() {
        assert_eq!(
            [0.4, 7.0, 73.0, 1849.0, 99_500.0, 3_412_345.0].map(rounded),
            ["0", "7", "73", "1,800", "100,000", "3,400,000"]
        );
    }
}
