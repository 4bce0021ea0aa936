//! What the records say, with intervals.

pub mod ablation;
pub mod agreement;
mod analysis;
pub mod best_of_n;
pub mod calibration;
pub mod checks;
pub mod costs;
mod envelope;
pub mod floor;
pub mod intervals;
pub mod isotonic;
mod judged;
pub mod law;
pub mod optimum;
pub mod overoptimization;
mod reference;
mod resampling;
mod shares;
mod summarise;
mod summary;
pub mod why;
pub mod win_rate;

pub use analysis::{Analysis, curve_kls};
pub use envelope::{Between, Envelope, Halves};
pub use reference::Reference;
pub use resampling::Bootstrap;
pub use summarise::summarise;
pub use summary::{
    AREA_LIMITS, Area, COMPARED, CeilingAt, Comparison, Curves, KL_GRID, KlFor, MethodAt, MethodSummary,
    REWARD_GRID, RewardAt, Summary,
};
