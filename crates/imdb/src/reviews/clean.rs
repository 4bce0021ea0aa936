//! Cleaning: from the bytes of a review to one line of plain text, and which texts to drop.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use regex::{Captures, Regex};

use crate::reviews::review::{Counts, Review};

/// A cleaned text and what was found in it on the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cleaned {
    /// One line, single spaces, no markup, no control characters.
    pub text: String,
    /// An HTML tag was removed.
    pub had_markup: bool,
    /// An HTML entity was decoded.
    pub had_entity: bool,
    /// A control, private-use or zero-width character was replaced.
    pub had_control: bool,
}

#[expect(clippy::expect_used, reason = "a constant pattern, compiled by every test of `clean`")]
static TAG: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?i)<\s*/?\s*(br|p|hr|div|blockquote|i|b|u|em|strong|spoiler)\s*/?\s*>")
        .expect("valid pattern")
});
#[expect(clippy::expect_used, reason = "a constant pattern, compiled by every test of `clean`")]
static ENTITY: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"&(?:#(\d{1,7})|#[xX]([0-9a-fA-F]{1,6})|([A-Za-z]{2,8}));").expect("valid pattern")
});

/// Turns a raw review into one line of plain text.
///
/// Line-break and block tags become a space and inline tags nothing; entities become their character;
/// the bytes 0x80 to 0x9f, which the reviews hold as control characters, are read as Windows-1252 (dashes,
/// quotes, an ellipsis); other control, private-use and zero-width characters go; runs of white space
/// become one space.
pub fn clean(raw: &str) -> Cleaned {
    let untagged = replace_all(raw, &TAG, |found| {
        match found.get(1).map_or("", |name| name.as_str()).to_ascii_lowercase().as_str() {
            "br" | "p" | "hr" | "div" | "blockquote" => Some(" ".to_owned()),
            _ => Some(String::new()),
        }
    });
    let had_markup = untagged.is_some();
    let untagged = untagged.unwrap_or_else(|| raw.to_owned());
    let decoded = replace_all(&untagged, &ENTITY, |found| entity(found).map(String::from));
    let had_entity = decoded.is_some();
    let decoded = decoded.unwrap_or(untagged);

    let mut text = String::with_capacity(decoded.len());
    let mut had_control = false;
    let mut gap = false;
    for character in decoded.chars() {
        let (character, replaced) = printable(character);
        had_control |= replaced;
        if character.is_whitespace() {
            gap = true;
            continue;
        }
        if gap && !text.is_empty() {
            text.push(' ');
        }
        gap = false;
        text.push(character);
    }
    Cleaned { text, had_markup, had_entity, had_control }
}

/// Replaces every match for which `by` has an answer; `None` when nothing was replaced.
fn replace_all(text: &str, what: &Regex, by: impl Fn(&Captures) -> Option<String>) -> Option<String> {
    let mut replaced = false;
    let result = what.replace_all(text, |found: &Captures| {
        let answer = by(found);
        replaced |= answer.is_some();
        answer.unwrap_or_else(|| found[0].to_owned())
    });
    let result = result.into_owned();
    replaced.then_some(result)
}

/// The character that an entity stands for. Unknown names stay as they are ("A&E;" is a channel).
fn entity(found: &Captures) -> Option<char> {
    if let Some(decimal) = found.get(1) {
        return decimal.as_str().parse().ok().and_then(char::from_u32);
    }
    if let Some(hexadecimal) = found.get(2) {
        return u32::from_str_radix(hexadecimal.as_str(), 16).ok().and_then(char::from_u32);
    }
    Some(match found.get(3)?.as_str() {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        "nbsp" => ' ',
        "hellip" => '…',
        "ndash" => '–',
        "mdash" => '—',
        "lsquo" => '‘',
        "rsquo" => '’',
        "ldquo" => '“',
        "rdquo" => '”',
        "eacute" => 'é',
        "pound" => '£',
        _ => return None,
    })
}

/// Windows-1252's characters for the bytes 0x80 to 0x9f; a space where it has none.
const WINDOWS_1252: [char; 32] = [
    '€', ' ', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', ' ', 'Ž', ' ', ' ', '‘', '’', '“', '”',
    '•', '–', '—', '˜', '™', 'š', '›', 'œ', ' ', 'ž', 'Ÿ',
];

/// The character to print for one that may not be printable, and whether it was replaced.
fn printable(character: char) -> (char, bool) {
    match character {
        '\u{80}'..='\u{9f}' => (WINDOWS_1252[character as usize - 0x80], true),
        '\u{e000}'..='\u{f8ff}' | '\u{feff}' | '\u{200b}'..='\u{200f}' | '\u{ad}' | '\u{fffd}' => (' ', true),
        _ if character.is_control() && !character.is_whitespace() => (' ', true),
        _ => (character, false),
    }
}

/// Drops repeated texts, test texts that are also in train, and unsup texts that are in either, so that
/// no text is seen twice and none leaks into the test split. Of repeated texts the first by id stays.
///
/// Each list must be sorted by id; every drop is added to `counts`.
pub fn drop_overlaps(
    train: &mut Vec<Review>,
    test: &mut Vec<Review>,
    unsup: &mut Vec<Review>,
    counts: &mut Counts,
) {
    counts.conflicting_labels += conflicting(train) + conflicting(test);
    counts.duplicates.train += drop_repeated(train);
    counts.duplicates.test += drop_repeated(test);
    counts.duplicates.unsup += drop_repeated(unsup);
    counts.test_also_in_train += drop_shared(test, train);
    counts.unsup_also_in_test += drop_shared(unsup, test);
    counts.unsup_also_in_train += drop_shared(unsup, train);
}

/// Repeated texts whose label differs from that of the first copy.
fn conflicting(reviews: &[Review]) -> usize {
    let mut labels: HashMap<&str, Option<bool>> = HashMap::with_capacity(reviews.len());
    reviews
        .iter()
        .filter(|review| *labels.entry(review.text.as_str()).or_insert(review.positive) != review.positive)
        .count()
}

fn drop_repeated(reviews: &mut Vec<Review>) -> usize {
    let mut seen = HashSet::with_capacity(reviews.len());
    let keep: Vec<bool> = reviews.iter().map(|review| seen.insert(review.text.as_str())).collect();
    keep_where(reviews, &keep)
}

fn drop_shared(reviews: &mut Vec<Review>, others: &[Review]) -> usize {
    let known: HashSet<&str> = others.iter().map(|review| review.text.as_str()).collect();
    let keep: Vec<bool> = reviews.iter().map(|review| !known.contains(review.text.as_str())).collect();
    keep_where(reviews, &keep)
}

/// Keeps the reviews whose flag is set and says how many went.
fn keep_where(reviews: &mut Vec<Review>, keep: &[bool]) -> usize {
    let before = reviews.len();
    let mut flags = keep.iter();
    reviews.retain(|_| flags.next().copied().unwrap_or(true));
    before - reviews.len()
}
