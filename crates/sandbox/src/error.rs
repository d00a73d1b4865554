//! What can go wrong with a sandbox.

use std::io;
use std::path::PathBuf;

/// Why a sandbox, or a host of it, is not there.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// This machine lacks something. One line, with how to get it.
    #[error("{what}: {remedy}")]
    Missing {
        /// What.
        what: String,
        /// What to do about it.
        remedy: String,
    },
    /// A file or folder of this machine.
    #[error("cannot {action} {path}: {answer}")]
    File {
        /// The verb.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        answer: io::Error,
    },
    /// A program of this machine or of a host did not do what it should.
    #[error("{program}: {answer}")]
    Program {
        /// The program with its arguments.
        program: String,
        /// What it said.
        answer: String,
    },
    /// A host did not come up, or go down.
    #[error("{host} {problem}; the end of its console:\n{console}")]
    Host {
        /// Its name.
        host: String,
        /// What did not happen.
        problem: &'static str,
        /// The last lines of its console.
        console: String,
    },
}

/// Makes an error from that of a file.
pub(crate) fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> SandboxError {
    let path = path.into();
    move |answer| SandboxError::File { action, path, answer }
}
