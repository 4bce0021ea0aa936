//! Which rows of a flat activation belong to which sequence.

use std::ops::Range;
use std::sync::Arc;

/// How the rows of an activation `[N, d]` form sequences, without padding.
///
/// Rows come in trees: first the rows of a prefix, then those of its branches, one after another. A sequence is the prefix
/// followed by one branch, so what several sequences begin with is there, and is computed, once. A tree without branches
/// is one sequence, and so is a tree without a prefix and with one branch.
#[derive(Clone, Debug)]
pub struct Trees {
    all: Arc<[Tree]>,
    rows: usize,
    /// The spans on the device that first asked for them: every layer of a batch does, forward and backward.
    #[cfg(feature = "cube")]
    uploaded: Arc<std::sync::OnceLock<burn_cubecl::tensor::CubeTensor>>,
}

impl PartialEq for Trees {
    fn eq(&self, other: &Self) -> bool {
        self.all == other.all
    }
}

impl Eq for Trees {}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tree {
    start: usize,
    prefix: usize,
    branches: Vec<usize>,
}

/// Rows that follow each other, and the rows that all of them look back on besides.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub(crate) prefix: Range<usize>,
    pub(crate) own: Range<usize>,
}

impl Trees {
    /// Trees one after another, each as the length of its prefix and those of its branches.
    pub fn new(trees: impl IntoIterator<Item = (usize, Vec<usize>)>) -> Self {
        let mut rows = 0;
        let all = trees
            .into_iter()
            .map(|(prefix, branches)| {
                let start = rows;
                rows += prefix + branches.iter().sum::<usize>();
                Tree { start, prefix, branches }
            })
            .collect();
        Self {
            all,
            rows,
            #[cfg(feature = "cube")]
            uploaded: Arc::default(),
        }
    }

    /// `batch` sequences of `time` rows.
    pub fn equal(batch: usize, time: usize) -> Self {
        Self::new((0..batch).map(|_| (time, Vec::new())))
    }

    /// Rows in all, N.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The place of every row in its sequence, counted from 0.
    pub fn places(&self) -> Vec<usize> {
        let depth = |segment: Segment| {
            let before = segment.prefix.len();
            (0..segment.own.len()).map(move |i| before + i)
        };
        self.all.iter().flat_map(Tree::segments).flat_map(depth).collect()
    }

    /// Four numbers per row: start and length of the prefix that it looks back on, start of its own segment, and the end
    /// of the rows that look back on it.
    #[cfg(feature = "cube")]
    pub(crate) fn spans(&self) -> Vec<u32> {
        let tree = |tree: &Tree| {
            let end = tree.start + tree.prefix + tree.branches.iter().sum::<usize>();
            let rows = move |segment: Segment| {
                let is_prefix =
                    segment.own.start < segment.prefix.end || segment.prefix.is_empty() && tree.prefix > 0;
                let last = if is_prefix { end } else { segment.own.end };
                let span = [segment.prefix.start, segment.prefix.len(), segment.own.start, last];
                segment.own.flat_map(move |_| span.map(|number| number as u32))
            };
            tree.segments().flat_map(rows).collect::<Vec<u32>>()
        };
        self.all.iter().flat_map(tree).collect()
    }

    /// The spans on a device, uploaded by `upload` if they are on none yet.
    #[cfg(feature = "cube")]
    pub(crate) fn on_device(
        &self,
        upload: impl FnOnce() -> burn_cubecl::tensor::CubeTensor,
    ) -> burn_cubecl::tensor::CubeTensor {
        self.uploaded.get_or_init(upload).clone()
    }

    pub(crate) fn all(&self) -> &[Tree] {
        &self.all
    }

    /// The sequences as rows, prefix and branch together.
    pub(crate) fn sequences(&self) -> Vec<Vec<usize>> {
        let whole = |tree: &Tree| {
            let skip = usize::from(tree.prefix > 0 && tree.branches.iter().any(|&length| length > 0));
            tree.segments().skip(skip).map(|s| s.prefix.chain(s.own).collect()).collect::<Vec<_>>()
        };
        self.all.iter().flat_map(whole).collect()
    }
}

impl Tree {
    /// The prefix and then the branches, those that have rows.
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
    fn rows_of_trees() {
        // Rows 0 1 | 2 3 4 | 5 share the prefix 0 1; rows 6 7 are a sequence of their own; row 8 has no prefix.
        let trees = Trees::new([(2, vec![3, 1]), (2, vec![]), (0, vec![1])]);
        assert_eq!(trees.rows(), 9);
        assert_eq!(trees.places(), [0, 1, 2, 3, 4, 2, 0, 1, 0]);
        let sequences: [&[usize]; 4] = [&[0, 1, 2, 3, 4], &[0, 1, 5], &[6, 7], &[8]];
        assert_eq!(trees.sequences(), sequences);
        assert_eq!(Trees::equal(2, 3).places(), [0, 1, 2, 0, 1, 2]);
    }
}
