//! Weights written as one safetensors file, and JSON.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use half::f16;
use safetensors::tensor::{Dtype, Metadata, TensorInfo};
use serde_json::Value;

use crate::LmError;
use crate::parameters::Values;

/// How weights are stored; they are f32 in memory either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// 4 bytes per weight, exact.
    F32,
    /// 2 bytes per weight, for shipping.
    F16,
}

impl Precision {
    fn dtype(self) -> Dtype {
        match self {
            Self::F32 => Dtype::F32,
            Self::F16 => Dtype::F16,
        }
    }

    /// Values as a file stores them.
    fn encode(self, values: &[f32]) -> Vec<u8> {
        match self {
            Self::F32 => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Self::F16 => values.iter().flat_map(|&value| f16::from_f32(value).to_le_bytes()).collect(),
        }
    }

    /// As `torch_dtype` in `config.json`.
    pub(super) fn torch_name(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::F16 => "float16",
        }
    }
}

/// Writes tensors and an entry of metadata as one file.
///
/// # Errors
/// [`LmError::Tensor`] for a value that the precision cannot hold, [`LmError::Io`] if the file cannot be
/// written.
pub(crate) fn write(
    path: &Path,
    tensors: &BTreeMap<String, Values>,
    metadata: (&str, &str),
    precision: Precision,
) -> Result<(), LmError> {
    if precision == Precision::F16 {
        check_f16(path, tensors)?;
    }
    let header = header(tensors, metadata, precision)
        .map_err(|error| LmError::file(path, error.to_string(), "tensors that can be stored"))?;
    // A reader never sees half a file.
    let part = path.with_extension("safetensors.part");
    write_file(&part, &header, tensors, precision)
        .and_then(|()| std::fs::rename(&part, path))
        .inspect_err(|_| drop(std::fs::remove_file(&part)))
        .map_err(|error| LmError::io(path, error))
}

/// Writes JSON for people to read.
pub(super) fn write_json(path: &Path, value: &Value) -> Result<(), LmError> {
    std::fs::write(path, format!("{value:#}\n")).map_err(|error| LmError::io(path, error))
}

fn write_file(
    path: &Path,
    header: &Metadata,
    tensors: &BTreeMap<String, Values>,
    precision: Precision,
) -> std::io::Result<()> {
    let mut header = serde_json::to_vec(header)?;
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut out = BufWriter::new(File::create(path)?);
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(&header)?;
    for Values { values, .. } in tensors.values() {
        out.write_all(&precision.encode(values))?;
    }
    out.into_inner()?.sync_all()
}

/// What a file says first: the entry of metadata, and where each tensor is.
fn header(
    tensors: &BTreeMap<String, Values>,
    (key, value): (&str, &str),
    precision: Precision,
) -> Result<Metadata, safetensors::SafeTensorError> {
    let bytes = precision.dtype().bitsize() / 8;
    let mut offset = 0;
    let infos = tensors.iter().map(|(name, Values { shape, values })| {
        let data_offsets = (offset, offset + bytes * values.len());
        offset = data_offsets.1;
        (name.clone(), TensorInfo { dtype: precision.dtype(), shape: shape.clone(), data_offsets })
    });
    let about = HashMap::from([(key.to_owned(), value.to_owned())]);
    Metadata::new(Some(about), infos.collect())
}

/// Refuses weights that f16 would turn into infinities.
fn check_f16(path: &Path, tensors: &BTreeMap<String, Values>) -> Result<(), LmError> {
    let limit = f16::MAX.to_f32();
    for (tensor, Values { values, .. }) in tensors {
        if let Some(value) = values.iter().find(|value| value.abs() > limit) {
            return Err(LmError::Tensor {
                path: path.to_owned(),
                tensor: tensor.clone(),
                found: value.to_string(),
                expected: format!("at most {limit} in size, to be stored as f16"),
            });
        }
    }
    Ok(())
}
