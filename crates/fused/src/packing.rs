//! Which rows of a flat activation belong to which sequence.

use std::ops::Range;
use std::sync::Arc;

/// How the rows of an activation `[N, d]` form sequences, without padding.
///
/// The rows form prefix trees of two levels: first the rows of a prefix, then those of its branches, one
/// branch after another. A sequence is the prefix followed by one branch, so a prefix that several sequences
/// share is stored and computed once. A tree without branches is one sequence, and so is a branch without a
/// prefix.
#[derive(Clone, Debug)]
pub struct Packing {
    trees: Arc<[PrefixTree]>,
    rows: usize,
    #[cfg(feature = "cube")]
    direction: Direction,
    /// The spans of either direction on the first device that asked for them: every layer of a batch
    /// asks, forward and backward.
    #[cfg(feature = "cube")]
    uploaded: Arc<[std::sync::OnceLock<burn_cubecl::tensor::CubeTensor>; 2]>,
}

/// What a row attends to, for the kernels of GPUs.
#[cfg(feature = "cube")]
#[derive(Clone, Copy, Debug)]
enum Direction {
    /// What is before it in its sequence, and itself.
    Causal,
    /// Its whole sequence, of those that share no prefix.
    Both,
}

impl PartialEq for Packing {
    fn eq(&self, other: &Self) -> bool {
        self.trees == other.trees
    }
}

impl Eq for Packing {}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PrefixTree {
    start: usize,
    prefix: usize,
    branches: Vec<usize>,
}

/// Consecutive rows, and the prefix that all of them attend to as well.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub(crate) prefix: Range<usize>,
    pub(crate) own: Range<usize>,
}

impl Packing {
    /// Packs prefix trees one after another, each given by the length of its prefix and the lengths of its
    /// branches.
    pub fn new(trees: impl IntoIterator<Item = (usize, Vec<usize>)>) -> Self {
        let mut rows = 0;
        let trees = trees
            .into_iter()
            .map(|(prefix, branches)| {
                let start = rows;
                rows += prefix + branches.iter().sum::<usize>();
                PrefixTree { start, prefix, branches }
            })
            .collect();
        Self {
            trees,
            rows,
            #[cfg(feature = "cube")]
            direction: Direction::Causal,
            #[cfg(feature = "cube")]
            uploaded: Arc::default(),
        }
    }

    /// `batch` sequences of `time` rows each.
    pub fn equal(batch: usize, time: usize) -> Self {
        Self::new((0..batch).map(|_| (time, Vec::new())))
    }

    /// Rows in all, N.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The position of every row in its sequence, counted from 0.
    pub fn positions(&self) -> Vec<usize> {
        let depth = |segment: Segment| {
            let before = segment.prefix.len();
            (0..segment.own.len()).map(move |i| before + i)
        };
        self.trees.iter().flat_map(PrefixTree::segments).flat_map(depth).collect()
    }

    /// The same rows in sequences whose rows attend to all of their sequence.
    #[cfg(feature = "cube")]
    pub(crate) fn in_both_directions(&self) -> Self {
        Self { direction: Direction::Both, ..self.clone() }
    }

    /// Five numbers per row: start and length of the prefix that it attends to, start of its own segment, and
    /// start and end of the rows that attend to it.
    #[cfg(feature = "cube")]
    pub(crate) fn spans(&self) -> Vec<u32> {
        match self.direction {
            Direction::Causal => self.causal_spans(),
            Direction::Both => {
                let row = |row: usize, Range { start, end }: Range<usize>| {
                    [row + 1, end - row - 1, start, start, end].map(|number| number as u32)
                };
                let of = |all: Range<usize>| all.clone().flat_map(move |i| row(i, all.clone()));
                self.separate().into_iter().flat_map(of).collect()
            }
        }
    }

    #[cfg(feature = "cube")]
    fn causal_spans(&self) -> Vec<u32> {
        let tree = |tree: &PrefixTree| {
            let end = tree.start + tree.prefix + tree.branches.iter().sum::<usize>();
            let rows = move |segment: Segment| {
                let is_prefix =
                    segment.own.start < segment.prefix.end || segment.prefix.is_empty() && tree.prefix > 0;
                let last = if is_prefix { end } else { segment.own.end };
                let Segment { prefix, own } = segment;
                let [start, count] = [prefix.start, prefix.len()];
                own.clone().flat_map(move |i| [start, count, own.start, i, last].map(|number| number as u32))
            };
            tree.segments().flat_map(rows).collect::<Vec<u32>>()
        };
        self.trees.iter().flat_map(tree).collect()
    }

    /// The spans on a device, uploaded by `upload` if they are on none yet.
    #[cfg(feature = "cube")]
    pub(crate) fn on_device(
        &self,
        upload: impl FnOnce() -> burn_cubecl::tensor::CubeTensor,
    ) -> burn_cubecl::tensor::CubeTensor {
        self.uploaded[self.direction as usize].get_or_init(upload).clone()
    }

    pub(crate) fn trees(&self) -> &[PrefixTree] {
        &self.trees
    }

    /// The rows of every sequence, where no two of them share a prefix.
    ///
    /// # Panics
    /// If two do.
    pub(crate) fn separate(&self) -> Vec<Range<usize>> {
        let mut sequences: Vec<Range<usize>> = Vec::new();
        for Segment { prefix, own } in self.trees.iter().flat_map(PrefixTree::segments) {
            match sequences.last_mut() {
                // A branch goes on where its prefix ended, unless another one did.
                Some(last) if !prefix.is_empty() => {
                    assert!(*last == prefix, "several sequences share a prefix");
                    last.end = own.end;
                }
                _ => sequences.push(own),
            }
        }
        sequences
    }

    /// The rows of every sequence, prefix and branch together.
    pub(crate) fn sequences(&self) -> Vec<Vec<usize>> {
        let whole = |tree: &PrefixTree| {
            let skip = usize::from(tree.prefix > 0 && tree.branches.iter().any(|&length| length > 0));
            tree.segments().skip(skip).map(|s| s.prefix.chain(s.own).collect()).collect::<Vec<_>>()
        };
        self.trees.iter().flat_map(whole).collect()
    }
}

impl PrefixTree {
    /// The prefix, then the branches; empty ones are left out.
    pub(crate) fn segments(&self) -> impl Iterator<Item = Segment> {
        let prefix = self.start..self.start + self.prefix;
        let first = Segment { prefix: self.start..self.start, own: prefix.clone() };
        let mut end = prefix.end;
        let branches = self.branches.iter().filter(|&&length| length > 0).map(move |length| {
            end += length;
            Segment { prefix: prefix.clone(), own: end - length..end }
        });
        (self.prefix > 0).then_some(first).into_iter().chain(branches)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_prefix_trees() {
        // Rows 0 1 | 2 3 4 | 5 share the prefix 0 1; rows 6 7 are a sequence of their own; row 8 has no
        // prefix.
        let packing = Packing::new([(2, vec![3, 1]), (2, vec![]), (0, vec![1])]);
        assert_eq!(packing.rows(), 9);
        assert_eq!(packing.positions(), [0, 1, 2, 3, 4, 2, 0, 1, 0]);
        let sequences: [&[usize]; 4] = [&[0, 1, 2, 3, 4], &[0, 1, 5], &[6, 7], &[8]];
        assert_eq!(packing.sequences(), sequences);
        assert_eq!(Packing::equal(2, 3).positions(), [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn rows_of_separate_sequences() {
        let packing = Packing::new([(2, vec![0, 3]), (2, vec![]), (0, vec![1, 2]), (0, vec![])]);
        assert_eq!(packing.separate(), [0..5, 5..7, 7..8, 8..10]);
    }

    #[test]
    #[should_panic(expected = "several sequences share a prefix")]
    fn sequences_that_share_a_prefix_are_not_separate() {
        let _ = Packing::new([(2, vec![1, 3])]).separate();
    }
}
