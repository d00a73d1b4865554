//! What is Linux about a simulated Linux host: modules, settings, systemd.

use std::collections::BTreeMap;

use k8swin_protocol::HostPath;
use k8swin_protocol::details::LinuxDetails;
use k8swin_protocol::facts::{Containerd, LinuxFacts, ServiceState, ServiceStatus};

use super::faulty;
use super::machine::{Machine, Nic, StoredRoute, Unit, boot_order, net};
use super::process::{Process, UnitFile};
use crate::platform::{Activity, DockerNetworkState, PlatformError, Result, UnitState};

const UNIT_FOLDER: &str = "/etc/systemd/system";

/// Kernel settings that come with a module.
const BRIDGE_SYSCTLS: [&str; 3] = [
    "net.bridge.bridge-nf-call-arptables",
    "net.bridge.bridge-nf-call-ip6tables",
    "net.bridge.bridge-nf-call-iptables",
];

/// Settings of a fresh host. Docker has switched forwarding on.
const SYSCTLS: [(&str, &str); 12] = [
    ("fs.inotify.max_user_instances", "128"),
    ("fs.inotify.max_user_watches", "65536"),
    ("kernel.panic", "0"),
    ("kernel.panic_on_oops", "0"),
    ("net.core.somaxconn", "4096"),
    ("net.ipv4.conf.all.forwarding", "1"),
    ("net.ipv4.conf.all.rp_filter", "0"),
    ("net.ipv4.conf.default.rp_filter", "0"),
    ("net.ipv4.ip_forward", "1"),
    ("net.ipv4.ip_local_port_range", "32768\t60999"),
    ("vm.max_map_count", "65530"),
    ("vm.overcommit_memory", "0"),
];

/// The settings that facts report.
const REPORTED: [&str; 4] = [
    "net.bridge.bridge-nf-call-iptables",
    "net.ipv4.conf.all.rp_filter",
    "net.ipv4.ip_forward",
    "vm.overcommit_memory",
];

const MODULES: [&str; 4] = ["br_netfilter", "ip_vs", "nf_conntrack", "overlay"];

pub(super) fn install(machine: &mut Machine) {
    let address = machine.spec.node_address;
    machine.nics.push(Nic {
        name: "eth0".into(),
        mac: machine.mac("eth0"),
        addresses: vec![net(address, machine.spec.prefix)],
        physical: true,
        forwarding: false,
        of_network: None,
    });
    let docker = net([172, 17, 0, 1].into(), 16);
    machine.nics.push(Nic {
        name: "docker0".into(),
        mac: "02-42-ac-11-00-01".into(),
        addresses: vec![docker],
        physical: false,
        forwarding: false,
        of_network: Some("bridge".into()),
    });
    let bridge = DockerNetworkState {
        driver: "bridge".into(),
        subnet: Some(docker.trunc()),
        gateway: Some(docker.addr()),
        adapter: None,
    };
    machine.networks.insert("bridge".into(), bridge);
    machine.routes.push(StoredRoute {
        destination: net([0, 0, 0, 0].into(), 0),
        via: machine.router(),
        adapter: "eth0".into(),
        persistent: true,
    });
    for name in ["docker", "ssh", "systemd-networkd"] {
        let unit = Unit { loaded: None, enabled: true, activity: Activity::Active, start: 0, journal: Vec::new() };
        machine.linux.units.insert(name.into(), unit);
    }
    reset_kernel(machine);
}

/// The kernel as it is after a boot, before anything is loaded or set.
fn reset_kernel(machine: &mut Machine) {
    machine.linux.modules.clear();
    machine.linux.modules.insert("overlay".into());
    machine.linux.forward_rules.clear();
    machine.linux.sysctls = SYSCTLS.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
}

pub(super) fn facts(machine: &Machine) -> LinuxFacts {
    let mut common = machine.common_facts("root", &[(22, "sshd")]);
    common.routes.sort_by_key(|route| route.destination);
    let reported = |key: &&str| Some(((*key).to_owned(), machine.linux.sysctls.get(*key)?.clone()));
    let mut facts = LinuxFacts {
        common,
        distribution: "debian".into(),
        distribution_version: "12".into(),
        kernel: "6.1.0-18-amd64".into(),
        systemd: true,
        docker: machine.docker("20.10.24+dfsg1", "cgroupfs"),
        containerd: (!machine.faults.no_docker).then(|| Containerd {
            version: "1.6.20~ds1".into(),
            running: true,
            cgroup_driver: "cgroupfs".into(),
        }),
        cni_plugins: ["bridge", "host-local", "loopback", "portmap"].map(str::to_owned).into(),
        cni_configurations: HostPath::new("/etc/cni/net.d").map_or(Vec::new(), |folder| machine.files.names(&folder)),
        clock_synchronised: Some(machine.faults.clock_skew_seconds == 0),
        swap_bytes: if machine.faults.swap { 2 << 30 } else { 0 },
        sysctls: REPORTED.iter().filter_map(reported).collect(),
        programs: ["conntrack", "ebtables", "ethtool", "ip", "iptables", "mount", "nsenter", "socat"]
            .map(str::to_owned)
            .into(),
        details: LinuxDetails::default(),
    };
    faulty::linux(machine, &mut facts);
    facts
}

pub(super) fn load_module(machine: &mut Machine, name: &str) -> Result<()> {
    if !MODULES.contains(&name) {
        let answer = format!("modprobe: FATAL: Module {name} not found in directory /lib/modules/6.1.0-18-amd64");
        return Err(PlatformError::new(format!("load the kernel module {name}"), answer));
    }
    machine.linux.modules.insert(name.to_owned());
    if name == "br_netfilter" {
        for key in BRIDGE_SYSCTLS {
            machine.linux.sysctls.entry(key.to_owned()).or_insert_with(|| "1".into());
        }
    }
    Ok(())
}

pub(super) fn unload_module(machine: &mut Machine, name: &str) {
    machine.linux.modules.remove(name);
    if name == "br_netfilter" {
        machine.linux.sysctls.retain(|key, _| !BRIDGE_SYSCTLS.contains(&key.as_str()));
    }
}

pub(super) fn set_sysctl(machine: &mut Machine, key: &str, value: &str) -> Result<()> {
    let Some(setting) = machine.linux.sysctls.get_mut(key) else {
        let path = key.replace('.', "/");
        let answer = format!("cannot stat /proc/sys/{path}: No such file or directory");
        return Err(PlatformError::new(format!("set {key}"), answer));
    };
    value.clone_into(setting);
    Ok(())
}

pub(super) fn unit_state(machine: &Machine, name: &str) -> UnitState {
    let unit = machine.linux.units.get(name);
    let activity = match unit.map_or(Activity::Inactive, |unit| unit.activity) {
        // systemd waits before it starts the program again.
        Activity::Active if crashes(machine, name) => Activity::Activating,
        activity => activity,
    };
    UnitState { enabled: unit.is_some_and(|unit| unit.enabled), activity, masked: false }
}

/// Whether the program of a unit ends right after each start.
fn crashes(machine: &Machine, name: &str) -> bool {
    let unit = machine.linux.units.get(name);
    let process = unit.and_then(|unit| UnitFile::parse(unit.loaded.as_deref()?).process(unit.start));
    process.is_some_and(|process| machine.crashes(process.name()))
}

pub(super) fn service_status(machine: &Machine, name: &str) -> ServiceStatus {
    let state = match unit_state(machine, name).activity {
        _ if !machine.linux.units.contains_key(name) => ServiceState::Absent,
        Activity::Active => ServiceState::Running,
        Activity::Activating => ServiceState::StartingAgain,
        Activity::Inactive => ServiceState::Stopped,
        Activity::Failed => ServiceState::Failed,
    };
    if crashes(machine, name) {
        return machine.crashed(name, state);
    }
    ServiceStatus { name: name.to_owned(), state, restarts: Some(0), last_exit: None }
}

pub(super) fn reload_units(machine: &mut Machine) {
    let Ok(folder) = HostPath::new(UNIT_FOLDER) else { return };
    let mut texts = BTreeMap::new();
    for file in machine.files.names(&folder) {
        if let Some(name) = file.strip_suffix(".service")
            && let Some(text) = machine.files.text(&folder.join(&file))
        {
            texts.insert(name.to_owned(), text);
        }
    }
    // A unit whose file is gone is forgotten once it neither runs nor starts at boot.
    machine.linux.units.retain(|name, unit| {
        unit.loaded.is_none()
            || texts.contains_key(name)
            || unit.enabled
            || !matches!(unit.activity, Activity::Inactive | Activity::Failed)
    });
    for (name, text) in texts {
        let unit = machine.linux.units.entry(name).or_insert(Unit {
            loaded: None,
            enabled: false,
            activity: Activity::Inactive,
            start: 0,
            journal: Vec::new(),
        });
        unit.loaded = Some(text);
    }
}

pub(super) fn unit_mut<'a>(machine: &'a mut Machine, verb: &str, name: &str) -> Result<&'a mut Unit> {
    let not_found = || PlatformError::new(format!("{verb} {name}"), format!("Unit {name}.service not found."));
    machine.linux.units.get_mut(name).ok_or_else(not_found)
}

/// Starts a service again. Returns what runs then, for those whose work is done elsewhere (the network service).
pub(super) fn restart(machine: &mut Machine, name: &str) -> Result<Option<Process>> {
    let text = unit_mut(machine, "start", name)?.loaded.clone();
    let start = machine.next_start();
    let Some(text) = text else {
        set_activity(machine, name, Activity::Active, start);
        return Ok(None);
    };
    let file = UnitFile::parse(&text);
    for required in &file.requires {
        let missing = || PlatformError::new(format!("start {name}"), format!("Unit {required}.service not found."));
        let unit = machine.linux.units.get(required).ok_or_else(missing)?;
        if unit.activity != Activity::Active {
            restart(machine, required)?;
        }
    }
    let Some(process) = file.process(start) else {
        let answer = format!("Unit {name}.service has a bad unit file setting: it lacks ExecStart=.");
        return Err(PlatformError::new(format!("start {name}"), answer));
    };
    if let Some(missing) = process.missing_file(&machine.files) {
        let line = if missing == process.program {
            format!("{name}.service: Failed at step EXEC spawning {missing}: No such file or directory")
        } else {
            format!("{}: open {missing}: no such file or directory", process.name())
        };
        fail(machine, name, line);
        // `systemctl restart` of a simple service returns before the program ends.
        return Ok(None);
    }
    if machine.crashes(process.name()) {
        let line = format!("{}: panic: this program crashes on this simulated host", process.name());
        fail(machine, name, line);
        return Ok(None);
    }
    machine.started(&process);
    set_activity(machine, name, Activity::Active, start);
    Ok(Some(process))
}

pub(super) fn fail(machine: &mut Machine, name: &str, line: String) {
    if let Some(unit) = machine.linux.units.get_mut(name) {
        unit.activity = Activity::Failed;
        unit.journal.push(line);
        unit.journal.push(format!("{name}.service: Failed with result 'exit-code'."));
    }
}

fn set_activity(machine: &mut Machine, name: &str, activity: Activity, start: u64) {
    if let Some(unit) = machine.linux.units.get_mut(name) {
        unit.activity = activity;
        unit.start = start;
        unit.journal.clear();
    }
}

pub(super) fn processes(machine: &Machine) -> Vec<Process> {
    let running = machine.linux.units.values().filter(|unit| unit.activity == Activity::Active);
    running.filter_map(|unit| UnitFile::parse(unit.loaded.as_deref()?).process(unit.start)).collect()
}

/// What a boot leaves of the last one, and the units that it starts, in order.
pub(super) fn boot(machine: &mut Machine) -> Vec<String> {
    reset_kernel(machine);
    machine.routes.retain(|route| route.persistent);
    reload_units(machine);
    for unit in machine.linux.units.values_mut() {
        unit.activity = if unit.loaded.is_none() && unit.enabled { Activity::Active } else { Activity::Inactive };
    }
    load_settings(machine);
    let mut after: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, unit) in machine.linux.units.iter().filter(|(_, unit)| unit.enabled) {
        let Some(text) = &unit.loaded else { continue };
        let file = UnitFile::parse(text);
        after.entry(name.clone()).or_default().extend(file.after.into_iter().chain(file.requires));
        for later in file.before {
            after.entry(later).or_default().push(name.clone());
        }
    }
    let startable =
        |name: &String| machine.linux.units.get(name).is_some_and(|unit| unit.enabled && unit.loaded.is_some());
    boot_order(&after).into_iter().filter(startable).collect()
}

/// `/etc/modules-load.d` and `/etc/sysctl.d`, which systemd reads at boot.
fn load_settings(machine: &mut Machine) {
    for text in texts(machine, "/etc/modules-load.d") {
        for module in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            // A module that the kernel does not have is a line in the journal, no more.
            let _ = load_module(machine, module);
        }
    }
    for text in texts(machine, "/etc/sysctl.d") {
        for (key, value) in text.lines().filter_map(|line| line.split_once('=')) {
            // So is a setting.
            let _ = set_sysctl(machine, key.trim(), value.trim());
        }
    }
}

fn texts(machine: &Machine, folder: &str) -> Vec<String> {
    let Ok(folder) = HostPath::new(folder) else { return Vec::new() };
    let files = &machine.files;
    files.names(&folder).iter().filter_map(|name| files.text(&folder.join(name))).collect()
}
