//! Absolute paths on a host, which may have another operating system than this machine.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An absolute path on a host: `/etc/kubernetes` or `C:\k8swin\etc`. Never a path of this machine.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostPath(String);

/// The text is not an absolute Linux or Windows path.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is not an absolute path: expected `/…` or `C:\\…`")]
pub struct InvalidPath(String);

impl HostPath {
    /// Parses an absolute path. `..`, NUL and line breaks are refused: no desired state needs them.
    ///
    /// # Errors
    /// When the text is not an absolute path.
    pub fn new(path: impl Into<String>) -> Result<Self, InvalidPath> {
        let path = path.into();
        let mut start = path.chars();
        let absolute = match (start.next(), start.next(), start.next()) {
            (Some('/'), _, _) => true,
            (Some(drive), Some(':'), Some('\\')) => drive.is_ascii_alphabetic(),
            _ => false,
        };
        let climbs = path.split(['/', '\\']).any(|part| part == "..");
        if absolute && !climbs && !path.contains(['\0', '\n', '\r']) { Ok(Self(path)) } else { Err(InvalidPath(path)) }
    }

    /// Whether this is a Windows path.
    #[must_use]
    pub fn is_windows(&self) -> bool {
        !self.0.starts_with('/')
    }

    /// The path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// This path with `name` below it.
    #[must_use]
    pub fn join(&self, name: &str) -> Self {
        let separator = self.separator();
        Self(format!("{}{separator}{name}", self.0.trim_end_matches(separator)))
    }

    /// The folder that holds this path; `None` for `/` and for a drive.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        let (parent, name) = self.0.rsplit_once(self.separator())?;
        if name.is_empty() {
            return None;
        }
        Some(Self(match parent {
            "" => "/".to_owned(),
            drive if drive.ends_with(':') => format!("{drive}\\"),
            _ => parent.to_owned(),
        }))
    }

    /// The last part of the path.
    #[must_use]
    pub fn file_name(&self) -> &str {
        self.0.rsplit(self.separator()).next().unwrap_or_default()
    }

    fn separator(&self) -> char {
        if self.is_windows() { '\\' } else { '/' }
    }
}

impl TryFrom<String> for HostPath {
    type Error = InvalidPath;

    fn try_from(path: String) -> Result<Self, Self::Error> {
        Self::new(path)
    }
}

impl From<HostPath> for String {
    fn from(path: HostPath) -> Self {
        path.0
    }
}

impl fmt::Display for HostPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for HostPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parent(path: &str) -> Option<String> {
        HostPath::new(path).unwrap().parent().map(String::from)
    }

    #[test]
    fn relative_and_climbing_paths_are_refused() {
        for bad in ["", "etc", "C:", "C:k", "\\\\server\\share", "/etc/../shadow", "C:\\k\\..\\x", "/a\nb"] {
            assert!(HostPath::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn parents_end_at_the_root() {
        assert_eq!(parent("/etc/kubernetes"), Some("/etc".into()));
        assert_eq!(parent("/etc"), Some("/".into()));
        assert_eq!(parent("/"), None);
        assert_eq!(parent("C:\\k8swin\\bin"), Some("C:\\k8swin".into()));
        assert_eq!(parent("C:\\k8swin"), Some("C:\\".into()));
        assert_eq!(parent("C:\\"), None);
        assert_eq!(HostPath::new("C:\\").unwrap().join("k8swin").as_str(), "C:\\k8swin");
        assert_eq!(HostPath::new("/").unwrap().join("opt").as_str(), "/opt");
    }
}
