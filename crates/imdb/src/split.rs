//! Random splits that keep the share of each label.

use rand::Rng;
use rand::seq::SliceRandom;

/// Splits `0..labels.len()` in two disjoint sorted lists of indices: `(rest, held_out)`.
///
/// Of each label (positive, negative, none) a share of `held_out_share`, rounded to the nearest count, is
/// drawn at random.
pub(crate) fn stratified(
    labels: &[Option<bool>],
    held_out_share: f64,
    generator: &mut impl Rng,
) -> (Vec<usize>, Vec<usize>) {
    let (mut rest, mut held_out) = (Vec::new(), Vec::new());
    for label in [Some(true), Some(false), None] {
        let mut indices: Vec<usize> = (0..labels.len()).filter(|&index| labels[index] == label).collect();
        indices.shuffle(generator);
        let count = (indices.len() as f64 * held_out_share.clamp(0.0, 1.0)).round() as usize;
        rest.extend(indices.split_off(count));
        held_out.extend(indices);
    }
    rest.sort_unstable();
    held_out.sort_unstable();
    (rest, held_out)
}

#[cfg(test)]
mod tests {
    use lm::Stream;

    use super::*;

    #[test]
    fn a_split_is_disjoint_complete_and_keeps_the_share_of_each_label() {
        // 40 positive, 20 negative, 10 without a label; a quarter of each is 10, 5 and 3 (2.5 rounded).
        let labels: Vec<Option<bool>> = (0..70)
            .map(|index| match index % 7 {
                0..=3 => Some(true),
                4 | 5 => Some(false),
                _ => None,
            })
            .collect();
        let (rest, held_out) = stratified(&labels, 0.25, &mut Stream::new(3, "split").rng());
        let count =
            |indices: &[usize], label| indices.iter().filter(|&&index| labels[index] == label).count();
        assert_eq!(count(&held_out, Some(true)), 10);
        assert_eq!(count(&held_out, Some(false)), 5);
        assert_eq!(count(&held_out, None), 3);
        let mut all = [rest.clone(), held_out.clone()].concat();
        all.sort_unstable();
        assert_eq!(all, (0..70).collect::<Vec<_>>());

        let again = stratified(&labels, 0.25, &mut Stream::new(3, "split").rng());
        assert_eq!(again, (rest, held_out.clone()));
        let other = stratified(&labels, 0.25, &mut Stream::new(4, "split").rng());
        assert_ne!(other.1, held_out);
    }
}
