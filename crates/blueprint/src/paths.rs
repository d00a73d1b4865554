//! Where the cluster's files lie on a host: the names of kubeadm wherever it has one.

use k8swin_protocol::{HostPath, Os};

/// The transparent Docker network of Windows nodes: the kubelet's `CONTAINER_NETWORK`.
pub(crate) const POD_NETWORK: &str = "k8swin";

/// The switch of our own for service addresses (facts D.4).
pub(crate) const SERVICE_SWITCH: &str = "KubeProxySwitch";

/// The switch of Docker's nat network, whose host adapter stands in for [`SERVICE_SWITCH`] without Hyper-V (facts B.6).
pub(crate) const DOCKER_NAT_SWITCH: &str = "HNS Internal NIC";

/// Where Docker's zip is unpacked on Windows (facts D.2).
pub(crate) fn docker_programs() -> HostPath {
    #[expect(clippy::expect_used, reason = "the path is a constant and absolute")]
    HostPath::new(r"C:\Program Files\Docker").expect("an absolute path")
}

/// A file below the folder for certificates and keys; `/` in the name is a folder.
pub(crate) fn pki(os: Os, name: &str) -> HostPath {
    name.split('/').fold(os.pki(), |folder, part| folder.join(part))
}

/// A kubeconfig: `kubelet.conf`, `admin.conf`, …
pub(crate) fn kubeconfig(os: Os, component: &str) -> HostPath {
    os.etc().join(&format!("{component}.conf"))
}

/// The access rules of Kubernetes 1.5.
pub(crate) fn abac_policy() -> HostPath {
    Os::Linux.etc().join("abac-policy.jsonl")
}

/// etcd's data.
pub(crate) fn etcd_data() -> HostPath {
    linux("/var/lib/etcd")
}

/// The kubelet's state: pods' volumes.
pub(crate) fn kubelet_state(os: Os) -> HostPath {
    match os {
        Os::Linux => linux("/var/lib/kubelet"),
        Os::Windows => Os::Windows.state().join("kubelet"),
    }
}

/// The folder that the kubelet reads its CNI configuration from.
pub(crate) fn cni_configuration() -> HostPath {
    linux("/etc/cni/net.d")
}

fn linux(path: &str) -> HostPath {
    #[expect(clippy::expect_used, reason = "the paths above are absolute; the snapshots construct each")]
    HostPath::new(path).expect("constant paths are absolute")
}
