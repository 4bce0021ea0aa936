//! A user's own files: preference pairs, prompts and texts as JSON Lines, in the formats of Hugging Face's
//! TRL.
//!
//! A file is read line by line, so what is in memory are its records and never more than one line besides.
//! What is wrong is said by file, line and key, with what was found and what was expected. [`Reader`]
//! turns records into token ids.

mod conversation;
mod examples;
mod limits;
mod lines;
mod preference;
mod reader;
mod supervised;

pub use conversation::{Message, Text};
pub use examples::{Examples, PairLabels, PromptExample, ResponseRecord, read_responses};
pub use limits::{Limits, TooLong};
pub(crate) use lines::shown;
pub use lines::{Lines, Record};
pub use preference::PreferenceRecord;
pub use reader::Reader;
pub use supervised::SupervisedRecord;
