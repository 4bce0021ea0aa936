//! What the trainings on a user's own data have in common: settings and their flags, data, the output folder,
//! the loop with its files, evaluations, scorers, and the model's folder at the end.

pub mod card;
pub mod data;
pub mod events;
pub mod export;
pub mod finish;
pub mod measure;
pub mod memory;
pub mod output;
pub mod overrides;
pub mod record;
pub mod sections;
pub mod source;
pub mod start;
