//! A typed reader for a table of the inventory: each key is converted by itself, and every error is noted.

use std::ops::Range;

use serde_spanned::Spanned;
use toml::de::{DeTable, DeValue};

use crate::diagnostics::{Diagnostics, Located, Place};
use crate::schema::{Key, nearest};

/// What is wrong with a value, as its converter sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) message: String,
    pub(crate) remedy: Option<String>,
    /// Where inside the value, as a key under the value's own key.
    pub(crate) inside: Option<(String, Range<usize>)>,
}

impl Problem {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), remedy: None, inside: None }
    }

    pub(crate) fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }
}

/// What became of reading a key.
#[derive(Clone, Debug, Default)]
pub(crate) enum Reading<T> {
    /// The key is not there.
    #[default]
    Absent,
    /// It is there, or ought to be, and an error was noted.
    Invalid,
    /// Its value.
    Valid(Located<T>),
}

impl<T> Reading<T> {
    /// This, or the default if the key is absent.
    pub(crate) fn or(self, default: Self) -> Self {
        match self {
            Self::Absent => default,
            present => present,
        }
    }

    pub(crate) fn located(self) -> Option<Located<T>> {
        match self {
            Self::Valid(located) => Some(located),
            Self::Absent | Self::Invalid => None,
        }
    }

    pub(crate) fn value(self) -> Option<T> {
        self.located().map(|located| located.value)
    }

    pub(crate) fn as_located(&self) -> Option<&Located<T>> {
        match self {
            Self::Valid(located) => Some(located),
            Self::Absent | Self::Invalid => None,
        }
    }
}

/// A table and where it begins.
pub(crate) struct Section<'t> {
    table: &'t DeTable<'t>,
    pub(crate) place: Place,
}

impl<'t> Section<'t> {
    pub(crate) fn new(table: &'t DeTable<'t>, place: Place) -> Self {
        Self { table, place }
    }

    /// The table that a value is; an error is noted if it is none.
    pub(crate) fn open(
        value: &'t Spanned<DeValue<'t>>,
        key: &str,
        diagnostics: &mut Diagnostics<'_>,
    ) -> Option<Section<'t>> {
        let place = Place { key: key.to_owned(), span: value.span() };
        match value.get_ref() {
            DeValue::Table(table) => Some(Self { table, place }),
            other => {
                let message = format!("expected a table, found {}", type_name(other));
                diagnostics.error_and_remedy(&place, message, format!("write [{key}] on a line of its own"));
                None
            }
        }
    }

    /// The value of a key as it stands.
    pub(crate) fn get(&self, key: &str) -> Option<&'t Spanned<DeValue<'t>>> {
        self.table.get(key)
    }

    /// The table under a key.
    pub(crate) fn table(&self, key: &str, diagnostics: &mut Diagnostics<'_>) -> Option<Section<'t>> {
        Self::open(self.get(key)?, &self.path(key), diagnostics)
    }

    /// Whether the key is there.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Where a key stands, or the table's header if it is not there.
    pub(crate) fn place_of(&self, key: &str) -> Place {
        let span = self.table.get_key_value(key).map_or_else(|| self.place.span.clone(), |(key, _)| key.span());
        Place { key: self.path(key), span }
    }

    fn path(&self, key: &str) -> String {
        if self.place.key.is_empty() { key.to_owned() } else { format!("{}.{key}", self.place.key) }
    }

    /// Reads a key.
    pub(crate) fn read<T>(
        &self,
        key: &str,
        diagnostics: &mut Diagnostics<'_>,
        convert: impl FnOnce(&DeValue<'_>) -> Result<T, Problem>,
    ) -> Reading<T> {
        let Some(value) = self.get(key) else { return Reading::Absent };
        let place = Place { key: self.path(key), span: value.span() };
        match convert(value.get_ref()) {
            Ok(value) => Reading::Valid(Located { value, place }),
            Err(Problem { message, remedy, inside }) => {
                let place = match inside {
                    Some((inner, span)) => Place { key: format!("{}.{inner}", place.key), span },
                    None => place,
                };
                diagnostics.error_with(&place, || (message, remedy));
                Reading::Invalid
            }
        }
    }

    /// Reads a key that must be there.
    pub(crate) fn required<T>(
        &self,
        key: &str,
        keys: &[Key],
        diagnostics: &mut Diagnostics<'_>,
        convert: impl FnOnce(&DeValue<'_>) -> Result<T, Problem>,
    ) -> Reading<T> {
        if !self.has(key) {
            self.missing(key, keys, diagnostics);
            return Reading::Invalid;
        }
        self.read(key, diagnostics, convert)
    }

    /// Notes that a key is missing, with what it means.
    pub(crate) fn missing(&self, key: &str, keys: &[Key], diagnostics: &mut Diagnostics<'_>) {
        diagnostics.error_with(&self.place_of(key), || {
            let about = keys.iter().find(|known| known.name == key);
            let message = format!("the key `{key}` is missing");
            (message, about.map(|known| format!("{}; write {}", known.about, known.value)))
        });
    }

    /// Notes an error for each key that is none of the known ones. `elsewhere` explains a key that has its place in
    /// another table.
    pub(crate) fn refuse_unknown(
        &self,
        known: &[&[Key]],
        diagnostics: &mut Diagnostics<'_>,
        elsewhere: impl Fn(&str) -> Option<String>,
    ) {
        let names = || known.iter().flat_map(|keys| keys.iter()).map(|key| key.name);
        for (key, _) in self.table.iter() {
            let name: &str = key.get_ref();
            if names().any(|known| known == name) {
                continue;
            }
            let place = Place { key: self.path(&shortened(name)), span: key.span() };
            diagnostics.error_with(&place, || unknown_key(name, names(), elsewhere(name)));
        }
    }
}

fn unknown_key<'k>(
    name: &str,
    known: impl Iterator<Item = &'k str> + Clone,
    elsewhere: Option<String>,
) -> (String, Option<String>) {
    if let Some(elsewhere) = elsewhere {
        return (elsewhere, None);
    }
    match nearest(name, known.clone()) {
        Some(near) => (format!("unknown key; did you mean `{near}`?"), None),
        None => ("unknown key".to_owned(), Some(format!("known keys: {}", known.collect::<Vec<_>>().join(", ")))),
    }
}

/// A problem with a key inside a value that is a table.
pub(crate) fn unknown_inner_key(key: &Spanned<std::borrow::Cow<'_, str>>, known: &[Key]) -> Problem {
    let (message, remedy) = unknown_key(key.get_ref(), known.iter().map(|key| key.name), None);
    Problem { message, remedy, inside: Some((shortened(key.get_ref()), key.span())) }
}

/// A text of the inventory as errors quote it: short and without control characters.
pub(crate) fn shortened(text: &str) -> String {
    const LONGEST: usize = 60;
    let mut short: String = text.chars().take(LONGEST).flat_map(char::escape_debug).collect();
    if text.chars().nth(LONGEST).is_some() {
        short.push('…');
    }
    short
}

/// The name of a value's type with its article.
pub(crate) fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}
