//! What a training asks of a device, and whether it has it.

use anyhow::Result;
use lm::device::Facts;
use lm::{Memory, OpenDevice, Place};

use crate::exit::BadInput;

/// What a process takes: an estimate from above, see [`lm::memory`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    /// Parameters of the language model.
    pub parameters: usize,
    /// Bytes of memory at its peak.
    pub bytes: u64,
    /// Bytes of the largest tensor.
    pub largest: u64,
}

/// Where the tensors of a process with so many threads live.
pub fn place(open: &OpenDevice, threads: usize) -> Place {
    if open.spec.is_cpu() { Place::Host { threads } } else { Place::Gpu }
}

/// Bytes as people read them.
pub fn gib(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))
}

impl Needs {
    pub fn new(parameters: usize, memory: Memory) -> Self {
        Self { parameters, bytes: memory.peak(), largest: memory.largest() }
    }

    /// What a process takes that has the needs of both at one time or another.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            parameters: self.parameters.max(other.parameters),
            bytes: self.bytes.max(other.bytes),
            largest: self.largest.max(other.largest),
        }
    }

    /// Whether it fits on a device, and why or why not.
    pub fn fit(&self, facts: &Facts) -> (bool, String) {
        if let Some(memory) = facts.memory
            && self.bytes > memory
        {
            return (
                false,
                format!("a run takes up to {} of memory and there are {}", gib(self.bytes), gib(memory)),
            );
        }
        if let Some(largest) = facts.largest_buffer
            && self.largest > largest
        {
            let sizes = (gib(self.largest), gib(largest));
            return (false, format!("its largest tensor has {} and a buffer at most {}", sizes.0, sizes.1));
        }
        let slow = if facts.software { ", but slower than on cpu" } else { "" };
        match facts.memory {
            Some(memory) => (true, format!("a run takes up to {} of {}{slow}", gib(self.bytes), gib(memory))),
            None => (true, format!("a run takes up to {}; the driver tells no limit{slow}", gib(self.bytes))),
        }
    }

    /// Refuses what does not fit, before any work: `what` it is, and what would help.
    pub fn check(&self, what: &str, facts: &Facts, cure: &str) -> Result<()> {
        match self.fit(facts) {
            (true, _) => Ok(()),
            (false, why) => {
                Err(BadInput(format!("{what} does not fit on {}: {why}; {cure}", facts.name)).into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(memory: Option<u64>, largest_buffer: Option<u64>) -> Facts {
        let (name, driver) = ("a device".to_owned(), String::new());
        Facts { name, driver, software: false, memory, largest_buffer, count: 1 }
    }

    #[test]
    fn what_is_too_large_says_so() {
        let needs = Needs { parameters: 1, bytes: 3 << 30, largest: 1 << 30 };
        assert!(needs.fit(&facts(None, None)).0);
        assert!(needs.fit(&facts(Some(4 << 30), Some(1 << 30))).0);
        let (fits, why) = needs.fit(&facts(Some(2 << 30), None));
        assert!(!fits && why.contains("3.0 GiB") && why.contains("2.0 GiB"), "{why}");
        assert!(!needs.fit(&facts(Some(4 << 30), Some(1 << 29))).0);
        let refused = needs.check("run ppo", &facts(Some(2 << 30), None), "lower x").unwrap_err().to_string();
        let expected = "run ppo does not fit on a device: a run takes up to 3.0 GiB of memory and there are 2.0 GiB; \
                        lower x";
        assert_eq!(refused, expected);
        assert!(needs.check("run ppo", &facts(Some(4 << 30), None), "lower x").is_ok());
    }
}
