//! `experiments report`: figures, tables and pages of a finished folder again.

use anyhow::Result;

use crate::cli::ReportOptions;
use crate::exit::{BadInput, Outcome};
use crate::imdb_frontier::ablations::{page, record};
use crate::imdb_frontier::report;
use crate::imdb_frontier::results::is_study;
use crate::study::manifest::MANIFEST;
use crate::tldr;

/// `experiments report DIR`.
pub fn run(options: &ReportOptions) -> Result<Outcome> {
    let dir = options.dir.as_path();
    if dir.join(record::RECORD).is_file() {
        page::draw(dir)?;
        return Ok(Outcome::Done);
    }
    if tldr::report::is_drawn(dir) {
        tldr::report::draw(dir)?;
        return Ok(Outcome::Done);
    }
    if !is_study(dir) {
        let found = format!("{}: no {MANIFEST}", dir.display());
        return Err(BadInput(format!(
            "{found}; expected a folder that imdb-frontier, ablations or tldr-winrate wrote"
        ))
        .into());
    }
    report::draw(dir)?;
    Ok(Outcome::Done)
}
