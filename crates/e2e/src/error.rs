//! Why an end-to-end test failed.

use std::io;
use std::path::PathBuf;

use k8swin_sandbox::SandboxError;

/// Why an end-to-end test failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The hosts are not there.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// A file of this machine.
    #[error("cannot {action} {path}: {answer}")]
    File {
        /// The verb.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        answer: io::Error,
    },
    /// The inventory, or what it asks for, cannot be had here.
    #[error("{0}")]
    Inventory(String),
    /// The stand-ins for Windows.
    #[error("{0}")]
    Kit(String),
    /// Programs of the cluster that are not where they should be.
    #[error("{0}")]
    Programs(String),
    /// The cluster does not do what it should.
    #[error("{0}")]
    Cluster(String),
    /// k8swin did not do what it should.
    #[error("k8swin {command}: {problem}")]
    K8swin {
        /// Its command.
        command: String,
        /// What was wrong.
        problem: String,
    },
    /// Ctrl-C.
    #[error("interrupted")]
    Interrupted,
}

/// Makes an error from that of a file.
pub(crate) fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Error {
    let path = path.into();
    move |answer| Error::File { action, path, answer }
}
