//! How long examples may be, and what becomes of those that are longer.

use lm::{Config, Problem};
use serde::{Deserialize, Serialize};

/// The room for an example.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Most tokens of prompt and response together, begin and end token among them.
    pub max_length: usize,
    /// Most tokens of the prompt.
    pub max_prompt_length: usize,
    /// What becomes of longer ones.
    pub too_long: TooLong,
}

/// What becomes of an example that is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TooLong {
    /// It is left out and counted.
    Skip,
    /// A prompt keeps its last tokens and a response its first ones, as TRL does; it is counted.
    Truncate,
    /// It is an error.
    Refuse,
}

/// An example that fits, perhaps because it was cut.
pub(crate) struct Fitted {
    pub(crate) prompt: Vec<u32>,
    pub(crate) responses: Vec<Vec<u32>>,
    pub(crate) cut: bool,
}

/// What does not fit.
pub(crate) enum Overlong {
    /// The prompt, of so many tokens, where at most so many may be.
    Prompt(usize, usize),
    /// The response at this position, likewise.
    Response(usize, usize, usize),
}

impl Limits {
    /// Makes a prompt and its responses fit; `None` if they are to be left out.
    pub(crate) fn fit(&self, prompt: Vec<u32>, responses: Vec<Vec<u32>>) -> Result<Option<Fitted>, Overlong> {
        let overlong = self.overlong(&prompt, &responses);
        let Some(overlong) = overlong else { return Ok(Some(Fitted { prompt, responses, cut: false })) };
        match self.too_long {
            TooLong::Refuse => Err(overlong),
            TooLong::Skip => Ok(None),
            TooLong::Truncate => Ok(Some(self.cut(prompt, responses))),
        }
    }

    /// A prompt keeps its first token: every sequence begins with the begin token.
    fn cut(&self, mut prompt: Vec<u32>, mut responses: Vec<Vec<u32>>) -> Fitted {
        let surplus = prompt.len().saturating_sub(self.max_prompt_length);
        prompt.drain(1..=surplus);
        let room = self.max_length - prompt.len();
        for response in &mut responses {
            response.truncate(room);
        }
        Fitted { prompt, responses, cut: true }
    }

    fn overlong(&self, prompt: &[u32], responses: &[Vec<u32>]) -> Option<Overlong> {
        if prompt.len() > self.max_prompt_length {
            return Some(Overlong::Prompt(prompt.len(), self.max_prompt_length));
        }
        let room = self.max_length - prompt.len();
        let position = responses.iter().position(|response| response.len() > room)?;
        Some(Overlong::Response(position, responses[position].len(), room))
    }
}

impl Config for Limits {
    fn problems(&self) -> Vec<Problem> {
        let (longest, prompt) = (self.max_length, self.max_prompt_length);
        let room = (1..longest).contains(&prompt);
        let expected = format!("1 or more, and below max_length = {longest}: a response takes a token");
        Problem::unless(room, "max_prompt_length", prompt, expected).into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(too_long: TooLong) -> Limits {
        Limits { max_length: 6, max_prompt_length: 4, too_long }
    }

    fn fit(too_long: TooLong, prompt: &[u32], response: &[u32]) -> Option<(Vec<u32>, Vec<u32>, bool)> {
        let fitted = limits(too_long).fit(prompt.to_vec(), vec![response.to_vec()]).ok().flatten()?;
        Some((fitted.prompt, fitted.responses[0].clone(), fitted.cut))
    }

    #[test]
    fn what_fits_is_left_alone() {
        for way in [TooLong::Skip, TooLong::Truncate, TooLong::Refuse] {
            assert_eq!(fit(way, &[9, 1, 2, 3], &[4, 5]), Some((vec![9, 1, 2, 3], vec![4, 5], false)));
        }
    }

    #[test]
    fn what_does_not_is_cut_where_it_matters_least() {
        // The begin token 9 and the last three of the prompt; of the response what still fits.
        let cut = fit(TooLong::Truncate, &[9, 1, 2, 3, 4, 5], &[6, 7, 8]);
        assert_eq!(cut, Some((vec![9, 3, 4, 5], vec![6, 7], true)));
        assert_eq!(
            fit(TooLong::Truncate, &[9], &[1, 2, 3, 4, 5, 6]),
            Some((vec![9], vec![1, 2, 3, 4, 5], true))
        );
        assert_eq!(fit(TooLong::Skip, &[9, 1, 2, 3, 4], &[6]), None);
        assert!(limits(TooLong::Refuse).fit(vec![9; 5], vec![]).is_err());
        assert!(limits(TooLong::Refuse).fit(vec![9; 4], vec![vec![1; 3]]).is_err());
    }

    #[test]
    fn a_response_has_room() {
        for (prompt, possible) in [(0, false), (1, true), (5, true), (6, false)] {
            let limits = Limits { max_prompt_length: prompt, ..limits(TooLong::Skip) };
            assert_eq!(limits.check().is_ok(), possible, "{prompt}");
        }
    }
}
