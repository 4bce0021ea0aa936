//! Why methods differ: the loss, the data, the signal and the value model, one at a time.
//!
//! PPO differs from DPO in several things at once. The methods between them change one of these each, so that
//!
//! ```text
//! PPO - DPO = (Online DPO - DPO) + (RLOO - Online DPO) + (PPO - RLOO)
//!               fresh data           loss                  value model
//! ```
//!
//! and each of the methods on fresh data has a counterpart that sees the true reward in place of the learned
//! one.

use serde::{Deserialize, Serialize};

use crate::statistics::analysis::{Analysis, Values};
use crate::statistics::intervals::Estimate;
use crate::statistics::shares::gain_shares;
use crate::{Method, Run};

/// The KLs at which methods are taken apart, in nats.
pub const WHY_KLS: [f64; 3] = [0.5, 1.0, 2.0];

/// Method, loss, data, signal.
const CELLS: [(Method, &str, &str, &str); 7] = [
    (Method::DPO, "contrastive", "fixed", "labels"),
    (Method::ONLINE_DPO, "contrastive", "fresh", "learned"),
    (Method::ONLINE_DPO_GT, "contrastive", "fresh", "true"),
    (Method::PPO, "policy gradient, value model", "fresh", "learned"),
    (Method::PPO_GT, "policy gradient, value model", "fresh", "true"),
    (Method::RLOO, "policy gradient", "fresh", "learned"),
    (Method::RLOO_GT, "policy gradient", "fresh", "true"),
];

/// What changes from the second method to the first.
const CONTRASTS: [(&str, Method, Method); 9] = [
    ("fresh data", Method::ONLINE_DPO, Method::DPO),
    ("policy gradient", Method::RLOO, Method::ONLINE_DPO),
    ("policy gradient", Method::RLOO_GT, Method::ONLINE_DPO_GT),
    ("value model", Method::PPO, Method::RLOO),
    ("value model", Method::PPO_GT, Method::RLOO_GT),
    ("true reward", Method::ONLINE_DPO_GT, Method::ONLINE_DPO),
    ("true reward", Method::RLOO_GT, Method::RLOO),
    ("true reward", Method::PPO_GT, Method::PPO),
    ("all but the true reward", Method::PPO, Method::DPO),
];

/// Methods by what they are made of, and what each part changes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Why {
    /// The methods of the study that differ in these parts.
    pub methods: Vec<Made>,
    /// The changes of one part that the study's methods allow, and PPO - DPO.
    pub contrasts: Vec<Contrast>,
}

/// A method by its parts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Made {
    /// The method.
    pub method: Method,
    /// What it descends.
    pub loss: String,
    /// *fixed* responses of the reference or *fresh* ones of the policy.
    pub data: String,
    /// *labels* of pairs by the true reward, a reward model *learned* from them, or the *true* reward.
    pub signal: String,
    /// The share of the optimum's gain at each of [`WHY_KLS`].
    pub shares: Vec<ShareAt>,
}

/// A change of one part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Contrast {
    /// What the first has and the second has not.
    pub change: String,
    /// The method with the change.
    pub first: Method,
    /// The method without.
    pub second: Method,
    /// The difference of their shares at each of [`WHY_KLS`], paired by seed and prompt.
    pub differences: Vec<ShareAt>,
}

/// A share, or a difference of two.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShareAt {
    /// The KL, in nats.
    pub kl: f64,
    /// The share; `None` beyond the optimum's curve and where a method has no checkpoints.
    pub share: Option<Estimate>,
    /// Whether runs of the method, or of both, [end near](Analysis::ends_near) this KL.
    pub ends_near: bool,
}

/// Takes the methods of a study apart.
pub fn why(analysis: &Analysis<'_>) -> Why {
    let methods = Run::methods(analysis.runs);
    let known = CELLS.into_iter().filter(|(method, ..)| methods.contains(method));
    let shares: Vec<(Method, [Option<Values>; 3])> = known
        .clone()
        .map(|(method, ..)| (method, WHY_KLS.map(|kl| share_at(analysis, method, kl))))
        .collect();
    let of = |method: Method| shares.iter().find(|(of, _)| *of == method).map(|(_, values)| values);
    let made = known.filter_map(|(method, loss, data, signal)| {
        let values = of(method)?.iter().zip(WHY_KLS);
        let at = |(values, kl): (&Option<Values>, f64)| ShareAt {
            kl,
            share: values.as_ref().map(|values| analysis.distribution(values, 0).estimate()),
            ends_near: analysis.ends_near(method, kl),
        };
        let shares: Vec<ShareAt> = values.map(at).collect();
        let [loss, data, signal] = [loss, data, signal].map(str::to_owned);
        shares.iter().any(|at| at.share.is_some()).then_some(Made { method, loss, data, signal, shares })
    });
    let contrasts = CONTRASTS.into_iter().filter_map(|(change, first, second)| {
        let both = of(first)?.iter().zip(of(second)?).zip(WHY_KLS);
        let at = |((a, b), kl): ((&Option<Values>, &Option<Values>), f64)| {
            let difference = a.as_ref().zip(b.as_ref()).and_then(|(a, b)| analysis.difference(a, b, 0));
            ShareAt {
                kl,
                share: difference.map(|difference| difference.estimate()),
                ends_near: analysis.ends_near(first, kl) && analysis.ends_near(second, kl),
            }
        };
        let differences: Vec<ShareAt> = both.map(at).collect();
        let any = differences.iter().any(|at| at.share.is_some());
        any.then(|| Contrast { change: change.to_owned(), first, second, differences })
    });
    Why { methods: made.collect(), contrasts: contrasts.collect() }
}

/// The share of each seed at one KL; `None` where the method has no checkpoints on both sides of it.
fn share_at(analysis: &Analysis<'_>, method: Method, kl: f64) -> Option<Values> {
    let largest_kl = analysis.largest_kl(method)?;
    let (kls, values) = gain_shares(analysis, method, &[kl])?;
    (!kls.is_empty() && (kl <= largest_kl || analysis.ends_near(method, kl))).then_some(values)
}
