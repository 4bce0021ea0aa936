//! From records to token ids.

use lm::Tokenizer;

use super::conversation::{Message, Text};
use super::lines::Record;
use crate::chat::ChatTemplate;
use crate::error::FeedbackError;

/// Makes token ids of a model's prompts and responses.
///
/// Prompt and response are tokenised apart, as TRL does, so that no token lies on both sides. A plain prompt
/// begins with the begin token and a plain response ends with the end token. Of a conversation the model's
/// chat template writes both: the prompt is what it writes up to where the answer begins, and the response
/// the rest of what it writes for both, up to the first end token, which is appended where it writes none.
#[derive(Debug)]
pub struct Reader {
    tokenizer: Tokenizer,
    /// Reads special tokens in what the template wrote.
    templated: Option<(ChatTemplate, Tokenizer)>,
}

impl Reader {
    /// Reads with a model's tokenizer and, if it has one, its chat template.
    pub fn new(tokenizer: Tokenizer, template: Option<ChatTemplate>) -> Self {
        let templated = template.map(|template| {
            let reading = tokenizer.reading_special_tokens();
            (template, reading)
        });
        Self { tokenizer, templated }
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Ids of a prompt.
    ///
    /// # Errors
    /// If a conversation has no template or is refused by it, or does not end where an answer may begin.
    pub fn prompt(&self, record: &Record, key: &str, prompt: &Text) -> Result<Vec<u32>, FeedbackError> {
        match prompt {
            Text::Plain(text) => Ok([vec![self.tokenizer.begin()], self.tokenizer.encode(text)?].concat()),
            Text::Conversation(messages) => {
                let text = self.opened(record, key, messages)?;
                self.ids(record, key, &text)
            }
        }
    }

    /// Ids of a response to a prompt.
    ///
    /// # Errors
    /// As [`Reader::prompt`]; a response of several messages is refused.
    pub fn response(
        &self,
        record: &Record,
        key: &str,
        prompt: &Text,
        response: &Text,
    ) -> Result<Vec<u32>, FeedbackError> {
        let end = self.tokenizer.end();
        let (Text::Conversation(before), Text::Conversation(answer)) = (prompt, response) else {
            let Text::Plain(text) = response else { return Err(record.bad(key, response.form(), "text")) };
            return Ok([self.tokenizer.encode(text)?, vec![end]].concat());
        };
        let [answer] = answer.as_slice() else {
            let found = format!("{} messages", answer.len());
            return Err(record.bad(key, found, "one message of the assistant"));
        };
        if answer.role != "assistant" {
            return Err(record.bad(
                &format!("{key}[0].role"),
                format!("\"{}\"", answer.role),
                "\"assistant\"",
            ));
        }
        let opened = self.opened(record, key, before)?;
        let whole = [before.as_slice(), std::slice::from_ref(answer)].concat();
        let whole = self.template(record, key)?.render(&whole, false).map_err(|e| at(record, key, e))?;
        // A template may write of the answer in the prompt what it does not write in the whole,
        // a place for thoughts say.
        let same = opened.chars().zip(whole.chars()).take_while(|(a, b)| a == b);
        let text = &whole[same.map(|(a, _)| a.len_utf8()).sum()..];
        let mut ids = self.ids(record, key, text)?;
        if let Some(ends) = ids.iter().position(|&id| id == end) {
            ids.truncate(ends);
        }
        ids.push(end);
        Ok(ids)
    }

    /// What the template writes up to where the answer to a conversation begins.
    fn opened(&self, record: &Record, key: &str, messages: &[Message]) -> Result<String, FeedbackError> {
        let template = self.template(record, key)?;
        match messages.last().map(|last| last.role.as_str()) {
            Some("user" | "tool") => template.render(messages, true).map_err(|error| at(record, key, error)),
            Some(other) => {
                let found = format!("a last message of \"{other}\"");
                Err(record.bad(key, found, "one of \"user\", which the model answers"))
            }
            None => Err(record.bad(key, "no message", "at least one")),
        }
    }

    fn template(&self, record: &Record, key: &str) -> Result<&ChatTemplate, FeedbackError> {
        let expected = "text: the model's folder has no chat template";
        self.templated
            .as_ref()
            .map(|(template, _)| template)
            .ok_or_else(|| record.bad(key, "a list of messages", expected))
    }

    /// Ids of what the template wrote.
    fn ids(&self, record: &Record, key: &str, text: &str) -> Result<Vec<u32>, FeedbackError> {
        let tokenizer = self.templated.as_ref().map_or(&self.tokenizer, |(_, reading)| reading);
        let ids = tokenizer.encode(text)?;
        if ids.is_empty() {
            return Err(record.bad(key, "nothing, as the chat template writes it", "at least one token"));
        }
        Ok(ids)
    }
}

/// A template's refusal, with the line that it refuses.
fn at(record: &Record, key: &str, error: FeedbackError) -> FeedbackError {
    match error {
        FeedbackError::ChatTemplate { reason, .. } => record.bad(
            key,
            format!("what the chat template refuses ({reason})"),
            "a conversation that it takes",
        ),
        other => other,
    }
}
