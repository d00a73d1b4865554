//! Why a lab does not start.

use std::io;

use camino::Utf8PathBuf;

/// A lab does not start.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// The inventory is not valid; the text lists all errors.
    #[error("{0}")]
    Inventory(String),
    /// The folder holds something else.
    #[error(
        "{folder} is not empty and not the folder of an earlier lab: it is left as it is. Name a new folder or an empty one"
    )]
    FolderInUse {
        /// The folder.
        folder: Utf8PathBuf,
    },
    /// Another lab runs there.
    #[error("a lab runs in {folder}: end it first, or name another folder")]
    Running {
        /// The folder.
        folder: Utf8PathBuf,
    },
    /// A file or folder of the lab cannot be written or read.
    #[error("cannot {action} {path}: {answer}")]
    File {
        /// What was tried: `write`.
        action: &'static str,
        /// Where.
        path: Utf8PathBuf,
        /// What the operating system answered.
        answer: io::Error,
    },
    /// A loopback port cannot be had.
    #[error(
        "cannot listen on 127.0.0.1 for {host}: {answer}. A lab takes up to two ports and some open files for each host: \
         see `ulimit -n`"
    )]
    Listen {
        /// The simulated host.
        host: String,
        /// What the operating system answered.
        answer: io::Error,
    },
    /// A thread cannot be had.
    #[error("cannot start the thread that writes the state files: {0}")]
    Thread(io::Error),
    /// A key or certificate cannot be made.
    #[error("cannot make {what}: {reason}")]
    Keys {
        /// What.
        what: &'static str,
        /// Why.
        reason: String,
    },
}

impl LabError {
    /// For `map_err`: what was tried, and where.
    pub(crate) fn file(action: &'static str, path: impl Into<Utf8PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |answer| Self::File { action, path, answer }
    }
}
