//! The flags of etcd, the API server, the controller-manager and the scheduler.
//!
//! TLS and client certificates everywhere, no anonymous access, no open port (facts B.2). Each API server talks to the
//! etcd member on its own host, and the other components of a control plane to the API server on theirs.

use std::net::Ipv4Addr;

use k8swin_inventory::cluster::KubernetesMinor;
use k8swin_inventory::{Cluster, Host};
use k8swin_protocol::{HostPath, Os};

use super::Flags;
use crate::paths;

/// The port of etcd for clients.
const ETCD_CLIENT: u16 = 2379;

/// The port of etcd for its other members.
const ETCD_PEER: u16 = 2380;

fn pki(name: &str) -> HostPath {
    paths::pki(Os::Linux, name)
}

/// etcd, one member on each control plane.
///
/// The members are those of the inventory at the first start; etcd ignores the `initial-*` flags afterwards, so that a
/// control plane that joins later must be added with `etcdctl member add` first.
pub(crate) fn etcd(cluster: &Cluster, host: &Host) -> Flags {
    let peer = |host: &Host| format!("https://{}:{ETCD_PEER}", host.node_address);
    let members: Vec<_> = cluster.control_planes().map(|member| format!("{}={}", member.name, peer(member))).collect();
    let client = format!("https://{}:{ETCD_CLIENT}", host.node_address);
    Flags::default()
        .with("name", &host.name)
        .with("data-dir", paths::etcd_data())
        .with("listen-client-urls", format!("https://127.0.0.1:{ETCD_CLIENT},{client}"))
        .with("advertise-client-urls", client)
        .with("listen-peer-urls", peer(host))
        .with("initial-advertise-peer-urls", peer(host))
        .with("initial-cluster", members.join(","))
        .with("initial-cluster-state", "new")
        .with("initial-cluster-token", &cluster.name)
        .with("cert-file", pki("etcd/server.crt"))
        .with("key-file", pki("etcd/server.key"))
        .with("trusted-ca-file", pki("etcd/ca.crt"))
        .with("client-cert-auth", true)
        .with("peer-cert-file", pki("etcd/peer.crt"))
        .with("peer-key-file", pki("etcd/peer.key"))
        .with("peer-trusted-ca-file", pki("etcd/ca.crt"))
        .with("peer-client-cert-auth", true)
}

/// The API server.
pub(crate) fn apiserver(cluster: &Cluster, host: &Host) -> Flags {
    let common = Flags::default()
        .with("advertise-address", host.node_address)
        .with("bind-address", Ipv4Addr::UNSPECIFIED)
        .with("secure-port", cluster.api_port)
        .with("tls-cert-file", pki("apiserver.crt"))
        .with("tls-private-key-file", pki("apiserver.key"))
        .with("client-ca-file", pki("ca.crt"))
        .with("anonymous-auth", false)
        .with("etcd-servers", format!("https://127.0.0.1:{ETCD_CLIENT}"))
        .with("etcd-cafile", pki("etcd/ca.crt"))
        .with("etcd-certfile", pki("apiserver-etcd-client.crt"))
        .with("etcd-keyfile", pki("apiserver-etcd-client.key"))
        // 1.5 still defaults to etcd's old API, which etcd 3.4 serves on request only. The two do not see each other's
        // data, so that the choice is fixed at the first start (facts B.2): the one that every etcd from 3.0 on has.
        .with("storage-backend", "etcd3")
        .with("service-cluster-ip-range", cluster.service_cidr)
        .with("kubelet-certificate-authority", pki("ca.crt"))
        .with("kubelet-client-certificate", pki("apiserver-kubelet-client.crt"))
        .with("kubelet-client-key", pki("apiserver-kubelet-client.key"))
        .with("allow-privileged", true)
        // Without a pair of its own, the API server would sign with its TLS key, and a renewal of the certificate would
        // invalidate all tokens (facts B.2).
        .with("service-account-key-file", pki("sa.pub"));
    common.and(match cluster.kubernetes.minor {
        KubernetesMinor::V1_5 => Flags::default()
            // 1.5 can do without the open port, and then finds itself by its TLS port: for that it wants the CA that
            // signed its own certificate.
            .with("insecure-port", 0)
            .with("tls-ca-file", pki("ca.crt"))
            // RBAC is alpha in 1.5, and there is no Node authoriser (facts B.2).
            .with("authorization-mode", "ABAC")
            .with("authorization-policy-file", paths::abac_policy())
            .with(
                "admission-control",
                "NamespaceLifecycle,LimitRanger,ServiceAccount,DefaultStorageClass,ResourceQuota",
            )
            .with("apiserver-count", cluster.control_planes().count())
            // The names of nodes need not resolve (facts B.2).
            .with("kubelet-preferred-address-types", "InternalIP,Hostname,LegacyHostIP"),
        KubernetesMinor::V1_20 => Flags::default()
            .with("authorization-mode", "Node,RBAC")
            .with("enable-admission-plugins", "NodeRestriction")
            .with("service-account-issuer", format!("https://kubernetes.default.svc.{}", cluster.dns_domain))
            .with("service-account-signing-key-file", pki("sa.key"))
            .with("kubelet-preferred-address-types", "InternalIP,Hostname"),
    })
}

/// The controller-manager.
pub(crate) fn controller_manager(cluster: &Cluster) -> Flags {
    let common = Flags::default()
        .with("kubeconfig", paths::kubeconfig(Os::Linux, "controller-manager"))
        .with("cluster-name", &cluster.name)
        .with("cluster-cidr", cluster.pod_cidr)
        // Every Node object has the podCIDR of the inventory. An allocator could only give a node that was deleted and
        // came back a subnet that no route leads to; without it the controllers also start ten seconds sooner.
        .with("allocate-node-cidrs", false)
        .with("root-ca-file", pki("ca.crt"))
        .with("service-account-private-key-file", pki("sa.key"))
        .with("leader-elect", true);
    common.and(match cluster.kubernetes.minor {
        KubernetesMinor::V1_5 => Flags::default().with("address", Ipv4Addr::LOCALHOST),
        KubernetesMinor::V1_20 => Flags::default()
            .with("bind-address", Ipv4Addr::LOCALHOST)
            .with("port", 0)
            // Each controller acts by a role of its own: RBAC's defaults have one for each.
            .with("use-service-account-credentials", true)
            .with("cluster-signing-cert-file", pki("ca.crt"))
            .with("cluster-signing-key-file", pki("ca.key")),
    })
}

/// The scheduler.
pub(crate) fn scheduler(cluster: &Cluster) -> Flags {
    let common =
        Flags::default().with("kubeconfig", paths::kubeconfig(Os::Linux, "scheduler")).with("leader-elect", true);
    common.and(match cluster.kubernetes.minor {
        KubernetesMinor::V1_5 => Flags::default().with("address", Ipv4Addr::LOCALHOST),
        KubernetesMinor::V1_20 => Flags::default().with("bind-address", Ipv4Addr::LOCALHOST).with("port", 0),
    })
}
