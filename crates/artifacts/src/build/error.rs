//! Why Kubernetes was not built, and what to do about it.

use std::fmt;

use camino::Utf8PathBuf;
use k8swin_inventory::cluster::KubernetesVersion;

use super::{Check, Stage, Verdict};
use crate::ArtifactError;

/// A build that could not be done.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The source cannot be one: a URL without a tag.
    #[error("{0}")]
    Source(String),
    /// This machine, its Go or the source is not fit; nothing was started.
    #[error("{} cannot be built here yet: {}", Kubernetes(*.kubernetes), failed(.checks))]
    Unfit {
        /// The version, if it is known.
        kubernetes: Option<KubernetesVersion>,
        /// All checks, also those that found nothing wrong.
        checks: Vec<Check>,
    },
    /// `git` could not fetch the source.
    #[error("cannot fetch {source_name}: {answer}")]
    Fetch {
        /// The URL and the tag.
        source_name: String,
        /// What git answered.
        answer: String,
    },
    /// `rsync` could not copy the source.
    #[error("cannot copy {from} to {to}: {answer}")]
    Copy {
        /// The source.
        from: Utf8PathBuf,
        /// The folder that is built in.
        to: Utf8PathBuf,
        /// What rsync answered.
        answer: String,
    },
    /// Somebody works on the source.
    #[error("{folder} changed while it was copied")]
    Changed {
        /// The source.
        folder: Utf8PathBuf,
    },
    /// Another process builds the same source with the same Go.
    #[error("another process is building in {folder}")]
    Busy {
        /// The folder that is built in.
        folder: Utf8PathBuf,
    },
    /// `make` failed.
    #[error("{stage}: make ended with {status}; the last lines of {log}:\n{}", indented(.last))]
    Make {
        /// At what.
        stage: Stage,
        /// How it ended.
        status: String,
        /// Its last lines.
        last: Vec<String>,
        /// Where all of them are.
        log: Utf8PathBuf,
    },
    /// A program was built that is not what it should be.
    #[error("{program} was built, but {reason}")]
    Program {
        /// Its path.
        program: Utf8PathBuf,
        /// What is wrong with it.
        reason: String,
        /// The output of the build.
        log: Utf8PathBuf,
    },
    /// Files could not be read or written.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
}

impl BuildError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Source(_) => {
                "name a folder with Kubernetes' source, or a git URL and `--tag v1.5.8` (`tag` in [cluster.artifacts])"
                    .to_owned()
            }
            Self::Unfit { .. } => "each finding names its remedy; nothing was started".to_owned(),
            Self::Fetch { .. } => {
                "check the URL, the tag, network and proxy (HTTPS_PROXY); git asks nobody here: private repositories need \
                 an SSH agent or a credential helper"
                    .to_owned()
            }
            Self::Copy { .. } => "put that right and repeat the command".to_owned(),
            Self::Changed { .. } | Self::Busy { .. } => "wait until that has ended, then repeat the command".to_owned(),
            Self::Make { .. } => {
                "the same command goes on from what has been compiled, once what the log names has been put right"
                    .to_owned()
            }
            Self::Program { log, .. } => format!("{log} has the output of the build"),
            Self::Artifact(error) => return error.hint(),
        })
    }

    /// The checks, if they are what stopped the build.
    #[must_use]
    pub fn checks(&self) -> &[Check] {
        match self {
            Self::Unfit { checks, .. } => checks,
            _ => &[],
        }
    }
}

struct Kubernetes(Option<KubernetesVersion>);

impl fmt::Display for Kubernetes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(version) => write!(f, "Kubernetes {version}"),
            None => f.write_str("this source"),
        }
    }
}

fn failed(checks: &[Check]) -> String {
    match checks.iter().filter(|check| check.verdict == Verdict::Error).count() {
        1 => "one check failed".to_owned(),
        count => format!("{count} checks failed"),
    }
}

fn indented(lines: &[String]) -> String {
    lines.iter().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}
