//! The commands beside the study itself, one file each.

pub mod ablations;
pub mod closed_form;
pub mod devices;
pub mod fetch;
pub mod import;
pub mod measure;
pub mod publish;
pub mod report;
pub mod train_ground_truth;
pub mod train_reference;
