//! Facts of a real Linux host that only preflight asks for.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use k8swin_protocol::details::{CommonDetails, LinuxDetails, Trace, TraceKind};

use super::{Result, own_name, program};

/// Folders that hold a part of a Kubernetes cluster when something is in them.
const FOLDERS: [&str; 7] = [
    "/etc/kubernetes",
    "/var/lib/etcd",
    "/var/lib/k0s",
    "/var/lib/kubelet",
    "/var/lib/rancher/k3s",
    "/var/lib/rancher/rke2",
    "/var/snap/microk8s",
];

/// Services of Kubernetes, by the names that kubeadm, packages of distributions and others give them.
const UNITS: [&str; 15] = [
    "etcd",
    "flanneld",
    "k0scontroller",
    "k0sworker",
    "k3s",
    "k3s-agent",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-proxy",
    "kube-scheduler",
    "kubelet",
    "rke2-agent",
    "rke2-server",
    "snap.microk8s.daemon-containerd",
    "snap.microk8s.daemon-kubelite",
];

/// Where systemd finds units, the more important first.
const UNIT_FOLDERS: [&str; 4] =
    ["/etc/systemd/system", "/run/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];

/// The modules that a node needs: pods' bridge and their pairs of adapters, the rules of kube-proxy, Docker's layers.
const MODULES: [&str; 5] = ["br_netfilter", "bridge", "nf_conntrack", "overlay", "veth"];

/// What both operating systems have.
pub(super) fn common(hostname: &str) -> CommonDetails {
    CommonDetails {
        hardware_id: hardware_id(),
        own_name: own_name::addresses(hostname),
        mtus: mtus(),
        traces: traces(),
    }
}

/// What only Linux has.
pub(super) fn linux(kernel: &str) -> Result<LinuxDetails> {
    let (cgroup_version, cgroup_controllers) = control_groups();
    Ok(LinuxDetails {
        cgroup_version,
        cgroup_controllers,
        missing_modules: missing_modules(kernel),
        firewalls: firewalls()?,
    })
}

/// The firmware's UUID. A container has no firmware of its own.
fn hardware_id() -> String {
    if Path::new("/run/systemd/container").exists() {
        return String::new();
    }
    fs::read_to_string("/sys/class/dmi/id/product_uuid").unwrap_or_default().trim().to_lowercase()
}

fn mtus() -> BTreeMap<String, u32> {
    let entries = fs::read_dir("/sys/class/net").into_iter().flatten().filter_map(std::result::Result::ok);
    entries
        .filter_map(|entry| {
            let mtu = fs::read_to_string(entry.path().join("mtu")).ok()?.trim().parse().ok()?;
            Some((entry.file_name().to_string_lossy().into_owned(), mtu))
        })
        .filter(|(name, _)| name != "lo")
        .collect()
}

fn traces() -> Vec<Trace> {
    let folders = FOLDERS.iter().filter_map(|path| {
        let first = fs::read_dir(path).ok()?.find_map(std::result::Result::ok)?;
        let says = format!("{} is in it", first.file_name().to_string_lossy());
        Some(Trace { kind: TraceKind::Folder, name: (*path).to_owned(), says })
    });
    let units = UNITS.iter().filter_map(|name| {
        let mut files = UNIT_FOLDERS.iter().map(|folder| format!("{folder}/{name}.service"));
        let file = files.find(|path| Path::new(path).is_file())?;
        Some(Trace { kind: TraceKind::Unit, name: (*name).to_owned(), says: file })
    });
    folders.chain(units).collect()
}

/// The version of the hierarchy, and the controllers that are enabled.
fn control_groups() -> (u8, Vec<String>) {
    if let Ok(controllers) = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers") {
        return (2, controllers.split_whitespace().map(str::to_owned).collect());
    }
    let enabled = enabled_controllers(&fs::read_to_string("/proc/cgroups").unwrap_or_default());
    (u8::from(Path::new("/sys/fs/cgroup/memory").is_dir()), enabled)
}

/// Lines such as `memory 4 112 1`; the last number says whether it is enabled.
fn enabled_controllers(table: &str) -> Vec<String> {
    let controller = |line: &str| match line.split_whitespace().collect::<Vec<_>>().as_slice() {
        [name, _, _, "1"] => Some((*name).to_owned()),
        _ => None,
    };
    table.lines().filter(|line| !line.starts_with('#')).filter_map(controller).collect()
}

/// A container has no folder of modules: what its kernel has built in shows by its settings only, so there only what can be
/// told is missing.
fn missing_modules(kernel: &str) -> Vec<String> {
    let folder = format!("/lib/modules/{kernel}");
    let read = |file: &str| fs::read_to_string(format!("{folder}/{file}")).ok();
    let (builtin, loadable) = (read("modules.builtin"), read("modules.dep"));
    let lists: Vec<_> = [builtin, loadable].into_iter().flatten().collect();
    let bridge_settings = Path::new("/proc/sys/net/bridge/bridge-nf-call-iptables").exists();
    let is_there = |name: &str| {
        Path::new("/sys/module").join(name).is_dir()
            || (name == "br_netfilter" && bridge_settings)
            || lists.iter().any(|list| names_module(list, name))
    };
    let can_tell = |name: &str| !lists.is_empty() || name == "br_netfilter";
    MODULES.iter().filter(|name| can_tell(name) && !is_there(name)).map(|name| (*name).to_owned()).collect()
}

/// Lines such as `kernel/net/bridge/br_netfilter.ko.xz: kernel/net/bridge/bridge.ko.xz`. `-` and `_` are one in names.
fn names_module(list: &str, name: &str) -> bool {
    list.lines().any(|line| {
        let path = line.split(':').next().unwrap_or_default();
        let file = path.rsplit('/').next().unwrap_or_default();
        file.split_once(".ko").is_some_and(|(module, _)| module.replace('-', "_") == name)
    })
}

fn firewalls() -> Result<Vec<String>> {
    let mut active = Vec::new();
    for name in ["firewalld", "nftables"] {
        let arguments = ["is-active", "--quiet", name];
        let found = program::run("look for firewalls", "systemctl", &arguments);
        if found.is_ok_and(|finished| finished.code == Some(0)) {
            active.push(name.to_owned());
        }
    }
    if fs::read_to_string("/etc/ufw/ufw.conf").is_ok_and(|text| is_enabled(&text)) {
        active.push("ufw".to_owned());
    }
    let rules = program::run("look at the rules for incoming packets", "iptables", &["-w", "-S", "INPUT"]);
    if rules.is_ok_and(|finished| finished.stdout.lines().any(|line| line.trim() == "-P INPUT DROP")) {
        active.push("iptables".to_owned());
    }
    Ok(active)
}

/// `ENABLED=yes` of ufw's configuration.
fn is_enabled(text: &str) -> bool {
    text.lines().any(|line| line.trim().eq_ignore_ascii_case("enabled=yes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enabled_controllers_are_read() {
        let table = "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpuset\t3\t5\t1\nmemory\t0\t7\t0\npids\t9\t1\t1\n";
        assert_eq!(enabled_controllers(table), ["cpuset", "pids"]);
    }

    #[test]
    fn modules_are_found_compressed_or_not() {
        let list =
            "kernel/net/bridge/br_netfilter.ko.xz: kernel/net/bridge/bridge.ko.xz\nkernel/drivers/net/veth.ko:\n";
        assert!(names_module(list, "br_netfilter") && names_module(list, "veth"));
        // What another one depends on has a line of its own.
        assert!(!names_module(list, "bridge") && !names_module(list, "eth"));
    }

    #[test]
    fn the_details_of_this_machine_can_be_told() {
        let details = common("localhost");
        assert!(details.own_name.contains(&std::net::Ipv4Addr::LOCALHOST));
        assert!(details.mtus.values().all(|mtu| *mtu > 0));
        assert!(linux("no such kernel").unwrap().cgroup_version <= 2);
    }

    #[test]
    fn ufw_says_whether_it_is_enabled() {
        assert!(is_enabled("# comment\nENABLED=yes\nLOGLEVEL=low\n"));
        assert!(!is_enabled("#ENABLED=yes\nENABLED=no\n"));
    }
}
