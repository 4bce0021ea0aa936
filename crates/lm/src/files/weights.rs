//! Tensors in safetensors files, one or several shards. Headers are read first, so that every name, shape and
//! type is checked before a value is read; each value is read once.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use safetensors::tensor::{Dtype, Metadata, TensorInfo};
use serde::Deserialize;

use crate::LmError;

/// The file of a model that is not sharded.
pub(super) const WEIGHTS_FILE: &str = "model.safetensors";
/// What names the shards of one that is.
const INDEX_FILE: &str = "model.safetensors.index.json";
/// What a file of weights should be.
const SAFETENSORS: &str = "a safetensors file";

/// The weights of a folder: headers read, values still in their files.
pub(super) struct Weights {
    shards: Vec<Shard>,
    /// The file that says which tensors there are.
    path: PathBuf,
}

/// The index of a sharded folder.
#[derive(Deserialize)]
struct Index {
    /// The file of each tensor.
    weight_map: BTreeMap<String, String>,
}

impl Weights {
    /// Opens `model.safetensors`, or the shards that `model.safetensors.index.json` names.
    ///
    /// # Errors
    /// If a file is missing or damaged, or a shard lacks a tensor that the index names.
    pub(super) fn open(dir: &Path) -> Result<Self, LmError> {
        let (single, index) = (dir.join(WEIGHTS_FILE), dir.join(INDEX_FILE));
        match File::open(&single) {
            Ok(file) => Ok(Self { shards: vec![Shard::read(&single, file)?], path: single }),
            Err(error) if error.kind() == ErrorKind::NotFound && index.is_file() => Self::sharded(dir, index),
            Err(error) => Err(LmError::io(&single, error)),
        }
    }

    /// Opens one file.
    ///
    /// # Errors
    /// If it is missing or damaged.
    pub(super) fn of_file(path: PathBuf) -> Result<Self, LmError> {
        let file = File::open(&path).map_err(|error| LmError::io(&path, error))?;
        Ok(Self { shards: vec![Shard::read(&path, file)?], path })
    }

    /// The names of all tensors.
    pub(super) fn names(&self) -> Vec<String> {
        self.shards.iter().flat_map(|shard| shard.tensors.offset_keys()).collect()
    }

    fn sharded(dir: &Path, path: PathBuf) -> Result<Self, LmError> {
        let text = std::fs::read_to_string(&path).map_err(|error| LmError::io(&path, error))?;
        let Index { weight_map } = serde_json::from_str(&text)
            .map_err(|error| LmError::file(&path, error.to_string(), "JSON with a `weight_map`"))?;
        let mut tensors: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (tensor, shard) in &weight_map {
            tensors.entry(shard).or_default().push(tensor);
        }
        let mut shards = Vec::with_capacity(tensors.len());
        for (name, tensors) in tensors {
            // A path could lead out of the folder.
            if Path::new(name).file_name() != Some(name.as_ref()) {
                return Err(LmError::file(&path, format!("the shard `{name}`"), "names of files beside it"));
            }
            let place = dir.join(name);
            let file = File::open(&place).map_err(|error| match error.kind() {
                ErrorKind::NotFound => {
                    let expected = format!("{} of the tensors that {INDEX_FILE} names", tensors.len());
                    LmError::file(&place, "no such file", expected)
                }
                _ => LmError::io(&place, error),
            })?;
            let shard = Shard::read(&place, file)?;
            if let Some(&tensor) = tensors.iter().find(|tensor| shard.tensors.info(tensor).is_none()) {
                let expected = format!("it, as {INDEX_FILE} names this file for it");
                return Err(shard.refuse(tensor, "no such tensor".to_owned(), expected));
            }
            shards.push(shard);
        }
        Ok(Self { shards, path })
    }

    /// Whether there is a tensor with one of these names.
    pub(super) fn has(&self, names: &[&str]) -> bool {
        self.shards.iter().any(|shard| names.iter().any(|name| shard.tensors.info(name).is_some()))
    }

    /// The files that hold them, with what names them.
    pub(super) fn paths(&self) -> Vec<PathBuf> {
        let mut paths = vec![self.path.clone()];
        paths.extend(self.shards.iter().map(|shard| shard.path.clone()));
        paths.dedup();
        paths
    }

    /// Number of tensors.
    pub(super) fn count(&self) -> usize {
        self.shards.iter().map(|shard| shard.tensors.offset_keys().len()).sum()
    }

    /// The file that says which tensors there are.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Finds the tensor of the first of `names` that there is; checks its shape and type.
    ///
    /// # Errors
    /// [`LmError::Tensor`] if there is none, or it is misshapen or of another type.
    pub(super) fn find(&self, names: &[&str], shape: &[usize]) -> Result<Stored<'_>, LmError> {
        let find = |name: &str| {
            self.shards.iter().find_map(|shard| Some((shard, name.to_owned(), shard.tensors.info(name)?)))
        };
        let Some((shard, name, info)) = names.iter().find_map(|name| find(name)) else {
            return Err(LmError::Tensor {
                path: self.path.clone(),
                tensor: names.first().copied().unwrap_or_default().to_owned(),
                found: "no such tensor".to_owned(),
                expected: format!("shape {shape:?}"),
            });
        };
        if info.shape != shape {
            let (found, expected) = (format!("shape {:?}", info.shape), format!("shape {shape:?}"));
            return Err(shard.refuse(&name, found, expected));
        }
        match info.dtype {
            Dtype::F32 | Dtype::F16 | Dtype::BF16 => Ok(Stored { shard, name, info }),
            other => Err(shard.refuse(&name, format!("type {other:?}"), "F32, F16 or BF16".to_owned())),
        }
    }
}

/// A safetensors file whose header was read.
struct Shard {
    path: PathBuf,
    file: File,
    tensors: Metadata,
    /// Where the values begin in the file.
    start: u64,
}

impl Shard {
    fn read(path: &Path, file: File) -> Result<Self, LmError> {
        /// The largest header that safetensors itself takes.
        const MAX_HEADER_BYTES: u64 = 100_000_000;
        let io = |error| LmError::io(path, error);
        let size = file.metadata().map_err(io)?.len();
        let mut begin = Vec::new();
        (&file).take(64).read_to_end(&mut begin).map_err(io)?;
        if begin.starts_with(b"version https://git-lfs") {
            let found = "a pointer of Git LFS in the place of the file";
            return Err(LmError::file(path, found, "the weights themselves: `git lfs pull` in that folder"));
        }
        let Some(&length) = begin.first_chunk::<8>() else {
            return Err(LmError::file(path, format!("{size} bytes"), SAFETENSORS));
        };
        let length = u64::from_le_bytes(length);
        if length > MAX_HEADER_BYTES.min(size.saturating_sub(8)) {
            let found = format!("a header of {length} bytes in a file of {size} bytes");
            return Err(LmError::file(path, found, SAFETENSORS));
        }
        let mut header = vec![0; length as usize];
        (&file).seek(SeekFrom::Start(8)).and_then(|_| (&file).read_exact(&mut header)).map_err(io)?;
        let tensors: Metadata = serde_json::from_slice(&header)
            .map_err(|error| LmError::file(path, error.to_string(), SAFETENSORS))?;
        let whole = 8 + length + tensors.data_len() as u64;
        if size != whole {
            let found = format!("{size} bytes where the header says {whole}");
            return Err(LmError::file(path, found, SAFETENSORS));
        }
        Ok(Self { path: path.to_owned(), file, tensors, start: 8 + length })
    }

    fn refuse(&self, tensor: &str, found: String, expected: String) -> LmError {
        LmError::Tensor { path: self.path.clone(), tensor: tensor.to_owned(), found, expected }
    }
}

/// A tensor in its file.
pub(super) struct Stored<'a> {
    shard: &'a Shard,
    name: String,
    info: &'a TensorInfo,
}

impl Stored<'_> {
    /// The values, row-major.
    ///
    /// # Errors
    /// If the file cannot be read, or a value is not finite.
    pub(super) fn read(&self) -> Result<Vec<f32>, LmError> {
        let (begin, end) = self.info.data_offsets;
        let mut bytes = vec![0; end - begin];
        let mut file = &self.shard.file;
        file.seek(SeekFrom::Start(self.shard.start + begin as u64))
            .and_then(|_| file.read_exact(&mut bytes))
            .map_err(|error| LmError::io(&self.shard.path, error))?;
        let pairs = bytes.as_chunks::<2>().0.iter().copied();
        let values: Vec<f32> = match self.info.dtype {
            Dtype::F16 => pairs.map(|pair| f16::from_le_bytes(pair).to_f32()).collect(),
            Dtype::BF16 => pairs.map(|pair| bf16::from_le_bytes(pair).to_f32()).collect(),
            // [`Weights::find`] lets no other type through.
            _ => bytes.as_chunks::<4>().0.iter().copied().map(f32::from_le_bytes).collect(),
        };
        // A model with one such weight trains and samples without a word, and all that it says is NaN.
        match values.iter().filter(|value| !value.is_finite()).count() {
            0 => Ok(values),
            count => {
                let found = format!("{count} values that are not finite");
                Err(self.shard.refuse(&self.name, found, "finite weights".to_owned()))
            }
        }
    }
}
