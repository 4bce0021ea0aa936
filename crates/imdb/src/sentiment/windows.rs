//! Windows: runs of whole words of a text.

use std::ops::RangeInclusive;

use rand::{Rng, RngExt};

/// A text and where its words are.
pub(super) struct Windows<'a> {
    text: &'a str,
    /// Byte ranges of the words.
    words: Vec<(usize, usize)>,
}

impl<'a> Windows<'a> {
    pub(super) fn of(text: &'a str) -> Self {
        let start = |word: &str| word.as_ptr() as usize - text.as_ptr() as usize;
        let words = text.split_whitespace().map(|word| (start(word), start(word) + word.len())).collect();
        Self { text, words }
    }

    fn slice(&self, from: usize, count: usize) -> &'a str {
        match self.words.get(from..(from + count).min(self.words.len())) {
            Some([(start, _), .., (_, end)] | [(start, end)]) => &self.text[*start..*end],
            _ => "",
        }
    }

    /// The first `count` words.
    pub(super) fn opening(&self, count: usize) -> &'a str {
        self.slice(0, count)
    }

    /// A window anywhere in the text; the whole text if it is no longer than that.
    pub(super) fn draw(&self, lengths: RangeInclusive<usize>, generator: &mut impl Rng) -> &'a str {
        let count = generator.random_range(lengths);
        let last = self.words.len().saturating_sub(count);
        self.slice(generator.random_range(0..=last), count)
    }
}

#[cfg(test)]
mod tests {
    use lm::Stream;

    use super::*;

    #[test]
    fn windows_are_runs_of_whole_words() {
        let windows = Windows::of("one two  three — four.");
        assert_eq!(windows.opening(2), "one two");
        assert_eq!(windows.slice(3, 9), "— four.");
        assert_eq!(windows.slice(4, 1), "four.");
        assert_eq!(Windows::of("").draw(3..=5, &mut Stream::new(0, "windows").rng()), "");
        let mut generator = Stream::new(1, "windows").rng();
        let drawn: std::collections::BTreeSet<&str> =
            (0..200).map(|_| windows.draw(4..=4, &mut generator)).collect();
        assert_eq!(drawn.into_iter().collect::<Vec<_>>(), ["one two  three —", "two  three — four."]);
    }
}
