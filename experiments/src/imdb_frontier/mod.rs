//! The IMDb sentiment experiment of the DPO paper: a preset becomes a plan, the plan stages and runs, and
//! these figures and a report.

pub mod ablations;
mod checkpoint;
mod classifiers;
pub mod command;
mod estimate;
mod evidence;
mod flops;
pub mod gather;
mod keys;
pub mod method;
mod method_keys;
pub mod needs;
pub mod parts;
pub mod plan;
pub mod planned;
pub mod preset;
pub mod reference;
pub mod report;
pub mod results;
pub mod reviews;
pub mod run;
pub mod samples;
mod schedule;
pub mod stages;
pub mod work;
