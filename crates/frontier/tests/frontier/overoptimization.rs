//! The fits of Gao et al. against curves that are known, and against `NumPy`.
use frontier::overoptimization::{Fit, Form, implicit_rewards, learned_rewards, true_rewards};
use frontier::{Method, Metrics, Run};

use crate::synthetic;

#[test]
fn both_forms_are_recovered_from_exact_points() {
    let kls = [0.04, 0.25, 1.0, 2.25, 6.25];
    // d (1.5 - 0.25 d) and d (0.8 - 0.5 ln d), and where their slopes vanish: d = 3 and d = exp(0.6).
    let best = Fit::new(Form::BestOfN, kls.map(|kl| (kl, 1.5 * f64::sqrt(kl) - 0.25 * kl))).unwrap();
    assert!((best.a - 1.5).abs() < 1e-9 && (best.b - 0.25).abs() < 1e-9 && best.rmse < 1e-9, "{best:?}");
    assert!((best.peak_kl().unwrap() - 9.0).abs() < 1e-6);
    let rl = kls.map(|kl| (kl, f64::sqrt(kl) * (0.8 - 0.5 * f64::sqrt(kl).ln())));
    let rl = Fit::new(Form::Rl, rl).unwrap();
    assert!((rl.a - 0.8).abs() < 1e-9 && (rl.b - 0.5).abs() < 1e-9 && rl.rmse < 1e-9, "{rl:?}");
    assert!((rl.peak_kl().unwrap() - 1.2_f64.exp()).abs() < 1e-6);
    assert_eq!((rl.points, rl.largest_kl, rl.gain(0.0)), (5, 6.25, 0.0));
    assert!((best.gain(4.0) - 2.0).abs() < 1e-9);
}

#[test]
fn a_fit_to_noise_is_the_least_squares_one() {
    // numpy.linalg.lstsq([d, -d ln d], gain) for these points.
    let points = [(0.25, 0.10), (1.0, 0.22), (2.0, 0.24), (4.0, 0.33), (9.0, 0.31)];
    let fit = Fit::new(Form::Rl, points).unwrap();
    assert!((fit.a - 0.208_608_5).abs() < 1e-6, "{fit:?}");
    assert!((fit.b - 0.090_324_8).abs() < 1e-6, "{fit:?}");
    assert!((fit.rmse - 0.025_635_4).abs() < 1e-6, "{fit:?}");
}

#[test]
fn too_few_points_are_not_fitted() {
    assert_eq!(Fit::new(Form::Rl, [(1.0, 0.2), (4.0, 0.3)]), None);
    // Points at KL 0 and points that are not finite do not count; equal KLs do not tell a from b.
    assert_eq!(Fit::new(Form::Rl, [(0.0, 0.0), (1.0, 0.2), (f64::NAN, 0.1), (4.0, 0.3)]), None);
    assert_eq!(Fit::new(Form::BestOfN, [(2.0, 0.2), (2.0, 0.3), (2.0, 0.4)]), None);
    let rising = Fit::new(Form::BestOfN, [(1.0, 1.1), (4.0, 2.4), (9.0, 3.9)]).unwrap();
    assert!(rising.b < 0.0 && rising.peak_kl().is_none());
}

#[test]
fn proxies_are_what_each_method_maximises() {
    let mut runs = Run::of_rows(synthetic::sweep(1, 2));
    // Not measured.
    assert_eq!(learned_rewards(&runs, Method::PPO), []);
    for eval in runs.iter_mut().flat_map(|run| &mut run.evals) {
        eval.learned = 2.0;
    }
    let ppo = runs.iter().find(|run| run.evals[0].method == Method::PPO).unwrap();
    assert!(learned_rewards(&runs, Method::PPO).contains(&(ppo.evals[2].sequence_kl, 2.0)));
    assert_eq!(learned_rewards(&runs, Method::PREFERRED_FT).len(), 2);
    // Only the records tell that a method has an implicit reward.
    assert!(implicit_rewards(&runs, Method::DPO).is_empty());
    let of_pairs = |run: &&mut Run| matches!(run.evals[0].method, Method::DPO | Method::UNLIKELIHOOD);
    for run in runs.iter_mut().filter(of_pairs) {
        run.metrics = Metrics { columns: vec!["step".into(), "rewards/margins".into()], rows: vec![] };
    }
    // Four betas with two evaluations each after step 0.
    let dpo = implicit_rewards(&runs, Method::DPO);
    assert_eq!(dpo.iter().map(Vec::len).collect::<Vec<_>>(), [2; 4]);
    let first = &runs.iter().find(|run| run.evals[0].method == Method::DPO).unwrap().evals[1];
    assert_eq!(dpo[0][0], (first.sequence_kl, 0.05 * first.k1));
    for method in [Method::PPO_GT, Method::UNLIKELIHOOD] {
        assert!(implicit_rewards(&runs, method).is_empty());
    }
    assert_eq!(true_rewards(&runs, Method::PREFERRED_FT).len(), 2);
    // A run without a penalty is no part of its method's curve, one with another fixed coefficient is.
    let all = true_rewards(&runs, Method::PPO).len();
    for eval in &mut runs.iter_mut().find(|run| run.evals[0].method == Method::PPO).unwrap().evals {
        (eval.knob, eval.value) = ("kl_coef".to_owned(), 0.0);
    }
    assert_eq!(true_rewards(&runs, Method::PPO).len(), all - 2);
    for eval in &mut runs.iter_mut().rfind(|run| run.evals[0].method == Method::PPO).unwrap().evals {
        (eval.knob, eval.value) = ("kl_coef".to_owned(), 0.5);
    }
    assert_eq!(true_rewards(&runs, Method::PPO).len(), all - 2);
}
