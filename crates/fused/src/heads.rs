//! How many heads an attention has.

use std::ops::Range;

/// Heads of an attention: of queries, and of keys and values. In grouped-query attention (Ainslie et
/// al. 2023) several query heads read the same head of keys and values, neighbours together: query head h
/// reads `h / (queries / keys)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// Heads of queries, a multiple of `keys`.
    pub queries: usize,
    /// Heads of keys, and as many of values.
    pub keys: usize,
}

/// As many heads of keys and values as of queries.
impl From<usize> for Heads {
    fn from(heads: usize) -> Self {
        Self { queries: heads, keys: heads }
    }
}

impl Heads {
    /// Columns of packed `q|k|v` in units of a head's width.
    pub fn packed(self) -> usize {
        self.queries + 2 * self.keys
    }

    /// The head of keys and values that a query head reads.
    pub(crate) fn key_of(self, query: usize) -> usize {
        query / (self.queries / self.keys)
    }

    /// The query heads that read a head of keys and values.
    pub(crate) fn queries_of(self, key: usize) -> Range<usize> {
        let group = self.queries / self.keys;
        key * group..(key + 1) * group
    }
}
