//! Impossible values of a configuration, each with its key: all of them at once, so that one reading mends them all.

use std::fmt;

/// One impossible value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key as the file spells it, its sections before it: `optimizer.schedule.floor`.
    pub key: String,
    /// The value found.
    pub found: String,
    /// What would be possible.
    pub expected: String,
}

impl Problem {
    /// A problem of `key`.
    pub fn new(key: impl Into<String>, found: impl fmt::Display, expected: impl Into<String>) -> Self {
        Self { key: key.into(), found: found.to_string(), expected: expected.into() }
    }

    /// The same problem as a file spells it that has this configuration in `section`.
    #[must_use]
    pub fn within(self, section: &str) -> Self {
        Self { key: format!("{section}.{}", self.key), ..self }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: found {}, expected {}", self.key, self.found, self.expected)
    }
}

/// A configuration that knows which of its values are impossible.
pub trait Config {
    /// Every impossible value; empty if the configuration can be used.
    fn problems(&self) -> Vec<Problem>;

    /// Refuses a configuration with all its problems.
    ///
    /// # Errors
    /// If there is at least one problem.
    fn check(&self) -> Result<(), Problems> {
        let problems = self.problems();
        if problems.is_empty() { Ok(()) } else { Err(Problems(problems)) }
    }
}

/// The problems of one configuration, at least one, as an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            write!(f, "{}{problem}", if index > 0 { "\n" } else { "" })?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_names_key_found_and_expected_once() {
        let problem = Problem::new("floor", 2.0, "0 to 1").within("schedule").within("optimizer");
        assert_eq!(problem.to_string(), "optimizer.schedule.floor: found 2, expected 0 to 1");
        let both = Problems(vec![problem.clone(), Problem::new("steps", 0, "at least 1")]);
        assert_eq!(
            both.to_string(),
            "optimizer.schedule.floor: found 2, expected 0 to 1\nsteps: found 0, expected at least 1"
        );
    }
}
