//! Randomness: every random number comes from the host and from a named stream.
//!
//! A [`Stream`] is derived from (seed, purpose) and refined by indices such as the step or the row. Two parts
//! of a program that draw from different streams never disturb each other, and a row's numbers do not depend
//! on how rows were grouped into batches. A backend's own generator is never used: it is one static per
//! process.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A position in the tree of random streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream {
    seed: u64,
    /// `ChaCha`'s own stream number; 0 but for [`Stream::numbered`].
    number: u64,
}

impl Stream {
    /// The root stream of a seed for one purpose, such as `"rollouts"`.
    pub fn new(seed: u64, purpose: &str) -> Self {
        let name = purpose.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Self { seed: mix(mix(seed) ^ name), number: 0 }
    }

    /// Stream `number` of the generator that is seeded with `seed` itself: purposes are told apart by
    /// `ChaCha`'s stream number in place of a name. For purposes whose draws were fixed by a published
    /// result; [`Stream::new`] for all others.
    pub fn numbered(seed: u64, number: u64) -> Self {
        Self { seed, number }
    }

    /// The `index`-th branch, for a step or a row.
    #[must_use]
    pub fn child(self, index: u64) -> Self {
        Self { seed: mix(self.seed ^ mix(index.wrapping_add(0x9e37_79b9_7f4a_7c15))), ..self }
    }

    /// A generator that starts at this position; the same position always gives the same numbers.
    pub fn rng(self) -> ChaCha8Rng {
        let mut generator = ChaCha8Rng::seed_from_u64(self.seed);
        generator.set_stream(self.number);
        generator
    }
}

/// The finaliser of `SplitMix64` (Steele, Lea and Flood 2014): a bijection that spreads every bit.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Independent draws from N(0, std²), by the transform of Box and Muller (1958), which makes
/// two of two uniform numbers.
pub(crate) fn normals(count: usize, std: f64, rng: &mut ChaCha8Rng) -> Vec<f32> {
    let mut values = Vec::with_capacity(count + 1);
    while values.len() < count {
        // 1 - u is in (0, 1], so the logarithm is finite.
        let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
        let angle = std::f64::consts::TAU * rng.random::<f64>();
        values.push((std * radius * angle.cos()) as f32);
        values.push((std * radius * angle.sin()) as f32);
    }
    values.truncate(count);
    values
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng;

    #[test]
    fn streams_repeat_and_differ() {
        let root = Stream::new(1, "rollouts");
        let draw = |stream: Stream| stream.rng().next_u64();
        assert_eq!(draw(root.child(3)), draw(Stream::new(1, "rollouts").child(3)));
        let others = [
            root,
            root.child(0),
            root.child(1),
            Stream::new(1, "evaluation"),
            Stream::new(2, "rollouts"),
            Stream::numbered(1, 0),
            Stream::numbered(1, 3),
            Stream::numbered(1, 3).child(0),
        ];
        for (i, a) in others.iter().enumerate() {
            for b in &others[i + 1..] {
                assert_ne!(draw(*a), draw(*b), "{a:?} and {b:?} draw the same number");
            }
        }
    }

    #[test]
    fn a_numbered_stream_is_the_one_that_chacha_numbers_so() {
        let mut generator = ChaCha8Rng::seed_from_u64(7);
        generator.set_stream(5);
        assert_eq!(Stream::numbered(7, 5).rng().next_u64(), generator.next_u64());
    }
}
