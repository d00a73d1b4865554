//! A component's flags as data: the profile of a release is a table of these, which tests compare with what the real
//! programs accept.

use std::fmt::Display;

/// One flag, always with a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flag {
    /// Its name without the dashes.
    pub name: &'static str,
    /// Its value; empty where the empty value is what must be said.
    pub value: String,
}

/// A component's flags, in the order in which they are passed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flags(Vec<Flag>);

impl Flags {
    /// Adds a flag.
    #[must_use]
    pub(crate) fn with(mut self, name: &'static str, value: impl Display) -> Self {
        self.0.push(Flag { name, value: value.to_string() });
        self
    }

    /// Adds other flags at the end.
    #[must_use]
    pub(crate) fn and(mut self, others: Self) -> Self {
        self.0.extend(others.0);
        self
    }

    /// The flags.
    pub fn iter(&self) -> impl Iterator<Item = &Flag> {
        self.0.iter()
    }

    /// Each flag as one word, `--name=value`. An empty value stays within its word: `--resolv-conf=` reaches the program
    /// through every service manager, `--resolv-conf ""` does not (facts B.4).
    #[must_use]
    pub fn arguments(&self) -> Vec<String> {
        self.0.iter().map(|flag| format!("--{}={}", flag.name, flag.value)).collect()
    }
}
