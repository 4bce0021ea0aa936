//! Where the tensors of a GGUF file are.

use std::collections::BTreeMap;
use std::path::Path;

use super::blocks::Kind;
use super::cursor::Cursor;
use crate::LmError;

/// A tensor in a file.
#[derive(Debug)]
pub(super) struct Tensor {
    pub(super) name: String,
    /// Row-major, the outermost dimension first: the file has it the other way round.
    pub(super) shape: Vec<usize>,
    pub(super) kind: Kind,
    /// The first byte, counted from where the tensors begin.
    pub(super) offset: u64,
    pub(super) bytes: u64,
}

impl Tensor {
    /// An error of this tensor.
    pub(super) fn refuse(&self, path: &Path, found: String, expected: impl Into<String>) -> LmError {
        refuse(path, &self.name, found, expected)
    }
}

fn refuse(path: &Path, tensor: &str, found: String, expected: impl Into<String>) -> LmError {
    LmError::Tensor { path: path.to_owned(), tensor: tensor.to_owned(), found, expected: expected.into() }
}

/// Reads the places of `count` tensors by their names, and says where in the file they are counted from.
///
/// # Errors
/// [`LmError::Tensor`] for a tensor of another type, of impossible dimensions, outside of the file, or
/// in the place of another.
pub(super) fn read_tensors(
    path: &Path,
    cursor: &mut Cursor,
    count: u64,
    alignment: u64,
) -> Result<(BTreeMap<String, Tensor>, u64), LmError> {
    // The shortest entry is an empty name, no dimensions, a type and an offset.
    let count = cursor.room("tensors", count, 8 + 4 + 4 + 8)?;
    let mut tensors = BTreeMap::new();
    for _ in 0..count {
        let tensor = read_tensor(path, cursor, alignment)?;
        if let Some(first) = tensors.insert(tensor.name.clone(), tensor) {
            return Err(first.refuse(path, "it twice".to_owned(), "each tensor once"));
        }
    }
    let start = cursor.position().next_multiple_of(alignment);
    let room = cursor.size().saturating_sub(start);
    for tensor in tensors.values() {
        if tensor.offset.checked_add(tensor.bytes).is_none_or(|end| end > room) {
            let found = format!("{} bytes from {} on", tensor.bytes, tensor.offset);
            return Err(tensor.refuse(path, found, format!("an end within the {room} bytes of the file")));
        }
    }
    let mut places: Vec<&Tensor> = tensors.values().collect();
    places.sort_by_key(|tensor| tensor.offset);
    for pair in places.windows(2) {
        if pair[0].offset + pair[0].bytes > pair[1].offset {
            let found = format!("bytes that `{}` has too", pair[0].name);
            return Err(pair[1].refuse(path, found, "a place of its own"));
        }
    }
    Ok((tensors, start))
}

fn read_tensor(path: &Path, cursor: &mut Cursor, alignment: u64) -> Result<Tensor, LmError> {
    let name = cursor.text("the name of a tensor")?;
    let dimensions = cursor.u32(&name)?;
    if !(1..=4).contains(&dimensions) {
        return Err(refuse(path, &name, format!("{dimensions} dimensions"), "1 to 4"));
    }
    let mut shape = Vec::new();
    for _ in 0..dimensions {
        shape.push(cursor.u64(&name)?);
    }
    let number = cursor.u32(&name)?;
    let Some(kind) = Kind::of(number) else {
        let expected = "0 (F32), 1 (F16), 2 (Q4_0), 3 (Q4_1) or 8 (Q8_0)";
        return Err(refuse(path, &name, format!("type {number}"), expected));
    };
    let offset = cursor.u64(&name)?;
    if !offset.is_multiple_of(alignment) {
        return Err(refuse(
            path,
            &name,
            format!("the offset {offset}"),
            format!("a multiple of {alignment}"),
        ));
    }
    let (elements, bytes) = kind.block();
    let count = shape.iter().try_fold(1_u64, |count, &size| count.checked_mul(size));
    let fits = shape.iter().all(|&size| size > 0) && shape[0].is_multiple_of(elements as u64);
    let bytes = count.and_then(|count| (count / elements as u64).checked_mul(bytes as u64));
    let sizes = shape.iter().rev().map(|&size| usize::try_from(size).ok()).collect::<Option<Vec<_>>>();
    match (bytes, sizes) {
        (Some(bytes), Some(shape)) if fits => Ok(Tensor { name, shape, kind, offset, bytes }),
        _ => {
            let expected = format!("rows of whole blocks of {elements}, {}", kind.name());
            Err(refuse(path, &name, format!("the dimensions {shape:?}"), expected))
        }
    }
}
