//! What each check of preflight is heard for, on hosts that are spoiled in one way.

use k8swin_artifacts::build::Verdict;
use k8swin_protocol::Facts;
use k8swin_protocol::details::{Trace, TraceKind};
use k8swin_protocol::facts::{CommonFacts, RouteEntry, ServiceState, WindowsFacts};
use k8swin_protocol::probe::Outcome;
use k8swin_protocol::resource::FeatureName;

use super::identity::Identity;
use super::links::{Link, Purpose};
use super::local::Trouble;
use super::samples::{Sample, adapter, link};
use crate::report::Severity::{self, Error, Warning};

/// One thing that is wrong with one host.
pub(super) struct Case {
    pub(super) host: &'static str,
    pub(super) check: &'static str,
    pub(super) severity: Severity,
    /// What the detail must name: what was found, and what was expected where that is not obvious.
    pub(super) names: &'static [&'static str],
    /// What the remedy must name.
    pub(super) remedy: &'static str,
    pub(super) spoil: fn(&mut Sample),
}

/// What can be wrong, one thing at a time.
pub(super) const CASES: &[Case] = &[
    // Both systems.
    Case {
        host: "lin01",
        check: "privileges",
        severity: Error,
        names: &["deploy"],
        remedy: "sudo -n",
        spoil: |sample| {
            sample.linux.common.privileged = false;
            sample.linux.common.user = "deploy".into();
        },
    },
    Case {
        host: "win01",
        check: "privileges",
        severity: Error,
        names: &["administrator"],
        remedy: "LocalAccountTokenFilterPolicy",
        spoil: |sample| sample.windows.common.privileged = false,
    },
    Case {
        host: "lin01",
        check: "node-address",
        severity: Error,
        names: &["10.0.0.11", "10.0.0.99 (`eth0`)"],
        remedy: "node_address",
        spoil: |sample| sample.linux.common.adapters[0].addresses = vec!["10.0.0.99/24".parse().unwrap()],
    },
    Case {
        host: "lin01",
        check: "node-address",
        severity: Error,
        names: &["10.0.0.11", "none"],
        remedy: "node_address",
        spoil: |sample| sample.linux.common.adapters.clear(),
    },
    Case {
        host: "lin01",
        check: "node-address",
        severity: Error,
        names: &["10.0.0.11", "`eth0`", "not connected"],
        remedy: "node_address",
        spoil: |sample| sample.linux.common.adapters[0].up = false,
    },
    Case {
        host: "lin01",
        check: "clock",
        severity: Error,
        names: &["3600.0 s ahead of", "30 s"],
        remedy: "chronyc",
        spoil: |sample| {
            sample.ahead_ms.insert("lin01", 3_600_000);
        },
    },
    Case {
        host: "win01",
        check: "clock",
        severity: Error,
        names: &["30.0 s behind", "30 s"],
        remedy: "w32tm",
        spoil: |sample| {
            sample.ahead_ms.insert("win01", -30_001);
        },
    },
    Case {
        host: "win01",
        check: "clock",
        severity: Warning,
        names: &["5.0 s ahead of"],
        remedy: "w32tm",
        spoil: |sample| {
            sample.ahead_ms.insert("win01", 5_001);
        },
    },
    Case {
        host: "lin01",
        check: "disk-space",
        severity: Error,
        names: &["1 GiB free on /var/lib", "needed: 2"],
        remedy: "free some",
        spoil: |sample| sample.linux.common.disk_free_bytes = (2 << 30) - 1,
    },
    Case {
        host: "lin01",
        check: "disk-space",
        severity: Warning,
        names: &["9 GiB free", "advised: 10"],
        remedy: "enlarge",
        spoil: |sample| sample.linux.common.disk_free_bytes = (10 << 30) - 1,
    },
    Case {
        host: "win01",
        check: "disk-space",
        severity: Error,
        names: &["0 GiB free on C:", "needed: 5"],
        remedy: "free some",
        spoil: |sample| sample.windows.common.disk_free_bytes = 0,
    },
    Case {
        host: "win01",
        check: "disk-space",
        severity: Warning,
        names: &["29 GiB free on C:", "advised: 30"],
        remedy: "enlarge",
        spoil: |sample| sample.windows.common.disk_free_bytes = (30 << 30) - 1,
    },
    Case {
        host: "lin01",
        check: "memory",
        severity: Warning,
        names: &["1.0 GiB"],
        remedy: "2 GiB",
        spoil: |sample| sample.linux.common.memory_bytes = 1 << 30,
    },
    Case {
        host: "win01",
        check: "memory",
        severity: Warning,
        names: &["0.5 GiB"],
        remedy: "1 GiB",
        spoil: |sample| sample.windows.common.memory_bytes = 1 << 29,
    },
    Case {
        host: "win01",
        check: "other-cluster",
        severity: Error,
        names: &["`production`"],
        remedy: "k8swin reset",
        spoil: |sample| sample.windows.common.cluster = Some("production".into()),
    },
    // Linux.
    Case {
        host: "lin01",
        check: "systemd",
        severity: Error,
        names: &["not the init system"],
        remedy: "distribution with systemd",
        spoil: |sample| sample.linux.systemd = false,
    },
    Case {
        host: "lin01",
        check: "programs",
        severity: Error,
        names: &["missing: conntrack, ip"],
        remedy: "conntrack-tools",
        spoil: |sample| sample.linux.programs.retain(|program| program != "conntrack" && program != "ip"),
    },
    Case {
        host: "lin01",
        check: "docker",
        severity: Error,
        names: &["not installed"],
        remedy: "docker.io",
        spoil: |sample| sample.linux.docker = None,
    },
    Case {
        host: "lin01",
        check: "docker",
        severity: Error,
        names: &["20.10.24+dfsg1", "does not run"],
        remedy: "systemctl enable --now docker",
        spoil: |sample| sample.linux.docker.as_mut().unwrap().running = false,
    },
    Case {
        host: "lin01",
        check: "docker",
        severity: Warning,
        names: &["`nightly`"],
        remedy: "docker.io",
        spoil: |sample| sample.linux.docker.as_mut().unwrap().version = "nightly".into(),
    },
    Case {
        host: "lin01",
        check: "docker",
        severity: Error,
        names: &["1.9.1", "needed: 1.10"],
        remedy: "docker.io",
        spoil: |sample| sample.linux.docker.as_mut().unwrap().version = "1.9.1".into(),
    },
    Case {
        host: "lin01",
        check: "docker",
        severity: Warning,
        names: &["29.0.1", "kubelet 1.5.8"],
        remedy: "20.10 or earlier",
        spoil: |sample| sample.linux.docker.as_mut().unwrap().version = "29.0.1".into(),
    },
    Case {
        host: "lin01",
        check: "swap",
        severity: Warning,
        names: &["2048 MiB"],
        remedy: "swapoff -a",
        spoil: |sample| sample.linux.swap_bytes = 2 << 30,
    },
    // Windows.
    Case {
        host: "win01",
        check: "windows-build",
        severity: Error,
        names: &["10.0.14300.1000", "needed: 10.0.14393"],
        remedy: "Windows Server 2016",
        spoil: |sample| {
            sample.windows.build = 14300;
            sample.windows.ubr = 1000;
        },
    },
    Case {
        host: "win01",
        check: "windows-edition",
        severity: Error,
        names: &["Windows 10 Pro", "`Client`"],
        remedy: "Windows Server",
        spoil: |sample| {
            sample.windows.product = "Windows 10 Pro".into();
            sample.windows.installation_type = "Client".into();
        },
    },
    Case {
        host: "win01",
        check: "display-language",
        severity: Error,
        names: &["de-DE", "English"],
        remedy: "en-US",
        spoil: |sample| sample.windows.ui_language = "de-DE".into(),
    },
    Case {
        host: "win01",
        check: "pending-reboot",
        severity: Error,
        names: &["servicing, a computer name"],
        remedy: "Restart-Computer",
        spoil: |sample| sample.windows.pending_reboot = vec!["servicing".into(), "a computer name".into()],
    },
    Case {
        host: "win01",
        check: "docker-install",
        severity: Error,
        names: &["no longer names its zip"],
        remedy: "name the zip again",
        spoil: |sample| sample.windows.common.owned.push(super::samples::resource("service:docker")),
    },
    Case {
        host: "win01",
        check: "docker-install",
        severity: Warning,
        names: &["17.06.2-ee-16", "kept", "18.09.1"],
        remedy: "remove that Docker first",
        spoil: |sample| sample.name_docker("18.09.1"),
    },
    Case {
        host: "win01",
        check: "docker-version",
        severity: Error,
        names: &["1.11.0"],
        remedy: "another version",
        spoil: |sample| {
            sample.windows.docker = None;
            sample.name_docker("1.11.0");
        },
    },
    Case {
        host: "win01",
        check: "docker-version",
        severity: Error,
        names: &["not installed"],
        remedy: "docker = { zip",
        spoil: |sample| sample.windows.docker = None,
    },
    Case {
        host: "win01",
        check: "docker-version",
        severity: Error,
        names: &["1.12.1", "needed: 1.12.2-cs2-ws-beta"],
        remedy: "dockerd --unregister-service",
        spoil: |sample| sample.windows.docker.as_mut().unwrap().version = "1.12.1".into(),
    },
    Case {
        host: "win01",
        check: "docker-version",
        severity: Warning,
        names: &["`master`"],
        remedy: "dockerd --unregister-service",
        spoil: |sample| sample.windows.docker.as_mut().unwrap().version = "master".into(),
    },
    Case {
        host: "win01",
        check: "docker-version",
        severity: Warning,
        names: &["23.0.1", "kubelet 1.5.8"],
        remedy: "DOCKER_API_VERSION",
        spoil: |sample| sample.windows.docker.as_mut().unwrap().version = "23.0.1".into(),
    },
    Case {
        host: "win01",
        check: "docker-service",
        severity: Error,
        names: &["does not run"],
        remedy: "Start-Service docker",
        spoil: |sample| sample.windows.docker.as_mut().unwrap().running = false,
    },
    Case {
        host: "win01",
        check: "feature-containers",
        severity: Warning,
        names: &["not installed"],
        remedy: "`up` installs it",
        spoil: |sample| sample.windows.features = vec![FeatureName::Routing],
    },
    Case {
        host: "win01",
        check: "second-adapter",
        severity: Error,
        names: &["1 network adapter"],
        remedy: "Add-VMNetworkAdapter",
        spoil: |sample| sample.windows.common.adapters[0].physical = false,
    },
    Case {
        host: "win01",
        check: "pod-adapter",
        severity: Error,
        names: &["`Ethernet 2`", "`Ethernet`, `Public`"],
        remedy: "pod_adapter",
        spoil: |sample| sample.windows.common.adapters[1].name = "Public".into(),
    },
    Case {
        host: "win01",
        check: "pod-adapter",
        severity: Error,
        names: &["`Ethernet 2`", "not connected"],
        remedy: "Enable-NetAdapter",
        spoil: |sample| {
            sample.windows.common.adapters[1].up = false;
            sample.windows.common.adapters.push(adapter("Ethernet 3", "00-15-5d-00-00-23", "10.9.0.1/24"));
        },
    },
    Case {
        host: "win01",
        check: "pod-adapter",
        severity: Error,
        names: &["`Ethernet 2`", "10.0.0.21", "cut this connection"],
        remedy: "`Ethernet`, `Ethernet 2`",
        spoil: |sample| {
            let adapters = &mut sample.windows.common.adapters;
            let (one, rest) = adapters.split_first_mut().unwrap();
            std::mem::swap(&mut one.addresses, &mut rest[0].addresses);
        },
    },
    Case {
        host: "win01",
        check: "routing",
        severity: Warning,
        names: &["not installed"],
        remedy: "per-adapter",
        spoil: |sample| {
            sample.windows.rras_running = false;
            sample.windows.features = vec![FeatureName::Containers];
        },
    },
    Case {
        host: "win01",
        check: "hyper-v",
        severity: Warning,
        names: &["vEthernet (HNS Internal NIC)"],
        remedy: "install the role",
        spoil: |sample| sample.windows.hyper_v = false,
    },
    Case {
        host: "win01",
        check: "winrm-envelope",
        severity: Warning,
        names: &["MaxEnvelopeSizekb is 149"],
        remedy: "winrm set",
        spoil: |sample| sample.windows.max_envelope_size_kb = 149,
    },
    // Between hosts, under the cluster's name.
    Case {
        host: "demo",
        check: "machine-identity",
        severity: Error,
        names: &["lin01 and win01", "machine-lin01"],
        remedy: "/etc/machine-id",
        spoil: |sample| sample.windows.common.machine_id = sample.linux.common.machine_id.clone(),
    },
    Case {
        host: "demo",
        check: "mac-addresses",
        severity: Error,
        names: &["lin01 and win01", "00-15-5d-00-00-11"],
        remedy: "MAC addresses of their own",
        spoil: |sample| sample.windows.common.adapters[1].mac = "00-15-5d-00-00-11".into(),
    },
    Case {
        host: "demo",
        check: "next-hops",
        severity: Error,
        names: &["lin01 (10.0.0.11/29)", "win01 (10.0.0.21)"],
        remedy: "one subnet",
        spoil: |sample| sample.linux.common.adapters[0].addresses = vec!["10.0.0.11/29".parse().unwrap()],
    },
    Case {
        host: "demo",
        check: "docker-ranges",
        severity: Error,
        names: &["win01", "`nat` has 172.30.16.0/20", "services have 172.30.0.0/16"],
        remedy: "fixed-cidr",
        spoil: |sample| {
            let networks = &mut sample.windows.docker.as_mut().unwrap().networks;
            networks.get_mut("nat").unwrap().subnet = Some("172.30.16.0/20".parse().unwrap());
        },
    },
    Case {
        host: "demo",
        check: "docker-ranges",
        severity: Error,
        names: &["lin01", "`bridge` has 192.0.0.0/8", "pods have 192.168.0.0/16"],
        remedy: "bip",
        spoil: |sample| {
            let networks = &mut sample.linux.docker.as_mut().unwrap().networks;
            networks.get_mut("bridge").unwrap().subnet = Some("192.0.0.0/8".parse().unwrap());
        },
    },
    // Every host.
    Case {
        host: "lin01",
        check: "operating-system",
        severity: Warning,
        names: &["alpine"],
        remedy: "Debian",
        spoil: |sample| sample.linux.distribution = "alpine".into(),
    },
    Case {
        host: "lin01",
        check: "hostname",
        severity: Warning,
        names: &["`debian`", "`lin01`"],
        remedy: "hostnamectl set-hostname lin01",
        spoil: |sample| sample.linux.common.hostname = "debian".into(),
    },
    Case {
        host: "win01",
        check: "hostname",
        severity: Warning,
        names: &["`win-8hq2`"],
        remedy: "Rename-Computer win01",
        spoil: |sample| sample.windows.common.hostname = "win-8hq2".into(),
    },
    Case {
        host: "lin01",
        check: "name-resolution",
        severity: Warning,
        names: &["`lin01`"],
        remedy: "10.0.0.11 lin01",
        spoil: |sample| sample.linux.common.details.own_name.clear(),
    },
    Case {
        host: "lin01",
        check: "clock-synchronisation",
        severity: Warning,
        names: &["no time service"],
        remedy: "timedatectl",
        spoil: |sample| sample.linux.clock_synchronised = Some(false),
    },
    Case {
        host: "win01",
        check: "clock-synchronisation",
        severity: Warning,
        names: &["Windows Time"],
        remedy: "w32time",
        spoil: |sample| service(sample, "w32time", ServiceState::Stopped),
    },
    Case {
        host: "lin01",
        check: "leftovers",
        severity: Error,
        names: &["/var/lib/rancher/k3s, of k3s"],
        remedy: "k3s-uninstall.sh",
        spoil: |sample| trace(&mut sample.linux.common, TraceKind::Folder, "/var/lib/rancher/k3s", "server is in it"),
    },
    Case {
        host: "lin01",
        check: "leftovers",
        severity: Error,
        names: &["kubelet.service, not k8swin's (/lib/systemd/system/kubelet.service)"],
        remedy: "systemctl disable --now kubelet",
        spoil: |sample| {
            trace(&mut sample.linux.common, TraceKind::Unit, "kubelet", "/lib/systemd/system/kubelet.service");
        },
    },
    Case {
        host: "win01",
        check: "leftovers",
        severity: Error,
        names: &["`kubelet`", r"C:\k\nssm.exe"],
        remedy: "sc.exe delete kubelet",
        spoil: |sample| trace(&mut sample.windows.common, TraceKind::Service, "kubelet", r"C:\k\nssm.exe"),
    },
    Case {
        host: "win01",
        check: "leftovers",
        severity: Error,
        names: &["172.30.0.10/53"],
        remedy: "netsh interface portproxy reset",
        spoil: |sample| trace(&mut sample.windows.common, TraceKind::PortProxy, "172.30.0.10/53", "10.0.0.21/50123"),
    },
    Case {
        host: "win01",
        check: "leftovers",
        severity: Error,
        names: &["192.168.7.0/24"],
        remedy: "route delete",
        spoil: |sample| {
            trace(&mut sample.windows.common, TraceKind::PersistentRoute, "192.168.7.0/24", "by way of 10.0.0.9");
        },
    },
    // Linux.
    Case {
        host: "lin01",
        check: "kernel",
        severity: Error,
        names: &["2.6.32", "3.10"],
        remedy: "newer kernel",
        spoil: |sample| sample.linux.kernel = "2.6.32-754.el6.x86_64".into(),
    },
    Case {
        host: "lin01",
        check: "cgroups",
        severity: Error,
        names: &["version 2", "1.5.8"],
        remedy: "systemd.unified_cgroup_hierarchy=0",
        spoil: |sample| sample.linux.details.cgroup_version = 2,
    },
    Case {
        host: "lin01",
        check: "cgroups",
        severity: Error,
        names: &["not enabled: memory"],
        remedy: "cgroup_enable=memory",
        spoil: |sample| sample.linux.details.cgroup_controllers.retain(|name| name != "memory"),
    },
    Case {
        host: "lin01",
        check: "kernel-modules",
        severity: Error,
        names: &["br_netfilter"],
        remedy: "modprobe -a br_netfilter",
        spoil: |sample| sample.linux.details.missing_modules = vec!["br_netfilter".into()],
    },
    Case {
        host: "lin01",
        check: "sysctls",
        severity: Warning,
        names: &["net.ipv4.conf.all.rp_filter is 1"],
        remedy: "sysctl -w net.ipv4.conf.all.rp_filter=2",
        spoil: |sample| {
            sample.linux.sysctls.insert("net.ipv4.conf.all.rp_filter".into(), "1".into());
        },
    },
    Case {
        host: "lin01",
        check: "cgroup-driver",
        severity: Error,
        names: &["`none`"],
        remedy: "native.cgroupdriver",
        spoil: |sample| sample.linux.docker.as_mut().unwrap().cgroup_driver = "none".into(),
    },
    Case {
        host: "lin01",
        check: "cni-configuration",
        severity: Error,
        names: &["/etc/cni/net.d/10-flannel.conflist"],
        remedy: "mv /etc/cni/net.d/10-flannel.conflist",
        spoil: |sample| sample.linux.cni_configurations = vec!["10-flannel.conflist".into(), "10-k8swin.conf".into()],
    },
    Case {
        host: "lin01",
        check: "etcd-data",
        severity: Error,
        names: &["/var/lib/etcd", "member is in it"],
        remedy: "mv /var/lib/etcd",
        spoil: |sample| trace(&mut sample.linux.common, TraceKind::Folder, "/var/lib/etcd", "member is in it"),
    },
    Case {
        host: "lin01",
        check: "firewall",
        severity: Warning,
        names: &["firewalld"],
        remedy: "--add-source=10.0.0.0/24",
        spoil: |sample| sample.linux.details.firewalls = vec!["firewalld".into()],
    },
    Case {
        host: "lin01",
        check: "firewall",
        severity: Warning,
        names: &["ufw"],
        remedy: "ufw allow from 192.168.0.0/16",
        spoil: |sample| sample.linux.details.firewalls = vec!["ufw".into()],
    },
    // Windows.
    Case {
        host: "win01",
        check: "windows-revision",
        severity: Warning,
        names: &["base:1", "10.0.14393.693", "10.0.14393.2273"],
        remedy: "docker pull base:1",
        spoil: |sample| sample.windows.ubr = 2273,
    },
    Case {
        host: "win01",
        check: "windows-revision",
        severity: Warning,
        names: &["10.0.14393.206", "KB3176936"],
        remedy: "cumulative update",
        spoil: |sample| sample.windows.ubr = 206,
    },
    Case {
        host: "win01",
        check: "docker-service",
        severity: Error,
        names: &["does not answer"],
        remedy: "Start-Service docker",
        spoil: |sample| sample.windows.docker.as_mut().unwrap().version.clear(),
    },
    Case {
        host: "win01",
        check: "docker-nat",
        severity: Error,
        names: &["no nat network"],
        remedy: "Restart-Service docker",
        spoil: |sample| sample.windows.docker.as_mut().unwrap().networks.clear(),
    },
    Case {
        host: "win01",
        check: "hns",
        severity: Error,
        names: &["Host Network Service"],
        remedy: "Start-Service hns",
        spoil: |sample| service(sample, "hns", ServiceState::Stopped),
    },
    Case {
        host: "win01",
        check: "hns",
        severity: Error,
        names: &["IPv6"],
        remedy: "DisabledComponents",
        spoil: |sample| sample.windows.details.ipv6_disabled = true,
    },
    Case {
        host: "win01",
        check: "ip-helper",
        severity: Error,
        names: &["does not run"],
        remedy: "Start-Service iphlpsvc",
        spoil: |sample| service(sample, "iphlpsvc", ServiceState::Stopped),
    },
    Case {
        host: "win01",
        check: "windows-firewall",
        severity: Error,
        names: &["domain"],
        remedy: "gpupdate",
        spoil: |sample| sample.windows.details.firewall[0].local_rules = false,
    },
    Case {
        host: "win01",
        check: "windows-firewall",
        severity: Error,
        names: &["service does not run"],
        remedy: "Start-Service mpssvc",
        spoil: |sample| service(sample, "mpssvc", ServiceState::Stopped),
    },
    Case {
        host: "win01",
        check: "winrm-quotas",
        severity: Warning,
        names: &["MaxShellsPerUser is 2"],
        remedy: "winrm/config/winrs",
        spoil: |sample| sample.windows.details.winrm_quotas.shells_per_user = Some(2),
    },
    // Between hosts.
    Case {
        host: "demo",
        check: "addresses",
        severity: Error,
        names: &["lin01 and win01", "10.0.0.21"],
        remedy: "another address",
        spoil: |sample| sample.linux.common.adapters[0].addresses.push("10.0.0.21/24".parse().unwrap()),
    },
    Case {
        host: "lin01",
        check: "known-identity",
        severity: Error,
        names: &["machine-lin01", "machine-before"],
        remedy: "--ignore lin01:known-identity",
        spoil: |sample| {
            sample.known.insert("lin01".into(), Identity { machine_id: "machine-before".into() });
        },
    },
    Case {
        host: "lin01",
        check: "host-to-host",
        severity: Error,
        names: &["no answer to win01 on port 6443 (API server)"],
        remedy: "open TCP 6443 from win01",
        spoil: |sample| sample.link("win01", "lin01").outcome = Outcome::Silent,
    },
    Case {
        host: "win01",
        check: "host-to-host",
        severity: Error,
        names: &["a refusal to lin01 on port 10250 (kubelet)"],
        remedy: "open TCP 10250 from lin01",
        spoil: |sample| sample.link("lin01", "win01").outcome = Outcome::Refused,
    },
    Case {
        host: "win01",
        check: "mtu",
        severity: Error,
        names: &["large packets are lost"],
        remedy: "fragmentation needed",
        spoil: |sample| sample.link("lin01", "win01").outcome = Outcome::Stalled,
    },
    Case {
        host: "demo",
        check: "mtu",
        severity: Warning,
        names: &["1400 on lin01", "1500 on win01"],
        remedy: "mtu",
        spoil: |sample| {
            sample.linux.common.details.mtus.insert("eth0".into(), 1400);
        },
    },
    Case {
        host: "demo",
        check: "latency",
        severity: Warning,
        names: &["20.0 ms from lin01 to lin02"],
        remedy: "nearer",
        spoil: |sample| {
            let mut other = sample.cluster.hosts[0].clone();
            (other.name, other.node_address) = ("lin02".into(), [10, 0, 0, 12].into());
            sample.cluster.hosts.push(other);
            let outcome = Outcome::Answered { microseconds: 20_000 };
            sample.links.push(Link { outcome, ..link("lin01", "lin02", 2380, Purpose::Etcd) });
        },
    },
    // The plan.
    Case {
        host: "demo",
        check: "route-overlap",
        severity: Error,
        names: &["lin01", "192.168.128.0/17", "`tun0`", "pods' range 192.168.0.0/16"],
        remedy: "ip route del 192.168.128.0/17",
        spoil: |sample| route(&mut sample.linux.common, "192.168.128.0/17", None, "tun0"),
    },
    Case {
        host: "demo",
        check: "route-overlap",
        severity: Error,
        names: &["win01", "172.30.4.0/24", "services' range"],
        remedy: "Remove-NetRoute -DestinationPrefix 172.30.4.0/24",
        spoil: |sample| route(&mut sample.windows.common, "172.30.4.0/24", Some([10, 0, 0, 9]), "Ethernet"),
    },
    Case {
        host: "demo",
        check: "classful-network",
        severity: Error,
        names: &["172.30.0.0/16", "win01", "172.30.200.0/24"],
        remedy: "172.30.0.0/16",
        spoil: |sample| {
            sample.cluster.service_cidr = "172.30.0.0/24".parse().unwrap();
            route(&mut sample.windows.common, "172.30.200.0/24", Some([10, 0, 0, 9]), "Ethernet");
        },
    },
    Case {
        host: "demo",
        check: "classful-network",
        severity: Error,
        names: &["the default router 172.30.200.1"],
        remedy: "service_cidr",
        spoil: |sample| {
            sample.cluster.service_cidr = "172.30.0.0/24".parse().unwrap();
            route(&mut sample.windows.common, "0.0.0.0/0", Some([172, 30, 200, 1]), "Ethernet");
        },
    },
    Case {
        host: "demo",
        check: "pod-capacity",
        severity: Warning,
        names: &["/26 has 62 addresses"],
        remedy: "node_pod_prefix",
        spoil: |sample| sample.cluster.node_pod_prefix = 26,
    },
    Case {
        host: "demo",
        check: "pod-capacity",
        severity: Warning,
        names: &["192.168.0.0/23 has 2 subnets, all taken"],
        remedy: "pod_cidr",
        spoil: |sample| sample.cluster.pod_cidr = "192.168.0.0/23".parse().unwrap(),
    },
    Case {
        host: "demo",
        check: "versions",
        severity: Warning,
        names: &["10.0.14393.693 on win01", "10.0.14393.2273 on win02"],
        remedy: "cumulative update",
        spoil: |sample| {
            second_windows(sample, |facts| {
                facts.ubr = 2273;
                facts.details.image_versions.clear();
            });
        },
    },
    Case {
        host: "demo",
        check: "hostnames",
        severity: Warning,
        names: &["win01 and win01.branch have the name win01"],
        remedy: "name of its own",
        // In a domain, a name is the inventory's with something behind it.
        spoil: |sample| {
            sample.windows.common.hostname = "win01".into();
            second_windows(sample, |facts| facts.common.hostname = "win01".into());
            sample.cluster.hosts[2].name = "win01.branch".into();
            sample.others[0].0 = "win01.branch";
        },
    },
    Case {
        host: "this machine",
        check: "artifacts",
        severity: Error,
        names: &["no such folder"],
        remedy: "put it there",
        spoil: |sample| sample.local.programs = Err(trouble("no such folder", Some("put it there"))),
    },
    Case {
        host: "this machine",
        check: "artifact-digests",
        severity: Error,
        names: &["the sha256 is unknown"],
        remedy: "sha256sums",
        spoil: |sample| sample.local.digests = Err(trouble("the sha256 is unknown", None)),
    },
    Case {
        host: "this machine",
        check: "local-disk",
        severity: Error,
        names: &["1 GiB free"],
        remedy: "--cache-dir",
        spoil: |sample| sample.local.disk_free_bytes = Some((2 << 30) - 1),
    },
    Case {
        host: "this machine",
        check: "go-toolchain",
        severity: Error,
        names: &["there is no Go"],
        remedy: "unpack Go 1.7",
        spoil: |sample| sample.local.go = Some(go(Verdict::Error, "there is no Go", Some("unpack Go 1.7"))),
    },
    Case {
        host: "this machine",
        check: "go-toolchain",
        severity: Warning,
        names: &["nothing is known of Go 1.16"],
        remedy: "`go` in [cluster.artifacts]",
        spoil: |sample| sample.local.go = Some(go(Verdict::Warning, "nothing is known of Go 1.16", None)),
    },
    Case {
        host: "this machine",
        check: "local-disk",
        severity: Error,
        names: &["5 GiB free", "needed: 6"],
        remedy: "--cache-dir",
        spoil: |sample| {
            sample.local.go = Some(go(Verdict::Fine, "Go 1.7.6 fits", None));
            sample.local.disk_free_bytes = Some((6 << 30) - 1);
        },
    },
    Case {
        host: "demo",
        check: "certificates",
        severity: Error,
        names: &["ca.crt ended 2 days ago"],
        remedy: "k8swin reset",
        spoil: |sample| {
            sample.certificate_days.insert("ca.crt", -2);
        },
    },
    Case {
        host: "demo",
        check: "certificates",
        severity: Warning,
        names: &["admin.crt ends in 29 days"],
        remedy: "`up` renews it",
        spoil: |sample| {
            sample.certificate_days.insert("admin.crt", 29);
        },
    },
];

/// Another Windows host beside win01, which differs from it as clones must not.
fn second_windows(sample: &mut Sample, change: impl Fn(&mut WindowsFacts)) {
    let mut host = sample.cluster.host("win01").unwrap().clone();
    (host.name, host.node_address) = ("win02".into(), [10, 0, 0, 22].into());
    sample.cluster.hosts.push(host);
    let mut facts = sample.windows.clone();
    facts.common.hostname = "win02".into();
    facts.common.machine_id = "machine-win02".into();
    facts.common.details.hardware_id = "hardware-win02".into();
    facts.common.adapters[0] = adapter("Ethernet", "00-15-5d-00-00-31", "10.0.0.22/24");
    facts.common.adapters[1] = adapter("Ethernet 2", "00-15-5d-00-00-32", "169.254.77.22/16");
    change(&mut facts);
    sample.others.push(("win02", Facts::Windows(facts)));
}

fn trouble(detail: &str, hint: Option<&str>) -> Trouble {
    Trouble { detail: detail.into(), hint: hint.map(Into::into) }
}

fn go(verdict: Verdict, detail: &str, remedy: Option<&str>) -> k8swin_artifacts::build::Check {
    k8swin_artifacts::build::Check { name: "go", verdict, detail: detail.into(), remedy: remedy.map(Into::into) }
}

fn service(sample: &mut Sample, name: &str, state: ServiceState) {
    sample.windows.details.services.insert(name.to_owned(), state);
}

fn trace(common: &mut CommonFacts, kind: TraceKind, name: &str, says: &str) {
    common.details.traces.push(Trace { kind, name: name.into(), says: says.into() });
}

fn route(common: &mut CommonFacts, destination: &str, via: Option<[u8; 4]>, adapter: &str) {
    let destination = destination.parse().unwrap();
    common.routes.push(RouteEntry { destination, via: via.map(Into::into), adapter: adapter.into() });
}
