//! Texts to learn by heart: `text`, `prompt` with `completion`, or `messages`.

use super::conversation::Text;
use super::lines::Record;
use crate::error::FeedbackError;

/// One line.
#[derive(Clone, Debug)]
pub struct SupervisedRecord {
    /// Where it stands.
    pub record: Record,
    /// What the loss is not on; empty text before a whole text.
    pub prompt: Text,
    /// What is learned.
    pub response: Text,
    /// The key that the response stands under.
    pub key: &'static str,
}

impl SupervisedRecord {
    /// Reads a line in the form of its first key: `text` is learned whole, of a `prompt` with its
    /// `completion` the latter, and of `messages` the last one, which has to be the assistant's.
    ///
    /// # Errors
    /// [`FeedbackError::Key`] if a key is missing or of another form, or what is learned is empty.
    pub fn read(record: Record) -> Result<Self, FeedbackError> {
        let (prompt, response, key) = if record.get("text").is_some() {
            (Text::Plain(String::new()), Text::Plain(record.text("text")?.to_owned()), "text")
        } else if record.get("messages").is_some() {
            let (prompt, response) = conversation(&record)?;
            (prompt, response, "messages")
        } else {
            const EXPECTED: &str = "`text`, `prompt` with `completion`, or `messages`";
            record.required("prompt", EXPECTED)?;
            (Text::read(&record, "prompt")?, Text::read(&record, "completion")?, "completion")
        };
        if response.form() != prompt.form() {
            return Err(record.bad(key, response.form(), format!("{}, as the prompt is", prompt.form())));
        }
        if response.is_empty() {
            return Err(record.bad(key, "an empty text", "at least one character"));
        }
        Ok(Self { record, prompt, response, key })
    }
}

fn conversation(record: &Record) -> Result<(Text, Text), FeedbackError> {
    let Text::Conversation(mut messages) = Text::read(record, "messages")? else {
        return Err(record.bad("messages", "text", "a list of messages"));
    };
    let last = messages.pop();
    let Some(last) = last.filter(|last| last.role == "assistant" && !messages.is_empty()) else {
        let found = format!("{} messages that do not end so", messages.len() + 1);
        return Err(record.bad("messages", found, "a prompt and then a message of the assistant"));
    };
    Ok((Text::Conversation(messages), Text::Conversation(vec![last])))
}
