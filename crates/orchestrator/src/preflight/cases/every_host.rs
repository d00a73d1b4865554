//! Every host.

use k8swin_protocol::facts::{LastExit, ServiceStatus};

use super::*;
use crate::preflight::samples::resource;

fn status(name: &str, state: ServiceState, code: Option<i32>) -> ServiceStatus {
    let last_exit = code.map(|code| LastExit { code: Some(code), signal: None, at_ms: None });
    ServiceStatus { name: name.into(), state, restarts: None, last_exit }
}

pub(super) const CASES: &[Case] = &[
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
        check: "services",
        severity: Error,
        names: &["kubelet is failed (it ended with code 255)"],
        remedy: "k8swin up",
        spoil: |sample| {
            sample.linux.common.services = vec![
                status("kubelet", ServiceState::Failed, Some(255)),
                status("kube-proxy", ServiceState::Running, None),
            ];
        },
    },
    Case {
        host: "win01",
        check: "routes",
        severity: Error,
        names: &["192.168.7.0/24"],
        remedy: "k8swin up",
        spoil: |sample| sample.windows.common.owned.extend([resource("route:192.168.7.0/24")]),
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
];
