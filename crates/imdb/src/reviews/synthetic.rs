//! Reviews that a small grammar writes, with sentiment that is known exactly.

use std::collections::HashSet;

use lm::Stream;
use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};

use crate::reviews::grammar::{
    ADJECTIVES, ADVERBS, ASPECTS, FEELINGS, FILMS, JOINS, PEOPLE, PLACES, VERBS, valence,
};
use crate::reviews::review::{Counts, Origin, Review, Reviews, Route, SplitCounts};

/// Sum of valences that a labelled review has at least, in absolute value.
pub const LEAST_VALENCE: f64 = 1.0;
/// Chance that an opinion is on the side of the review's label.
const ONE_SIDED: f64 = 0.7;
/// Number of the random stream that writes reviews.
const GRAMMAR: u64 = 7;

/// Writes `n` train reviews, a quarter as many test and half as many unsup reviews (at least two each).
///
/// In train and test exactly every second review is positive, which here means that its valences sum to
/// [`LEAST_VALENCE`] or more, and negative ones to its negative or less. No text occurs twice.
pub fn synthetic(seed: u64, n: usize) -> Reviews {
    let mut grammar = Grammar { generator: Stream::numbered(seed, GRAMMAR).rng(), seen: HashSet::new() };
    let mut split = |name: &str, count: usize, labelled: bool| {
        let mut reviews: Vec<Review> = (0..count.max(2))
            .map(|number| {
                let positive = number % 2 == 0;
                let label = if !labelled {
                    "unsup"
                } else if positive {
                    "pos"
                } else {
                    "neg"
                };
                let text = grammar.review(positive);
                Review {
                    id: format!("{name}/{label}/{number}"),
                    text,
                    positive: labelled.then_some(positive),
                }
            })
            .collect();
        reviews.sort_by(|a, b| a.id.cmp(&b.id));
        reviews
    };
    let (train, test, unsup) =
        (split("train", n, true), split("test", n / 4, true), split("train", n / 2, false));
    let read = SplitCounts { train: train.len(), test: test.len(), unsup: unsup.len() };
    let origin = Origin {
        route: Route::Synthetic,
        location: String::new(),
        file_sha256: None,
        content_sha256: String::new(),
    };
    Reviews::assemble(origin, train, test, unsup, Counts { read, ..Counts::default() })
}

/// The grammar with its random numbers and the texts it has written.
struct Grammar<R> {
    generator: R,
    seen: HashSet<String>,
}

impl<R: Rng> Grammar<R> {
    /// A review on the given side, unlike all before. Reviews whose valences came out on the wrong side or
    /// too near to zero are written anew.
    fn review(&mut self, positive: bool) -> String {
        loop {
            let sentences = self.generator.random_range(3..=8);
            let text = (0..sentences).map(|_| self.sentence(positive)).collect::<Vec<_>>().join(" ");
            let sum = if positive { valence(&text) } else { -valence(&text) };
            if sum >= LEAST_VALENCE && self.seen.insert(text.clone()) {
                return text;
            }
        }
    }

    fn sentence(&mut self, positive: bool) -> String {
        let film = self.pick(FILMS);
        match self.generator.random_range(0..10) {
            0 => format!("i saw this {film} {} .", self.pick(PLACES)),
            1 => format!("i {} this {film} .", self.opinion(FEELINGS, positive)),
            2 => format!(
                "{} {} the {} .",
                self.pick(PEOPLE),
                self.opinion(FEELINGS, positive),
                self.pick(ASPECTS)
            ),
            3 => format!(
                "the {} {} {} .",
                self.pick(ASPECTS),
                self.pick(ADVERBS),
                self.opinion(VERBS, positive)
            ),
            4 => format!("this is a {} {film} .", self.opinion(ADJECTIVES, positive)),
            5 => format!("what a {} {} !", self.opinion(ADJECTIVES, positive), self.pick(ASPECTS)),
            6 => format!(
                "the {} and the {} are {} .",
                self.pick(ASPECTS),
                self.pick(ASPECTS),
                self.opinion(ADJECTIVES, positive)
            ),
            7 => format!(
                "the {} was {} {} the {} {} .",
                self.pick(ASPECTS),
                self.opinion(ADJECTIVES, positive),
                self.pick(JOINS),
                self.pick(ASPECTS),
                self.opinion(VERBS, positive)
            ),
            8 => format!(
                "the {} is {} {} .",
                self.pick(ASPECTS),
                self.pick(ADVERBS),
                self.opinion(ADJECTIVES, positive)
            ),
            _ => format!("{} saw the {film} {} .", self.pick(PEOPLE), self.pick(PLACES)),
        }
    }

    fn pick(&mut self, words: &[&'static str]) -> &'static str {
        words.choose(&mut self.generator).copied().unwrap_or_default()
    }

    /// An opinion word, on the review's side with chance [`ONE_SIDED`].
    fn opinion(&mut self, words: &[(&'static str, f64)], positive: bool) -> &'static str {
        let agrees = self.generator.random_bool(ONE_SIDED);
        loop {
            let word = words.choose(&mut self.generator).copied();
            match word {
                Some((word, valence)) if (valence > 0.0) == (positive == agrees) => return word,
                Some(_) => {}
                None => return "",
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reviews::grammar::exact_sentiment;

    #[test]
    fn labels_agree_with_the_exact_sentiment_and_are_balanced() {
        let reviews = synthetic(1, 400);
        assert_eq!((reviews.train.len(), reviews.test.len(), reviews.unsup.len()), (400, 100, 200));
        for review in reviews.train.iter().chain(&reviews.test) {
            assert_eq!(exact_sentiment(&review.text) > 0.5, review.positive.unwrap(), "{}", review.text);
        }
        assert_eq!(reviews.counts.positive, SplitCounts { train: 200, test: 50, unsup: 0 });
        let texts: HashSet<&str> = [&reviews.train, &reviews.test, &reviews.unsup]
            .into_iter()
            .flatten()
            .map(|review| review.text.as_str())
            .collect();
        assert_eq!(texts.len(), 700, "a text occurs twice");
        assert_eq!(synthetic(1, 400), reviews);
        assert_ne!(synthetic(2, 400).origin.content_sha256, reviews.origin.content_sha256);
    }
}
