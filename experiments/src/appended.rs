//! Files that grow while a training goes on, and shrink to where a checkpoint left them when it goes on from
//! there.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;

/// The counter of a checkpoint that says how long a file was.
pub fn bytes_of(file: &str) -> String {
    format!("bytes/{file}")
}

/// Opens a file to append to it: a new one, or of an old one its first `keep` bytes.
pub fn reopen(path: &Path, keep: u64) -> Result<File> {
    let open = || {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        // More than is there would be filled with zeros.
        if file.metadata()?.len() < keep {
            return Err(std::io::Error::other(format!("fewer than the {keep} bytes of its checkpoint")));
        }
        file.set_len(keep)?;
        Ok(file)
    };
    open().with_context(|| path.display().to_string())
}

/// A file that is only appended to.
pub struct Appended {
    path: PathBuf,
    file: File,
    bytes: u64,
}

impl Appended {
    /// See [`reopen`].
    pub fn open(path: &Path, keep: u64) -> Result<Self> {
        Ok(Self { path: path.to_owned(), file: reopen(path, keep)?, bytes: keep })
    }

    /// Bytes so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Appends, at once.
    pub fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).with_context(|| self.path.display().to_string())?;
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Appends a line of JSON.
    pub fn append_json(&mut self, line: &impl Serialize) -> Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        self.append(&text)
    }

    /// Appends a row of a table, before the first one its header.
    pub fn append_row(&mut self, columns: &[(String, f64)]) -> Result<()> {
        let row = |cells: Vec<String>| cells.join(",") + "\n";
        if self.bytes == 0 {
            let header = row(columns.iter().map(|(name, _)| name.clone()).collect());
            self.append(header.as_bytes())?;
        }
        self.append(row(columns.iter().map(|(_, value)| value.to_string()).collect()).as_bytes())
    }

    /// Has the disk keep it.
    pub fn sync(&self) -> Result<()> {
        self.file.sync_all().with_context(|| self.path.display().to_string())
    }
}
