//! The cluster that an inventory describes: what is left when everything invalid has been refused.
//!
//! A value of [`Cluster`] is complete (defaults and allotted pod subnets are filled in) and consistent (names, addresses
//! and ranges do not collide). What cannot be, cannot be said: a Windows host has no roles, so it is never a control plane.
//!
//! Paths have been resolved: they are absolute, relative to the working folder, or begin with `~/`, which whoever opens
//! them replaces by the home folder.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use camino::Utf8PathBuf;
use ipnet::Ipv4Net;
pub use k8swin_protocol::Os;
use k8swin_protocol::Sha256;
pub use k8swin_protocol::resource::{AdapterSelector, ForwardingMode};

use crate::checks::Check;

/// An image that serves HTTP, by which `verify` proves that pods are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestImage {
    /// The image.
    pub image: String,
    /// Where it serves.
    pub port: u16,
}

impl TestImage {
    /// Where web servers serve.
    pub const DEFAULT_PORT: u16 = 80;
}

/// A valid inventory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// The cluster's name: lower-case letters, digits and dashes.
    pub name: String,
    /// The Kubernetes version.
    pub kubernetes: KubernetesVersion,
    /// The range of all pods.
    pub pod_cidr: Ipv4Net,
    /// The prefix length of one node's pod subnet.
    pub node_pod_prefix: u8,
    /// The range of service addresses.
    pub service_cidr: Ipv4Net,
    /// The DNS domain of services, such as `cluster.local`.
    pub dns_domain: String,
    /// The port of the API servers.
    pub api_port: u16,
    /// What `verify` runs on one Windows host beside the pause image.
    pub windows_test_image: Option<TestImage>,
    /// Where the cluster's programs come from.
    pub artifacts: Artifacts,
    /// Checks of preflight that do not count, on any host.
    pub ignore: Vec<Check>,
    /// The hosts, in the order of the inventory. At least one is a control plane.
    pub hosts: Vec<Host>,
    /// What the inventory allows but a careful admin wants to know: a literal password, plain HTTP.
    pub warnings: Vec<String>,
}

impl Cluster {
    /// The control-plane hosts, in order; never empty.
    pub fn control_planes(&self) -> impl Iterator<Item = &Host> {
        self.hosts.iter().filter(|host| host.is_control_plane())
    }

    /// The first control-plane host: it holds the lock and the PKI.
    #[must_use]
    pub fn first_control_plane(&self) -> &Host {
        #[expect(clippy::expect_used, reason = "an inventory without a control plane is refused when it is parsed")]
        self.control_planes().next().expect("a cluster has a control plane")
    }

    /// The hosts that run pods: all Windows hosts and the Linux hosts that are workers or control planes (the latter
    /// with a Node object that ordinary pods avoid, unless they are workers too).
    pub fn nodes(&self) -> impl Iterator<Item = &Host> {
        self.hosts.iter()
    }

    /// The host of that name.
    #[must_use]
    pub fn host(&self, name: &str) -> Option<&Host> {
        self.hosts.iter().find(|host| host.name == name)
    }
}

/// A Kubernetes version that a release profile exists for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KubernetesVersion {
    /// The profile.
    pub minor: KubernetesMinor,
    /// The patch level.
    pub patch: u32,
}

impl fmt::Display for KubernetesVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.minor.as_str(), self.patch)
    }
}

/// A text is not `1.5.PATCH` or `1.20.PATCH`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected 1.5.PATCH or 1.20.PATCH, such as 1.5.8")]
pub struct NoProfile;

/// The shape of a version. Whether there was such a release, the inventory's own check says.
impl FromStr for KubernetesVersion {
    type Err = NoProfile;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (minor, patch) = match text.split('.').collect::<Vec<_>>().as_slice() {
            ["1", "5", patch] => (KubernetesMinor::V1_5, *patch),
            ["1", "20", patch] => (KubernetesMinor::V1_20, *patch),
            _ => return Err(NoProfile),
        };
        patch.parse().map(|patch| Self { minor, patch }).map_err(|_| NoProfile)
    }
}

/// The minor versions that have a release profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KubernetesMinor {
    /// 1.5, the first with Windows nodes.
    V1_5,
    /// 1.20.
    V1_20,
}

impl KubernetesMinor {
    /// `1.5`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1_5 => "1.5",
            Self::V1_20 => "1.20",
        }
    }
}

/// Where the cluster's programs (kubelet, kube-proxy, etcd, …) and the agents come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifacts {
    /// The source.
    pub source: ArtifactSource,
    /// A folder with `k8swin-agent` and `k8swin-agent.exe`; without it they are looked for beside the `k8swin` program.
    pub agents: Option<Utf8PathBuf>,
}

/// The source of the cluster's programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ArtifactSource {
    /// The official release tarballs, or a mirror of them.
    Release {
        /// Base address that stands in for `https://dl.k8s.io`.
        mirror: Option<String>,
    },
    /// A folder with `linux/` and `windows/`, each with the programs by their usual names, and `sha256sums`.
    Local {
        /// The folder, absolute or relative to the working folder.
        path: Utf8PathBuf,
    },
    /// Built from Kubernetes' source by `k8swin build`.
    Build {
        /// A folder or a git URL.
        repository: String,
        /// A tag; none for a folder as it is.
        tag: Option<String>,
        /// The Go to build with: its folder or its `go` program; none for one of this machine that fits.
        go: Option<Utf8PathBuf>,
    },
}

/// A host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Its name in the inventory, which becomes the node's name.
    pub name: String,
    /// Where this machine reaches it: an IPv4 address or a DNS name.
    pub address: String,
    /// The routable IPv4 address that the other nodes reach it by: `node_address`, by default `address`.
    pub node_address: Ipv4Addr,
    /// Where this machine reaches its API server, as `host:port`, if that is not `address` and the cluster's `api_port`.
    pub api_endpoint: Option<String>,
    /// Its pod subnet.
    pub pod_cidr: Ipv4Net,
    /// Checks of preflight that do not count on this host.
    pub ignore: Vec<Check>,
    /// What depends on the operating system.
    pub system: System,
}

impl Host {
    /// Its operating system.
    #[must_use]
    pub fn os(&self) -> Os {
        match self.system {
            System::Linux(_) => Os::Linux,
            System::Windows(_) => Os::Windows,
        }
    }

    /// Whether it runs etcd and the control plane.
    #[must_use]
    pub fn is_control_plane(&self) -> bool {
        matches!(&self.system, System::Linux(linux) if linux.control_plane)
    }

    /// Whether ordinary pods run on it.
    #[must_use]
    pub fn is_worker(&self) -> bool {
        match &self.system {
            System::Linux(linux) => linux.worker,
            System::Windows(_) => true,
        }
    }

    /// The first address of its pod subnet, which is the pods' gateway.
    #[must_use]
    pub fn pod_gateway(&self) -> Ipv4Addr {
        self.pod_cidr.hosts().next().unwrap_or_else(|| self.pod_cidr.addr())
    }

    /// The port for SSH or WinRM.
    #[must_use]
    pub fn port(&self) -> u16 {
        match &self.system {
            System::Linux(linux) => linux.ssh.port.unwrap_or(22),
            System::Windows(windows) => windows.winrm.port,
        }
    }
}

/// What depends on the operating system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum System {
    /// Linux, by SSH.
    Linux(LinuxHost),
    /// Windows Server, by WinRM.
    Windows(WindowsHost),
}

/// What only Linux hosts have. At least one of the roles is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinuxHost {
    /// Whether it runs etcd and the control plane.
    pub control_plane: bool,
    /// Whether ordinary pods run on it.
    pub worker: bool,
    /// How it is reached.
    pub ssh: Ssh,
}

/// How a Linux host is reached. What is not given is looked up in `~/.ssh/config`, then in OpenSSH's defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ssh {
    /// The account: root, or one that may `sudo -n`.
    pub user: Option<String>,
    /// The port.
    pub port: Option<u16>,
    /// A private key file.
    pub identity: Option<Utf8PathBuf>,
    /// The passphrase of the key file.
    pub passphrase: Option<SecretSource>,
    /// A password, where keys are not allowed.
    pub password: Option<SecretSource>,
    /// The file of known host keys; `~/.ssh/known_hosts` by default.
    pub known_hosts: Option<Utf8PathBuf>,
    /// What to do with a host key that is not known yet.
    pub unknown_host_key: UnknownHostKey,
    /// A jump host: `[user@]host[:port]`.
    pub proxy_jump: Option<String>,
}

/// What to do with a host key that is not known yet. One that differs from the known one is always refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownHostKey {
    /// Refuse it, and say how to add it.
    Refuse,
    /// Take it and write it down.
    AcceptNew,
}

/// What only Windows hosts have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowsHost {
    /// How it is reached.
    pub winrm: WinRm,
    /// The second adapter, which carries the pods.
    pub pod_adapter: AdapterSelector,
    /// How it forwards between its adapters.
    pub forwarding: ForwardingMode,
    /// The image from which the pause image is built.
    pub pause_base_image: String,
    /// The Docker to install where there is none.
    pub docker: Option<DockerZip>,
}

/// Docker for Windows as a zip.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DockerZip {
    /// Where it is.
    pub source: ZipSource,
    /// Its digest.
    pub sha256: Sha256,
    /// The version in it, as Docker says it: `17.06.2-ee-16`.
    pub version: String,
}

/// Where a zip is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ZipSource {
    /// A file of this machine.
    File(Utf8PathBuf),
    /// An http or https address. It may hold credentials, so it is not shown as it is.
    Url(String),
}

/// How a Windows host is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WinRm {
    /// The account, with an optional `DOMAIN\` before it.
    pub user: String,
    /// Its password.
    pub password: SecretSource,
    /// The port.
    pub port: u16,
    /// What protects the connection.
    pub transport: WinRmTransport,
}

/// What protects a WinRM connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WinRmTransport {
    /// TLS.
    Https(ServerTrust),
    /// NTLM message encryption. There is no unencrypted way.
    Http,
}

/// Why a server's certificate is trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerTrust {
    /// A CA that this machine trusts issued it.
    Platform,
    /// A CA of this PEM file issued it.
    Ca(Utf8PathBuf),
    /// Its SHA-256 fingerprint is this one, as 64 lower-case hexadecimal digits.
    Pinned(String),
}

/// Where a password or passphrase comes from.
#[derive(Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// An environment variable of this machine.
    Env(String),
    /// The first line of a file of this machine.
    File(Utf8PathBuf),
    /// Asked on the terminal, once for all hosts that ask the same question.
    Prompt,
    /// In the inventory itself, which warns about it.
    Literal(k8swin_protocol::SecretBytes),
}

impl fmt::Debug for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "env {name}"),
            Self::File(path) => write!(f, "file {path}"),
            Self::Prompt => f.write_str("prompt"),
            Self::Literal(_) => f.write_str("<literal secret>"),
        }
    }
}
