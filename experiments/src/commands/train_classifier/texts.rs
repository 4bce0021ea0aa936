//! Labelled texts: IMDb's reviews, or a table of anybody's.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Result;
use imdb::{Review, Reviews, Source};
use lm::{LabelledText, Stream};
use rand::seq::SliceRandom;

use crate::exit::BadInput;
use crate::imdb_frontier::reviews;

/// Texts with labels, in two disjoint sets, each in an order without meaning.
pub struct Texts {
    /// The names of the labels.
    pub labels: Vec<String>,
    pub train: Vec<LabelledText>,
    pub held_out: Vec<LabelledText>,
    /// What they are, for people.
    pub origin: String,
}

/// The labels of reviews, in the order of the logits.
pub const SENTIMENTS: [&str; 2] = ["NEGATIVE", "POSITIVE"];
/// The stream that mixes texts.
const ORDER: &str = "texts of a classifier";
/// The columns of a table of texts.
const COLUMNS: [&str; 2] = ["text", "label"];
/// Most bytes of a table that are read.
const MAX_BYTES: u64 = 4 << 30;
/// More labels than a table of texts has whose labels are not texts themselves.
const MOST_LABELS: usize = 1000;

impl Texts {
    /// Reads a source: the labelled reviews with their own test set, or a CSV file with the columns `text`
    /// and `label`, of which a share is held out.
    pub fn read(source: &Source, seed: u64, held_out_share: f64) -> Result<Self> {
        let order = Stream::new(seed, ORDER);
        if let Source::Path(path) = source
            && is_table(path)
        {
            return table(path, order, held_out_share);
        }
        Self::of_reviews(&reviews::load(source, seed)?, seed)
    }

    /// The labelled reviews, with their own test set.
    pub fn of_reviews(reviews: &Reviews, seed: u64) -> Result<Self> {
        let order = Stream::new(seed, ORDER);
        let labelled = |reviews: &[Review], branch: u64| {
            let text = |review: &Review| {
                let label = usize::from(review.positive?);
                Some(LabelledText { text: review.text.clone(), label })
            };
            let mut texts: Vec<LabelledText> = reviews.iter().filter_map(text).collect();
            texts.shuffle(&mut order.child(branch).rng());
            texts
        };
        let origin =
            format!("IMDb reviews (Maas et al. 2011), content sha256 `{}`", reviews.origin.content_sha256);
        let texts = Self {
            labels: SENTIMENTS.map(str::to_owned).to_vec(),
            train: labelled(&reviews.train, 0),
            held_out: labelled(&reviews.test, 1),
            origin,
        };
        if texts.train.is_empty() || texts.held_out.is_empty() {
            let found = "found no labelled reviews to train on and to hold out";
            return Err(BadInput(format!("data: {found}")).into());
        }
        Ok(texts)
    }
}

/// Whether there is a CSV file with the columns; what is not is left to the reader of reviews.
fn is_table(path: &Path) -> bool {
    let is_csv = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv"));
    let headers =
        || csv::Reader::from_path(path).ok()?.headers().ok().map(|headers| columns(headers).is_some());
    is_csv && path.is_file() && headers().unwrap_or(false)
}

fn columns(headers: &csv::StringRecord) -> Option<[usize; 2]> {
    let position = |column: &str| headers.iter().position(|found| found.trim().eq_ignore_ascii_case(column));
    Some([position(COLUMNS[0])?, position(COLUMNS[1])?])
}

fn table(path: &Path, order: Stream, held_out_share: f64) -> Result<Texts> {
    let place = path.display();
    let bad = |what: String| BadInput(format!("{place}: {what}"));
    let size = std::fs::metadata(path).map_err(|error| bad(error.to_string()))?.len();
    if size > MAX_BYTES {
        return Err(bad(format!("found {size} bytes, expected at most {MAX_BYTES}")).into());
    }
    let mut reader = csv::Reader::from_path(path).map_err(|error| bad(error.to_string()))?;
    let headers = reader.headers().map_err(|error| bad(error.to_string()))?.clone();
    let [text, label] = columns(&headers).ok_or_else(|| bad("found no columns text and label".to_owned()))?;
    let mut rows = Vec::new();
    for row in reader.records() {
        let row = row.map_err(|error| bad(error.to_string()))?;
        let line = row.position().map_or(0, csv::Position::line);
        let (text, label) = (row[text].trim(), row[label].trim());
        if text.is_empty() || label.is_empty() {
            let which = if text.is_empty() { COLUMNS[0] } else { COLUMNS[1] };
            return Err(BadInput(format!("{place}:{line}: {which}: found nothing, expected a text")).into());
        }
        rows.push((text.to_owned(), label.to_owned()));
    }
    let labels: Vec<String> =
        rows.iter().map(|(_, label)| label.clone()).collect::<BTreeSet<_>>().into_iter().collect();
    if !(2..=MOST_LABELS).contains(&labels.len()) || rows.len() < 4 {
        let found = format!("found {} texts with {} labels", rows.len(), labels.len());
        return Err(bad(format!("{found}, expected at least 4 texts with 2 to {MOST_LABELS} labels")).into());
    }
    // Every label is among the sorted ones.
    let number = |label: &String| labels.binary_search(label).unwrap_or_default();
    let mut train: Vec<LabelledText> =
        rows.iter().map(|(text, label)| LabelledText { text: text.clone(), label: number(label) }).collect();
    train.shuffle(&mut order.rng());
    let count = ((rows.len() as f64 * held_out_share).round() as usize).clamp(1, rows.len() - 1);
    let held_out = train.split_off(train.len() - count);
    Ok(Texts { labels, train, held_out, origin: format!("{} texts of {place}", rows.len()) })
}
