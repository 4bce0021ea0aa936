//! The right half of the paper's Figure 2: win rates against texts that people wrote, by sampling
//! temperature.
//!
//! `tldr-winrate` draws it, `tldr-data` reads the files of the paper's data, and `tldr-agreement`
//! compares judges with people.

pub mod agreement;
pub mod command;
pub mod data;
mod ground;
mod human;
mod judges;
mod manifest;
mod openai;
mod policies;
mod posts;
pub mod report;
mod samples;
mod settings;
mod study;
mod sweep;
mod synthetic;
mod words;
