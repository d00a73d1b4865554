//! Facts that only preflight asks for: what is in the way of a cluster, and what could get there.
//!
//! They are gathered in the same request as all others. What a host cannot tell is absent here, never guessed.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::facts::ServiceState;

/// Of every host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommonDetails {
    /// The SMBIOS UUID, lower case: `/sys/class/dmi/id/product_uuid` on Linux, the firmware's table on Windows. Empty where
    /// the firmware has none.
    pub hardware_id: String,
    /// The IPv4 addresses that the host's own name resolves to on the host itself; none where it does not resolve.
    pub own_name: Vec<Ipv4Addr>,
    /// The largest packet of each adapter in bytes, by the adapter's name.
    pub mtus: BTreeMap<String, u32>,
    /// What looks like a part of some Kubernetes cluster, whoever made it.
    pub traces: Vec<Trace>,
}

/// Something that looks like a part of a Kubernetes cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Trace {
    /// What it is.
    pub kind: TraceKind,
    /// How it is called: a path, the name of a unit or service, a rule.
    pub name: String,
    /// Whose it is, as far as it says so itself: a unit's file, a service's command line, what a rule leads to.
    pub says: String,
}

/// What a trace is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TraceKind {
    /// A folder that is not empty.
    Folder,
    /// A systemd unit.
    Unit,
    /// A Windows service.
    Service,
    /// A rule of `netsh interface portproxy`, as kube-proxy 1.5 makes them: its name is `address/port` (facts B.6).
    PortProxy,
    /// A route that Windows adds at boot, by its network (facts E).
    PersistentRoute,
}

/// Of a Linux host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinuxDetails {
    /// 1 or 2: which hierarchy of control groups is mounted at `/sys/fs/cgroup`. 0 where neither is.
    pub cgroup_version: u8,
    /// The controllers that are enabled (`/proc/cgroups`).
    pub cgroup_controllers: Vec<String>,
    /// Those of the kernel modules that a node needs which are neither loaded, nor built in, nor to be had.
    pub missing_modules: Vec<String>,
    /// Firewalls that are active: `firewalld`, `ufw`, `nftables`, or `iptables` for a chain INPUT that drops by default.
    pub firewalls: Vec<String>,
}

/// Of a Windows host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowsDetails {
    /// Services that a node depends on, by their names in lower case (`hns`, `iphlpsvc`, …); those that are not installed are
    /// left out.
    pub services: BTreeMap<String, ServiceState>,
    /// The version of Windows that each image of the host was made for, by its tag: `10.0.14393.2273` (facts D.5).
    pub image_versions: BTreeMap<String, String>,
    /// The firewall's profiles.
    pub firewall: Vec<FirewallProfile>,
    /// The quotas of WinRM's shells.
    pub winrm_quotas: WinRmQuotas,
    /// Whether IPv6 is switched off altogether (`DisabledComponents`), with which HNS fails (facts D.3).
    pub ipv6_disabled: bool,
}

/// A profile of Windows' firewall.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirewallProfile {
    /// `domain`, `private` or `public`.
    pub name: String,
    /// Whether it filters at all.
    pub enabled: bool,
    /// Whether rules of this host count: a group policy may allow its own rules only (`AllowLocalPolicyMerge`), and
    /// `DoNotAllowExceptions` makes none count.
    pub local_rules: bool,
}

/// Quotas of WinRM's shells (facts F.1). None where the host does not say, and Windows' own default holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WinRmQuotas {
    /// `MaxShellsPerUser`: 30 by default.
    pub shells_per_user: Option<u32>,
    /// `MaxProcessesPerShell`: 25 by default.
    pub processes_per_shell: Option<u32>,
    /// `MaxMemoryPerShellMB`: 1024 by default.
    pub memory_per_shell_mb: Option<u32>,
}
