//! Panics of the library `tokenizers` as errors: a crafted file can make it panic, where the file is read
//! or only where a text is.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs code of the library; its error, or that it panicked, in words.
pub(crate) fn caught<T>(work: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(done) => done.map_err(|error| error.to_string()),
        Err(_) => Err("a file that the parser cannot take".to_owned()),
    }
}
