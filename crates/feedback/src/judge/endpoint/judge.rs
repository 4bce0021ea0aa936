//! The judge itself.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lm::{Config, Problem};

use super::answers::{Answer, Answers, key};
use super::ask::{MAX_REQUEST, ask, body};
use super::config::EndpointConfig;
use super::http::Client;
use super::ledger::Ledger;
use super::question;
use crate::error::FeedbackError;
use crate::judge::pair::{Judge, Pair, Preference};

/// What a judge has cost so far, earlier calls included.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spent {
    /// Requests, repeated ones included.
    pub requests: u64,
    /// Tokens of questions and answers.
    pub tokens: (u64, u64),
    /// In the unit of the prices, if there are any.
    pub cost: Option<f64>,
}

/// A language model that is asked which text is better.
pub struct EndpointJudge {
    name: String,
    config: EndpointConfig,
    client: Client,
    answers: Answers,
    ledger: Ledger,
}

impl EndpointJudge {
    /// A judge whose answers are kept in the file `answers`. Nothing is asked yet. `key` is what the
    /// endpoint knows its user by.
    ///
    /// # Errors
    /// [`FeedbackError::Problems`] for impossible settings or a key that no header can hold; an error of the
    /// file.
    pub fn new(config: EndpointConfig, key: Option<String>, answers: &Path) -> Result<Self, FeedbackError> {
        config.check()?;
        if key.as_ref().is_some_and(|key| key.is_empty() || !key.chars().all(|c| c.is_ascii_graphic())) {
            let expected = "letters, digits and signs of ASCII, without blanks";
            return Err(lm::Problems::from(Problem::new("key", "another text", expected)).into());
        }
        let client = Client {
            url: format!("{}/chat/completions", config.url.trim_end_matches('/')),
            key,
            timeout: Duration::from_secs_f64(config.timeout),
            curl: OsString::from("curl"),
        };
        let answers = Answers::open(answers)?;
        let ledger = Ledger::new(&config, answers.len() as u64, answers.tokens());
        let name = format!("{} ({})", config.model, config.question.name());
        Ok(Self { name, config, client, answers, ledger })
    }

    /// What it has cost so far.
    pub fn spent(&self) -> Spent {
        let (requests, tokens, cost) = self.ledger.spent();
        Spent { requests, tokens, cost }
    }

    /// Questions among these that have no answer yet, each once.
    pub fn unanswered(&self, pairs: &[Pair]) -> usize {
        self.open(&self.questions(pairs)).len()
    }

    /// Key and body of the request for each pair.
    fn questions(&self, pairs: &[Pair]) -> Vec<(String, String)> {
        let request = |pair: &Pair| {
            let body = body(&self.config, &self.config.question.ask(pair));
            (key(&self.config.model, &body), body)
        };
        pairs.iter().map(request).collect()
    }

    fn open<'a>(&self, questions: &'a [(String, String)]) -> BTreeMap<&'a str, &'a str> {
        let open = questions.iter().filter(|(key, _)| self.answers.get(key).is_none());
        open.map(|(key, body)| (key.as_str(), body.as_str())).collect()
    }

    /// Asks all open questions, so many at a time. The first failure ends it; answers that
    /// came until then are kept.
    fn ask_all(&self, open: BTreeMap<&str, &str>) -> Result<(), FeedbackError> {
        let workers = self.config.parallel.min(open.len());
        let queue = Mutex::new((open.into_iter(), None));
        let state = || queue.lock().unwrap_or_else(PoisonError::into_inner);
        let work = || {
            loop {
                let mut taken = state();
                let (next, failed) = (taken.0.next(), taken.1.is_some());
                drop(taken);
                let Some((key, body)) = next.filter(|_| !failed) else { return };
                if let Err(error) = self.ask_one(key, body) {
                    state().1.get_or_insert(error);
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(work);
            }
        });
        let failed = state().1.take();
        failed.map_or(Ok(()), Err)
    }

    fn ask_one(&self, key: &str, body: &str) -> Result<(), FeedbackError> {
        let failed = |why: String| {
            FeedbackError::Judge(format!("{} at {}: {why}", self.config.model, self.config.url))
        };
        if body.len() > MAX_REQUEST {
            return Err(failed(format!(
                "found a question of {} bytes, expected at most {MAX_REQUEST}",
                body.len()
            )));
        }
        let asked = ask(&self.client, (&self.config, &self.ledger), body);
        let (answer, tokens) = asked.map_err(|why| failed(self.without_key(&why)))?;
        self.answers.keep(Answer { key: key.to_owned(), text: self.without_key(&answer), tokens })
    }

    /// A server may repeat what it was sent.
    fn without_key(&self, text: &str) -> String {
        self.client.key.as_ref().map_or_else(|| text.to_owned(), |key| text.replace(key.as_str(), "[key]"))
    }
}

impl Judge for EndpointJudge {
    fn name(&self) -> &str {
        &self.name
    }

    fn compare(&self, pairs: &[Pair]) -> Result<Vec<Preference>, FeedbackError> {
        let questions = self.questions(pairs);
        self.ask_all(self.open(&questions))?;
        let answer = |(key, _): &(String, String)| {
            let found = self.answers.get(key);
            found.map_or(Preference::Unreadable, |found| question::read(&found.text))
        };
        Ok(questions.iter().map(answer).collect())
    }
}
