//! Collects errors and warnings with their places, so that all of them are told at once.

use std::ops::Range;

use camino::Utf8Path;

use crate::error::{InventoryError, InventoryErrors};
use crate::excerpt::Excerpt;

/// A place in the inventory: a key and where it or its value stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// With its tables, such as `host.address`.
    pub(crate) key: String,
    /// In bytes.
    pub(crate) span: Range<usize>,
}

impl Place {
    /// The beginning of the file: the place of what concerns all of it.
    pub(crate) const START: Self = Self { key: String::new(), span: 0..0 };
}

/// A value and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Located<T> {
    pub(crate) value: T,
    pub(crate) place: Place,
}

struct Finding {
    place: Place,
    message: String,
    remedy: Option<String>,
}

/// The errors and warnings of one inventory.
pub(crate) struct Diagnostics<'t> {
    text: &'t str,
    file: &'t Utf8Path,
    line_starts: Vec<usize>,
    findings: Vec<Finding>,
    uncounted: usize,
    warnings: Vec<(usize, String)>,
}

/// How many errors are shown.
const SHOWN: usize = 50;
/// How many errors are kept before the first ones by line are chosen; beyond it they are only counted.
const KEPT: usize = 1000;

impl<'t> Diagnostics<'t> {
    pub(crate) fn new(text: &'t str, file: &'t Utf8Path) -> Self {
        let line_starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { text, file, line_starts, findings: Vec::new(), uncounted: 0, warnings: Vec::new() }
    }

    /// Notes an error. The message and the remedy are made only if they can still be shown.
    pub(crate) fn error_with(&mut self, place: &Place, describe: impl FnOnce() -> (String, Option<String>)) {
        if self.findings.len() >= KEPT {
            self.uncounted += 1;
            return;
        }
        let (message, remedy) = describe();
        self.findings.push(Finding { place: place.clone(), message, remedy });
    }

    /// Notes an error whose message says what to do.
    pub(crate) fn error(&mut self, place: &Place, message: impl Into<String>) {
        self.error_with(place, || (message.into(), None));
    }

    /// Notes an error and what to do about it.
    pub(crate) fn error_and_remedy(&mut self, place: &Place, message: impl Into<String>, remedy: impl Into<String>) {
        self.error_with(place, || (message.into(), Some(remedy.into())));
    }

    /// Notes what is allowed, but worth knowing.
    pub(crate) fn warn(&mut self, place: &Place, message: &str) {
        let warning = format!("{}:{}: {}: {message}", self.file, self.line(place), place.key);
        self.warnings.push((place.span.start, warning));
    }

    /// The line of a place, from 1.
    pub(crate) fn line(&self, place: &Place) -> usize {
        self.line_starts.partition_point(|start| *start <= place.span.start)
    }

    /// Notes an error if there is none yet.
    pub(crate) fn ensure_error(&mut self, message: &str) {
        if self.findings.is_empty() {
            self.error(&Place::START, message);
        }
    }

    /// The warnings, if there is no error; else the errors.
    pub(crate) fn finish(mut self) -> Result<Vec<String>, InventoryErrors> {
        if self.findings.is_empty() {
            self.warnings.sort_by_key(|(start, _)| *start);
            return Ok(self.warnings.into_iter().map(|(_, warning)| warning).collect());
        }
        let omitted = self.findings.len().saturating_sub(SHOWN) + self.uncounted;
        self.findings.sort_by_key(|finding| finding.place.span.start);
        self.findings.truncate(SHOWN);
        let findings = std::mem::take(&mut self.findings);
        let errors = findings.into_iter().map(|finding| self.explain(finding)).collect();
        Err(InventoryErrors { file: self.file.to_owned(), errors, omitted })
    }

    fn explain(&self, finding: Finding) -> InventoryError {
        let Finding { place, message, remedy } = finding;
        let line = self.line(&place);
        let start = line.checked_sub(1).and_then(|index| self.line_starts.get(index)).copied().unwrap_or_default();
        let end = self.line_starts.get(line).map_or(self.text.len(), |next| next.saturating_sub(1));
        let end = if self.text.get(start..end).is_some_and(|text| text.ends_with('\r')) { end - 1 } else { end };
        let column = self.text.get(start..place.span.start).map_or(1, |before| before.chars().count() + 1);
        let excerpt = (start < end).then(|| Excerpt::new(self.text, start..end, place.span.clone())).flatten();
        InventoryError { line, column, key: place.key, message, remedy, excerpt }
    }
}
