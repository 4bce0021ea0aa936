//! A share of texts with its interval.

use std::fmt;

use anyhow::Result;
use lm::{Classifier, LabelledText};

/// How many texts a classifier gets right.
#[derive(Clone, Copy, Debug, Default)]
pub struct Accuracy {
    pub right: usize,
    pub texts: usize,
}

impl Accuracy {
    /// Counts those of some more texts.
    pub fn add(&mut self, classifier: &Classifier, texts: &[LabelledText]) -> Result<()> {
        let read: Vec<&str> = texts.iter().map(|text| text.text.as_str()).collect();
        for (logits, text) in classifier.logits(&read)?.iter().zip(texts) {
            // A tie with another label is not right.
            let others = logits.iter().enumerate().filter(|(label, _)| *label != text.label);
            self.right += usize::from(others.into_iter().all(|(_, &other)| other < logits[text.label]));
            self.texts += 1;
        }
        Ok(())
    }

    /// The share, and its 95% interval by Wilson (1927), which holds near 0 and 1 too.
    pub fn share(self) -> (f64, [f64; 2]) {
        const Z: f64 = 1.959_964;
        let count = self.texts.max(1) as f64;
        let share = self.right as f64 / count;
        let shrunk = 1.0 + Z * Z / count;
        let centre = (share + Z * Z / (2.0 * count)) / shrunk;
        let half = Z / shrunk * (share * (1.0 - share) / count + (Z / (2.0 * count)).powi(2)).sqrt();
        (share, [centre - half, centre + half])
    }
}

impl fmt::Display for Accuracy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (share, [low, high]) = self.share();
        let [share, low, high] = [share, low, high].map(|share| 100.0 * share);
        write!(f, "{share:.1}% (95% interval {low:.1}% to {high:.1}%, {} texts)", self.texts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_wilsons() {
        // 81 of 263: Newcombe (1998, table I) has 0.2553 to 0.3662; 0 of 20 has 0 to 0.1611.
        for (right, texts, want) in [(81, 263, [0.2553, 0.3662]), (0, 20, [0.0, 0.1611])] {
            let (_, interval) = Accuracy { right, texts }.share();
            assert!((0..2).all(|i| (interval[i] - want[i]).abs() < 5e-5), "{interval:?}");
        }
        let text = Accuracy { right: 81, texts: 263 }.to_string();
        assert_eq!(text, "30.8% (95% interval 25.5% to 36.6%, 263 texts)");
    }
}
