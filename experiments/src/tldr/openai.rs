//! OpenAI's files of TL;DR (Stiennon et al. 2020, "Learning to summarize from human feedback"): posts with
//! the summaries that their authors wrote, and comparisons of two summaries by people.
//!
//! ```text
//! {"id", "subreddit", "title", "post", "summary"}                                               a post
//! {"info": {"id", "post", "title", "subreddit"}, "split", "summaries": [{"text", "policy", "note"}, ...],
//!  "choice", "worker", "batch", "extra"}                                                        a comparison
//! ```
//!
//! What is missing, empty, of another type or not known is refused by file, line and key.

use std::path::Path;

use feedback::FeedbackError;
use feedback::records::{Lines, Record};
use serde_json::{Map, Value};

/// A post.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Post {
    pub id: String,
    pub subreddit: String,
    pub title: String,
    /// What it says.
    pub body: String,
}

/// Two summaries of a post, and which of them one person prefers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comparison {
    pub post: Post,
    pub summaries: [String; 2],
    /// 0 or 1.
    pub choice: usize,
    /// Who chose.
    pub worker: String,
    /// `train`, or one of the held-out splits.
    pub split: String,
}

impl Post {
    /// What a model answers, in the form of the authors' own prompts.
    pub fn prompt(&self) -> String {
        let Self { subreddit, title, body, .. } = self;
        format!("SUBREDDIT: r/{subreddit}\n\nTITLE: {title}\n\nPOST: {body}\n\nTL;DR:")
    }
}

impl Comparison {
    /// The summary that was preferred, and the other.
    pub fn preferred(&self) -> (&str, &str) {
        (&self.summaries[self.choice], &self.summaries[1 - self.choice])
    }
}

/// The posts of a file, each with its summary.
pub fn posts(path: &Path) -> Result<Vec<(Post, String)>, FeedbackError> {
    read(path, "posts", |record| {
        let fields = Fields::of_record(&record);
        fields.only(&["id", "subreddit", "title", "post", "summary"])?;
        Ok((fields.post()?, fields.text("summary")?))
    })
}

/// The comparisons of a file.
pub fn comparisons(path: &Path) -> Result<Vec<Comparison>, FeedbackError> {
    read(path, "comparisons", |record| {
        let fields = Fields::of_record(&record);
        fields.only(&["info", "split", "summaries", "choice", "worker", "batch", "extra"])?;
        let info = fields.object("info")?;
        info.only(&["id", "post", "title", "subreddit"])?;
        let list = fields.get("summaries", "a list of 2 summaries")?;
        let Some([first, second]) = list.as_array().map(Vec::as_slice) else {
            return Err(record.bad("summaries", shown(list), "a list of 2 summaries"));
        };
        let summary = |(index, value): (usize, &Value)| {
            let summary = Fields::of_value(&record, format!("summaries[{index}]"), value)?;
            summary.only(&["text", "policy", "note"])?;
            summary.text("text")
        };
        let summaries = [summary((0, first))?, summary((1, second))?];
        let choice = fields.get("choice", "0 or 1")?;
        let choice = match choice.as_u64() {
            Some(choice @ (0 | 1)) => choice as usize,
            _ => return Err(record.bad("choice", shown(choice), "0 or 1")),
        };
        let (worker, split) = (fields.text("worker")?, fields.text("split")?);
        Ok(Comparison { post: info.post()?, summaries, choice, worker, split })
    })
}

fn read<T>(
    path: &Path,
    what: &str,
    parse: impl Fn(Record) -> Result<T, FeedbackError>,
) -> Result<Vec<T>, FeedbackError> {
    let all: Vec<T> = Lines::open(path)?.map(|record| parse(record?)).collect::<Result<_, _>>()?;
    if all.is_empty() {
        let found = format!("no {what}");
        return Err(FeedbackError::NoRecords { path: path.to_owned(), found, expected: "one a line" });
    }
    Ok(all)
}

/// The keys of a line, or of an object in it.
struct Fields<'a> {
    record: &'a Record,
    /// Where the object stands in its line; empty for the line itself.
    at: String,
    values: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    fn of_record(record: &'a Record) -> Self {
        Self { record, at: String::new(), values: record.values() }
    }

    fn of_value(record: &'a Record, at: String, value: &'a Value) -> Result<Self, FeedbackError> {
        let values = value.as_object().ok_or_else(|| record.bad(&at, shown(value), "an object"))?;
        Ok(Self { record, at, values })
    }

    fn key(&self, key: &str) -> String {
        if self.at.is_empty() { key.to_owned() } else { format!("{}.{key}", self.at) }
    }

    /// Refuses a key that the files do not have: it may be what a known one should be.
    fn only(&self, known: &[&str]) -> Result<(), FeedbackError> {
        let other = self.values.keys().find(|key| !known.contains(&key.as_str()));
        let bad =
            |key: &String| self.record.bad(&self.key(key), "a key", format!("none but {}", known.join(", ")));
        other.map_or(Ok(()), |key| Err(bad(key)))
    }

    fn get(&self, key: &str, expected: &str) -> Result<&'a Value, FeedbackError> {
        let value = self.values.get(key).filter(|value| !value.is_null());
        value.ok_or_else(|| self.record.bad(&self.key(key), "nothing", expected))
    }

    fn object(&self, key: &str) -> Result<Self, FeedbackError> {
        Self::of_value(self.record, self.key(key), self.get(key, "an object")?)
    }

    /// Text with something in it.
    fn text(&self, key: &str) -> Result<String, FeedbackError> {
        const EXPECTED: &str = "text that is not empty";
        let value = self.get(key, EXPECTED)?;
        let text = value.as_str().filter(|text| !text.trim().is_empty());
        text.map(str::to_owned).ok_or_else(|| self.record.bad(&self.key(key), shown(value), EXPECTED))
    }

    fn post(&self) -> Result<Post, FeedbackError> {
        Ok(Post {
            id: self.text("id")?,
            subreddit: self.text("subreddit")?,
            title: self.text("title")?,
            body: self.text("post")?,
        })
    }
}

/// A value in a few words.
fn shown(value: &Value) -> String {
    match value {
        Value::Array(list) => format!("a list of {}", list.len()),
        Value::Object(_) => "an object".to_owned(),
        Value::String(text) if text.trim().is_empty() => "an empty text".to_owned(),
        Value::String(_) => "a text".to_owned(),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}
