//! Everything that a report says about the points, as data.

use serde::{Deserialize, Serialize};

use crate::statistics::best_of_n::BestOfNPoint;
use crate::statistics::checks::Checks;
use crate::statistics::costs::{CostFor, Threshold};
use crate::statistics::intervals::Estimate;
use crate::statistics::law::LawPoint;
use crate::statistics::why::Why;
use crate::{Envelope, Method, Reference};

/// Limits of the areas under envelopes, in nats.
pub const AREA_LIMITS: [f64; 4] = [1.0, 2.0, 5.0, 10.0];
/// KLs at which rewards are read off and methods are compared, in nats.
pub const KL_GRID: [f64; 6] = [0.25, 0.5, 1.0, 2.0, 5.0, 10.0];
/// Rewards whose KL and cost are read off.
pub const REWARD_GRID: [f64; 6] = [0.6, 0.7, 0.8, 0.9, 0.95, 0.99];
/// The pairs of known methods that are compared; every other method is compared with DPO.
pub const COMPARED: [(Method, Method); 13] = [
    (Method::DPO, Method::PPO),
    (Method::DPO, Method::PPO_GT),
    (Method::PPO_GT, Method::PPO),
    (Method::DPO, Method::PREFERRED_FT),
    (Method::DPO, Method::UNLIKELIHOOD),
    (Method::ONLINE_DPO, Method::DPO),
    (Method::ONLINE_DPO, Method::PPO),
    (Method::ONLINE_DPO_GT, Method::ONLINE_DPO),
    (Method::RLOO, Method::ONLINE_DPO),
    (Method::RLOO_GT, Method::ONLINE_DPO_GT),
    (Method::RLOO_GT, Method::RLOO),
    (Method::PPO, Method::RLOO),
    (Method::PPO_GT, Method::RLOO_GT),
];

/// All statistics of a frontier.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The reference's mean reward.
    pub reference: Reference,
    /// Points on the frontiers of trained methods.
    pub points: usize,
    /// Those of them whose prompts are recorded. The intervals of the others come from standard errors and
    /// miss the pairing over prompts.
    pub points_with_prompts: usize,
    /// The methods with at least one usable point, in the order of [`Method`].
    pub methods: Vec<MethodSummary>,
    /// Paired comparisons at [`KL_GRID`].
    pub comparisons: Vec<Comparison>,
    /// The reweighted optimum at [`KL_GRID`], as far as its curve goes.
    pub optimum: Vec<RewardAt>,
    /// The most that a policy earns that knows the order of a prompt's responses and no more, at [`KL_GRID`].
    pub hard_labels: Vec<CeilingAt>,
    /// Best-of-n.
    pub best_of_n: Vec<BestOfNPoint>,
    /// Why methods differ.
    pub why: Why,
    /// Predicted and measured shares of the runs' last checkpoints.
    pub law: Vec<LawPoint>,
    /// The names of runs that failed or have not been done yet.
    pub failed_runs: Vec<String>,
    /// The checks.
    pub checks: Checks,
}

/// The statistics of one method.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MethodSummary {
    /// The method.
    pub method: Method,
    /// Usable points.
    pub points: usize,
    /// Runs with a usable point.
    pub runs: usize,
    /// Seeds with a usable point.
    pub seeds: Vec<u64>,
    /// The largest KL of a usable point, in nats; beyond it the envelope is flat.
    pub largest_kl: f64,
    /// Mean reward under the envelope from 0 to each of [`AREA_LIMITS`].
    pub areas: Vec<Area>,
    /// Reward at [`KL_GRID`].
    pub rewards: Vec<MethodAt>,
    /// KL for [`REWARD_GRID`].
    pub kls: Vec<KlFor>,
    /// Cost of [`REWARD_GRID`].
    pub costs: Vec<CostFor>,
}

impl MethodSummary {
    /// The mark of a KL that lies beyond every checkpoint of the method, or near which none of its runs ends.
    pub(crate) fn dagger(&self, at: &MethodAt) -> &'static str {
        match () {
            () if at.kl > self.largest_kl && !at.ends_near => "†",
            () if !at.ends_near => "‡",
            () => "",
        }
    }
}

/// The mean reward under the envelope over \[0, limit\].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Area {
    /// The limit, in nats.
    pub limit: f64,
    /// The mean reward.
    pub reward: Estimate,
}

/// A reward at one KL.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RewardAt {
    /// The KL, in nats.
    pub kl: f64,
    /// The reward.
    pub reward: Estimate,
}

/// A ceiling at one KL.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CeilingAt {
    /// The KL, in nats.
    pub kl: f64,
    /// The reward.
    pub reward: Estimate,
    /// Its share of the reweighted optimum's gain.
    pub gain_share: Estimate,
}

/// A method's reward at one KL.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct MethodAt {
    /// The KL, in nats.
    pub kl: f64,
    /// Whether runs of the method [end near](crate::Analysis::ends_near) this KL.
    pub ends_near: bool,
    /// Under the upper envelope.
    pub envelope: Estimate,
    /// Under the isotonic fit.
    pub isotonic: Estimate,
    /// (envelope - reference) / (reweighted optimum - reference): the share of the possible gain that is
    /// earned; `None` beyond the optimum's curve.
    pub gain_share: Option<Estimate>,
}

/// The KL for one reward.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct KlFor {
    /// The reward.
    pub reward: f64,
    /// The smallest KL, in nats, at which the mean envelope over seeds reaches it. The ends of its interval
    /// are among [`curve_kls`](crate::curve_kls).
    pub kl: Threshold,
}

/// The difference in reward, `first` - `second`, between two methods' envelopes at one KL, over
/// the seeds that both have.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The method whose reward counts as positive.
    pub first: Method,
    /// The method that it is compared with.
    pub second: Method,
    /// The KL, in nats.
    pub kl: f64,
    /// The difference, paired by seed and by prompt.
    pub difference: Estimate,
    /// The share of draws in which `first` is ahead; a tie counts half.
    pub probability_ahead: f64,
    /// Whether neither method's largest KL is below this one: beyond it an envelope is flat
    /// for want of checkpoints.
    pub covered: bool,
    /// Whether runs of both methods [end near](crate::Analysis::ends_near) this KL: only there is anything
    /// claimed.
    pub ends_near: bool,
}

/// Curves along [`curve_kls`](crate::curve_kls), for figures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Curves {
    /// Each method's rewards up to its largest KL.
    pub methods: Vec<(Method, Vec<MethodAt>)>,
    /// Each method's envelope as observed: the mean over seeds of the cross-fitted ones.
    pub envelopes: Vec<(Method, Envelope)>,
    /// The reweighted optimum as far as it goes.
    pub optimum: Vec<RewardAt>,
    /// Each comparison that the points allow, where both methods have them.
    pub comparisons: Vec<Comparison>,
}
