//! The words of the review grammar, and the sentiment of any text under it.
//!
//! Every opinion word has a valence; the sentiment of a text is sigma(sum of its words' valences), so a
//! learned classifier, or a policy trained against one, can be held to the truth.

use std::collections::HashMap;
use std::sync::LazyLock;

pub(super) const ASPECTS: &[&str] = &[
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
pub(super) const FILMS: &[&str] = &[
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
pub(super) const PEOPLE: &[&str] = &[
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
pub(super) const PLACES: &[&str] = &[
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
pub(super) const ADVERBS: &[&str] =
    &["really", "simply", "often", "mostly", "at times", "surely", "rather", "clearly", "still"];
pub(super) const JOINS: &[&str] = &["and", "but", "while", "though", "yet"];

pub(super) const ADJECTIVES: &[(&str, f64)] = &[
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
pub(super) const VERBS: &[(&str, f64)] = &[
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
pub(super) const FEELINGS: &[(&str, f64)] = &[
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

#[cfg(test)]
mod tests {
    #![expect(clippy::float_cmp, reason = "the sums are exact")]
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
}
