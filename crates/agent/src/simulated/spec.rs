//! What a simulated host is, and what goes wrong on it.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use k8swin_protocol::Os;
use k8swin_protocol::details::Trace;
use k8swin_protocol::facts::RouteEntry;
use k8swin_protocol::resource::AdapterSelector;
use serde::{Deserialize, Serialize};

/// What a simulated host is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostSpec {
    /// Its name.
    pub name: String,
    /// Its operating system.
    pub os: Os,
    /// Its routable address.
    pub node_address: Ipv4Addr,
    /// The prefix length of the routable network.
    pub prefix: u8,
    /// Windows: how the inventory names the second adapter.
    pub pod_adapter: AdapterSelector,
    /// Windows: whether the Hyper-V role is there.
    pub hyper_v: bool,
    /// Windows: whether somebody has installed Docker, and the feature Containers with it.
    pub docker: bool,
}

impl HostSpec {
    /// A Debian 12 host with Docker 20.10.
    #[must_use]
    pub fn linux(name: impl Into<String>, node_address: Ipv4Addr) -> Self {
        let pod_adapter = AdapterSelector::Name("eth1".into());
        Self { name: name.into(), os: Os::Linux, node_address, prefix: 24, pod_adapter, hyper_v: false, docker: true }
    }

    /// A Windows Server 2016 host with Docker 17.06.
    #[must_use]
    pub fn windows(name: impl Into<String>, node_address: Ipv4Addr, pod_adapter: AdapterSelector) -> Self {
        Self { name: name.into(), os: Os::Windows, node_address, prefix: 24, pod_adapter, hyper_v: false, docker: true }
    }
}

/// What goes wrong on a simulated host. All fields are optional in a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// Windows reports this build.
    pub windows_build: Option<u32>,
    /// Docker reports this version.
    pub docker_version: Option<String>,
    /// The second adapter is gone.
    pub one_adapter: bool,
    /// Writes fail.
    pub disk_full: bool,
    /// The clock is wrong by this many seconds.
    pub clock_skew_seconds: i64,
    /// Windows waits for a reboot.
    pub pending_reboot: bool,
    /// The servers answer this many milliseconds later.
    pub slow_ms: u64,
    /// Programs start this many milliseconds later.
    pub start_ms: u64,
    /// The servers cut connections after this many bytes.
    pub drop_after_bytes: Option<u64>,
    /// Not all bytes of standard input reach the agent.
    pub unclean_input: Option<UncleanInput>,
    /// The servers refuse connections.
    pub unreachable: bool,
    /// While pods have a network on the host, nobody reaches it: the change of the network cut the way there.
    pub network_cuts: bool,
    /// After a restart, the host does not come back.
    pub stays_down: bool,
    /// Linux has active swap.
    pub swap: bool,
    /// There is no Docker.
    pub no_docker: bool,
    /// These programs (`kubelet`) end right after each start, and are started again.
    pub crashing: Vec<String>,
    /// Windows' display language.
    pub ui_language: Option<String>,
    /// Ports that something else holds.
    pub port_taken: Vec<TakenPort>,
    /// The account may not change the system.
    pub unprivileged: bool,
    /// The routable adapter has this address and not the one of the inventory.
    pub address: Option<Ipv4Addr>,
    /// The routable adapter has this address as well.
    pub second_address: Option<Ipv4Addr>,
    /// The routable adapter's network has this prefix length.
    pub prefix: Option<u8>,
    /// The routable adapter has this MAC address.
    pub mac: Option<String>,
    /// The machine id, or the SMBIOS UUID on Windows.
    pub machine_id: Option<String>,
    /// The host calls itself so.
    pub hostname: Option<String>,
    /// The host's own name does not resolve.
    pub unresolved_name: bool,
    /// No time service keeps the clock.
    pub clock_unsynchronised: bool,
    /// The memory in MiB.
    pub memory_mb: Option<u64>,
    /// The cluster that the host belongs to.
    pub other_cluster: Option<String>,
    /// What another installer left.
    pub leftovers: Vec<Trace>,
    /// Docker is installed and does not run.
    pub docker_stopped: bool,
    /// The range of Docker's own network.
    pub docker_range: Option<Ipv4Net>,
    /// Routes that somebody added.
    pub routes: Vec<RouteEntry>,
    /// Other hosts cannot connect to these ports.
    pub blocked_ports: Vec<u16>,
    /// No packet passes between this host and these.
    pub blocked_hosts: Vec<String>,
    /// This host has no routes to these networks any more, whatever is done.
    pub lost_routes: Vec<Ipv4Net>,
    /// This host forwards nothing to and from its pods.
    pub no_forwarding: bool,
    /// Images that are no good on this host.
    pub images: BTreeMap<String, ImageTrouble>,
    /// Connections between this host and others take so many milliseconds longer.
    pub network_delay_ms: u64,
    /// Large packets between this host and others are lost.
    pub large_packets_lost: bool,
    /// The largest packet of the routable adapter.
    pub mtu: Option<u32>,
    /// This host cannot connect to another's depot.
    pub no_depot: bool,
    /// The depot that this host opens ends after so many bytes.
    pub depot_dies_after_bytes: Option<u64>,
    /// The depot that this host opens gives out broken bytes.
    pub depot_corrupts: bool,
    /// This host receives no more than so many bytes a second from a depot. (No fault: a slow line.)
    pub link_bytes_per_second: Option<u64>,
    /// Linux: the distribution.
    pub distribution: Option<String>,
    /// Linux: the kernel's version.
    pub kernel: Option<String>,
    /// Linux: systemd is not the init system.
    pub no_systemd: bool,
    /// Linux: control groups are of version 2.
    pub cgroup_v2: bool,
    /// Linux: Docker's driver of control groups.
    pub cgroup_driver: Option<String>,
    /// Linux: modules that the kernel does not have.
    pub missing_modules: Vec<String>,
    /// Linux: programs that are not installed.
    pub missing_programs: Vec<String>,
    /// Linux: kernel settings.
    pub sysctls: BTreeMap<String, String>,
    /// Linux: files in `/etc/cni/net.d`.
    pub cni_configurations: Vec<String>,
    /// Linux: firewalls that are active.
    pub firewalls: Vec<String>,
    /// Windows: the kind of installation, `Server` by default.
    pub installation_type: Option<String>,
    /// Windows: the revision of the build.
    pub ubr: Option<u32>,
    /// Windows: the version of Windows that the base image is for.
    pub image_version: Option<String>,
    /// Windows: services that do not run.
    pub stopped_services: Vec<String>,
    /// Windows: IPv6 is switched off.
    pub ipv6_disabled: bool,
    /// Windows: the feature Containers is not installed.
    pub no_containers: bool,
    /// Windows: Docker has no nat network.
    pub no_nat: bool,
    /// Windows: the second adapter is called so.
    pub pod_adapter: Option<String>,
    /// Windows: a group policy makes the host's own firewall rules not count.
    pub firewall_policy: bool,
    /// Windows: WinRM's limit for messages.
    pub max_envelope_size_kb: Option<u32>,
    /// Windows: WinRM's limit for shells.
    pub max_shells_per_user: Option<u32>,
    /// Windows: the role Routing is installed. (No fault: a host that has it needs no restart for it.)
    pub routing_installed: bool,
    /// Windows: the role Hyper-V is installed. (No fault either.)
    pub hyper_v: bool,
}

/// What is wrong with an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImageTrouble {
    /// No registry has it.
    Missing,
    /// It is large, and still on its way.
    Pulling,
    /// What runs from it answers nothing.
    Silent,
}

/// What a console makes of standard input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UncleanInput {
    /// A carriage return comes before each line feed.
    Text,
    /// It ends at Ctrl-Z.
    ControlZ,
}

/// A port that something else holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TakenPort {
    /// The port.
    pub port: u16,
    /// The program.
    pub program: String,
}
