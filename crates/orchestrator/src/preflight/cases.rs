//! What each check of preflight is heard for, on hosts that are spoiled in one way.

use k8swin_protocol::resource::FeatureName;

use super::samples::{Sample, adapter};
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
        names: &["1 network adapter", "two"],
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
        remedy: "sysprep",
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
];
