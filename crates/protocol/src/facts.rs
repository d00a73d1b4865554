//! Facts: what a host is and has, gathered by its agent in one request and never guessed from text.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::sync::Arc;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::details::{CommonDetails, LinuxDetails, WindowsDetails};
use crate::owned::Owned;
use crate::resource::FeatureName;
use crate::routes;

/// Facts of one host. The operating system is part of the type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Facts {
    /// A Linux host.
    Linux(LinuxFacts),
    /// A Windows host.
    Windows(WindowsFacts),
}

impl Facts {
    /// What both operating systems have.
    #[must_use]
    pub fn common(&self) -> &CommonFacts {
        match self {
            Self::Linux(facts) => &facts.common,
            Self::Windows(facts) => &facts.common,
        }
    }
}

/// What both operating systems have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommonFacts {
    /// The host's own name, lower case.
    pub hostname: String,
    /// `/etc/machine-id`, or the SMBIOS UUID on Windows: two hosts with one are clones.
    pub machine_id: String,
    /// Another value after each boot: the kernel's boot id, or the boot time on Windows.
    pub boot_id: String,
    /// The host's clock, in milliseconds since 1970 (UTC).
    pub clock_ms: i64,
    /// The account the agent runs as.
    pub user: String,
    /// Whether that account may change the system.
    pub privileged: bool,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Free bytes where the cluster's programs and images go.
    pub disk_free_bytes: u64,
    /// Network adapters.
    pub adapters: Vec<Adapter>,
    /// IPv4 routes.
    #[serde(with = "routes::table")]
    pub routes: Vec<RouteEntry>,
    /// TCP ports on which something listens.
    pub listeners: Vec<Listener>,
    /// What an earlier run of k8swin made here.
    pub owned: Owned,
    /// The cluster that this host belongs to, if k8swin made it part of one.
    pub cluster: Option<String>,
    /// How the services that an earlier run made stand, in the order in which they were made.
    pub services: Vec<ServiceStatus>,
    /// What only preflight asks for.
    pub details: CommonDetails,
}

impl CommonFacts {
    /// The adapter that carries `address`.
    #[must_use]
    pub fn adapter_with(&self, address: Ipv4Addr) -> Option<&Adapter> {
        self.adapters.iter().find(|adapter| adapter.addresses.iter().any(|net| net.addr() == address))
    }
}

/// How a service of ours stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// Its name: `kubelet`.
    pub name: String,
    /// What it does now.
    pub state: ServiceState,
    /// How often its program was started again since the service was last started; none where the system does not
    /// count (systemd before 235, services of others).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub restarts: Option<u32>,
    /// How its program last ended, as far as the system remembers it: systemd forgets with the next start.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_exit: Option<LastExit>,
}

/// What a service does now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ServiceState {
    /// It runs, or has done its work where it has an end.
    Running,
    /// Its program ended, and is started again after a pause.
    StartingAgain,
    /// It does not run.
    Stopped,
    /// It does not run, since its program failed and nothing starts it again.
    Failed,
    /// The system does not know it.
    Absent,
}

impl fmt::Display for ServiceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Running => "running",
            Self::StartingAgain => "starting again",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
            Self::Absent => "absent",
        })
    }
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastExit {
    /// Its exit code; none where a signal ended it, or it did not even start.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub code: Option<i32>,
    /// The signal that ended it, on Linux.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub signal: Option<i32>,
    /// When, by the host's clock, in milliseconds since 1970 (UTC); none where nobody noted it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub at_ms: Option<i64>,
}

impl fmt::Display for LastExit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.code, self.signal) {
            // Codes of crashes, such as 0xC0000005, are known by their digits.
            (Some(code), _) if code < 0 => write!(f, "code 0x{code:08X}"),
            (Some(code), _) => write!(f, "code {code}"),
            (None, Some(signal)) => write!(f, "signal {signal}"),
            (None, None) => f.write_str("no code"),
        }?;
        match self.at_ms.and_then(|at| jiff::Timestamp::from_millisecond(at).ok()) {
            Some(at) => write!(f, " at {at:.0}"),
            None => Ok(()),
        }
    }
}

/// A network adapter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adapter {
    /// Its name: `eth0`, `Ethernet 2`, `vEthernet (HNSTransparent)`.
    pub name: String,
    /// Its MAC address, lower case with dashes: `00-15-5d-01-02-03`.
    pub mac: String,
    /// Its IPv4 addresses with their prefix lengths.
    pub addresses: Vec<Ipv4Net>,
    /// Whether it is connected.
    pub up: bool,
    /// Whether it is hardware (of the machine or its hypervisor), not one that Docker, HNS or a switch made.
    pub physical: bool,
}

/// A route of the operating system's table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteEntry {
    /// Where to.
    pub destination: Ipv4Net,
    /// By which router; none for networks on the link.
    pub via: Option<Ipv4Addr>,
    /// Through which adapter. As many routes as there are hosts share one.
    pub adapter: Arc<str>,
}

/// A listening TCP port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    /// The port.
    pub port: u16,
    /// The program that holds it, where it can be told.
    pub program: String,
}

/// A container engine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Docker {
    /// Its version as it says it: `1.12.2-cs2-ws-beta`, `17.03.1-ee-3`, `20.10.24+dfsg1`.
    pub version: String,
    /// Whether its service runs.
    pub running: bool,
    /// `cgroupfs` or `systemd`; empty on Windows.
    pub cgroup_driver: String,
    /// Networks: name to driver.
    pub networks: BTreeMap<String, DockerNetwork>,
}

/// A Docker network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DockerNetwork {
    /// `nat`, `transparent`, `bridge`, …
    pub driver: String,
    /// Its range, where it has one.
    pub subnet: Option<Ipv4Net>,
}

/// containerd.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Containerd {
    /// Its version as it says it: `1.6.20~ds1`.
    pub version: String,
    /// Whether its service runs.
    pub running: bool,
    /// `cgroupfs` or `systemd`, as its configuration has it for the kubelet's containers.
    pub cgroup_driver: String,
}

/// Facts of a Linux host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinuxFacts {
    /// What both have.
    pub common: CommonFacts,
    /// `ID` of os-release: `debian`, `ubuntu`, …
    pub distribution: String,
    /// `VERSION_ID` of os-release.
    pub distribution_version: String,
    /// `uname -r`.
    pub kernel: String,
    /// Whether systemd runs as the init system.
    pub systemd: bool,
    /// Docker, if it is there.
    pub docker: Option<Docker>,
    /// containerd, if it is there; Docker brings one.
    #[serde(default)]
    pub containerd: Option<Containerd>,
    /// Which of the CNI plugins `bridge`, `host-local`, `loopback` and `portmap` the host has of its own.
    #[serde(default)]
    pub cni_plugins: Vec<String>,
    /// Names of the files in `/etc/cni/net.d`, sorted: the kubelet takes the first.
    #[serde(default)]
    pub cni_configurations: Vec<String>,
    /// Whether the kernel's clock is kept in step with a time server; none where it cannot be told.
    #[serde(default)]
    pub clock_synchronised: Option<bool>,
    /// Active swap in bytes.
    pub swap_bytes: u64,
    /// The kernel settings that matter to us: name to value.
    pub sysctls: BTreeMap<String, String>,
    /// Names of the programs that kube-proxy and the kubelet call and that are on the host (`iptables`, `conntrack`, …).
    pub programs: Vec<String>,
    /// What only preflight asks for.
    pub details: LinuxDetails,
}

/// Facts of a Windows host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowsFacts {
    /// What both have.
    pub common: CommonFacts,
    /// The build: 14393 is Server 2016.
    pub build: u32,
    /// The update build revision.
    pub ubr: u32,
    /// `Windows Server 2016 Datacenter`, …
    pub product: String,
    /// `Server`, `Server Core`, …
    pub installation_type: String,
    /// The system's display language: `en-US`. kube-proxy 1.5 hangs on others than English (facts B.6).
    pub ui_language: String,
    /// Why a reboot is pending; empty when none is.
    pub pending_reboot: Vec<String>,
    /// Docker, if it is there.
    pub docker: Option<Docker>,
    /// Which of the features that we need are installed.
    pub features: Vec<FeatureName>,
    /// Whether the Hyper-V role is there (internal switches need it; facts D.4).
    pub hyper_v: bool,
    /// Whether the Routing and Remote Access service runs.
    pub rras_running: bool,
    /// Adapters on which IPv4 forwarding is on, by name.
    pub forwarding: Vec<String>,
    /// The WinRM service's `MaxEnvelopeSizekb`.
    pub max_envelope_size_kb: u32,
    /// What only preflight asks for.
    pub details: WindowsDetails,
}
