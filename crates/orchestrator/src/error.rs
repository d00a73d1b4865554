//! Why a run as a whole did not do what was asked. What fails on one host is in the report of that host instead.

use camino::Utf8PathBuf;
use k8swin_protocol::wire::Failure;

use crate::report::{Finding, Severity};

/// A run that could not be done.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Programs or agents are missing.
    #[error(transparent)]
    Artifacts(#[from] k8swin_artifacts::ArtifactError),
    /// Preflight found errors, so nothing was touched.
    #[error("preflight found {} that must be put right first; nothing was changed", count_errors(.0))]
    Preflight(Vec<Finding>),
    /// The control-plane host without which nothing can be done failed: the first one, or the one that took its place.
    #[error("{host}: {failure}")]
    ControlPlane {
        /// The host.
        host: String,
        /// Why.
        failure: Failure,
    },
    /// Somebody else is at work.
    #[error("{host}: the cluster is locked by {owner} (last sign of life {silent_seconds} s ago)")]
    Locked {
        /// The host that keeps the lock.
        host: String,
        /// Who has it.
        owner: String,
        /// Seconds since its last sign of life.
        silent_seconds: u64,
    },
    /// The plan cannot be made from what the hosts are.
    #[error(transparent)]
    Blueprint(#[from] k8swin_blueprint::BlueprintError),
    /// Keys or certificates cannot be made or read.
    #[error(transparent)]
    Pki(#[from] k8swin_blueprint::PkiError),
    /// The state folder cannot be used.
    #[error("cannot {action} {path}: {source}")]
    State {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: Utf8PathBuf,
        /// What the system answered.
        source: std::io::Error,
    },
    /// There is no such cluster yet.
    #[error("there is no PKI for this cluster: neither in {state_dir} nor on {host}")]
    NoCluster {
        /// The state folder.
        state_dir: Utf8PathBuf,
        /// The first control-plane host.
        host: String,
    },
    /// Ctrl-C.
    #[error("interrupted; what was done is kept, and the same command goes on from there")]
    Interrupted,
}

/// How a failed run ends, for exit codes (design §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunExit {
    /// 1.
    Failed,
    /// 3.
    Preflight,
    /// 130.
    Interrupted,
}

impl RunError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::ControlPlane { failure, .. } => failure.hint.clone(),
            Self::Preflight(_) => Some(
                "each finding names its remedy; `--ignore CHECK` goes on in spite of one that does not apply to you"
                    .into(),
            ),
            Self::Locked { .. } => Some(
                "wait for the other run, or take the lock over with `--break-lock` if you know that it is dead".into(),
            ),
            Self::State { .. } => Some("choose another folder with `--state-dir`".into()),
            Self::NoCluster { .. } => Some("build the cluster first: `k8swin up`".into()),
            Self::Artifacts(error) => error.hint(),
            Self::Blueprint(_) | Self::Pki(_) | Self::Interrupted => None,
        }
    }

    /// How the run ends.
    #[must_use]
    pub fn exit(&self) -> RunExit {
        match self {
            Self::Preflight(_) => RunExit::Preflight,
            Self::Interrupted => RunExit::Interrupted,
            _ => RunExit::Failed,
        }
    }

    /// The findings, if preflight stopped the run.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        match self {
            Self::Preflight(findings) => findings,
            _ => &[],
        }
    }
}

fn count_errors(findings: &[Finding]) -> String {
    match findings.iter().filter(|finding| finding.severity == Severity::Error).count() {
        1 => "one error".to_owned(),
        count => format!("{count} errors"),
    }
}
