//! JSON Lines: one object a line, read one at a time, and values that say where they stand when they are
//! wrong.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::error::FeedbackError;

/// The longest line that is read. Longer ones are no records but another kind of file.
const MAX_LINE_BYTES: u64 = 16 << 20;

/// Characters of a wrong value that a message shows.
const SHOWN: usize = 40;

/// The objects of a file in their order; blank lines are passed over.
pub struct Lines {
    path: Arc<PathBuf>,
    reader: BufReader<File>,
    line: usize,
    buffer: Vec<u8>,
}

/// One line's object, and where it stands.
#[derive(Clone, Debug)]
pub struct Record {
    path: Arc<PathBuf>,
    line: usize,
    values: Map<String, Value>,
}

impl Lines {
    /// Opens a file.
    ///
    /// # Errors
    /// [`FeedbackError::Io`] if there is none.
    pub fn open(path: &Path) -> Result<Self, FeedbackError> {
        let file = File::open(path).map_err(|source| io(path, source))?;
        let path = Arc::new(path.to_owned());
        Ok(Self { path, reader: BufReader::new(file), line: 0, buffer: Vec::new() })
    }

    /// Reads the next line into the buffer; whether there was one.
    fn advance(&mut self) -> Result<bool, FeedbackError> {
        self.buffer.clear();
        self.line += 1;
        let mut limited = (&mut self.reader).take(MAX_LINE_BYTES + 1);
        let read = limited.read_until(b'\n', &mut self.buffer).map_err(|source| io(&self.path, source))?;
        if read as u64 > MAX_LINE_BYTES {
            return Err(self.bad(format!("more than {MAX_LINE_BYTES} bytes"), "a shorter line"));
        }
        Ok(read > 0)
    }

    fn parse(&self) -> Result<Record, FeedbackError> {
        let text = std::str::from_utf8(&self.buffer)
            .map_err(|error| self.bad(format!("no UTF-8 at byte {}", error.valid_up_to()), "UTF-8"))?;
        let value: Value = serde_json::from_str(text.trim_end()).map_err(|error| {
            let reason = error.to_string();
            let reason = reason.split(" at line ").next().unwrap_or_default();
            self.bad(format!("{reason} at column {}", error.column()), "a JSON object")
        })?;
        match value {
            Value::Object(values) => Ok(Record { path: self.path.clone(), line: self.line, values }),
            other => Err(self.bad(shown(&other), "a JSON object")),
        }
    }

    fn bad(&self, found: impl Into<String>, expected: &'static str) -> FeedbackError {
        FeedbackError::Line {
            path: self.path.as_ref().clone(),
            line: self.line,
            found: found.into(),
            expected,
        }
    }
}

impl Iterator for Lines {
    type Item = Result<Record, FeedbackError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.advance() {
                Ok(false) => return None,
                Ok(true) if self.buffer.iter().all(u8::is_ascii_whitespace) => {}
                Ok(true) => return Some(self.parse()),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

impl Record {
    /// The line, counted from 1.
    pub fn line(&self) -> usize {
        self.line
    }

    /// All keys with their values, nulls included.
    pub fn values(&self) -> &Map<String, Value> {
        &self.values
    }

    /// The value of a key; a null is none.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.values.get(key).filter(|value| !value.is_null())
    }

    /// The value of a key that has to be there.
    ///
    /// # Errors
    /// [`FeedbackError::Key`] if it is not, with `expected` in its words.
    pub fn required(&self, key: &str, expected: &str) -> Result<&Value, FeedbackError> {
        self.get(key).ok_or_else(|| {
            let keys: Vec<&str> = self.values.keys().map(String::as_str).take(8).collect();
            self.bad(key, format!("no such key among {}", keys.join(", ")), expected)
        })
    }

    /// The text of a key that has to be there.
    ///
    /// # Errors
    /// [`FeedbackError::Key`] if it is not there or no text.
    pub fn text(&self, key: &str) -> Result<&str, FeedbackError> {
        let value = self.required(key, "text")?;
        value.as_str().ok_or_else(|| self.bad(key, shown(value), "text"))
    }

    /// The number of a key, if it is there.
    ///
    /// # Errors
    /// [`FeedbackError::Key`] if it is no number.
    pub fn number(&self, key: &str) -> Result<Option<f64>, FeedbackError> {
        let number = |value: &Value| value.as_f64().ok_or_else(|| self.bad(key, shown(value), "a number"));
        self.get(key).map(number).transpose()
    }

    /// What is wrong with a key of this line.
    pub fn bad(&self, key: &str, found: impl Into<String>, expected: impl Into<String>) -> FeedbackError {
        FeedbackError::Key {
            path: self.path.as_ref().clone(),
            line: self.line,
            key: key.to_owned(),
            found: found.into(),
            expected: expected.into(),
        }
    }
}

/// A value in a few words.
pub(crate) fn shown(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Array(list) => format!("a list of {}", list.len()),
        Value::Object(_) => "an object".to_owned(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(text) => {
            let shown: String = text.chars().take(SHOWN).collect();
            let rest = if shown.len() < text.len() { "..." } else { "" };
            format!("the text \"{shown}{rest}\"")
        }
    }
}

fn io(path: &Path, source: std::io::Error) -> FeedbackError {
    FeedbackError::Io { action: "read", path: path.to_owned(), source }
}
