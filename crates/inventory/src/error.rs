//! What is wrong with an inventory: every error with its line, its key, an excerpt and a remedy.

use std::fmt;

use camino::{Utf8Path, Utf8PathBuf};

use crate::excerpt::Excerpt;

/// One thing that is wrong with an inventory.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {}{message}", prefix(key))]
pub struct InventoryError {
    /// The line in the file, from 1.
    pub line: usize,
    /// The column of the key or value that is wrong, in characters, from 1.
    pub column: usize,
    /// The key with its tables, such as `host.address`; empty for what concerns the text itself.
    pub key: String,
    /// What is wrong. Never contains a password.
    pub message: String,
    /// What to write instead, if the message does not say it already.
    pub remedy: Option<String>,
    pub(crate) excerpt: Option<Excerpt>,
}

/// All that is wrong with an inventory, in the order of its lines. Never empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct InventoryErrors {
    pub(crate) file: Utf8PathBuf,
    pub(crate) errors: Vec<InventoryError>,
    pub(crate) omitted: usize,
}

impl InventoryErrors {
    /// The file, as the caller named it.
    #[must_use]
    pub fn file(&self) -> &Utf8Path {
        &self.file
    }

    /// The errors, in the order of their lines: the first 50 at most.
    #[must_use]
    pub fn errors(&self) -> &[InventoryError] {
        &self.errors
    }

    /// How many more errors there are.
    #[must_use]
    pub fn omitted(&self) -> usize {
        self.omitted
    }
}

fn prefix(key: &str) -> String {
    if key.is_empty() { String::new() } else { format!("{key}: ") }
}

impl fmt::Display for InventoryErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.errors.iter().enumerate() {
            if index > 0 {
                f.write_str("\n\n")?;
            }
            write!(f, "{}:{}: {}{}", self.file, error.line, prefix(&error.key), error.message)?;
            let number = error.line.to_string();
            let margin = " ".repeat(number.len());
            if let Some(excerpt) = &error.excerpt {
                write!(f, "\n{margin} |\n{number} | {}\n{margin} | {}", excerpt.text, excerpt.caret())?;
            }
            if let Some(remedy) = &error.remedy {
                write!(f, "\n{margin} = {remedy}")?;
            }
        }
        match self.omitted {
            0 => Ok(()),
            1 => write!(f, "\n\n{}: and 1 more error", self.file),
            omitted => write!(f, "\n\n{}: and {omitted} more errors", self.file),
        }
    }
}
