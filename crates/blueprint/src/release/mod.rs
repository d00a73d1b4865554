//! Release profiles: which programs a cluster needs, and the flags of each component by Kubernetes minor.

pub(crate) mod control_plane;
mod flags;
pub(crate) mod node;

use std::collections::{BTreeMap, BTreeSet};

use k8swin_inventory::cluster::KubernetesMinor;
use k8swin_inventory::{Cluster, Host};
use k8swin_protocol::resource::Blob;
use k8swin_protocol::{Os, Sha256};

pub use flags::{Flag, Flags};

/// The pause image of Linux nodes: the kubelet pulls it if it is not there. The default of 1.5 lies in a registry that
/// has been frozen (facts H.6), so that it is always named.
pub const LINUX_PAUSE_IMAGE: &str = "registry.k8s.io/pause:3.2";

/// The pause image of Windows nodes, built on each node so that it fits the host's revision (facts D.5).
pub const WINDOWS_PAUSE_IMAGE: &str = "k8swin/pause:1";

/// The programs and agents that go onto hosts: digests and sizes only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Release {
    /// The cluster's programs.
    pub programs: BTreeMap<(Os, Program), Blob>,
    /// The agent for each operating system.
    pub agents: BTreeMap<Os, Blob>,
    /// The files of each zip of Docker: by the zip's digest, and by their path below its one folder, with forward slashes.
    pub docker: BTreeMap<Sha256, BTreeMap<String, Blob>>,
}

/// A program of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Program {
    /// etcd.
    Etcd,
    /// The API server.
    KubeApiserver,
    /// The controller-manager.
    KubeControllerManager,
    /// The scheduler.
    KubeScheduler,
    /// The kubelet.
    Kubelet,
    /// kube-proxy.
    KubeProxy,
    /// kubectl, for the administrator and for the agent of a control plane.
    Kubectl,
    /// CNI's bridge.
    CniBridge,
    /// CNI's allocation of addresses within a node's subnet.
    CniHostLocal,
    /// CNI's loopback, which the kubelet always calls.
    CniLoopback,
    /// CNI's host ports.
    CniPortmap,
}

impl Program {
    /// All programs.
    pub const ALL: [Self; 11] = [
        Self::Etcd,
        Self::KubeApiserver,
        Self::KubeControllerManager,
        Self::KubeScheduler,
        Self::Kubelet,
        Self::KubeProxy,
        Self::Kubectl,
        Self::CniBridge,
        Self::CniHostLocal,
        Self::CniLoopback,
        Self::CniPortmap,
    ];

    /// The name of its file, in releases and on hosts.
    #[must_use]
    pub fn file_name(self, os: Os) -> String {
        let name = match self {
            Self::Etcd => "etcd",
            Self::KubeApiserver => "kube-apiserver",
            Self::KubeControllerManager => "kube-controller-manager",
            Self::KubeScheduler => "kube-scheduler",
            Self::Kubelet => "kubelet",
            Self::KubeProxy => "kube-proxy",
            Self::Kubectl => "kubectl",
            Self::CniBridge => "bridge",
            Self::CniHostLocal => "host-local",
            Self::CniLoopback => "loopback",
            Self::CniPortmap => "portmap",
        };
        match os {
            Os::Linux => name.to_owned(),
            Os::Windows => format!("{name}.exe"),
        }
    }

    /// Whether a host of this cluster needs it. Windows nodes use Docker's own networks and no CNI (facts B.4); the
    /// kubelet of 1.5 knows no lists of CNI plugins, so that nothing would call portmap there.
    #[must_use]
    pub fn needed_on(self, minor: KubernetesMinor, host: &Host) -> bool {
        match self {
            Self::Kubelet | Self::KubeProxy => true,
            Self::Etcd | Self::KubeApiserver | Self::KubeControllerManager | Self::KubeScheduler | Self::Kubectl => {
                host.is_control_plane()
            }
            Self::CniBridge | Self::CniHostLocal | Self::CniLoopback => host.os() == Os::Linux,
            Self::CniPortmap => host.os() == Os::Linux && minor == KubernetesMinor::V1_20,
        }
    }
}

/// The programs that a cluster's hosts need.
#[must_use]
pub fn programs_for(cluster: &Cluster) -> BTreeSet<(Os, Program)> {
    let minor = cluster.kubernetes.minor;
    let needed = |host| Program::ALL.into_iter().filter(move |program: &Program| program.needed_on(minor, host));
    cluster.hosts.iter().flat_map(|host| needed(host).map(|program| (host.os(), program))).collect()
}
