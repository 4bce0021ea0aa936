//! A small grammar that writes movie reviews whose sentiment is known exactly.
//!
//! Every opinion word has a valence; the sentiment of any text is sigma(sum of its words' valences), so a
//! learned classifier, or a policy trained against one, can be held to the truth.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use rand::RngExt;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

use crate::dataset::{Counts, Origin, Review, Reviews, Route, SplitCounts};
use crate::split::{Purpose, stream};

/// Sum of valences that a labelled review has at least, in absolute value.
pub const LEAST_VALENCE: f64 = 1.0;
/// Chance that an opinion is on the side of the review's label.
const ONE_SIDED: f64 = 0.7;

const ASPECTS: &[&str] = &[
    "plot",
    "acting",
    "story",
    "script",
    "cast",
    "direction",
    "ending",
    "dialogue",
    "music",
    "pacing",
    "camera work",
    "opening",
    "score",
    "lead actor",
    "lead actress",
    "villain",
    "hero",
    "editing",
    "second half",
    "first half",
    "final scene",
    "romance",
    "humor",
    "action",
    "soundtrack",
    "premise",
    "chemistry",
    "lighting",
    "costume design",
    "set design",
    "narration",
    "supporting cast",
    "sound design",
    "twist",
    "screenplay",
    "characters",
];
const FILMS: &[&str] = &[
    "movie",
    "film",
    "picture",
    "comedy",
    "drama",
    "thriller",
    "western",
    "sequel",
    "remake",
    "documentary",
    "horror film",
    "war film",
    "musical",
    "cartoon",
    "mystery",
    "adventure",
    "feature",
    "series",
    "short film",
    "love story",
    "crime film",
    "road movie",
];
const PEOPLE: &[&str] = &[
    "my wife",
    "my husband",
    "my brother",
    "my sister",
    "a friend",
    "my daughter",
    "my son",
    "everyone i know",
    "the audience",
    "my neighbor",
    "my whole family",
    "the critic next to me",
];
const PLACES: &[&str] = &[
    "at the cinema",
    "on television",
    "last night",
    "on a long flight",
    "at a festival",
    "years ago",
    "last week",
    "with friends",
    "on a rainy day",
    "at home",
    "on video",
    "twice",
];
const ADVERBS: &[&str] =
    &["really", "simply", "often", "mostly", "at times", "surely", "rather", "clearly", "still"];
const JOINS: &[&str] = &["and", "but", "while", "though", "yet"];

const ADJECTIVES: &[(&str, f64)] = &[
    ("good", 0.5),
    ("nice", 0.5),
    ("decent", 0.5),
    ("solid", 0.5),
    ("pleasant", 0.5),
    ("fresh", 0.5),
    ("clever", 0.5),
    ("warm", 0.5),
    ("sharp", 0.5),
    ("lively", 0.5),
    ("great", 1.0),
    ("funny", 1.0),
    ("touching", 1.0),
    ("moving", 1.0),
    ("smart", 1.0),
    ("charming", 1.0),
    ("gripping", 1.0),
    ("delightful", 1.0),
    ("graceful", 1.0),
    ("honest", 1.0),
    ("superb", 1.5),
    ("brilliant", 1.5),
    ("wonderful", 1.5),
    ("excellent", 1.5),
    ("amazing", 1.5),
    ("perfect", 1.5),
    ("stunning", 1.5),
    ("unforgettable", 1.5),
    ("masterful", 1.5),
    ("flawless", 1.5),
    ("slow", -0.5),
    ("flat", -0.5),
    ("thin", -0.5),
    ("weak", -0.5),
    ("stale", -0.5),
    ("uneven", -0.5),
    ("loud", -0.5),
    ("cold", -0.5),
    ("silly", -0.5),
    ("clumsy", -0.5),
    ("dull", -1.0),
    ("boring", -1.0),
    ("bland", -1.0),
    ("lazy", -1.0),
    ("shallow", -1.0),
    ("tedious", -1.0),
    ("annoying", -1.0),
    ("lifeless", -1.0),
    ("messy", -1.0),
    ("fake", -1.0),
    ("terrible", -1.5),
    ("awful", -1.5),
    ("horrible", -1.5),
    ("dreadful", -1.5),
    ("pathetic", -1.5),
    ("worthless", -1.5),
    ("unwatchable", -1.5),
    ("painful", -1.5),
    ("abysmal", -1.5),
    ("atrocious", -1.5),
];
const VERBS: &[(&str, f64)] = &[
    ("works", 0.5),
    ("pleases", 0.5),
    ("charms", 1.0),
    ("shines", 1.0),
    ("delights", 1.0),
    ("soars", 1.0),
    ("dazzles", 1.5),
    ("triumphs", 1.5),
    ("enchants", 1.5),
    ("succeeds", 0.5),
    ("drags", -0.5),
    ("wanders", -0.5),
    ("fails", -1.0),
    ("bores", -1.0),
    ("stumbles", -1.0),
    ("collapses", -1.0),
    ("stinks", -1.5),
    ("disgusts", -1.5),
    ("insults", -1.5),
    ("irritates", -0.5),
];
const FEELINGS: &[(&str, f64)] = &[
    ("liked", 0.5),
    ("enjoyed", 1.0),
    ("admired", 1.0),
    ("loved", 1.5),
    ("adored", 1.5),
    ("praised", 0.5),
    ("disliked", -0.5),
    ("regretted", -1.0),
    ("resented", -1.0),
    ("hated", -1.5),
    ("loathed", -1.5),
    ("mocked", -0.5),
];

static VALENCES: LazyLock<HashMap<&str, f64>> =
    LazyLock::new(|| ADJECTIVES.iter().chain(VERBS).chain(FEELINGS).copied().collect());

/// The sum of the valences of a text's words; words without one count 0.
pub fn valence(text: &str) -> f64 {
    text.split(|character: char| !character.is_alphabetic())
        .filter_map(|word| VALENCES.get(word.to_lowercase().as_str()))
        .sum()
}

/// p(positive) of a text under the grammar: sigma(sum of valences), with sigma(z) = 1 / (1 + exp(-z)).
pub fn exact_sentiment(text: &str) -> f64 {
    1.0 / (1.0 + (-valence(text)).exp())
}

/// Writes `n` train reviews, a quarter as many test and half as many unsup reviews (at least two each).
///
/// In train and test exactly every second review is positive, which here means that its valences sum to
/// [`LEAST_VALENCE`] or more, and negative ones to its negative or less. No text occurs twice.
pub fn synthetic(seed: u64, n: usize) -> Reviews {
    let mut grammar = Grammar { generator: stream(seed, Purpose::Grammar), seen: HashSet::new() };
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
struct Grammar {
    generator: ChaCha8Rng,
    seen: HashSet<String>,
}

impl Grammar {
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
    #![allow(clippy::unwrap_used, clippy::float_cmp, reason = "tests may panic and compare exact sums")]
    use super::*;

    #[test]
    fn sentiment_is_the_sigmoid_of_the_sum_of_valences() {
        // dull -1, shines +1; superb 1.5, drags -0.5.
        assert_eq!(valence("The plot was dull but the acting shines ."), 0.0);
        assert_eq!(exact_sentiment("the plot was dull but the acting shines ."), 0.5);
        assert!((exact_sentiment("A SUPERB film, though it drags!") - 0.731_058_578_630_004_9).abs() < 1e-12);
        assert_eq!(exact_sentiment(""), 0.5);
    }

    #[test]
    fn no_plain_word_of_the_grammar_has_a_valence() {
        for phrase in [ASPECTS, FILMS, PEOPLE, PLACES, ADVERBS, JOINS].concat() {
            assert_eq!(valence(phrase), 0.0, "{phrase}");
        }
        assert_eq!(
            VALENCES.len(),
            ADJECTIVES.len() + VERBS.len() + FEELINGS.len(),
            "an opinion word is listed twice"
        );
        let total: f64 = VALENCES.values().sum();
        assert_eq!(total, 0.0, "the grammar leans to one side");
    }

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
