//! The methods that are compared.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::Error;

/// A way to a policy, by its name in records and in presets (`"dpo"`, `"ppo-gt"`, ...).
///
/// The set is open: [`Method::named`] takes any name, so that a new loss appears under its own in
/// figures and tables. Their order is that of legends and tables: the constants below as they stand,
/// then all others by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Method(&'static str);

/// The constants of [`Method`] with their labels, in order.
const KNOWN: [(Method, &str); 13] = [
    (Method::DPO, "DPO"),
    (Method::IPO, "IPO"),
    (Method::CDPO, "cDPO"),
    (Method::ONLINE_DPO, "Online DPO"),
    (Method::ONLINE_DPO_GT, "Online DPO-GT"),
    (Method::PPO, "PPO"),
    (Method::PPO_GT, "PPO-GT"),
    (Method::RLOO, "RLOO"),
    (Method::RLOO_GT, "RLOO-GT"),
    (Method::UNLIKELIHOOD, "Unlikelihood"),
    (Method::PREFERRED_FT, "Preferred-FT"),
    (Method::BEST_OF_N, "Best-of-n"),
    (Method::REFERENCE, "Reference"),
];

/// The names of all other methods of this process. A method is a name that lives as long as the process, so
/// that it is copied like a number; each name is stored once.
static NAMES: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());

impl Method {
    /// Direct preference optimisation (Rafailov et al. 2023).
    pub const DPO: Self = Self("dpo");
    /// Identity preference optimisation (Azar et al. 2023).
    pub const IPO: Self = Self("ipo");
    /// DPO with smoothed labels (Mitchell 2023).
    pub const CDPO: Self = Self("cdpo");
    /// DPO on fresh pairs of the current policy that a learned reward model labels (Guo et al. 2024).
    pub const ONLINE_DPO: Self = Self("online-dpo");
    /// The same on pairs that the true reward labels.
    pub const ONLINE_DPO_GT: Self = Self("online-dpo-gt");
    /// PPO on a learned reward model.
    pub const PPO: Self = Self("ppo");
    /// PPO on the true reward.
    pub const PPO_GT: Self = Self("ppo-gt");
    /// REINFORCE with a leave-one-out baseline and no value model, on a learned reward model (Ahmadian et al.
    /// 2024).
    pub const RLOO: Self = Self("rloo");
    /// The same on the true reward.
    pub const RLOO_GT: Self = Self("rloo-gt");
    /// Likelihood of the chosen up, of the rejected down (Welleck et al. 2019).
    pub const UNLIKELIHOOD: Self = Self("unlikelihood");
    /// Supervised fine-tuning on the chosen responses.
    pub const PREFERRED_FT: Self = Self("preferred-ft");
    /// The best of n reference samples by the true reward.
    pub const BEST_OF_N: Self = Self("best-of-n");
    /// The reference model itself.
    pub const REFERENCE: Self = Self("reference");

    /// The method of that name: letters and digits of ASCII, `_` and `-`, a letter or digit first.
    ///
    /// # Errors
    /// [`Error::BadMethod`] for any other name.
    pub fn named(name: &str) -> Result<Self, Error> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) || !name.chars().all(allowed) {
            return Err(Error::BadMethod(name.into()));
        }
        let known = KNOWN.iter().find(|(method, _)| method.0 == name);
        Ok(known.map_or_else(|| Self(stored(name)), |(method, _)| *method))
    }

    /// The distinct trained methods among these, in order: what legends and tables have a row for.
    pub fn trained(methods: impl IntoIterator<Item = Self>) -> Vec<Self> {
        let trained: BTreeSet<Self> = methods.into_iter().filter(|method| method.is_trained()).collect();
        trained.into_iter().collect()
    }

    /// The name in records.
    pub fn name(self) -> &'static str {
        self.0
    }

    /// The name in figures and tables: that of the literature for the constants, its own for every other
    /// method.
    pub fn label(self) -> &'static str {
        self.rank().map_or(self.0, |rank| KNOWN[rank].1)
    }

    /// Whether the method trains a policy, and so has an envelope.
    pub fn is_trained(self) -> bool {
        self != Self::BEST_OF_N && self != Self::REFERENCE
    }

    /// The constants, in order.
    pub(crate) fn known() -> impl Iterator<Item = Self> {
        KNOWN.iter().map(|(method, _)| *method)
    }

    /// Whether the method is one of the constants.
    pub fn is_known(self) -> bool {
        self.rank().is_some()
    }

    fn rank(self) -> Option<usize> {
        KNOWN.iter().position(|(method, _)| *method == self)
    }
}

fn stored(name: &str) -> &'static str {
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(stored) = names.get(name) {
        return stored;
    }
    let stored: &'static str = Box::leak(name.into());
    names.insert(stored);
    stored
}

impl Ord for Method {
    fn cmp(&self, other: &Self) -> Ordering {
        let rank = |method: &Self| method.rank().unwrap_or(KNOWN.len());
        rank(self).cmp(&rank(other)).then_with(|| self.0.cmp(other.0))
    }
}

impl PartialOrd for Method {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Method {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0)
    }
}

impl<'de> Deserialize<'de> for Method {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::named(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}
