//! Checks of Linux hosts.

use k8swin_inventory::Check;

use super::{Entry, Group, Remedy, remedy};
use crate::report::Severity;

const LINUX: Group = Group::Linux;

pub(in crate::preflight) const NEWER_KERNEL: Remedy =
    remedy("install a newer kernel or distribution, and restart", &[]);

pub(super) static KERNEL: Entry = Entry {
    check: Check::Kernel,
    group: LINUX,
    worst: Severity::Error,
    looks_at: "the kernel's version",
    expected: "3.10 or later",
    why: "Docker needs 3.10, and on older kernels containers fail in ways that nobody can explain",
    source: "Docker's own installation guide; kubeadm's preflight",
    remedies: &[NEWER_KERNEL],
};

pub(in crate::preflight) const USE_SYSTEMD: Remedy = remedy("use a distribution with systemd", &[]);

pub(super) static SYSTEMD: Entry = Entry {
    check: Check::Systemd,
    group: LINUX,
    worst: Severity::Error,
    looks_at: "whether systemd is the init system",
    expected: "it is",
    why: "all services of the cluster are systemd units",
    source: "design §4",
    remedies: &[USE_SYSTEMD],
};

pub(in crate::preflight) const CGROUP_V1: Remedy = remedy(
    "boot with control groups of version 1: kubelets before 1.19 know no others",
    &[
        "sed -i 's/^GRUB_CMDLINE_LINUX=\"/&systemd.unified_cgroup_hierarchy=0 /' /etc/default/grub",
        "update-grub",
        "reboot",
    ],
);
pub(in crate::preflight) const CGROUP_CONTROLLERS: Remedy = remedy(
    "switch the controllers on, on the kernel's command line",
    &[
        "sed -i 's/^GRUB_CMDLINE_LINUX=\"/&cgroup_enable=memory swapaccount=1 /' /etc/default/grub",
        "update-grub",
        "reboot",
    ],
);

pub(super) static CONTROL_GROUPS: Entry = Entry {
    check: Check::ControlGroups,
    group: LINUX,
    worst: Severity::Error,
    looks_at: "the version of the control groups and their controllers",
    expected: "for Kubernetes 1.5 version 1; cpu, cpuacct, cpuset, devices, freezer, memory and pids enabled",
    why: "a kubelet that does not find the hierarchies of version 1 ends at its start, and without a controller limits are \
          not kept",
    source: "kubernetes/enhancements#2254, real-hosts §4, kubeadm's preflight",
    remedies: &[CGROUP_V1, CGROUP_CONTROLLERS],
};

pub(in crate::preflight) const INSTALL_MODULES: Remedy = remedy(
    "install the kernel's modules, and restart if the kernel was updated in between",
    &["apt-get install linux-modules-extra-$(uname -r)", "modprobe -a {modules}"],
);

pub(super) static KERNEL_MODULES: Entry = Entry {
    check: Check::KernelModules,
    group: LINUX,
    worst: Severity::Error,
    looks_at: "the kernel's modules br_netfilter, bridge, nf_conntrack, overlay and veth",
    expected: "loaded, built in, or to be had",
    why: "without br_netfilter kube-proxy's rules do not see traffic between pods of one bridge, without the others there is no \
          pod network at all",
    source: "facts B.3",
    remedies: &[INSTALL_MODULES],
};

pub(in crate::preflight) const LOOSE_FILTER: Remedy = remedy(
    "filter loosely, also after the next boot",
    &["echo '{key} = 2' > /etc/sysctl.d/99-k8swin-rp-filter.conf", "sysctl -w {key}=2"],
);

pub(super) static KERNEL_SETTINGS: Entry = Entry {
    check: Check::KernelSettings,
    group: LINUX,
    worst: Severity::Warning,
    looks_at: "kernel settings that stand in the way of routed pods (forwarding is switched on by `up`)",
    expected: "net.ipv4.conf.all.rp_filter is 0 or 2",
    why: "with strict filtering the kernel drops packets of pods that come in by another adapter than answers would go out by",
    source: "facts B.3, Linux ip-sysctl",
    remedies: &[LOOSE_FILTER],
};

pub(in crate::preflight) const INSTALL_PROGRAMS: Remedy = remedy(
    "install them; the packages are iptables, conntrack (conntrack-tools), mount (util-linux) and iproute2",
    &["apt-get install iptables conntrack mount iproute2"],
);

pub(super) static PROGRAMS: Entry = Entry {
    check: Check::Programs,
    group: LINUX,
    worst: Severity::Error,
    looks_at: "the programs that kubelet and kube-proxy call",
    expected: "iptables, conntrack, mount and ip",
    why: "kube-proxy ends without iptables and conntrack, and the kubelet mounts no volume without mount",
    source: "kubeadm's preflight, facts B.3",
    remedies: &[INSTALL_PROGRAMS],
};

pub(in crate::preflight) const INSTALL_DOCKER: Remedy =
    remedy("install it: package docker.io (Debian, Ubuntu) or docker-ce", &["apt-get install docker.io"]);
pub(in crate::preflight) const START_DOCKER: Remedy = remedy("start it", &["systemctl enable --now docker"]);
pub(in crate::preflight) const OLDER_DOCKER: Remedy = remedy("install Docker {maximum} or earlier", &[]);

pub(super) static DOCKER: Entry = Entry {
    check: Check::Docker,
    group: LINUX,
    worst: Severity::Error,
    looks_at: "the container engine",
    expected: "Docker 1.10 to 20.10 for Kubernetes 1.5, 1.13 to 28 for 1.20, running",
    why: "1.5 was validated with Docker 1.10.3 to 1.12.3, and engines from 29 on refuse clients with an API as old as that of 1.5",
    source: "facts B.3, D.1",
    remedies: &[INSTALL_DOCKER, START_DOCKER, OLDER_DOCKER],
};

pub(in crate::preflight) const SET_CGROUP_DRIVER: Remedy = remedy(
    "let Docker use cgroupfs or systemd: `\"exec-opts\": [\"native.cgroupdriver=systemd\"]` in /etc/docker/daemon.json",
    &["systemctl restart docker"],
);

pub(super) static CGROUP_DRIVER: Entry = Entry {
    check: Check::CgroupDriver,
    group: LINUX,
    worst: Severity::Error,
    looks_at: "by which driver Docker makes control groups",
    expected: "cgroupfs or systemd; the kubelet is given the same",
    why: "a kubelet whose driver is another than Docker's does not start",
    source: "facts B.3",
    remedies: &[SET_CGROUP_DRIVER],
};

pub(in crate::preflight) const REMOVE_CNI: Remedy =
    remedy("move it away, if nothing else on the host needs it", &["mv {file} /root/"]);

pub(super) static CNI_CONFIGURATION: Entry = Entry {
    check: Check::CniConfiguration,
    group: LINUX,
    worst: Severity::Error,
    looks_at: "the configurations of pod networks in /etc/cni/net.d",
    expected: "none before ours, `10-k8swin`, in the order of their names",
    why: "the kubelet takes the first file of the folder, so another's network would be used and routed pods would be nowhere",
    source: "kubernetes v1.5.8 pkg/kubelet/network/cni",
    remedies: &[REMOVE_CNI],
};

pub(in crate::preflight) const MOVE_ETCD_DATA: Remedy =
    remedy("move the data away, or remove it if nobody needs it", &["mv /var/lib/etcd /var/lib/etcd.before-k8swin"]);

pub(super) static ETCD_DATA: Entry = Entry {
    check: Check::EtcdData,
    group: LINUX,
    worst: Severity::Error,
    looks_at: "etcd's data folder on control-plane hosts",
    expected: "absent, empty, or made by an earlier `up`",
    why: "etcd goes on with whatever members and objects are in its folder, so the new cluster would be the old one",
    source: "facts B.2; kubeadm's preflight DirAvailable--var-lib-etcd",
    remedies: &[MOVE_ETCD_DATA],
};

pub(in crate::preflight) const OPEN_FIREWALLD: Remedy = remedy(
    "let the cluster's hosts and pods through",
    &[
        "firewall-cmd --permanent --zone=trusted --add-source={pods}",
        "firewall-cmd --permanent --zone=trusted --add-source={nodes}",
        "firewall-cmd --reload",
    ],
);
pub(in crate::preflight) const OPEN_UFW: Remedy = remedy(
    "let the cluster's hosts and pods through",
    &["ufw allow from {pods}", "ufw allow from {nodes}", "ufw default allow routed"],
);
pub(in crate::preflight) const OPEN_TABLES: Remedy = remedy(
    "let the cluster's hosts and pods through, in the rules that this host loads at boot",
    &["iptables -I INPUT -s {pods} -j ACCEPT", "iptables -I INPUT -s {nodes} -j ACCEPT"],
);

pub(super) static FIREWALL: Entry = Entry {
    check: Check::Firewall,
    group: LINUX,
    worst: Severity::Warning,
    looks_at: "firewalls that are active: firewalld, ufw, nftables, or a chain INPUT that drops by default",
    expected: "none, or one that lets nodes and pods through (`host-to-host` tells about the ports)",
    why: "a firewall that does not know the cluster drops forwarded packets of pods, and says nothing",
    source: "kubeadm's preflight (Firewalld), facts B.3",
    remedies: &[OPEN_FIREWALLD, OPEN_UFW, OPEN_TABLES],
};

pub(in crate::preflight) const SWAP_OFF: Remedy =
    remedy("switch it off, also for the next boot", &["swapoff -a", r"sed -i '/\sswap\s/d' /etc/fstab"]);

pub(super) static SWAP: Entry = Entry {
    check: Check::Swap,
    group: LINUX,
    worst: Severity::Warning,
    looks_at: "active swap",
    expected: "none",
    why: "the kubelet's memory accounting and eviction are wrong with it, and kubelets from 1.8 on refuse to start",
    source: "facts B.3 (--experimental-fail-swap-on)",
    remedies: &[SWAP_OFF],
};
