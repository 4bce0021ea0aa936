//! Variations of the study: their record, and the comparison of what they earn.

pub mod page;
pub mod record;
mod responses;
