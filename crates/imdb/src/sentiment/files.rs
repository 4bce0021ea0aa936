//! A classifier's file: safetensors with the hashes of the n-grams and their weights in half precision.
//!
//! Tensors: `keys` u32 `[F]`, strictly ascending; `weights` f16 `[F]`; `bias` f32 `[1]`; `calibration` f32
//! `[5]` = slope, slope by length, offset, fewest and most n-grams. Six bytes per feature in all.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use half::f16;
use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize};

use crate::error::{ImdbError, io};
use crate::sentiment::classifier::{LengthCalibration, SentimentClassifier};
use crate::sentiment::features::{FeatureKind, Vocabulary};

/// Largest file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// What the file's metadata says under `format`. One entry only: the order of more is not fixed.
fn format_of(kind: FeatureKind) -> String {
    format!("imdb sentiment classifier 1, {}", kind.name())
}

impl SentimentClassifier {
    /// The bytes of the file; the same classifier gives the same bytes.
    fn to_bytes(&self) -> Result<Vec<u8>, String> {
        let keys: Vec<u8> = self.vocabulary.keys().iter().flat_map(|key| key.to_le_bytes()).collect();
        let weights: Vec<u8> =
            self.weights.iter().flat_map(|&weight| f16::from_f32(weight).to_le_bytes()).collect();
        let LengthCalibration { slope, slope_by_length, offset, fewest, most } = self.calibration;
        let calibration: Vec<u8> = [slope, slope_by_length, offset, fewest, most]
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        let bias = self.bias.to_le_bytes();
        let features = self.vocabulary.len();
        let view = |dtype, shape, bytes| {
            TensorView::new(dtype, vec![shape], bytes).map_err(|error| error.to_string())
        };
        let tensors = [
            ("keys", view(Dtype::U32, features, &keys)?),
            ("weights", view(Dtype::F16, features, &weights)?),
            ("bias", view(Dtype::F32, 1, &bias)?),
            ("calibration", view(Dtype::F32, 5, &calibration)?),
        ];
        let metadata = HashMap::from([("format".to_owned(), format_of(self.kind))]);
        serialize(tensors, Some(metadata)).map_err(|error| error.to_string())
    }

    /// Writes a file of about six bytes per feature, whole or not at all.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), ImdbError> {
        let bytes = self
            .to_bytes()
            .map_err(|found| ImdbError::damaged(path, "a classifier that fits the file format", found))?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(io("create", folder))?;
        let part = path.with_added_extension("part");
        fs::write(&part, &bytes).map_err(io("write", &part))?;
        fs::rename(&part, path).map_err(io("write", path))?;
        Ok(())
    }

    /// Reads what [`SentimentClassifier::save`] wrote for a classifier of this kind; every number is the
    /// same.
    ///
    /// # Errors
    /// If the file holds another kind of classifier, or is damaged.
    pub fn load(path: &Path, kind: FeatureKind) -> Result<Self, ImdbError> {
        let expected = || format!("a file of the format {:?}", format_of(kind));
        let mut bytes = Vec::new();
        let file = File::open(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => {
                ImdbError::Missing { path: path.to_owned(), expected: expected() }
            }
            _ => io("open", path)(error),
        })?;
        file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(io("read", path))?;
        let reader = TensorReader { path };
        if bytes.len() as u64 > MAX_FILE_BYTES {
            return Err(reader.damaged(expected(), format!("more than {MAX_FILE_BYTES} bytes")));
        }
        let (_, header) = SafeTensors::read_metadata(&bytes)
            .map_err(|error| reader.damaged(expected(), error.to_string()))?;
        let format =
            header.metadata().as_ref().and_then(|entries| entries.get("format")).map_or("", String::as_str);
        if format != format_of(kind) {
            return Err(reader.damaged(expected(), format!("the format {format:?}")));
        }
        let tensors = SafeTensors::deserialize(&bytes)
            .map_err(|error| reader.damaged(expected(), error.to_string()))?;
        reader.classifier(&tensors, kind)
    }
}

/// Reads checked tensors of one file.
struct TensorReader<'a> {
    path: &'a Path,
}

impl TensorReader<'_> {
    fn damaged(&self, expected: impl Into<String>, found: impl Into<String>) -> ImdbError {
        ImdbError::damaged(self.path, expected, found)
    }

    /// The bytes of a vector of `length` numbers (any length if `None`), each of `N` bytes.
    fn vector<const N: usize>(
        &self,
        tensors: &SafeTensors,
        name: &str,
        dtype: Dtype,
        length: Option<usize>,
    ) -> Result<Vec<[u8; N]>, ImdbError> {
        let shape = length.map_or("F".to_owned(), |length| length.to_string());
        let expected = format!("tensor {name} {dtype:?} [{shape}]");
        let view = tensors.tensor(name).map_err(|error| self.damaged(&*expected, error.to_string()))?;
        let fits = matches!(view.shape(), &[found] if length.is_none_or(|length| length == found));
        if view.dtype() != dtype || !fits {
            return Err(self.damaged(expected, format!("{:?} {:?}", view.dtype(), view.shape())));
        }
        Ok(view.data().as_chunks::<N>().0.to_vec())
    }

    fn floats(&self, tensors: &SafeTensors, name: &str, length: usize) -> Result<Vec<f32>, ImdbError> {
        let values = self.vector(tensors, name, Dtype::F32, Some(length))?;
        self.finite(name, values.into_iter().map(f32::from_le_bytes).collect())
    }

    fn finite(&self, name: &str, values: Vec<f32>) -> Result<Vec<f32>, ImdbError> {
        match values.iter().position(|value| !value.is_finite()) {
            Some(index) => {
                Err(self
                    .damaged(format!("finite numbers in {name}"), format!("{} at {index}", values[index])))
            }
            None => Ok(values),
        }
    }

    fn classifier(&self, tensors: &SafeTensors, kind: FeatureKind) -> Result<SentimentClassifier, ImdbError> {
        let keys: Vec<u32> =
            self.vector(tensors, "keys", Dtype::U32, None)?.into_iter().map(u32::from_le_bytes).collect();
        if let Some(index) = keys.windows(2).position(|pair| pair[0] >= pair[1]) {
            return Err(
                self.damaged("strictly ascending keys", format!("{} after {}", keys[index + 1], keys[index]))
            );
        }
        let halves = self.vector(tensors, "weights", Dtype::F16, Some(keys.len()))?;
        let weights = self.finite(
            "weights",
            halves.into_iter().map(|bytes| f16::from_le_bytes(bytes).to_f32()).collect(),
        )?;
        let bias = self.floats(tensors, "bias", 1)?[0];
        let numbers = self.floats(tensors, "calibration", 5)?;
        let calibration = LengthCalibration {
            slope: numbers[0],
            slope_by_length: numbers[1],
            offset: numbers[2],
            fewest: numbers[3],
            most: numbers[4],
        };
        if !(1.0 <= calibration.fewest && calibration.fewest <= calibration.most) {
            let found = format!("{} to {}", calibration.fewest, calibration.most);
            return Err(self.damaged("calibration lengths of 1 <= fewest <= most", found));
        }
        Ok(SentimentClassifier { kind, vocabulary: Vocabulary::from_keys(keys), weights, bias, calibration })
    }
}
