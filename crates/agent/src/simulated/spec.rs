//! What a simulated host is, and what goes wrong on it.

use std::net::Ipv4Addr;

use k8swin_protocol::Os;
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
        Self { name: name.into(), os: Os::Linux, node_address, pod_adapter, hyper_v: false, docker: true }
    }

    /// A Windows Server 2016 host with Docker 17.06.
    #[must_use]
    pub fn windows(name: impl Into<String>, node_address: Ipv4Addr, pod_adapter: AdapterSelector) -> Self {
        Self { name: name.into(), os: Os::Windows, node_address, pod_adapter, hyper_v: false, docker: true }
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
    /// The servers cut connections after this many bytes.
    pub drop_after_bytes: Option<u64>,
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
