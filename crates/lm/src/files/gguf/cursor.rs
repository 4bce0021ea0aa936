//! Reads numbers and strings from the start of a file and knows what is left of it.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use crate::LmError;

/// A place in a file.
pub(super) struct Cursor {
    path: PathBuf,
    file: BufReader<File>,
    /// Bytes of the whole file.
    size: u64,
    /// Bytes read so far.
    position: u64,
}

impl Cursor {
    pub(super) fn open(path: &Path) -> Result<Self, LmError> {
        let file = File::open(path).map_err(|error| LmError::io(path, error))?;
        let size = file.metadata().map_err(|error| LmError::io(path, error))?.len();
        Ok(Self { path: path.to_owned(), file: BufReader::new(file), size, position: 0 })
    }

    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Bytes of the whole file.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Checks that so many elements of at least so many bytes can follow, before anything is allocated for
    /// them.
    pub(super) fn room(&self, what: &str, count: u64, bytes: u64) -> Result<usize, LmError> {
        let left = self.size - self.position;
        let fits = count.checked_mul(bytes).is_some_and(|needed| needed <= left);
        match usize::try_from(count) {
            Ok(count) if fits => Ok(count),
            _ => {
                let found = format!("{what}: {count} elements where {left} bytes are left");
                Err(LmError::file(&self.path, found, "a whole GGUF file"))
            }
        }
    }

    /// The next bytes.
    pub(super) fn bytes<const N: usize>(&mut self, what: &str) -> Result<[u8; N], LmError> {
        self.room(what, N as u64, 1)?;
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    pub(super) fn u32(&mut self, what: &str) -> Result<u32, LmError> {
        self.bytes(what).map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self, what: &str) -> Result<u64, LmError> {
        self.bytes(what).map(u64::from_le_bytes)
    }

    /// The next string: its length in bytes, then UTF-8.
    pub(super) fn text(&mut self, what: &str) -> Result<String, LmError> {
        let length = self.u64(what)?;
        let mut bytes = vec![0; self.room(what, length, 1)?];
        self.fill(&mut bytes)?;
        String::from_utf8(bytes)
            .map_err(|_| LmError::file(&self.path, format!("{what}: bytes that are no text"), "UTF-8"))
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), LmError> {
        self.file.read_exact(bytes).map_err(|error| LmError::io(&self.path, error))?;
        self.position += bytes.len() as u64;
        Ok(())
    }
}
