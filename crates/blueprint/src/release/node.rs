//! The flags and the environment of the kubelet and kube-proxy, on both operating systems.
//!
//! No `--cluster-dns` is passed as long as the cluster has no DNS add-on: pods then use their node's resolver instead of
//! an address at which nothing answers.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use k8swin_inventory::cluster::KubernetesMinor;
use k8swin_inventory::{Cluster, Host};
use k8swin_protocol::Os;

use super::{Flags, LINUX_PAUSE_IMAGE, WINDOWS_PAUSE_IMAGE};
use crate::paths;

/// What the kubelet has on both operating systems.
fn kubelet(cluster: &Cluster, host: &Host) -> Flags {
    let pki = |name| paths::pki(host.os(), name);
    let common = Flags::default()
        .with("kubeconfig", paths::kubeconfig(host.os(), "kubelet"))
        .with("hostname-override", &host.name)
        // Guesses are wrong on hosts with several adapters (facts B.4).
        .with("node-ip", host.node_address)
        .with("cluster-domain", &cluster.dns_domain)
        .with("client-ca-file", pki("ca.crt"))
        .with("anonymous-auth", false)
        // Else the holder of any certificate of the cluster, such as another node, could run commands in this one's pods.
        .with("authorization-mode", "Webhook")
        .with("read-only-port", 0)
        .with("tls-cert-file", pki("kubelet.crt"))
        .with("tls-private-key-file", pki("kubelet.key"));
    common.and(match cluster.kubernetes.minor {
        KubernetesMinor::V1_5 => Flags::default()
            .with("require-kubeconfig", true)
            // The default looks for a cloud around it (facts B.3).
            .with("cloud-provider", "")
            .with("cadvisor-port", 0),
        KubernetesMinor::V1_20 => Flags::default().with("fail-swap-on", false),
    })
}

/// The kubelet of a Linux node. `cgroup_driver` must be Docker's (facts B.3).
pub(crate) fn linux_kubelet(cluster: &Cluster, host: &Host, cgroup_driver: &str) -> Flags {
    let flags = kubelet(cluster, host)
        .with("network-plugin", "cni")
        .with("cni-conf-dir", paths::cni_configuration())
        .with("cni-bin-dir", Os::Linux.bin())
        .with("pod-infra-container-image", LINUX_PAUSE_IMAGE)
        .with("cgroup-driver", cgroup_driver);
    match cluster.kubernetes.minor {
        KubernetesMinor::V1_5 => flags.with("allow-privileged", true),
        KubernetesMinor::V1_20 => flags,
    }
}

/// kube-proxy of a Linux node.
pub(crate) fn linux_proxy(cluster: &Cluster, host: &Host) -> Flags {
    let flags = Flags::default()
        .with("kubeconfig", paths::kubeconfig(Os::Linux, "kube-proxy"))
        .with("hostname-override", &host.name)
        .with("proxy-mode", "iptables")
        .with("cluster-cidr", cluster.pod_cidr);
    flags.and(loopback_healthz(cluster.kubernetes.minor))
}

/// The kubelet of a Windows node (facts B.4).
pub(crate) fn windows_kubelet(cluster: &Cluster, host: &Host) -> Flags {
    let state = paths::kubelet_state(Os::Windows);
    let flags = kubelet(cluster, host)
        .with("root-dir", &state)
        .with("cert-dir", state.join("pki"))
        .with("pod-infra-container-image", WINDOWS_PAUSE_IMAGE)
        // The default is a Linux path, with which no pod starts.
        .with("resolv-conf", "")
        .with("cpu-cfs-quota", false);
    match cluster.kubernetes.minor {
        KubernetesMinor::V1_5 => flags,
        // Windows has no cgroups. 1.5 does not know these flags; later kubelets refuse to start without them (facts A.1).
        KubernetesMinor::V1_20 => flags.with("cgroups-per-qos", false).with("enforce-node-allocatable", ""),
    }
}

/// The environment of the kubelet of a Windows node: the Docker network of application containers (facts B.4).
pub(crate) fn windows_kubelet_environment() -> BTreeMap<String, String> {
    BTreeMap::from([("CONTAINER_NETWORK".to_owned(), paths::POD_NETWORK.to_owned())])
}

/// kube-proxy of a Windows node. Any mode but `userspace` enters code for Linux in 1.5 (facts B.5); 1.20 still has it.
pub(crate) fn windows_proxy(cluster: &Cluster, host: &Host) -> Flags {
    let flags = Flags::default()
        .with("kubeconfig", paths::kubeconfig(Os::Windows, "kube-proxy"))
        .with("hostname-override", &host.name)
        .with("proxy-mode", "userspace")
        // It becomes the address that portproxy connects to, which must be a real one (facts B.6).
        .with("bind-address", host.node_address)
        .with("v", 3);
    flags.and(loopback_healthz(cluster.kubernetes.minor))
}

/// The environment of kube-proxy on a Windows node: the adapter that gets the service addresses (facts B.6).
pub(crate) fn windows_proxy_environment(service_adapter: String) -> BTreeMap<String, String> {
    BTreeMap::from([("INTERFACE_TO_ADD_SERVICE_IP".to_owned(), service_adapter)])
}

/// 1.5 answers health checks on loopback; 1.20 would do so on all addresses.
fn loopback_healthz(minor: KubernetesMinor) -> Flags {
    match minor {
        KubernetesMinor::V1_5 => Flags::default(),
        KubernetesMinor::V1_20 => {
            Flags::default().with("healthz-bind-address", format!("{}:10256", Ipv4Addr::LOCALHOST))
        }
    }
}
