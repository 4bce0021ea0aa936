//! L2-regularised logistic regression on sparse rows, the one learner of this crate.
//!
//! ```text
//! J(w, b) = mean_i [ln(1 + exp(z_i)) - y_i z_i] + l2/2 |w|^2,  z_i = x_i·w + b,  y_i in {0, 1}
//! ```
//!
//! It is minimised by `AdaGrad` (Duchi, Hazan and Singer 2011) on shuffled minibatches. The bias is not
//! regularised.

use rand::Rng;
use rand::seq::SliceRandom;

/// Sparse rows, one after the other.
#[derive(Debug, Clone)]
pub(super) struct SparseRows {
    starts: Vec<usize>,
    columns: Vec<u32>,
    values: Vec<f32>,
}

impl SparseRows {
    pub(super) fn new() -> Self {
        Self { starts: vec![0], columns: Vec::new(), values: Vec::new() }
    }

    /// Adds a row of (column, value) pairs.
    pub(super) fn push(&mut self, row: impl IntoIterator<Item = (u32, f32)>) {
        for (column, value) in row {
            self.columns.push(column);
            self.values.push(value);
        }
        self.starts.push(self.columns.len());
    }

    pub(super) fn len(&self) -> usize {
        self.starts.len() - 1
    }

    fn row(&self, index: usize) -> impl Iterator<Item = (usize, f64)> {
        let range = self.starts[index]..self.starts[index + 1];
        self.columns[range.clone()]
            .iter()
            .zip(&self.values[range])
            .map(|(&column, &value)| (column as usize, value as f64))
    }
}

/// A linear function z = x·w + b.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Linear {
    pub(super) weights: Vec<f64>,
    pub(super) bias: f64,
}

/// How [`Linear::fit`] goes about it.
#[derive(Debug, Clone, Copy)]
pub(super) struct FitConfig {
    pub(super) epochs: usize,
    pub(super) batch_size: usize,
    pub(super) learning_rate: f64,
    pub(super) l2: f64,
}

/// sigma(z) = 1 / (1 + exp(-z)), without overflow for any z.
pub(super) fn sigmoid(z: f64) -> f64 {
    if z >= 0.0 { 1.0 / (1.0 + (-z).exp()) } else { z.exp() / (1.0 + z.exp()) }
}

impl Linear {
    fn logit(&self, rows: &SparseRows, index: usize) -> f64 {
        rows.row(index).map(|(column, value)| self.weights[column] * value).sum::<f64>() + self.bias
    }

    /// Writes the gradient of J over the rows named by `batch` to `gradient` and returns that of the bias:
    /// `dJ/dw = mean_i (sigma(z_i) - y_i) x_i + l2 w`, `dJ/db = mean_i (sigma(z_i) - y_i)`.
    fn gradient(
        &self,
        rows: &SparseRows,
        labels: &[bool],
        batch: &[usize],
        l2: f64,
        gradient: &mut [f64],
    ) -> f64 {
        for (slope, weight) in gradient.iter_mut().zip(&self.weights) {
            *slope = l2 * weight;
        }
        let mut bias = 0.0;
        for &index in batch {
            let target = f64::from(u8::from(labels[index]));
            let error = (sigmoid(self.logit(rows, index)) - target) / batch.len() as f64;
            for (column, value) in rows.row(index) {
                gradient[column] += error * value;
            }
            bias += error;
        }
        bias
    }

    /// Minimises J from here on: each epoch visits every row once in an order drawn from `generator`.
    pub(super) fn fit(
        mut self,
        rows: &SparseRows,
        labels: &[bool],
        config: FitConfig,
        generator: &mut impl Rng,
    ) -> Self {
        let mut order: Vec<usize> = (0..rows.len()).collect();
        let mut gradient = vec![0.0; self.weights.len()];
        let mut squares = vec![0.0; self.weights.len()];
        let mut bias_square = 0.0;
        for _ in 0..config.epochs {
            order.shuffle(generator);
            for batch in order.chunks(config.batch_size.max(1)) {
                let bias_slope = self.gradient(rows, labels, batch, config.l2, &mut gradient);
                for ((weight, slope), square) in self.weights.iter_mut().zip(&gradient).zip(&mut squares) {
                    adagrad(weight, *slope, square, config.learning_rate);
                }
                adagrad(&mut self.bias, bias_slope, &mut bias_square, config.learning_rate);
            }
        }
        self
    }
}

/// One `AdaGrad` step; the constant keeps a coordinate that has had no gradient yet from dividing by zero.
fn adagrad(weight: &mut f64, slope: f64, square: &mut f64, learning_rate: f64) {
    *square += slope * slope;
    *weight -= learning_rate * slope / (square.sqrt() + 1e-10);
}

#[cfg(test)]
mod tests {
    use lm::Stream;

    use super::*;

    fn rows() -> (SparseRows, Vec<bool>) {
        let mut rows = SparseRows::new();
        rows.push([(0, 0.5), (2, -1.0)]);
        rows.push([(1, 2.0)]);
        rows.push([(0, 1.5), (1, 0.25), (2, 0.75)]);
        rows.push([]);
        (rows, vec![true, false, false, true])
    }

    /// J in its plain form, ln(1 + exp(z)) - y z.
    fn objective(linear: &Linear, rows: &SparseRows, labels: &[bool], l2: f64) -> f64 {
        let loss: f64 = (0..rows.len())
            .map(|index| {
                let z = linear.logit(rows, index);
                z.exp().ln_1p() - if labels[index] { z } else { 0.0 }
            })
            .sum();
        let square: f64 = linear.weights.iter().map(|weight| weight * weight).sum();
        loss / rows.len() as f64 + 0.5 * l2 * square
    }

    #[test]
    fn the_gradient_matches_finite_differences() {
        let (rows, labels) = rows();
        let linear = Linear { weights: vec![0.3, -0.7, 1.1], bias: 0.2 };
        let (l2, h) = (0.05, 1e-5);
        let mut gradient = vec![f64::NAN; 3];
        let bias = linear.gradient(&rows, &labels, &[0, 1, 2, 3], l2, &mut gradient);
        let slope = |change: &dyn Fn(&mut Linear, f64)| {
            let at = |step| {
                let mut moved = linear.clone();
                change(&mut moved, step);
                objective(&moved, &rows, &labels, l2)
            };
            (at(h) - at(-h)) / (2.0 * h)
        };
        for (index, &found) in gradient.iter().enumerate() {
            let expected = slope(&|linear, step| linear.weights[index] += step);
            assert!((found - expected).abs() < 1e-8, "w{index}: {found} {expected}");
        }
        let expected = slope(&|linear, step| linear.bias += step);
        assert!((bias - expected).abs() < 1e-8, "b: {bias} {expected}");
    }

    #[test]
    fn fitting_reaches_the_point_where_the_gradient_vanishes() {
        let (rows, labels) = rows();
        let config = FitConfig { epochs: 4000, batch_size: 4, learning_rate: 0.3, l2: 0.1 };
        let start = Linear { weights: vec![0.0; 3], bias: 0.0 };
        let fitted = start.fit(&rows, &labels, config, &mut Stream::new(0, "order").rng());
        let mut gradient = vec![f64::NAN; 3];
        let bias = fitted.gradient(&rows, &labels, &[0, 1, 2, 3], config.l2, &mut gradient);
        gradient.push(bias);
        assert!(gradient.iter().all(|slope| slope.abs() < 1e-6), "{gradient:?}");
    }

    #[test]
    fn the_sigmoid_neither_overflows_nor_leaves_its_range() {
        assert!((sigmoid(2.0) - 0.880_797_077_977_882_4).abs() < 1e-15);
        assert!((sigmoid(-2.0) - 0.119_202_922_022_117_56).abs() < 1e-15);
        assert!(sigmoid(1e6).total_cmp(&1.0).is_eq() && sigmoid(-1e6).total_cmp(&0.0).is_eq());
    }
}
