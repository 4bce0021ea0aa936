//! What a summary says: its answer, its tables, and verdicts on claims.

mod answer;
pub mod claims;
pub(crate) mod numbers;
mod table;
mod tables;
mod why;
mod win_rate;

pub use answer::{Answer, answer};
pub use numbers::{nats, percent};
pub use table::Table;
pub use tables::{checks_table, claims_table, interval_note, markdown_table, tables};
pub use why::{law_table, reasons, why_tables};
pub use win_rate::{agreement_table, win_rate_answer, win_rate_claims, win_rate_tables};
