//! Envelopes, areas and isotonic regression against arithmetic by hand.
use frontier::isotonic::Isotonic;
use frontier::paper::paper_points;
use frontier::{Between, Envelope, Halves, Method};
use proptest::prelude::*;

#[test]
fn along_a_cost_the_envelope_is_the_best_reward_at_or_below_it() {
    // In no order; (2, 3) and (4, 4) are dominated, (1, 1) lies below the start.
    let points = [(5.0, 8.0), (4.0, 4.0), (1.0, 1.0), (3.0, 6.0), (2.0, 3.0), (2.0, 5.0)];
    let envelope = Envelope::new(2.0, points, Between::Nothing);
    assert_eq!(envelope.vertices(), [(0.0, 2.0), (2.0, 5.0), (3.0, 6.0), (5.0, 8.0)]);
    assert_eq!(
        [0.0, 1.9, 2.0, 2.5, 4.0, 5.0, 99.0].map(|x| envelope.at(x)),
        [2.0, 2.0, 5.0, 5.0, 6.0, 8.0, 8.0]
    );
    assert_eq!(
        [2.0, 4.0, 5.0, 5.5, 8.0].map(|r| envelope.reach(r)),
        [Some(0.0), Some(2.0), Some(2.0), Some(3.0), Some(5.0)]
    );
    assert_eq!(envelope.reach(8.5), None);
    // 2 * 2 = 4; + 1 * 5 = 9; + 1 * 6 = 15 at 4; + 1 * 6 + 5 * 8 = 61 at 10.
    assert_eq!([1.0, 2.0, 4.0, 10.0].map(|k| envelope.mean_to(k)), [2.0, 2.0, 15.0 / 4.0, 61.0 / 10.0]);
}

#[test]
fn along_the_kl_mixtures_of_two_policies_count() {
    // (4, 4) and (3, 5.5) lie below the chord from (2, 5) to (5, 8), (1, 2.5) below that from the start to
    // (2, 5), and (7, 7) below (5, 8), which is nearer.
    let points = [(5.0, 8.0), (4.0, 4.0), (1.0, 2.5), (3.0, 5.5), (2.0, 5.0), (7.0, 7.0)];
    let envelope = Envelope::new(2.0, points, Between::Mixtures);
    assert_eq!(envelope.vertices(), [(0.0, 2.0), (2.0, 5.0), (5.0, 8.0)]);
    assert_eq!([0.0, 1.0, 2.0, 3.5, 5.0, 99.0].map(|kl| envelope.at(kl)), [2.0, 3.5, 5.0, 6.5, 8.0, 8.0]);
    assert_eq!(
        [2.0, 3.5, 5.0, 6.0, 8.0].map(|r| envelope.reach(r)),
        [Some(0.0), Some(1.0), Some(2.0), Some(3.0), Some(5.0)]
    );
    assert_eq!(envelope.reach(8.5), None);
    // 2 * 3.5 = 7 at 2; + 3 * 6.5 = 26.5 at 5; + 5 * 8 = 66.5 at 10; to 1 nat the mean of 2 and 3.5.
    assert_eq!([1.0, 2.0, 5.0, 10.0].map(|k| envelope.mean_to(k)), [2.75, 3.5, 5.3, 6.65]);
}

#[test]
fn a_mixture_earns_what_its_chord_says_within_its_kl() {
    // Two policies and a reference over three responses, by the definitions of reward and KL.
    let (reference, rewards): ([f64; 3], [f64; 3]) = ([0.5, 0.3, 0.2], [0.1, 0.6, 0.9]);
    let policies: [[f64; 3]; 2] = [[0.3, 0.4, 0.3], [0.05, 0.15, 0.8]];
    let reward = |p: &[f64; 3]| p.iter().zip(rewards).map(|(p, r)| p * r).sum::<f64>();
    let kl = |p: &[f64; 3]| p.iter().zip(reference).map(|(p, q)| p * (p / q).ln()).sum::<f64>();
    let envelope =
        Envelope::new(reward(&reference), policies.iter().map(|p| (kl(p), reward(p))), Between::Mixtures);
    for w in [0.25, 0.5, 0.75] {
        let mixture: [f64; 3] = std::array::from_fn(|y| w * policies[0][y] + (1.0 - w) * policies[1][y]);
        let at = w * kl(&policies[0]) + (1.0 - w) * kl(&policies[1]);
        assert!((envelope.at(at) - reward(&mixture)).abs() < 1e-12);
        assert!(kl(&mixture) < at);
    }
}

#[test]
fn the_cross_fitted_envelope_by_hand() {
    // Rewards that never fall in either half are their own trend, so that the choice goes by the rewards
    // themselves.
    let rising = [[(1.0, 0.6), (1.0, 0.5)], [(2.0, 0.7), (2.5, 0.9)]];
    let near = |found: &Envelope, expected: &[(f64, f64)]| {
        assert_eq!(found.vertices().len(), expected.len(), "{found:?}");
        for (found, expected) in found.vertices().iter().zip(expected) {
            assert!(
                (found.0 - expected.0).abs() + (found.1 - expected.1).abs() < 1e-12,
                "{found:?}, {expected:?}"
            );
        }
    };
    // From 1 both halves choose the first, whose mean is 0.75 * 0.6 + 0.25 * 0.5; from 2 the first half
    // chooses the second, which the second half reads as 0.9, and from 2.5 both do.
    let steps = Envelope::cross_fitted([0.4, 0.3], &rising, 0.75, [0.1; 2], Between::Nothing);
    near(
        &steps,
        &[(0.0, 0.375), (1.0, 0.575), (2.0, 0.75 * 0.6 + 0.25 * 0.9), (2.5, 0.75 * 0.7 + 0.25 * 0.9)],
    );
    // The first half chooses both points, as 0.6 lies above the chord from 0.4 to 0.7; the second half, whose
    // chord to (2.5, 0.9) is at 0.54 at 1, chooses the second alone and reads the first half's 0.7 there: at
    // 1 it has come 1 / 2.5 of the way from 0.4, at 2 it has come 2 / 2.5.
    let mixtures = Envelope::cross_fitted([0.4, 0.3], &rising, 0.75, [0.1; 2], Between::Mixtures);
    near(
        &mixtures,
        &[
            (0.0, 0.375),
            (1.0, 0.75 * (0.4 + 0.3 * 0.4) + 0.25 * 0.5),
            (2.0, 0.75 * (0.4 + 0.3 * 0.8) + 0.25 * 0.9),
            (2.5, 0.75 * 0.7 + 0.25 * 0.9),
        ],
    );
}

#[test]
fn leads_over_the_trend_count_as_far_as_noise_does_not_explain_them() {
    // First half: 0.5, 0.9, 0.4 at 1, 2, 3 above 0.3 pool to 0.5, 0.65, 0.65: residuals of 0.25 and -0.25,
    // and three points less two levels, so a variance of 0.125. Second half: 0.5, 0.4, 0.6 pool to 0.45,
    // 0.45, 0.6: residuals of 0.05 and -0.05 and a variance of 0.005.
    let points = [[(1.0, 0.5), (1.0, 0.5)], [(2.0, 0.9), (2.0, 0.4)], [(3.0, 0.4), (3.0, 0.6)]];
    let at = |noise: f64| {
        let envelope = Envelope::cross_fitted([0.3, 0.3], &points, 0.5, [noise; 2], Between::Nothing);
        [1.5, 2.5, 3.0].map(|x| envelope.at(x))
    };
    let expect = |noise: f64, choices: [(f64, f64); 3]| {
        for (found, (by_first, by_second)) in at(noise).into_iter().zip(choices) {
            assert!((found - f64::midpoint(by_first, by_second)).abs() < 1e-12, "{noise}: {found}");
        }
    };
    // All noise: the trend alone chooses the farthest of a pool. Half as much as the first half's
    // variance: the lead of its second point counts, and nothing does that in the second half. None: the
    // rewards themselves choose.
    expect(0.2, [(0.5, 0.5), (0.4, 0.9), (0.6, 0.4)]);
    expect(0.0625, [(0.5, 0.5), (0.4, 0.9), (0.4, 0.4)]);
    expect(0.0, [(0.5, 0.5), (0.4, 0.5), (0.4, 0.4)]);
    // Along the KL the trend goes with the root, and with so much noise it is all that chooses: 0.3 + 0.2
    // sqrt(KL) but for noise that is orthogonal to sqrt(KL) and KL, so that every point is a vertex and
    // is read on the other half.
    let (kls, noise) = ([1.0_f64, 4.0, 9.0], [6.0, -6.0, 2.0]);
    let points: Vec<Halves> = kls
        .iter()
        .zip(noise)
        .map(|(kl, z)| [0.01, -0.02].map(|s| (*kl, 0.3 + 0.2 * kl.sqrt() + s * z)))
        .collect();
    let envelope = Envelope::cross_fitted([0.3, 0.3], &points, 0.5, [1.0; 2], Between::Mixtures);
    let read = points.iter().map(|[a, b]| (a.0, f64::midpoint(a.1, b.1)));
    let expected: Vec<(f64, f64)> = [(0.0, 0.3)].into_iter().chain(read).collect();
    assert_eq!(envelope.vertices().len(), 4);
    for (found, expected) in envelope.vertices().iter().zip(expected) {
        assert!((found.0 - expected.0).abs() + (found.1 - expected.1).abs() < 1e-12, "{envelope:?}");
    }
    // Equal halves without noise are the plain envelope.
    let same = [(1.0, 0.5), (2.0, 0.9), (3.0, 0.4)].map(|point| [point, point]);
    for between in [Between::Nothing, Between::Mixtures] {
        let envelope = Envelope::cross_fitted([0.3, 0.3], &same, 0.5, [0.0; 2], between);
        assert_eq!(envelope, Envelope::new(0.3, same.map(|[a, _]| a), between));
    }
}

#[test]
fn points_at_kl_zero_and_unusable_points() {
    let points = [(-1e-9, 3.0), (0.0, 4.0), (f64::NAN, 9.0), (1.0, f64::NAN)];
    for between in [Between::Nothing, Between::Mixtures] {
        assert_eq!(Envelope::new(2.0, points, between).vertices(), [(0.0, 4.0)]);
        assert_eq!(Envelope::new(2.0, [], between).mean_to(5.0), 2.0);
    }
}

#[test]
fn the_mean_envelope_is_the_mean_at_every_kl() {
    let (a, b) = ([(1.0, 2.0), (3.0, 6.0)], [(2.0, 4.0), (3.0, 4.0)]);
    let mean = |between| {
        let envelopes = [a, b].map(|points| Envelope::new(0.0, points, between));
        Envelope::mean(&envelopes).unwrap()
    };
    assert_eq!(mean(Between::Nothing).vertices(), [(0.0, 0.0), (1.0, 1.0), (2.0, 3.0), (3.0, 5.0)]);
    // Both are at 2 x, until the second is at its end.
    assert_eq!(mean(Between::Mixtures).at(1.0), 2.0);
    assert_eq!(mean(Between::Mixtures).at(2.0), 4.0);
    assert_eq!(mean(Between::Mixtures).at(3.0), 5.0);
    assert_eq!(Envelope::mean(&[]), None);
}

#[test]
fn the_papers_areas() {
    // Mean reward over KL in [0, 10] under the concave envelope, computed apart in NumPy from the same
    // points.
    let expected = [
        ("DPO", 0.938),
        ("PPO(ours)", 0.725),
        ("PPO-GT(TRL)", 0.632),
        ("PPO-GT(ours)", 0.722),
        ("Preferred-FT", 0.633),
        ("Unlikelihood", 0.904),
    ];
    let series = paper_points().unwrap();
    let names: Vec<&str> = series.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, expected.map(|one| one.0));
    for (one, (name, area)) in series.iter().zip(expected) {
        let found = Envelope::new(0.481, one.points.iter().copied(), Between::Mixtures).mean_to(10.0);
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
        let best = |kl: f64| points.iter().filter(|p| p.0 <= kl).fold(0.5, |best: f64, p| best.max(p.1));
        let steps = Envelope::new(0.5, points.clone(), Between::Nothing);
        prop_assert_eq!(steps.at(kl), best(kl));
        // The best of all chords over kl from a policy of smaller KL to one of larger KL, the
        // reference being one of them.
        let all: Vec<(f64, f64)> = points.iter().copied().chain([(0.0, 0.5)]).collect();
        let chords = all.iter().flat_map(|a| all.iter().map(move |b| (a, b))).filter(|(a, b)| a.0 <= kl && b.0 > kl);
        let chords = chords.map(|(a, b)| a.1 + (b.1 - a.1) * (kl - a.0) / (b.0 - a.0));
        let hull = Envelope::new(0.5, points.clone(), Between::Mixtures);
        prop_assert!((hull.at(kl) - chords.fold(best(kl), f64::max)).abs() < 1e-12);
        // The areas by a fine midpoint sum: each of at most 20 steps misplaces at most half a cell.
        let cells = 20_000;
        let width = 5.0 / f64::from(cells);
        for envelope in [steps, hull] {
            let sum: f64 = (0..cells).map(|i| envelope.at((f64::from(i) + 0.5) * width)).sum();
            prop_assert!((envelope.mean_to(5.0) - sum / f64::from(cells)).abs() < 1e-3);
            if let Some(x) = envelope.reach(0.8) {
                prop_assert!((envelope.at(x) - 0.8).abs() < 1e-9 || envelope.at(x) > 0.8);
                prop_assert!(x == 0.0 || envelope.at(x - 1e-6 * x) < 0.8);
            }
        }
    }
}
