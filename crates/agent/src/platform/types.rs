//! The values that platform calls take and give.

use std::collections::BTreeSet;
use std::fmt;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use k8swin_protocol::facts::RouteEntry;
use k8swin_protocol::resource::{FirewallMatch, FirewallRule, Protection, ServiceProgram};
use k8swin_protocol::wire::KubeCall;
use k8swin_protocol::{HostPath, Os, Sha256};
use serde::{Deserialize, Serialize};

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

/// How an adapter gets its IPv4 addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Addressing {
    /// It asks DHCP.
    Dhcp,
    /// They are set.
    Static {
        /// The main address.
        address: Ipv4Net,
        /// Addresses beside it.
        further: Vec<Ipv4Net>,
        /// The default gateway, which Windows keeps with the adapter and drops with its addresses.
        gateway: Option<Ipv4Addr>,
    },
}

impl Addressing {
    /// How an adapter with these addresses has them. One that has none, or only such as Windows makes up when DHCP does
    /// not answer (169.254.0.0/16), has nothing that could be set.
    #[must_use]
    pub fn of(adapter: &str, dhcp: bool, addresses: &[Ipv4Net], routes: &[RouteEntry]) -> Self {
        match addresses {
            [address, further @ ..] if !dhcp && !addresses.iter().all(|net| net.addr().is_link_local()) => {
                let mut default =
                    routes.iter().filter(|route| route.adapter == adapter && route.destination.prefix_len() == 0);
                Self::Static {
                    address: *address,
                    further: further.to_vec(),
                    gateway: default.find_map(|route| route.via),
                }
            }
            _ => Self::Dhcp,
        }
    }

    /// Whether both come to the same: Windows does not keep the order of addresses.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        let parts = |addressing: &Self| match addressing {
            Self::Dhcp => None,
            Self::Static { address, further, gateway } => {
                Some((BTreeSet::from_iter([&[*address], further.as_slice()].concat()), *gateway))
            }
        };
        parts(self) == parts(other)
    }
}

impl fmt::Display for Addressing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dhcp => f.write_str("addresses from DHCP"),
            Self::Static { address, further, gateway } => {
                write!(f, "{address}")?;
                further.iter().try_for_each(|address| write!(f, ", {address}"))?;
                gateway.map_or(Ok(()), |gateway| write!(f, " with the gateway {gateway}"))
            }
        }
    }
}

/// An inbound firewall rule that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InstalledRule {
    /// One that says what a rule of ours can say.
    Allows(FirewallRule),
    /// Another one of that name, by what is different about it: `is disabled`.
    Other(String),
}

impl InstalledRule {
    /// How it differs from the wanted one, for people.
    #[must_use]
    pub fn difference(&self, wanted: &FirewallRule) -> Option<String> {
        let ranges = |rule: &FirewallRule| Ipv4Net::aggregate(&rule.remote);
        match self {
            Self::Other(what) => Some(what.clone()),
            Self::Allows(found) if !lets_in_the_same(&found.allow, &wanted.allow) => {
                Some("lets something else in".to_owned())
            }
            Self::Allows(found) if ranges(found) != ranges(wanted) => Some("lets others in".to_owned()),
            Self::Allows(_) => None,
        }
    }
}

/// Windows keeps the case of a path as it was given, and does not mind it.
fn lets_in_the_same(found: &FirewallMatch, wanted: &FirewallMatch) -> bool {
    match (found, wanted) {
        (FirewallMatch::Program(found), FirewallMatch::Program(wanted)) => {
            found.as_str().eq_ignore_ascii_case(wanted.as_str())
        }
        (found, wanted) => found == wanted,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> Ipv4Net {
        text.parse().unwrap()
    }

    #[test]
    fn the_gateway_of_an_adapter_is_the_next_hop_of_its_default_route() {
        let route = |destination: &str, via: [u8; 4], adapter: &str| RouteEntry {
            destination: net(destination),
            via: Some(via.into()),
            adapter: adapter.into(),
        };
        let routes = [
            route("0.0.0.0/0", [10, 5, 6, 1], "Ethernet"),
            route("192.168.0.0/24", [10, 7, 0, 9], "Ethernet 2"),
            route("0.0.0.0/0", [10, 7, 0, 1], "Ethernet 2"),
        ];
        let addresses = [net("10.7.0.4/24"), net("10.7.0.5/24")];
        let found = Addressing::of("Ethernet 2", false, &addresses, &routes);
        assert_eq!(found.to_string(), "10.7.0.4/24, 10.7.0.5/24 with the gateway 10.7.0.1");
        let turned = Addressing::of("Ethernet 2", false, &[addresses[1], addresses[0]], &routes);
        assert!(found.is_same(&turned));
        assert!(!found.is_same(&Addressing::of("Ethernet 3", false, &addresses, &routes)));
        assert_eq!(Addressing::of("Ethernet 2", true, &addresses, &routes), Addressing::Dhcp);
    }

    #[test]
    fn addresses_that_windows_made_up_are_not_set() {
        assert_eq!(Addressing::of("Ethernet 2", false, &[net("169.254.7.1/16")], &[]), Addressing::Dhcp);
        assert_eq!(Addressing::of("Ethernet 2", false, &[], &[]), Addressing::Dhcp);
    }

    #[test]
    fn rules_are_compared_by_what_they_let_in() {
        let rule = |allow, remote: &[&str]| FirewallRule {
            name: "k8swin".into(),
            allow,
            remote: remote.iter().map(|range| net(range)).collect(),
        };
        let program = |path: &str| FirewallMatch::Program(HostPath::new(path).unwrap());
        let wanted = rule(program(r"C:\k8swin\bin\kube-proxy.exe"), &["10.0.0.0/16", "10.5.6.215/32"]);
        let found = |allow, remote: &[&str]| InstalledRule::Allows(rule(allow, remote)).difference(&wanted);
        let same = program(r"c:\K8SWIN\bin\kube-proxy.exe");
        assert_eq!(found(same.clone(), &["10.5.6.215/32", "10.0.128.0/17", "10.0.0.0/17"]), None);
        assert_eq!(found(same, &["10.0.0.0/16"]).as_deref(), Some("lets others in"));
        assert_eq!(found(FirewallMatch::Any, &["10.0.0.0/16"]).as_deref(), Some("lets something else in"));
        assert_eq!(InstalledRule::Other("is disabled".into()).difference(&wanted).as_deref(), Some("is disabled"));
    }
}
