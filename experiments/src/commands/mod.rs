//! The commands beside the study itself, one file each; [`training`] is what those on a user's
//! own data have in common.

pub mod ablations;
pub mod closed_form;
pub mod devices;
pub mod dpo;
pub mod evaluate;
pub mod fetch;
pub mod generate;
pub mod import;
pub mod measure;
pub mod merge;
pub mod ppo;
pub mod publish;
pub mod report;
pub mod reward_model;
pub mod score;
pub mod sft;
pub mod train_classifier;
pub mod train_ground_truth;
pub mod train_reference;
pub mod training;
