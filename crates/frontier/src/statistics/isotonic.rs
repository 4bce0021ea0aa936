//! Isotonic regression: the best fit that never falls.

/// The non-decreasing least-squares fit to weighted points.
///
/// ```text
/// minimise sum_i w_i (y_i - f(x_i))² over non-decreasing f
/// ```
///
/// Solved by pooling adjacent violators (Ayer et al. 1955; Barlow et al. 1972): O(n) after sorting.
#[derive(Clone, Debug, PartialEq)]
pub struct Isotonic {
    /// (x at which the block begins, fitted value), both increasing.
    blocks: Vec<(f64, f64)>,
}

struct Block {
    x: f64,
    sum: f64,
    weight: f64,
}

impl Block {
    fn mean(&self) -> f64 {
        self.sum / self.weight
    }

    fn pool(&mut self, next: &Self) {
        self.sum += next.sum;
        self.weight += next.weight;
    }
}

impl Isotonic {
    /// Fits `points` = (x, y, weight). Points that are not finite or whose weight is not above 0 are left
    /// out.
    pub fn fit(points: impl IntoIterator<Item = (f64, f64, f64)>) -> Self {
        let fit_for =
            |p: &(f64, f64, f64)| p.0.is_finite() && p.1.is_finite() && p.2.is_finite() && p.2 > 0.0;
        let mut points: Vec<(f64, f64, f64)> = points.into_iter().filter(fit_for).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        // Equal x share one value, so they pool first.
        let mut tied: Vec<Block> = Vec::new();
        for (x, y, weight) in points {
            let block = Block { x, sum: y * weight, weight };
            match tied.last_mut() {
                Some(last) if last.x.total_cmp(&x).is_eq() => last.pool(&block),
                _ => tied.push(block),
            }
        }
        let mut blocks: Vec<Block> = Vec::new();
        for mut block in tied {
            while let Some(mut last) = blocks.pop_if(|last| last.mean() >= block.mean()) {
                last.pool(&block);
                block = last;
            }
            blocks.push(block);
        }
        Self { blocks: blocks.iter().map(|block| (block.x, block.mean())).collect() }
    }

    /// The blocks: (first x, fitted value), from left to right.
    pub fn blocks(&self) -> &[(f64, f64)] {
        &self.blocks
    }

    /// The fitted value of the last block that begins at or below `x`; `None` left of the first point.
    pub fn at(&self, x: f64) -> Option<f64> {
        let after = self.blocks.partition_point(|block| block.0 <= x);
        after.checked_sub(1).map(|index| self.blocks[index].1)
    }
}
