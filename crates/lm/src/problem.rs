//! Impossible values of a configuration, each with its key: all of them at once, so that one reading mends
//! them all.

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

    /// A problem of `key` unless its value is possible.
    pub fn unless(
        possible: bool,
        key: impl Into<String>,
        found: impl fmt::Display,
        expected: impl Into<String>,
    ) -> Option<Self> {
        (!possible).then(|| Self::new(key, found, expected))
    }

    /// A problem of `key` unless it counts at least one.
    pub fn unless_counted(key: impl Into<String>, count: usize) -> Option<Self> {
        Self::unless(count > 0, key, count, "at least 1")
    }

    /// A problem of `key` unless it is a positive, finite number.
    pub fn unless_positive<N: Copy + Into<f64> + fmt::Display>(
        key: impl Into<String>,
        number: N,
    ) -> Option<Self> {
        let value: f64 = number.into();
        Self::unless(value > 0.0 && value.is_finite(), key, number, "a positive number")
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
    /// Every impossible value, keys relative to this configuration; empty if the configuration can be used.
    fn problems(&self) -> Vec<Problem>;

    /// The same problems as a file spells them that has this configuration in `section`.
    fn problems_within(&self, section: &str) -> Vec<Problem> {
        self.problems().into_iter().map(|problem| problem.within(section)).collect()
    }

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

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Outer(f64, usize);

    impl Config for Outer {
        fn problems(&self) -> Vec<Problem> {
            let rate = Problem::unless_positive("rate", self.0);
            rate.into_iter().chain(Problem::unless_counted("steps", self.1)).collect()
        }
    }

    #[test]
    fn a_configuration_is_refused_with_all_its_problems() {
        assert_eq!(Outer(0.5, 1).check(), Ok(()));
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let expected = format!("rate: found {rate}, expected a positive number");
            assert_eq!(Outer(rate, 1).check().map_err(|problems| problems.to_string()), Err(expected));
        }
        let keys: Vec<String> =
            Outer(0.0, 0).problems_within("sft").into_iter().map(|problem| problem.key).collect();
        assert_eq!(keys, ["sft.rate", "sft.steps"]);
    }

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
