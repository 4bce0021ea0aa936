//! The right half of the paper's Figure 2: win rates against texts that people wrote, by sampling temperature.

pub mod command;
mod human;
mod judges;
mod manifest;
mod policies;
pub mod report;
mod samples;
mod settings;
mod sweep;
