//! Which endpoint is asked, how, and for how much.

use lm::{Config, Problem};

use super::question::Question;

/// What a judge at an endpoint is.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndpointConfig {
    /// Where the API begins, such as `http://127.0.0.1:8000/v1`.
    pub url: String,
    /// The model, by the name that the endpoint has for it.
    pub model: String,
    /// What is asked.
    pub question: Question,
    /// The most tokens of an answer.
    pub max_tokens: u32,
    /// Seconds for one request.
    pub timeout: f64,
    /// How often a question is asked again that met a full or broken server, or a cut line.
    pub retries: u32,
    /// Seconds before the first retry; each one after waits twice as long.
    pub backoff: f64,
    /// Questions that wait for an answer at the same time.
    pub parallel: usize,
    /// The most requests in a minute; `None` for as many as there are.
    pub requests_per_minute: Option<f64>,
    /// The most requests in all, those whose answers are kept from earlier calls included.
    pub max_requests: Option<u64>,
    /// What tokens cost.
    pub prices: Option<Prices>,
    /// The most money in all, in the prices' unit, kept answers included.
    pub max_cost: Option<f64>,
}

/// Prices of a million tokens.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prices {
    /// Of questions.
    pub prompt: f64,
    /// Of answers.
    pub completion: f64,
}

impl Prices {
    /// What so many tokens of questions and answers cost.
    pub fn cost(self, (prompt, completion): (u64, u64)) -> f64 {
        (prompt as f64 * self.prompt + completion as f64 * self.completion) / 1e6
    }
}

impl Config for EndpointConfig {
    fn problems(&self) -> Vec<Problem> {
        // `Duration` holds no more; a day is no limit.
        let seconds = |seconds: f64| seconds > 0.0 && seconds <= 86_400.0;
        let is_url = ["http://", "https://"].iter().any(|scheme| self.url.starts_with(scheme))
            && self.url.chars().all(|c| c.is_ascii_graphic());
        let not_negative = |price: f64| price.is_finite() && price >= 0.0;
        let priced = self.prices.is_none_or(|p| not_negative(p.prompt) && not_negative(p.completion));
        let shown = |value: Option<f64>| value.map_or_else(String::new, |value| value.to_string());
        let positive = |value: Option<f64>| value.is_none_or(|value| value > 0.0 && value.is_finite());
        let rate = self.requests_per_minute;
        let checks = [
            Problem::unless(is_url, "url", &self.url, "an address that begins with http:// or https://"),
            Problem::unless(!self.model.trim().is_empty(), "model", "an empty name", "the name of a model"),
            Problem::unless(self.max_tokens > 0, "max_tokens", self.max_tokens, "at least 1"),
            Problem::unless(
                seconds(self.timeout),
                "timeout",
                self.timeout,
                "seconds, above 0, at most a day",
            ),
            Problem::unless(
                seconds(self.backoff),
                "backoff",
                self.backoff,
                "seconds, above 0, at most a day",
            ),
            Problem::unless(self.retries <= 20, "retries", self.retries, "at most 20"),
            Problem::unless((1..=64).contains(&self.parallel), "parallel", self.parallel, "1 to 64"),
            Problem::unless(
                rate.is_none_or(|rate| rate.is_finite() && seconds(60.0 / rate)),
                "requests_per_minute",
                shown(rate),
                "a number, at least one request in a day",
            ),
            Problem::unless(priced, "prices", format!("{:?}", self.prices), "numbers from 0 upward"),
            Problem::unless(positive(self.max_cost), "max_cost", shown(self.max_cost), "a number above 0"),
            Problem::unless(
                self.max_cost.is_none() || self.prices.is_some(),
                "prices",
                "none",
                "what tokens cost, as there is a max_cost",
            ),
        ];
        checks.into_iter().flatten().collect()
    }
}
