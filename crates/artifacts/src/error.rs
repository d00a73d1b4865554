//! What can be wrong with artifacts, and what to do about it.

use std::fmt;
use std::io;

use camino::{Utf8Path, Utf8PathBuf};
use k8swin_protocol::Sha256;

/// Programs or agents cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// A folder of programs is not complete, or files in it are not what `sha256sums` says.
    #[error("the programs in {folder} cannot be used:{}", lines(.problems))]
    Folder {
        /// The folder with `linux/`, `windows/` and `sha256sums`.
        folder: Utf8PathBuf,
        /// All that is wrong.
        problems: Vec<Problem>,
    },
    /// The Kubernetes tarballs do not hold all that is needed (facts C.2), and the rest is not on this machine.
    #[error(
        "etcd and the CNI plugins are not in the Kubernetes tarballs, and {folder} does not have what is needed:{}",
        lines(.problems)
    )]
    Extra {
        /// The folder that was looked in.
        folder: Utf8PathBuf,
        /// All that is wrong.
        problems: Vec<Problem>,
    },
    /// Nobody wrote down the digest of that tarball, so it cannot be trusted.
    #[error("the sha256 of {file} for Kubernetes {version} is unknown, so it is not downloaded")]
    UnknownRelease {
        /// The version.
        version: String,
        /// The tarball.
        file: &'static str,
    },
    /// The inventory wants programs built from source, and nothing was built from it.
    #[error("Kubernetes {version} has not been built from {source_name} on this machine yet")]
    NotBuilt {
        /// The source.
        source_name: String,
        /// The version.
        version: String,
    },
    /// What was built is not complete any more, or was not built for all systems.
    #[error("what was built in {folder} cannot be used:{}", lines(.problems))]
    BadBuild {
        /// The folder of the result.
        folder: Utf8PathBuf,
        /// All that is wrong.
        problems: Vec<Problem>,
    },
    /// What the inventory names as source cannot be one.
    #[error("{reason}")]
    Source {
        /// Why.
        reason: String,
    },
    /// The agents are not there.
    #[error("{} not found; looked in {}", .missing.join(" and "), joined(.folders))]
    Agents {
        /// File names of the missing agents.
        missing: Vec<&'static str>,
        /// Where they were looked for.
        folders: Vec<Utf8PathBuf>,
    },
    /// A download failed.
    #[error("cannot download {url}: {fault}")]
    Download {
        /// The address.
        url: String,
        /// Why.
        fault: DownloadFault,
    },
    /// What was downloaded is not what it should be.
    #[error("{url} has sha256 {actual}, expected {expected}; what was downloaded has been deleted")]
    Digest {
        /// The address.
        url: String,
        /// The digest that is known.
        expected: Sha256,
        /// The digest of what came.
        actual: Sha256,
    },
    /// Another process downloads the same file into the same cache.
    #[error("another process is downloading {path}")]
    Busy {
        /// The file.
        path: Utf8PathBuf,
    },
    /// A tarball does not hold what it should.
    #[error("{archive} has no {}", .missing.join(", "))]
    Archive {
        /// The tarball.
        archive: Utf8PathBuf,
        /// Paths in it that are missing.
        missing: Vec<String>,
    },
    /// A zip is not the one that the inventory means.
    #[error("{archive} has sha256 {actual}, and the inventory says {expected}")]
    ZipDigest {
        /// The zip.
        archive: Utf8PathBuf,
        /// What the inventory says.
        expected: Sha256,
        /// What the file has.
        actual: Sha256,
    },
    /// A zip does not hold what it should, or holds what it must not.
    #[error("{archive} cannot be used: {reason}")]
    Zip {
        /// The zip.
        archive: Utf8PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The system refused something.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: Utf8PathBuf,
        /// What the system answered.
        source: io::Error,
    },
}

/// Why a download failed.
#[derive(Debug, thiserror::Error)]
pub enum DownloadFault {
    /// The server was not reached, or went silent, again and again.
    #[error("{cause} (tried {attempts} times without a byte of progress)")]
    Unreachable {
        /// What the last attempt met.
        cause: String,
        /// How many attempts.
        attempts: u32,
    },
    /// The server refused.
    #[error("the server answered {0}")]
    Status(String),
    /// This machine cannot make such requests.
    #[error("{0}")]
    Client(String),
}

/// What is wrong with one file of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// `sha256sums` is not there or cannot be read.
    NoSums {
        /// What the system answered.
        answer: String,
    },
    /// A line of `sha256sums` is not `<64 hexadecimal digits>  <path>`.
    BadLine {
        /// Its number, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// `sha256sums` does not name the file.
    NotListed {
        /// The file, relative to the folder.
        file: String,
    },
    /// The file cannot be read.
    Unreadable {
        /// The file, relative to the folder.
        file: String,
        /// What the system answered.
        answer: String,
    },
    /// The file is not the one that `sha256sums` names.
    Differs {
        /// The file, relative to the folder.
        file: String,
        /// What `sha256sums` says.
        expected: Sha256,
        /// What the file has.
        actual: Sha256,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSums { answer } => write!(f, "sha256sums: {answer}"),
            Self::BadLine { line, reason } => write!(f, "sha256sums line {line}: {reason}"),
            Self::NotListed { file } => write!(f, "{file}: not listed in sha256sums"),
            Self::Unreadable { file, answer } => write!(f, "{file}: {answer}"),
            Self::Differs { file, expected, actual } => write!(f, "{file}: sha256 is {actual}, expected {expected}"),
        }
    }
}

impl ArtifactError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        const SUMS: &str =
            "`cd FOLDER && sha256sum linux/* windows/* > sha256sums` writes the digests of files that you trust";
        Some(match self {
            Self::Folder { .. } => format!("put the missing files there; {SUMS}"),
            Self::Extra { folder, .. } => format!(
                "put etcd and the CNI plugins into {folder}/linux, with {folder}/sha256sums beside (`sha256sum linux/*`), \
                 or set `source = \"local\"` in [cluster.artifacts] and give a folder with all programs"
            ),
            Self::UnknownRelease { .. } => {
                "download and check it yourself, then set `source = \"local\"` and `path` in \
                 [cluster.artifacts]; the sha256 is known for 1.5.3, 1.5.7 and 1.5.8"
                    .to_owned()
            }
            Self::NotBuilt { .. } | Self::BadBuild { .. } => "build it: `k8swin build`".to_owned(),
            Self::Source { .. } => "set `tag` in [cluster.artifacts], such as \"v1.5.8\"".to_owned(),
            Self::Agents { .. } => "build them with `cargo xtask dist`, or name their folder: `agents = \"…\"` in \
                 [cluster.artifacts]"
                .to_owned(),
            Self::Download { .. } => {
                "check network and proxy (HTTPS_PROXY); `mirror` in [cluster.artifacts] names another \
                 server, `source = \"local\"` needs none; the same command resumes the download"
                    .to_owned()
            }
            Self::Digest { .. } => {
                "the server or mirror delivers something else than the official release; use another \
                 `mirror`, or `source = \"local\"` with files that you trust"
                    .to_owned()
            }
            Self::Busy { .. } => "wait until it has finished, then repeat the command".to_owned(),
            Self::Archive { archive, .. } => format!("delete {archive} and repeat the command"),
            Self::ZipDigest { .. } => {
                "put the right zip there, or correct `sha256` of `docker` in the inventory if you trust this one"
                    .to_owned()
            }
            Self::Zip { .. } => {
                "name a zip of Docker for Windows as `docker` in the inventory: one folder docker/ with \
                 dockerd.exe and docker.exe"
                    .to_owned()
            }
            Self::Io { .. } => return None,
        })
    }
}

/// For `map_err`: an I/O error with what was tried, and on what.
pub(crate) fn io(action: &'static str, path: &Utf8Path) -> impl FnOnce(io::Error) -> ArtifactError {
    let path = path.to_owned();
    move |source| ArtifactError::Io { action, path, source }
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("\n  {problem}")).collect()
}

fn joined(folders: &[Utf8PathBuf]) -> String {
    folders.iter().map(|folder| folder.as_str()).collect::<Vec<_>>().join(", ")
}
