//! Text as records hold it: plain, or as the messages of a conversation.

use serde::Serialize;
use serde_json::Value;

use super::lines::{Record, shown};
use crate::error::FeedbackError;

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Message {
    /// Who speaks: `system`, `user` or `assistant`.
    pub role: String,
    /// What is said.
    pub content: String,
}

/// A prompt or a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Text {
    /// Text that is read as it is.
    Plain(String),
    /// Messages, which a model's chat template makes text of.
    Conversation(Vec<Message>),
}

impl Text {
    /// The value of a key that has to be there: text, or a list of messages with `role` and `content`.
    ///
    /// # Errors
    /// [`FeedbackError::Key`] for what is missing or of another form.
    pub fn read(record: &Record, key: &str) -> Result<Self, FeedbackError> {
        const EXPECTED: &str = "text or a list of messages";
        match record.required(key, EXPECTED)? {
            Value::String(text) => Ok(Self::Plain(text.clone())),
            Value::Array(messages) => {
                let message = |(index, value)| message(record, &format!("{key}[{index}]"), value);
                Ok(Self::Conversation(messages.iter().enumerate().map(message).collect::<Result<_, _>>()?))
            }
            other => Err(record.bad(key, shown(other), EXPECTED)),
        }
    }

    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Plain(text) => text.is_empty(),
            Self::Conversation(messages) => messages.iter().all(|message| message.content.is_empty()),
        }
    }

    /// Its form in a few words.
    pub fn form(&self) -> &'static str {
        match self {
            Self::Plain(_) => "text",
            Self::Conversation(_) => "a list of messages",
        }
    }
}

fn message(record: &Record, key: &str, value: &Value) -> Result<Message, FeedbackError> {
    const EXPECTED: &str = "a message with `role` and `content`";
    let Some(object) = value.as_object() else { return Err(record.bad(key, shown(value), EXPECTED)) };
    let mut fields = object.iter().filter(|(_, value)| !value.is_null());
    if let Some((other, _)) = fields.find(|(name, _)| !["role", "content"].contains(&name.as_str())) {
        return Err(record.bad(&format!("{key}.{other}"), "a key", EXPECTED));
    }
    let field = |name: &str| {
        let key = format!("{key}.{name}");
        let value = object.get(name).ok_or_else(|| record.bad(&key, "no such key", "text"))?;
        value.as_str().map(str::to_owned).ok_or_else(|| record.bad(&key, shown(value), "text"))
    };
    Ok(Message { role: field("role")?, content: field("content")? })
}
