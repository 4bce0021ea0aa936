//! A language model behind an OpenAI-compatible endpoint as a judge: a local server or a hosted one.
//!
//! Each pair is a question in words, and the answer ends in a verdict. Answers are kept in a file, by a hash
//! of the model and the question, so that no question is paid for twice, whatever ends the program in
//! between. Requests go out so many at a time and a minute, are repeated where a server is full or broken,
//! and stop before they pass a budget.
//!
//! The key comes from the caller, goes to `curl` by its standard input, and stands in no file, no log and no
//! message.

mod answers;
mod ask;
mod config;
mod http;
mod judge;
mod ledger;
mod question;

pub use config::{EndpointConfig, Prices};
pub use judge::{EndpointJudge, Spent};
pub use question::Question;

/// Reads what curl printed of a reply, as the judge does: for fuzz targets, which alone are
/// built with `--cfg fuzzing`.
#[cfg(fuzzing)]
#[doc(hidden)]
pub fn read_reply(printed: &[u8]) {
    let Ok(reply) = http::read(printed) else { return };
    drop(ask::pause(0.5, 1, reply.retry_after));
    if let Some((text, _tokens)) = ask::content(&reply.body, 1) {
        question::read(&text);
    }
}
