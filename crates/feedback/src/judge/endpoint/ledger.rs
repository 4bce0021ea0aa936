//! What was spent, and what may be.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::config::{EndpointConfig, Prices};

/// Counts requests, tokens and time.
#[derive(Debug)]
pub(super) struct Ledger {
    max_requests: Option<u64>,
    prices: Option<Prices>,
    max_cost: Option<f64>,
    /// Between the starts of two requests.
    interval: Option<Duration>,
    state: Mutex<State>,
}

#[derive(Clone, Copy, Debug)]
struct State {
    requests: u64,
    /// Tokens of answers that came, and the most that requests on their way may have.
    tokens: (u64, u64),
    reserved: (u64, u64),
    next: Option<Instant>,
}

/// The sum of two counts; an endpoint may claim any number of tokens.
pub(super) fn add(a: (u64, u64), b: (u64, u64)) -> (u64, u64) {
    (a.0.saturating_add(b.0), a.1.saturating_add(b.1))
}

fn less(a: (u64, u64), b: (u64, u64)) -> (u64, u64) {
    (a.0.saturating_sub(b.0), a.1.saturating_sub(b.1))
}

impl Ledger {
    /// `requests` and `tokens` were spent before.
    pub(super) fn new(config: &EndpointConfig, requests: u64, tokens: (u64, u64)) -> Self {
        Self {
            max_requests: config.max_requests,
            prices: config.prices,
            max_cost: config.max_cost,
            interval: config.requests_per_minute.map(|rate| Duration::from_secs_f64(60.0 / rate)),
            state: Mutex::new(State { requests, tokens, reserved: (0, 0), next: None }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets a request aside that may take up to `most` tokens, and says how long to wait before it is sent;
    /// an error says which limit it would pass.
    pub(super) fn reserve(&self, most: (u64, u64)) -> Result<Duration, String> {
        let mut state = self.state();
        if self.max_requests.is_some_and(|limit| state.requests >= limit) {
            return Err(format!("the budget of {} requests is spent", state.requests));
        }
        if let (Some(prices), Some(limit)) = (self.prices, self.max_cost)
            && prices.cost(add(add(state.tokens, state.reserved), most)) > limit
        {
            let spent = prices.cost(state.tokens);
            return Err(format!(
                "the budget of {limit} does not hold for one more request, {spent:.4} is spent"
            ));
        }
        state.requests += 1;
        state.reserved = add(state.reserved, most);
        let Some(interval) = self.interval else { return Ok(Duration::ZERO) };
        let now = Instant::now();
        let start = state.next.map_or(now, |next| next.max(now));
        state.next = Some(start + interval);
        Ok(start - now)
    }

    /// A request that was set aside has ended, and took so many tokens.
    pub(super) fn settle(&self, most: (u64, u64), tokens: (u64, u64)) {
        let mut state = self.state();
        state.reserved = less(state.reserved, most);
        state.tokens = add(state.tokens, tokens);
    }

    /// Requests and tokens so far, and their cost if prices are known.
    pub(super) fn spent(&self) -> (u64, (u64, u64), Option<f64>) {
        let state = self.state();
        (state.requests, state.tokens, self.prices.map(|prices| prices.cost(state.tokens)))
    }
}
