//! A user's file, split into what is trained on and what is held out.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Result;
use feedback::FeedbackError;
use feedback::records::Examples;
use lm::Stream;
use rand::seq::SliceRandom;

use super::sections::HeldOut;
use crate::exit::BadInput;

/// Examples in the order of their file.
pub struct Split<T> {
    pub train: Vec<T>,
    pub held_out: Vec<T>,
    /// How many there are, and how many were left out or cut, in a sentence.
    pub about: String,
}

/// Reads a file with `read` and holds a share of it out, or reads a second file for that. Examples with the
/// same `key` stay together, so that nothing held out has been learned from.
pub fn split<T, K: Ord>(
    path: &str,
    held_out: &HeldOut,
    seed: u64,
    read: impl Fn(&Path) -> Result<Examples<T>, FeedbackError>,
    key: impl Fn(&T) -> K,
) -> Result<Split<T>> {
    let (all, about) = examples(path, &read)?;
    if !held_out.file.is_empty() {
        let (others, about_others) = examples(&held_out.file, &read)?;
        return Ok(Split {
            train: all,
            held_out: others,
            about: format!("{about}; held out {about_others}"),
        });
    }
    let held = held_out_keys(&all, held_out.fraction, seed, &key).ok_or_else(|| {
        let expected = "at least 2, of which one can be held out, or held_out.file";
        BadInput(format!("{path}: found one prompt only, expected {expected}"))
    })?;
    let (others, train): (Vec<T>, Vec<T>) = all.into_iter().partition(|example| held[&key(example)]);
    let about = format!("{about}, of which {} are held out", others.len());
    Ok(Split { train, held_out: others, about })
}

/// Whether each key is held out; `None` if there is but one.
fn held_out_keys<T, K: Ord>(
    all: &[T],
    fraction: f64,
    seed: u64,
    key: impl Fn(&T) -> K,
) -> Option<BTreeMap<K, bool>> {
    let mut keys: BTreeMap<K, bool> = all.iter().map(|example| (key(example), false)).collect();
    let count = keys.len();
    let held = ((count as f64 * fraction).round() as usize).clamp(1, count.max(2) - 1);
    let mut order: Vec<usize> = (0..count).collect();
    order.shuffle(&mut Stream::new(seed, "held-out").rng());
    let mut chosen = vec![false; count];
    order.into_iter().take(held).for_each(|index| chosen[index] = true);
    for (held, chosen) in keys.values_mut().zip(chosen) {
        *held = chosen;
    }
    (count > 1).then_some(keys)
}

fn examples<T>(
    path: &str,
    read: impl Fn(&Path) -> Result<Examples<T>, FeedbackError>,
) -> Result<(Vec<T>, String)> {
    let Examples { examples, skipped, truncated } = read(&PathBuf::from(path))?;
    let count = examples.len() + skipped;
    let part = |number: usize, what: &str| match number {
        0 => String::new(),
        number => format!(", {number} of them {what}"),
    };
    let about = format!(
        "{count} of `{path}`{}{}",
        part(skipped, "left out as too long"),
        part(truncated, "cut to fit")
    );
    if skipped + truncated > 0 {
        tracing::warn!("examples: {about}");
    }
    Ok((examples, about))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(count: u32) -> impl Fn(&Path) -> Result<Examples<u32>, FeedbackError> {
        move |_| Ok(Examples { examples: (0..count).collect(), skipped: 1, truncated: 2 })
    }

    fn share(fraction: f64) -> HeldOut {
        HeldOut { fraction, file: String::new() }
    }

    #[test]
    fn examples_with_one_key_stay_together_in_their_order() {
        // 10 keys of 3 examples each.
        let split = split("f", &share(0.2), 1, read(30), |example| example % 10).unwrap();
        assert_eq!((split.train.len(), split.held_out.len()), (24, 6));
        assert!(split.held_out.iter().all(|held| split.train.iter().all(|train| train % 10 != held % 10)));
        assert!(split.train.is_sorted() && split.held_out.is_sorted());
        let about =
            "31 of `f`, 1 of them left out as too long, 2 of them cut to fit, of which 6 are held out";
        assert_eq!(split.about, about);
    }

    #[test]
    fn at_least_one_is_held_out_and_one_left() {
        for (fraction, held) in [(0.001, 1), (0.999, 3)] {
            let split = split("f", &share(fraction), 1, read(4), |example| *example).unwrap();
            assert_eq!((split.train.len(), split.held_out.len()), (4 - held, held));
        }
        assert!(split("f", &share(0.5), 1, read(4), |_| 0).is_err());
        let file = HeldOut { fraction: 0.0, file: "g".to_owned() };
        let both = split("f", &file, 1, read(4), |example| *example).unwrap();
        assert_eq!((both.train.len(), both.held_out.len()), (4, 4));
    }
}
