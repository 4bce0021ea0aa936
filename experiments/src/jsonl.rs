//! Files of JSON Lines.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write, stdout};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::exit::BadInput;

/// Where lines will go when the work is done: a file, or standard output for `-`.
pub struct Output {
    path: PathBuf,
    file: Option<File>,
}

impl Output {
    /// Opens the file before the work, so that a path where none can be made costs nothing. The folder is
    /// made if it is missing; what stands in the file stays until there is something to write.
    ///
    /// # Errors
    /// [`BadInput`] if it cannot be opened.
    pub fn open(path: &Path) -> Result<Self> {
        let open = |path: &Path| {
            path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
            OpenOptions::new().write(true).create(true).truncate(false).open(path)
        };
        let file = if path == Path::new("-") {
            None
        } else {
            Some(open(path).map_err(|error| BadInput(format!("{}: {error}", path.display())))?)
        };
        Ok(Self { path: path.to_owned(), file })
    }

    /// Writes a line of JSON for each of `lines`.
    pub fn write<T: Serialize>(self, lines: impl IntoIterator<Item = T>) -> Result<()> {
        let Self { path, file } = self;
        let write = || -> std::io::Result<()> {
            let out: Box<dyn Write> = match file {
                Some(file) => {
                    // A pipe has no length.
                    if file.metadata()?.is_file() {
                        file.set_len(0)?;
                    }
                    Box::new(file)
                }
                None => Box::new(stdout().lock()),
            };
            let mut out = BufWriter::new(out);
            for line in lines {
                serde_json::to_writer(&mut out, &line)?;
                out.write_all(b"\n")?;
            }
            out.flush()
        };
        write().with_context(|| path.display().to_string())
    }
}

/// Writes a file with a line of JSON for each of `lines`.
pub fn write<T: Serialize>(path: &Path, lines: impl IntoIterator<Item = T>) -> Result<()> {
    Output::open(path)?.write(lines)
}
