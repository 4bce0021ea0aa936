//! The metadata of a GGUF file: keys with typed values.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::cursor::Cursor;
use crate::LmError;

/// A value, its number types widened.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Bool(bool),
    Text(String),
    Array(Vec<Value>),
}

/// The values of a file by their keys.
#[derive(Debug)]
pub(super) struct Metadata {
    path: PathBuf,
    values: BTreeMap<String, Value>,
}

impl Metadata {
    /// Reads `count` keys and values.
    ///
    /// # Errors
    /// [`LmError::File`] with the key that is damaged or stands twice.
    pub(super) fn read(path: &Path, cursor: &mut Cursor, count: u64) -> Result<Self, LmError> {
        // The shortest entry is an empty key, a type and one byte.
        cursor.room("keys of metadata", count, 8 + 4 + 1)?;
        let mut values = BTreeMap::new();
        for _ in 0..count {
            let key = cursor.text("a key of the metadata")?;
            let kind = cursor.u32(&key)?;
            let value = value(path, cursor, &key, kind, true)?;
            if values.insert(key.clone(), value).is_some() {
                return Err(LmError::file(path, format!("the key {key} twice"), "each key once"));
            }
        }
        Ok(Self { path: path.to_owned(), values })
    }

    /// An error of a key.
    pub(super) fn refuse(&self, key: &str, found: &str, expected: impl Into<String>) -> LmError {
        LmError::file(&self.path, format!("{key} = {found}"), expected)
    }

    fn wrong(&self, key: &str, value: &Value, expected: &str) -> LmError {
        let found = match value {
            Value::Unsigned(number) => number.to_string(),
            Value::Signed(number) => number.to_string(),
            Value::Float(number) => number.to_string(),
            Value::Bool(value) => value.to_string(),
            Value::Text(text) => format!("{:?}", text.chars().take(60).collect::<String>()),
            Value::Array(values) => format!("an array of {}", values.len()),
        };
        self.refuse(key, &found, expected)
    }

    pub(super) fn text(&self, key: &str) -> Result<Option<&str>, LmError> {
        match self.values.get(key) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong(key, other, "a text")),
        }
    }

    pub(super) fn count(&self, key: &str) -> Result<Option<usize>, LmError> {
        let number = match self.values.get(key) {
            None => return Ok(None),
            Some(Value::Unsigned(number)) => usize::try_from(*number).ok(),
            Some(Value::Signed(number)) => usize::try_from(*number).ok(),
            Some(_) => None,
        };
        let wrong = || self.values.get(key).map(|value| self.wrong(key, value, "a count"));
        match (number, wrong()) {
            (None, Some(error)) => Err(error),
            (number, _) => Ok(number),
        }
    }

    /// A float as the shortest decimal that is the same f32: files store `1e-5` as the f32 nearest to it.
    pub(super) fn float(&self, key: &str) -> Result<Option<f64>, LmError> {
        match self.values.get(key) {
            None => Ok(None),
            Some(Value::Float(number)) => Ok(Some((*number as f32).to_string().parse().unwrap_or(*number))),
            Some(other) => Err(self.wrong(key, other, "a number with a fraction")),
        }
    }

    /// The strings of an array.
    pub(super) fn texts(&self, key: &str) -> Result<Option<Vec<&str>>, LmError> {
        fn text(value: &Value) -> Option<&str> {
            if let Value::Text(text) = value { Some(text) } else { None }
        }
        self.array(key, text, "an array of texts")
    }

    /// The counts of an array.
    pub(super) fn counts(&self, key: &str) -> Result<Option<Vec<u64>>, LmError> {
        let count = |value: &Value| match value {
            Value::Unsigned(number) => Some(*number),
            Value::Signed(number) => u64::try_from(*number).ok(),
            _ => None,
        };
        self.array(key, count, "an array of counts")
    }

    fn array<'a, T>(
        &'a self,
        key: &str,
        element: impl Fn(&'a Value) -> Option<T>,
        expected: &str,
    ) -> Result<Option<Vec<T>>, LmError> {
        let Some(value) = self.values.get(key) else { return Ok(None) };
        let elements = match value {
            Value::Array(values) => values.iter().map(element).collect::<Option<Vec<T>>>(),
            _ => None,
        };
        elements.map(Some).ok_or_else(|| self.wrong(key, value, expected))
    }

    /// A value that the caller cannot do without.
    pub(super) fn required<T>(&self, key: &str, value: Option<T>) -> Result<T, LmError> {
        value.ok_or_else(|| LmError::file(&self.path, format!("no key {key}"), "the metadata of a Llama"))
    }
}

/// The bytes of a number's type.
fn width(kind: u32) -> Option<u64> {
    match kind {
        0 | 1 | 7 => Some(1),
        2 | 3 => Some(2),
        4..=6 => Some(4),
        10..=12 => Some(8),
        _ => None,
    }
}

fn value(
    path: &Path,
    cursor: &mut Cursor,
    key: &str,
    kind: u32,
    may_be_array: bool,
) -> Result<Value, LmError> {
    Ok(match kind {
        0 => Value::Unsigned(u8::from_le_bytes(cursor.bytes(key)?).into()),
        1 => Value::Signed(i8::from_le_bytes(cursor.bytes(key)?).into()),
        2 => Value::Unsigned(u16::from_le_bytes(cursor.bytes(key)?).into()),
        3 => Value::Signed(i16::from_le_bytes(cursor.bytes(key)?).into()),
        4 => Value::Unsigned(cursor.u32(key)?.into()),
        5 => Value::Signed(i32::from_le_bytes(cursor.bytes(key)?).into()),
        6 => Value::Float(f32::from_le_bytes(cursor.bytes(key)?).into()),
        7 => match cursor.bytes(key)? {
            [byte @ (0 | 1)] => Value::Bool(byte == 1),
            [byte] => return Err(LmError::file(path, format!("{key} = {byte}"), "a truth value, 0 or 1")),
        },
        8 => Value::Text(cursor.text(key)?),
        9 if may_be_array => {
            let kind = cursor.u32(key)?;
            let count = cursor.u64(key)?;
            // A string is at least its length.
            let count = cursor.room(key, count, width(kind).unwrap_or(8))?;
            let elements = (0..count).map(|_| value(path, cursor, key, kind, false));
            Value::Array(elements.collect::<Result<_, _>>()?)
        }
        10 => Value::Unsigned(cursor.u64(key)?),
        11 => Value::Signed(i64::from_le_bytes(cursor.bytes(key)?)),
        12 => Value::Float(f64::from_le_bytes(cursor.bytes(key)?)),
        _ => {
            let expected = if may_be_array { "0 to 12" } else { "0 to 8 or 10 to 12" };
            return Err(LmError::file(path, format!("{key}: a value of type {kind}"), expected));
        }
    })
}
