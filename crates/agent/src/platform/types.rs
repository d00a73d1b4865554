//! The values that platform calls take and give.

use std::fmt;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use k8swin_protocol::resource::{Protection, ServiceProgram};
use k8swin_protocol::wire::KubeCall;
use k8swin_protocol::{HostPath, Os, Sha256};
use serde::{Deserialize, Serialize};

/// What became of an attempt to take the host's lock.
pub enum HostLock {
    /// It is taken until this is dropped.
    Taken(Box<dyn Send>),
    /// Another agent has it: what it does, for people.
    Busy(String),
}

/// What lies at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    /// File, folder or something else.
    pub kind: FileKind,
    /// Size in bytes.
    pub size: u64,
    /// Who may read and write it.
    pub permissions: Permissions,
}

/// File, folder or something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// An ordinary file.
    File,
    /// A folder.
    Directory,
    /// A link, a device, …
    Other,
}

/// Who may read and write a file or folder, exactly enough to restore it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Permissions {
    /// Linux.
    Unix {
        /// The permission bits.
        mode: u32,
        /// The owner.
        uid: u32,
        /// The group.
        gid: u32,
    },
    /// Windows.
    Acl(AccessList),
}

/// A Windows access list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AccessList {
    /// All entries come from the folder above.
    Inherited,
    /// SYSTEM and Administrators only, nothing inherited.
    Restricted,
    /// Another one, in SDDL.
    Other(String),
}

impl Permissions {
    /// The permissions that a protection stands for.
    #[must_use]
    pub fn of(os: Os, protection: Protection, kind: FileKind) -> Self {
        match (os, protection) {
            (Os::Windows, Protection::Public | Protection::Executable) => Self::Acl(AccessList::Inherited),
            (Os::Windows, Protection::Secret) => Self::Acl(AccessList::Restricted),
            (Os::Linux, protection) => {
                let mode = match (protection, kind) {
                    (Protection::Secret, FileKind::Directory) => 0o700,
                    (Protection::Secret, _) => 0o600,
                    (Protection::Public, FileKind::File | FileKind::Other) => 0o644,
                    (Protection::Public, FileKind::Directory) | (Protection::Executable, _) => 0o755,
                };
                Self::Unix { mode, uid: 0, gid: 0 }
            }
        }
    }

    /// Permissions of files that only administrators may read.
    #[must_use]
    pub fn secret_file(os: Os) -> Self {
        Self::of(os, Protection::Secret, FileKind::File)
    }

    /// Permissions of folders that only administrators may read.
    #[must_use]
    pub fn secret_directory(os: Os) -> Self {
        Self::of(os, Protection::Secret, FileKind::Directory)
    }

    /// Permissions of ordinary folders.
    #[must_use]
    pub fn public_directory(os: Os) -> Self {
        Self::of(os, Protection::Public, FileKind::Directory)
    }

    /// How these differ from the wanted ones, for people.
    #[must_use]
    pub fn difference(&self, wanted: &Self) -> Option<String> {
        match (self, wanted) {
            (have, want) if have == want => None,
            (Self::Unix { mode, .. }, Self::Unix { mode: expected, .. }) if mode != expected => {
                Some(format!("mode {mode:04o}, expected {expected:04o}"))
            }
            (Self::Unix { uid, gid, .. }, Self::Unix { uid: expected, gid: group, .. }) => {
                Some(format!("owner {uid}:{gid}, expected {expected}:{group}"))
            }
            (have, want) => Some(format!("access {have}, expected {want}")),
        }
    }
}

impl fmt::Display for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix { mode, uid: 0, gid: 0 } => write!(f, "{mode:04o}"),
            Self::Unix { mode, uid, gid } => write!(f, "{mode:04o} {uid}:{gid}"),
            Self::Acl(AccessList::Inherited) => f.write_str("inherited"),
            Self::Acl(AccessList::Restricted) => f.write_str("SYSTEM and Administrators"),
            Self::Acl(AccessList::Other(sddl)) => f.write_str(sddl),
        }
    }
}

/// The agent's own program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Executable {
    /// Where it lies.
    pub path: HostPath,
    /// Its digest.
    pub sha256: Sha256,
}

/// A route by way of a router, as the system has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SystemRoute {
    /// Where to.
    pub destination: Ipv4Net,
    /// By which router.
    pub via: Ipv4Addr,
    /// Through which adapter.
    pub adapter: String,
}

impl fmt::Display for SystemRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} via {} on {}", self.destination, self.via, self.adapter)
    }
}

/// What became of a kernel module that was to be unloaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unloaded {
    /// It is gone.
    Gone,
    /// Something uses it, so it stays until the next boot.
    InUse,
}

/// How a systemd service stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnitState {
    /// Whether it starts at boot.
    pub enabled: bool,
    /// What it does now.
    pub activity: Activity,
    /// Whether the administrator made it impossible to start (`systemctl mask`).
    pub masked: bool,
}

/// What a service does now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activity {
    /// It runs (or, for a one-shot service, has done its work).
    Active,
    /// It is starting, or waits for its next attempt.
    Activating,
    /// It does not run.
    Inactive,
    /// It ended with an error.
    Failed,
}

impl fmt::Display for Activity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Active => "running",
            Self::Activating => "starting",
            Self::Inactive => "stopped",
            Self::Failed => "failed",
        })
    }
}

/// A rule that lets forwarded packets of the pods through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ForwardRule {
    /// The pods' range.
    pub pods: Ipv4Net,
    /// Which packets.
    pub direction: ForwardDirection,
}

/// Which packets a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ForwardDirection {
    /// Those that come from pods.
    From,
    /// Those that go to pods.
    To,
}

impl fmt::Display for ForwardRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let direction = match self.direction {
            ForwardDirection::From => "from",
            ForwardDirection::To => "to",
        };
        write!(f, "accept {direction} {}", self.pods)
    }
}

/// What the agent asks the Kubernetes API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KubeOperation {
    /// What the orchestrator can ask as well.
    Call(KubeCall),
    /// Change fields of a Node object (a JSON merge patch).
    PatchNode {
        /// The node.
        name: String,
        /// The patch.
        patch: serde_json::Value,
    },
    /// Delete a Node object.
    DeleteNode {
        /// The node.
        name: String,
    },
}

/// What the Kubernetes API answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KubeOutcome {
    /// Done, with the object or list.
    Done(serde_json::Value),
    /// There is no such object.
    NotFound,
    /// Refused, with the API's reason.
    Refused(String),
    /// No API server answers.
    Unreachable(String),
}

/// Whether a Windows feature is installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeatureState {
    /// It is not.
    Absent,
    /// It is, once the host has restarted.
    AfterReboot,
    /// It is.
    Installed,
}

/// A Docker network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DockerNetworkState {
    /// `nat`, `transparent`, …
    pub driver: String,
    /// Its range.
    pub subnet: Option<Ipv4Net>,
    /// Its gateway.
    pub gateway: Option<Ipv4Addr>,
    /// The adapter that it is bound to, where Docker names one.
    pub adapter: Option<String>,
}

/// A container image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Its identity.
    pub id: String,
    /// The base that our label names; none for an image of others.
    pub base: Option<String>,
}

/// A Windows service as it is registered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceDefinition {
    /// Its name for people.
    pub display_name: String,
    /// What runs.
    pub image: ServiceImage,
    /// Services that must run before.
    pub depends_on: Vec<String>,
    /// When it starts.
    pub start: StartMode,
}

/// What runs as a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ServiceImage {
    /// The agent's service host.
    Agent {
        /// The agent.
        agent: HostPath,
        /// What it hosts.
        run: ServiceProgram,
    },
    /// A service of others, by its command line.
    Other {
        /// As the Service Control Manager has it.
        command_line: String,
    },
}

/// When a Windows service starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StartMode {
    /// At boot.
    Automatic,
    /// When asked to.
    Manual,
    /// Never.
    Disabled,
}

/// A service of the Service Control Manager.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstalledService {
    /// Its definition.
    pub definition: ServiceDefinition,
    /// Whether it runs.
    pub running: bool,
}
