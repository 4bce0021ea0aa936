//! From a text to the set of n-grams in it, as sorted 32-bit hashes.
//!
//! Hashes are FNV-1a, which is the same on every machine, so a vocabulary is a list of numbers and a
//! classifier's file needs no words. Among the some million n-grams of the reviews, a vocabulary of 100,000
//! meets about a hundred false friends: too few to matter.

use std::collections::HashMap;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Which n-grams describe a text, and how training weights them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FeatureKind {
    /// Single words and pairs of neighbours ("not good" is a feature of its own). A word is a run of letters,
    /// digits and inner apostrophes, in lower case; `!` and `?` are words. All start with the same weight.
    WordBigrams,
    /// Runs of 3 to 5 characters, across words, in lower case; anything but letters, digits, `'`, `!` and
    /// `?` counts as one space. Weighted by log-count ratios (NBSVM, Wang and Manning 2012).
    CharacterNgrams,
}

impl FeatureKind {
    /// The kind's name in files and presets.
    pub fn name(self) -> &'static str {
        match self {
            Self::WordBigrams => "word_bigrams",
            Self::CharacterNgrams => "character_ngrams",
        }
    }

    /// The distinct n-grams of a text as ascending hashes.
    pub fn hashes(self, text: &str) -> Vec<u32> {
        let mut hashes = match self {
            Self::WordBigrams => word_bigrams(text),
            Self::CharacterNgrams => character_ngrams(text),
        };
        hashes.sort_unstable();
        hashes.dedup();
        hashes
    }
}

const FNV_OFFSET: u32 = 0x811c_9dc5;
const FNV_PRIME: u32 = 0x0100_0193;

/// FNV-1a (Fowler, Noll, Vo), going on from `hash`.
fn fnv1a(hash: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(hash, |hash, &byte| (hash ^ u32::from(byte)).wrapping_mul(FNV_PRIME))
}

/// The characters of a text as features see them: lower case, one kind of apostrophe, and a space for
/// anything that is neither part of a word nor `!` or `?`.
fn plain(text: &str) -> impl Iterator<Item = char> {
    text.chars().flat_map(char::to_lowercase).map(|character| match character {
        '’' | '‘' | '`' => '\'',
        '\'' | '!' | '?' => character,
        _ if character.is_alphanumeric() => character,
        _ => ' ',
    })
}

fn word_bigrams(text: &str) -> Vec<u32> {
    let mut spaced = String::with_capacity(text.len() + 8);
    for character in plain(text) {
        if matches!(character, '!' | '?') {
            spaced.extend([' ', character, ' ']);
        } else {
            spaced.push(character);
        }
    }
    let words = spaced.split(' ').map(|word| word.trim_matches('\'')).filter(|word| !word.is_empty());
    let mut hashes = Vec::with_capacity(text.len() / 2);
    let mut previous: Option<u32> = None;
    for word in words {
        let hash = fnv1a(FNV_OFFSET, word.as_bytes());
        hashes.push(hash);
        if let Some(previous) = previous {
            // "a b" goes on from the hash of "a", so no pair has to be written out.
            hashes.push(fnv1a(fnv1a(previous, b" "), word.as_bytes()));
        }
        previous = Some(hash);
    }
    hashes
}

fn character_ngrams(text: &str) -> Vec<u32> {
    let mut characters = vec![' '];
    for character in plain(text).chain([' ']) {
        if character != ' ' || characters.last() != Some(&' ') {
            characters.push(character);
        }
    }
    let mut hashes = Vec::with_capacity(3 * characters.len());
    for start in 0..characters.len() {
        let mut hash = FNV_OFFSET;
        for (length, &character) in characters[start..].iter().take(5).enumerate() {
            hash = fnv1a(hash, character.encode_utf8(&mut [0; 4]).as_bytes());
            if length >= 2 {
                hashes.push(hash);
            }
        }
    }
    hashes
}

/// The n-grams that a classifier knows: ascending hashes, whose position is the column of the weight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Vocabulary {
    keys: Vec<u32>,
    /// `keys[starts[h]..starts[h + 1]]` are the keys whose upper 16 bits are `h`.
    starts: Vec<u32>,
}

impl Vocabulary {
    /// The `limit` n-grams that occur in the most texts (of equally frequent ones, the lower hashes), at
    /// least two.
    pub(super) fn build(documents: &[Vec<u32>], limit: usize) -> Self {
        let mut frequencies: HashMap<u32, u32> = HashMap::new();
        for &hash in documents.iter().flatten() {
            *frequencies.entry(hash).or_default() += 1;
        }
        let mut ranked: Vec<(u32, u32)> = frequencies
            .into_iter()
            .filter(|&(_, count)| count >= 2)
            .map(|(hash, count)| (count, hash))
            .collect();
        ranked.par_sort_unstable_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
        ranked.truncate(limit);
        let mut keys: Vec<u32> = ranked.into_iter().map(|(_, hash)| hash).collect();
        keys.sort_unstable();
        Self::from_keys(keys)
    }

    /// A vocabulary of strictly ascending keys.
    pub(super) fn from_keys(keys: Vec<u32>) -> Self {
        let mut starts = vec![0; (1 << 16) + 1];
        for &key in &keys {
            starts[(key >> 16) as usize + 1] += 1;
        }
        for index in 1..starts.len() {
            starts[index] += starts[index - 1];
        }
        Self { keys, starts }
    }

    pub(super) fn keys(&self) -> &[u32] {
        &self.keys
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// The columns of the known ones among ascending hashes.
    pub(super) fn columns<'a>(&'a self, hashes: &'a [u32]) -> impl Iterator<Item = u32> + 'a {
        hashes.iter().filter_map(|&hash| {
            let bucket = (hash >> 16) as usize;
            let (from, to) = (self.starts[bucket], self.starts[bucket + 1]);
            let position = self.keys[from as usize..to as usize].iter().position(|&key| key == hash)?;
            Some(from + position as u32)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fnv1a_matches_its_published_values() {
        // Test vectors of the FNV specification.
        assert_eq!(fnv1a(FNV_OFFSET, b""), 0x811c_9dc5);
        assert_eq!(fnv1a(FNV_OFFSET, b"a"), 0xe40c_292c);
        assert_eq!(fnv1a(FNV_OFFSET, b"foobar"), 0xbf9c_f968);
    }

    fn expected(ngrams: &[&str]) -> Vec<u32> {
        let mut hashes: Vec<u32> = ngrams.iter().map(|ngram| fnv1a(FNV_OFFSET, ngram.as_bytes())).collect();
        hashes.sort_unstable();
        hashes
    }

    #[test]
    fn words_are_lower_case_with_apostrophes_and_neighbours() {
        let words = ["don't", "like", "it", "!", "don't like", "like it", "it !"];
        assert_eq!(FeatureKind::WordBigrams.hashes("'Don’t' like\nit!"), expected(&words));
        assert_eq!(FeatureKind::WordBigrams.hashes("a a a"), expected(&["a", "a a"]), "presence, not counts");
        assert!(FeatureKind::WordBigrams.hashes("... -- ''").is_empty());
    }

    #[test]
    fn characters_are_runs_of_three_to_five_across_words() {
        // " é b ": 5 characters.
        let ngrams = [" é ", "é b", " b ", " é b", "é b ", " é b "];
        assert_eq!(FeatureKind::CharacterNgrams.hashes("É -- b."), expected(&ngrams));
        assert!(FeatureKind::CharacterNgrams.hashes("").is_empty());
    }

    #[test]
    fn a_vocabulary_keeps_the_most_frequent_and_finds_them() {
        // 7 occurs in three documents, 70,000 and 5 in two, 9 in one.
        let documents = [vec![5, 7, 70_000], vec![5, 7], vec![7, 9, 70_000]];
        let vocabulary = Vocabulary::build(&documents, 2);
        assert_eq!(vocabulary.keys(), [5, 7]);
        let all = Vocabulary::build(&documents, 10);
        assert_eq!(all.keys(), [5, 7, 70_000]);
        assert_eq!(all.columns(&[1, 7, 9, 70_000, 70_001]).collect::<Vec<_>>(), [1, 2]);
    }
}
