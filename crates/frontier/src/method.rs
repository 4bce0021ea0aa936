//! The methods that are compared.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A way to a policy, as named in records (`"dpo"`, `"ppo-gt"`, ...).
///
/// The order of the variants is the order in legends and tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// Direct preference optimisation (Rafailov et al. 2023).
    Dpo,
    /// Identity preference optimisation (Azar et al. 2023).
    Ipo,
    /// DPO with smoothed labels (Mitchell 2023).
    Cdpo,
    /// PPO on a learned reward model.
    Ppo,
    /// PPO on the true reward.
    PpoGt,
    /// Likelihood of the chosen up, of the rejected down (Welleck et al. 2019).
    Unlikelihood,
    /// Supervised fine-tuning on the chosen responses.
    PreferredFt,
    /// The best of n reference samples by the true reward.
    BestOfN,
    /// The reference model itself.
    Reference,
}

impl Method {
    /// The methods that train a policy, and so have an envelope.
    pub const TRAINED: [Self; 7] =
        [Self::Dpo, Self::Ipo, Self::Cdpo, Self::Ppo, Self::PpoGt, Self::Unlikelihood, Self::PreferredFt];

    /// The name in records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dpo => "dpo",
            Self::Ipo => "ipo",
            Self::Cdpo => "cdpo",
            Self::Ppo => "ppo",
            Self::PpoGt => "ppo-gt",
            Self::Unlikelihood => "unlikelihood",
            Self::PreferredFt => "preferred-ft",
            Self::BestOfN => "best-of-n",
            Self::Reference => "reference",
        }
    }

    /// The name in figures and tables.
    pub fn label(self) -> &'static str {
        match self {
            Self::Dpo => "DPO",
            Self::Ipo => "IPO",
            Self::Cdpo => "cDPO",
            Self::Ppo => "PPO",
            Self::PpoGt => "PPO-GT",
            Self::Unlikelihood => "Unlikelihood",
            Self::PreferredFt => "Preferred-FT",
            Self::BestOfN => "Best-of-n",
            Self::Reference => "Reference",
        }
    }

    /// Whether the method trains a policy.
    pub fn is_trained(self) -> bool {
        !matches!(self, Self::BestOfN | Self::Reference)
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
