//! A model's chat template: how the messages of a conversation become one text.
//!
//! It is a Jinja template, which an [`lm::Tokenizer`] keeps as its folder has it, and is rendered here
//! as `transformers` does: with `trim_blocks` and `lstrip_blocks`, loop controls, Python's methods of
//! text, `raise_exception`, and a `tojson` that leaves HTML alone. One function is left out,
//! `strftime_now`, so that today's training data is tomorrow's: templates that ask whether it is there
//! have a fixed date for that case.

use std::path::{Path, PathBuf};

use lm::Tokenizer;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde};
use minijinja::{Environment, Error, ErrorKind, Value as Jinja, context};
use minijinja_contrib::pycompat::unknown_method_callback;
use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};

use crate::error::FeedbackError;
use crate::records::Message;

/// The name of the one template of an environment.
const TEMPLATE: &str = "chat template";

/// What rendering may cost: a unit for each instruction and for every 64 bytes that a template makes or looks
/// at. That is a second of work and 256 MB, many times what the longest conversation needs: a template is a
/// program that came with a model, and a loop in a loop would never end.
const FUEL: u64 = 4_000_000;

/// A template that is ready to render.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    /// The folder it comes from.
    path: PathBuf,
    /// The text of the begin and the end token, as templates name them.
    tokens: [String; 2],
}

impl ChatTemplate {
    /// The template of a model's tokenizer, if there is one; `model` is its folder, for messages.
    ///
    /// # Errors
    /// [`FeedbackError::ChatTemplate`] if it is no template.
    pub fn of(tokenizer: &Tokenizer, model: &Path) -> Result<Option<Self>, FeedbackError> {
        let Some(source) = tokenizer.chat_template() else { return Ok(None) };
        let tokens = [tokenizer.begin(), tokenizer.end()].map(|id| tokenizer.token(id).unwrap_or_default());
        Self::new(model.to_owned(), source.to_owned(), tokens).map(Some)
    }

    /// A template from its source; `path` is the model's folder, for messages, `tokens` are the begin
    /// and the end token's texts.
    ///
    /// # Errors
    /// [`FeedbackError::ChatTemplate`] if it is no template.
    pub fn new(path: PathBuf, source: String, tokens: [String; 2]) -> Result<Self, FeedbackError> {
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(|error| refuse(&path, error.to_string()))?);
        environment.set_fuel(Some(FUEL));
        environment.set_unknown_method_callback(unknown_method_callback);
        environment.add_function("raise_exception", raise_exception);
        environment.add_filter("tojson", tojson);
        let source = without_generation_marks(source);
        environment
            .add_template_owned(TEMPLATE, source)
            .map_err(|error| refuse(&path, format!("{error:#}")))?;
        Ok(Self { environment, path, tokens })
    }

    /// The text of a conversation; with `opens_answer`, up to where the assistant's answer begins.
    ///
    /// # Errors
    /// [`FeedbackError::ChatTemplate`] if the template refuses it.
    pub fn render(&self, messages: &[Message], opens_answer: bool) -> Result<String, FeedbackError> {
        let [begin, end] = &self.tokens;
        let context = context! {
            messages => Serde(messages.to_vec()),
            add_generation_prompt => opens_answer,
            bos_token => begin,
            eos_token => end,
            tools => (),
            documents => (),
        };
        let rendered = self.environment.get_template(TEMPLATE).and_then(|template| template.render(context));
        rendered.map_err(|error| refuse(&self.path, reason(&error)))
    }
}

/// What a template says of its own accord, or where it fails.
fn reason(error: &Error) -> String {
    if error.kind() == ErrorKind::OutOfFuel {
        return "it does more work than a conversation can need".to_owned();
    }
    match error.detail() {
        Some(detail) => detail.to_owned(),
        None => error.to_string(),
    }
}

fn refuse(path: &Path, reason: impl Into<String>) -> FeedbackError {
    FeedbackError::ChatTemplate { path: path.to_owned(), reason: reason.into() }
}

fn raise_exception(message: String) -> Result<String, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message))
}

/// `json.dumps(value, ensure_ascii=False, indent=indent)`.
#[expect(clippy::needless_pass_by_value, reason = "this is the form of a filter")]
fn tojson(value: &Jinja, options: Kwargs) -> Result<Jinja, Error> {
    let indent: Option<usize> = options.get("indent")?;
    let mut text = Vec::new();
    let written = match indent {
        Some(indent) => {
            let spaces = " ".repeat(indent.min(16));
            let pretty = PrettyFormatter::with_indent(spaces.as_bytes());
            value.serialize(&mut Serializer::with_formatter(&mut text, pretty))
        }
        None => value.serialize(&mut Serializer::with_formatter(&mut text, Spaced)),
    };
    written.map_err(|error| Error::new(ErrorKind::InvalidOperation, error.to_string()))?;
    Ok(Jinja::from_safe_string(String::from_utf8_lossy(&text).into_owned()))
}

/// Python's separators: a space after each comma and colon.
struct Spaced;

impl Formatter for Spaced {
    fn begin_array_value<W: ?Sized + std::io::Write>(
        &mut self,
        out: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        out.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_key<W: ?Sized + std::io::Write>(
        &mut self,
        out: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        out.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_value<W: ?Sized + std::io::Write>(&mut self, out: &mut W) -> std::io::Result<()> {
        out.write_all(b": ")
    }
}

/// `generation` blocks, by which `transformers` finds the assistant's tokens, have no other effect: blocks
/// that are always entered stand in for them.
fn without_generation_marks(source: String) -> String {
    let mut source = source;
    for left in ["{%", "{%-"] {
        for right in ["%}", "-%}"] {
            source =
                source.replace(&format!("{left} generation {right}"), &format!("{left} if true {right}"));
            source =
                source.replace(&format!("{left} endgeneration {right}"), &format!("{left} endif {right}"));
        }
    }
    source
}
