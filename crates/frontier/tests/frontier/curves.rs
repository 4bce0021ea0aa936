//! Envelopes, areas and isotonic regression against arithmetic by hand.
use frontier::isotonic::Isotonic;
use frontier::paper::paper_points;
use frontier::{Envelope, Method};
use proptest::prelude::*;

#[test]
fn the_envelope_is_the_best_reward_at_or_below_each_kl() {
    // In no order; (2, 3) and (4, 4) are dominated, (1, 1) lies below the start.
    let envelope =
        Envelope::new(2.0, [(5.0, 8.0), (4.0, 4.0), (1.0, 1.0), (3.0, 6.0), (2.0, 3.0), (2.0, 5.0)]);
    assert_eq!(envelope.steps(), [(0.0, 2.0), (2.0, 5.0), (3.0, 6.0), (5.0, 8.0)]);
    assert_eq!(
        [0.0, 1.9, 2.0, 2.5, 4.0, 5.0, 99.0].map(|kl| envelope.at(kl)),
        [2.0, 2.0, 5.0, 5.0, 6.0, 8.0, 8.0]
    );
    assert_eq!(
        [2.0, 4.0, 5.0, 5.5, 8.0].map(|r| envelope.kl_for(r)),
        [Some(0.0), Some(2.0), Some(2.0), Some(3.0), Some(5.0)]
    );
    assert_eq!(envelope.kl_for(8.5), None);
    // 2 * 2 = 4; + 1 * 5 = 9; + 1 * 6 = 15 at 4; + 1 * 6 + 5 * 8 = 61 at 10.
    assert_eq!([1.0, 2.0, 4.0, 10.0].map(|k| envelope.mean_to(k)), [2.0, 2.0, 15.0 / 4.0, 61.0 / 10.0]);
}

#[test]
fn the_cross_fitted_envelope_by_hand() {
    // Rewards that never fall in either half are their own trend, so that the choice goes by the rewards themselves.
    let rising = [[(1.0, 0.6), (1.0, 0.5)], [(2.0, 0.7), (2.5, 0.9)]];
    let envelope = Envelope::cross_fitted([0.4, 0.3], &rising, 0.75, [0.1; 2]);
    // From 1 nat both halves choose the first, whose mean is 0.75 * 0.6 + 0.25 * 0.5; from 2 nats the first half chooses the
    // second, which the second half reads as 0.9, and from 2.5 nats both do.
    let expected =
        [(0.0, 0.375), (1.0, 0.575), (2.0, 0.75 * 0.6 + 0.25 * 0.9), (2.5, 0.75 * 0.7 + 0.25 * 0.9)];
    assert_eq!(envelope.steps().len(), expected.len(), "{envelope:?}");
    for (found, expected) in envelope.steps().iter().zip(expected) {
        assert!((found.0 - expected.0).abs() + (found.1 - expected.1).abs() < 1e-12, "{envelope:?}");
    }
    // First half: 0.5, 0.9, 0.4 at 1, 2, 3 nats above 0.3 pool to 0.5, 0.65, 0.65: residuals of 0.25 and -0.25, and four
    // points less three blocks, so a variance of 0.125. Second half: 0.5, 0.4, 0.6 pool to 0.45, 0.45, 0.6: residuals of
    // 0.05 and -0.05 and a variance of 0.005.
    let points = [[(1.0, 0.5), (1.0, 0.5)], [(2.0, 0.9), (2.0, 0.4)], [(3.0, 0.4), (3.0, 0.6)]];
    let at = |noise: f64| {
        let envelope = Envelope::cross_fitted([0.3, 0.3], &points, 0.5, [noise; 2]);
        [1.5, 2.5, 3.0].map(|kl| envelope.at(kl))
    };
    let expect = |noise: f64, choices: [(f64, f64); 3]| {
        for (found, (by_first, by_second)) in at(noise).into_iter().zip(choices) {
            assert!((found - f64::midpoint(by_first, by_second)).abs() < 1e-12, "{noise}: {found}");
        }
    };
    // All noise: the trend alone chooses the farthest of a pool. Half as much as the first half's variance: the lead of its
    // second point counts, and nothing does that in the second half. None: the rewards themselves choose.
    expect(0.2, [(0.5, 0.5), (0.4, 0.9), (0.6, 0.4)]);
    expect(0.0625, [(0.5, 0.5), (0.4, 0.9), (0.4, 0.4)]);
    expect(0.0, [(0.5, 0.5), (0.4, 0.5), (0.4, 0.4)]);
    // Equal halves without noise are the plain envelope.
    let same = points.map(|[a, _]| [a, a]);
    let envelope = Envelope::cross_fitted([0.3, 0.3], &same, 0.5, [0.0; 2]);
    assert_eq!(envelope, Envelope::new(0.3, same.map(|[a, _]| a)));
}

#[test]
fn points_at_kl_zero_and_unusable_points() {
    let envelope = Envelope::new(2.0, [(-1e-9, 3.0), (0.0, 4.0), (f64::NAN, 9.0), (1.0, f64::NAN)]);
    assert_eq!(envelope.steps(), [(0.0, 4.0)]);
    assert_eq!(Envelope::new(2.0, []).mean_to(5.0), 2.0);
}

#[test]
fn the_mean_envelope_is_the_mean_at_every_kl() {
    let a = Envelope::new(0.0, [(1.0, 2.0), (3.0, 6.0)]);
    let b = Envelope::new(0.0, [(2.0, 4.0), (3.0, 4.0)]);
    let mean = Envelope::mean(&[a, b]).unwrap();
    assert_eq!(mean.steps(), [(0.0, 0.0), (1.0, 1.0), (2.0, 3.0), (3.0, 5.0)]);
    assert_eq!(Envelope::mean(&[]), None);
}

#[test]
fn the_papers_areas() {
    // Mean reward over KL in [0, 10] under the step envelope, computed apart in NumPy from the same points.
    let expected = [
        ("DPO", 0.921),
        ("PPO(ours)", 0.690),
        ("PPO-GT(TRL)", 0.605),
        ("PPO-GT(ours)", 0.689),
        ("Preferred-FT", 0.611),
        ("Unlikelihood", 0.847),
    ];
    let series = paper_points().unwrap();
    let names: Vec<&str> = series.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, expected.map(|one| one.0));
    for (one, (name, area)) in series.iter().zip(expected) {
        let found = Envelope::new(0.481, one.points.iter().copied()).mean_to(10.0);
        assert!((found - area).abs() < 0.0006, "{name}: {found}, expected {area}");
    }
    assert_eq!(series[0].method, Some(Method::DPO));
    assert_eq!(series[2].method, None);
}

#[test]
fn isotonic_pools_adjacent_violators() {
    // 1, then (4, 2, 3) pool to 3, then 5.
    let fit =
        Isotonic::fit([(1.0, 1.0, 1.0), (2.0, 4.0, 1.0), (3.0, 2.0, 1.0), (4.0, 3.0, 1.0), (5.0, 5.0, 1.0)]);
    assert_eq!(fit.blocks(), [(1.0, 1.0), (2.0, 3.0), (5.0, 5.0)]);
    assert_eq!(
        [0.5, 1.0, 1.9, 4.5, 6.0].map(|x| fit.at(x)),
        [None, Some(1.0), Some(1.0), Some(3.0), Some(5.0)]
    );
    // Weights: (3 * 4 + 1 * 0) / 4 = 3. A pool that falls below its left neighbour takes that in too.
    assert_eq!(Isotonic::fit([(1.0, 4.0, 3.0), (2.0, 0.0, 1.0)]).blocks(), [(1.0, 3.0)]);
    assert_eq!(Isotonic::fit([(1.0, 3.0, 1.0), (2.0, 4.0, 1.0), (3.0, -1.0, 1.0)]).blocks(), [(1.0, 2.0)]);
    // Equal x share one value.
    assert_eq!(
        Isotonic::fit([(1.0, 0.0, 1.0), (1.0, 2.0, 1.0), (0.0, 0.0, 1.0)]).blocks(),
        [(0.0, 0.0), (1.0, 1.0)]
    );
}

/// The minimax formula of isotonic regression: the fit at i is the max over a <= i of the min over b >= i of
/// the mean of y from a to b.
fn isotonic_by_minimax(y: &[f64]) -> Vec<f64> {
    let mean = |a: usize, b: usize| y[a..=b].iter().sum::<f64>() / (b - a + 1) as f64;
    let least = |a: usize, i: usize| (i..y.len()).map(|b| mean(a, b)).fold(f64::INFINITY, f64::min);
    (0..y.len()).map(|i| (0..=i).map(|a| least(a, i)).fold(f64::NEG_INFINITY, f64::max)).collect()
}

proptest! {
    #[test]
    fn isotonic_equals_the_minimax_formula(y in prop::collection::vec(-5.0..5.0_f64, 1..12)) {
        let fit = Isotonic::fit(y.iter().enumerate().map(|(x, y)| (x as f64, *y, 1.0)));
        for (x, expected) in isotonic_by_minimax(&y).into_iter().enumerate() {
            prop_assert!((fit.at(x as f64).unwrap() - expected).abs() < 1e-9);
        }
    }

    #[test]
    fn the_envelope_agrees_with_its_definition(
        points in prop::collection::vec((0.0..6.0_f64, 0.0..1.0_f64), 0..20),
        kl in 0.0..7.0_f64,
    ) {
        let envelope = Envelope::new(0.5, points.clone());
        let best = points.iter().filter(|point| point.0 <= kl).fold(0.5, |best: f64, point| best.max(point.1));
        prop_assert_eq!(envelope.at(kl), best);
        // The area by a fine midpoint sum: each of at most 20 steps misplaces at most half a cell.
        let cells = 20_000;
        let width = 5.0 / f64::from(cells);
        let sum: f64 = (0..cells).map(|i| envelope.at((f64::from(i) + 0.5) * width)).sum();
        prop_assert!((envelope.mean_to(5.0) - sum / f64::from(cells)).abs() < 1e-3);
    }
}
