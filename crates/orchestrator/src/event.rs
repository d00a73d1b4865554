//! What a run tells the world: renderers (progress bars, plain lines, JSON) consume these and nothing else.

use std::fmt;

use k8swin_protocol::resource::{Effect, Phase, ResourceId};
use k8swin_protocol::wire::Failure;

/// A step of a run, in the order in which hosts go through them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Binaries are looked up, downloaded and verified on this machine.
    Artifacts,
    /// SSH and WinRM sessions are opened and the agent is put on the hosts.
    Connect,
    /// Facts are gathered and judged.
    Preflight,
    /// Drift is found.
    Check,
    /// Programs are brought to the hosts.
    Ship,
    /// Resources of a phase are applied or removed.
    Phase(Phase),
    /// What is no longer planned is removed.
    Prune,
    /// The cluster is proven to work.
    Verify,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Artifacts => "artifacts",
            Self::Connect => "connect",
            Self::Preflight => "facts and preflight",
            Self::Check => "check",
            Self::Ship => "programs to the hosts",
            Self::Phase(phase) => phase.title(),
            Self::Prune => "prune",
            Self::Verify => "verify",
        })
    }
}

/// Something happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// All hosts enter a stage.
    StageStarted(Stage),
    /// A host enters a stage with `steps` known steps (0: unknown).
    HostStage {
        /// The host.
        host: String,
        /// The stage.
        stage: Stage,
        /// Steps to come.
        steps: usize,
    },
    /// Work on a resource began.
    Started {
        /// The host.
        host: String,
        /// The resource.
        resource: ResourceId,
        /// What differs.
        difference: String,
    },
    /// Work on a resource ended.
    Ended {
        /// The host.
        host: String,
        /// The resource.
        resource: ResourceId,
        /// Whether it was changed.
        changed: bool,
    },
    /// Bytes of a blob went to a host.
    Sent {
        /// The host.
        host: String,
        /// What is sent, for people.
        what: String,
        /// Raw bytes there now.
        done: u64,
        /// Raw bytes in all.
        total: u64,
    },
    /// A host is restarting.
    Rebooting {
        /// The host.
        host: String,
        /// Why.
        reason: String,
    },
    /// A transient failure; it is tried again.
    Retrying {
        /// The host.
        host: String,
        /// What failed.
        cause: String,
    },
    /// A host is done with a stage.
    HostDone {
        /// The host.
        host: String,
        /// The stage.
        stage: Stage,
    },
    /// A host failed and takes no further part.
    HostFailed {
        /// The host.
        host: String,
        /// The stage.
        stage: Stage,
        /// Why.
        failure: Failure,
    },
    /// Something that people should know, without a place of its own.
    Note {
        /// The host, if it is about one.
        host: Option<String>,
        /// The text.
        text: String,
    },
}

/// One difference between plan and host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The phase in which it is applied.
    pub phase: Phase,
    /// The resource.
    pub resource: ResourceId,
    /// What differs.
    pub difference: String,
    /// What applying it would do.
    pub effect: Effect,
}
