//! The angles of rotary position embedding (Su et al. 2021).

use std::sync::{Arc, OnceLock};

use burn::tensor::{Device, Tensor, TensorData};

/// By how much the queries and keys of every row are rotated: pair i of a head, of as many elements as are
/// rotated, by the angle `position theta^(-2 i / rotated)`.
///
/// Angles are rounded to f32 as they are there, so that long sequences agree.
#[derive(Clone, Debug)]
pub struct Rotation {
    table: Arc<Table>,
    pairs: Pairs,
    /// The place in the table of every row's angles.
    rows: Arc<[usize]>,
    /// Cosines and sines of every row `[N, rotated / 2]` on the first device that asked for them.
    uploaded: Arc<OnceLock<[Tensor<2>; 2]>>,
}

/// Which elements of a head are rotated against each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pairs {
    /// Elements i and `head_dim / 2 + i`: the whole head.
    Halves,
    /// Elements 2i and 2i + 1 at the beginning of a head of so many elements; those after them stay.
    Neighbours {
        /// Width of the head.
        head_dim: usize,
    },
}

/// Cosines and sines of consecutive positions, `half` of each per position.
#[derive(Debug)]
struct Table {
    half: usize,
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl Rotation {
    /// The rotation of rows at these positions, of all elements of a head: pairs are its elements i and
    /// `head_dim / 2 + i`, as Hugging Face's Llama has them.
    ///
    /// # Panics
    /// If `head_dim` is not even.
    pub fn new(positions: &[usize], head_dim: usize, theta: f64) -> Self {
        assert!(head_dim.is_multiple_of(2), "rotation: a head of {head_dim} columns has no halves");
        Self::of_pairs(positions, head_dim, theta, Pairs::Halves)
    }

    /// The rotation of the first `rotated` elements of a head: pairs are its elements 2i and 2i + 1, as GPT-J
    /// has them.
    ///
    /// # Panics
    /// If `rotated` is not even or more than `head_dim`.
    pub fn of_neighbours(positions: &[usize], head_dim: usize, rotated: usize, theta: f64) -> Self {
        assert!(
            rotated.is_multiple_of(2) && rotated <= head_dim,
            "rotation: {rotated} of {head_dim} columns are not pairs of a head"
        );
        Self::of_pairs(positions, rotated, theta, Pairs::Neighbours { head_dim })
    }

    fn of_pairs(positions: &[usize], rotated: usize, theta: f64, pairs: Pairs) -> Self {
        let half = rotated / 2;
        let first = positions.iter().copied().min().unwrap_or(0);
        let last = positions.iter().copied().max().unwrap_or(0);
        let inverse: Vec<f32> =
            (0..half).map(|i| theta.powf(2.0 * i as f64 / rotated as f64) as f32).map(f32::recip).collect();
        let angles = || (first..=last).flat_map(|p| inverse.iter().map(move |f| p as f32 * f));
        let table =
            Table { half, cos: angles().map(f32::cos).collect(), sin: angles().map(f32::sin).collect() };
        Self {
            table: Arc::new(table),
            pairs,
            rows: positions.iter().map(|position| position - first).collect(),
            uploaded: Arc::default(),
        }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    /// Width of the heads that it rotates.
    pub(crate) fn head_dim(&self) -> usize {
        match self.pairs {
            Pairs::Halves => 2 * self.table.half,
            Pairs::Neighbours { head_dim } => head_dim,
        }
    }

    /// Which elements are rotated against each other.
    pub(crate) fn pairs(&self) -> Pairs {
        self.pairs
    }

    /// Cosines and sines of a row.
    pub(crate) fn row(&self, row: usize) -> (&[f32], &[f32]) {
        let Table { half, cos, sin } = &*self.table;
        let range = self.rows[row] * half..(self.rows[row] + 1) * half;
        (&cos[range.clone()], &sin[range])
    }

    /// Cosines and sines of every row, `[N, rotated / 2]`.
    pub(crate) fn tensors(&self, device: &Device) -> [Tensor<2>; 2] {
        let upload = || {
            let shape = [self.rows(), self.table.half];
            let rows = || (0..self.rows()).map(|row| self.row(row));
            let cos: Vec<f32> = rows().flat_map(|(cos, _)| cos).copied().collect();
            let sin: Vec<f32> = rows().flat_map(|(_, sin)| sin).copied().collect();
            [cos, sin].map(|values| Tensor::from_data(TensorData::new(values, shape), device))
        };
        self.uploaded.get_or_init(upload).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn angles_are_those_of_the_formula() {
        // A head of 4 columns: frequencies 1 and 100^(-1/2) = 0.1.
        let rotation = Rotation::new(&[3, 5, 3], 4, 100.0);
        for (row, position) in [(0, 3.0_f32), (1, 5.0), (2, 3.0)] {
            let (cos, sin) = rotation.row(row);
            for (i, frequency) in [1.0, 0.1].into_iter().enumerate() {
                assert!((cos[i] - (position * frequency).cos()).abs() < 1e-6);
                assert!((sin[i] - (position * frequency).sin()).abs() < 1e-6);
            }
        }
        // Only the positions between the first and the last take memory.
        assert_eq!(rotation.table.cos.len(), 3 * 2);
        assert_eq!((rotation.rows(), rotation.head_dim()), (3, 4));
    }
}
