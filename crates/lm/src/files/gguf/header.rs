//! What a GGUF file says before its tensors.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::cursor::Cursor;
use super::metadata::Metadata;
use super::tensors::{Tensor, read_tensors};
use crate::LmError;
use crate::parameters::Values;

/// The metadata and the places of the tensors.
pub(super) struct Header {
    pub(super) path: PathBuf,
    pub(super) metadata: Metadata,
    pub(super) tensors: BTreeMap<String, Tensor>,
    /// Where the tensors begin in the file.
    start: u64,
}

impl Header {
    /// Reads and checks everything but the values.
    ///
    /// # Errors
    /// [`LmError::File`] with the key, [`LmError::Tensor`] with the tensor that is damaged.
    pub(super) fn read(path: &Path) -> Result<Self, LmError> {
        let mut cursor = Cursor::open(path)?;
        let magic = cursor.bytes::<4>("the first bytes")?;
        if magic != *b"GGUF" {
            return Err(LmError::file(path, format!("the first bytes {magic:02x?}"), "GGUF"));
        }
        let version = cursor.u32("the version")?;
        if !(2..=3).contains(&version) {
            return Err(LmError::file(path, format!("version {version}"), "2 or 3, little-endian"));
        }
        let tensors = cursor.u64("the number of tensors")?;
        let keys = cursor.u64("the number of keys")?;
        let metadata = Metadata::read(path, &mut cursor, keys)?;
        let alignment = match metadata.count("general.alignment")? {
            None => 32,
            Some(alignment) if alignment.is_power_of_two() && (8..=1 << 20).contains(&alignment) => {
                alignment as u64
            }
            Some(alignment) => {
                let found = alignment.to_string();
                return Err(metadata.refuse("general.alignment", &found, "a power of 2 from 8 to 1048576"));
            }
        };
        let (tensors, start) = read_tensors(path, &mut cursor, tensors, alignment)?;
        Ok(Self { path: path.to_owned(), metadata, tensors, start })
    }

    /// The values of a tensor, row by row.
    ///
    /// # Errors
    /// If the file cannot be read, or a value is not finite.
    pub(super) fn values(&self, tensor: &Tensor) -> Result<Values, LmError> {
        let mut bytes = vec![0; tensor.bytes as usize];
        File::open(&self.path)
            .and_then(|mut file| {
                file.seek(SeekFrom::Start(self.start + tensor.offset))?;
                file.read_exact(&mut bytes)
            })
            .map_err(|error| LmError::io(&self.path, error))?;
        let values = tensor.kind.values(&bytes);
        match values.iter().filter(|value| !value.is_finite()).count() {
            0 => Ok(Values { shape: tensor.shape.clone(), values }),
            count => {
                let found = format!("{count} values that are not finite");
                Err(tensor.refuse(&self.path, found, "finite weights"))
            }
        }
    }
}
