//! Lines for people.

use std::io::Write;

use anyhow::Result;

use crate::cli::Format;

/// Where lines for people go: standard output, or standard error if that is taken by JSON. They come as the
/// work is done, so that a run that is cut off has told what it found.
pub struct Lines {
    pub format: Format,
}

impl Lines {
    pub fn say(&self, line: &str) -> Result<()> {
        match self.format {
            Format::Text => writeln!(std::io::stdout().lock(), "{line}")?,
            Format::Json => writeln!(std::io::stderr().lock(), "{line}")?,
        }
        Ok(())
    }
}
