//! Prerequisites of a Linux host.

use k8swin_inventory::cluster::{Host, KubernetesMinor};
use k8swin_inventory::{Check, Cluster};
use k8swin_protocol::Os;
use k8swin_protocol::details::TraceKind;
use k8swin_protocol::facts::LinuxFacts;

use super::catalogue::{
    CGROUP_CONTROLLERS, CGROUP_V1, INSTALL_DOCKER, INSTALL_MODULES, INSTALL_PROGRAMS, LOOSE_FILTER, MOVE_ETCD_DATA,
    NEWER_KERNEL, OLDER_DOCKER, OPEN_FIREWALLD, OPEN_TABLES, OPEN_UFW, REMOVE_CNI, SET_CGROUP_DRIVER, START_DOCKER,
    SWAP_OFF, TIME_SERVICE, USE_SYSTEMD,
};
use super::{Report, common, leftovers};
use crate::docker_version::DockerVersion;

/// What kube-proxy (iptables mode) and the kubelet call.
const PROGRAMS: [&str; 4] = ["iptables", "conntrack", "mount", "ip"];

/// What the kubelet and Docker set limits with.
const CONTROLLERS: [&str; 7] = ["cpu", "cpuacct", "cpuset", "devices", "freezer", "memory", "pids"];

/// Of version 2, which has what the others did elsewhere.
const CONTROLLERS_V2: [&str; 4] = ["cpu", "cpuset", "memory", "pids"];

/// The first kernel that Docker runs on.
const MINIMUM_KERNEL: (u32, u32) = (3, 10);

/// The reverse path filter: 1 is strict.
const FILTER: &str = "net.ipv4.conf.all.rp_filter";

/// The file that we put into `/etc/cni/net.d`, without its extension.
const OWN_CNI: &str = "10-k8swin";

pub(super) fn check(cluster: &Cluster, host: &Host, facts: &LinuxFacts, report: &mut Report<'_>) {
    kernel(facts, report);
    if facts.systemd {
        report.ok(Check::Systemd, "runs");
    } else {
        report.error(Check::Systemd, "systemd is not the init system", USE_SYSTEMD);
    }
    control_groups(cluster, facts, report);
    programs(facts, report);
    docker(cluster, facts, report);
    cni(facts, report);
    if host.is_control_plane() {
        etcd_data(facts, report);
    }
    firewall(cluster, facts, report);
    match facts.clock_synchronised {
        Some(false) => report.warning(Check::ClockSynchronisation, "no time service keeps the clock", TIME_SERVICE),
        Some(true) => report.ok(Check::ClockSynchronisation, "a time service keeps the clock"),
        None => report.ok(Check::ClockSynchronisation, "the host does not say"),
    }
    if facts.swap_bytes == 0 {
        report.ok(Check::Swap, "off");
    } else {
        report.warning(Check::Swap, format!("{} MiB in use as swap", facts.swap_bytes >> 20), SWAP_OFF);
    }
    leftovers::check(cluster, Os::Linux, &facts.common, facts.docker.as_ref(), report);

    let mut needed = vec![(10250, "unit:kubelet"), (10249, "unit:kube-proxy")];
    if host.is_control_plane() {
        needed.extend([
            (2379, "unit:etcd"),
            (2380, "unit:etcd"),
            (cluster.api_port, "unit:kube-apiserver"),
            (10251, "unit:kube-scheduler"),
            (10252, "unit:kube-controller-manager"),
        ]);
    }
    common::ports(Os::Linux, &facts.common, &needed, report);
}

fn kernel(facts: &LinuxFacts, report: &mut Report<'_>) {
    let mut numbers = facts.kernel.split(|character: char| !character.is_ascii_digit()).map(str::parse::<u32>);
    let version = (numbers.next().and_then(Result::ok), numbers.next().and_then(Result::ok));
    match version {
        (Some(major), Some(minor)) if (major, minor) < MINIMUM_KERNEL => {
            report.error(Check::Kernel, format!("{}; needed: 3.10 or later", facts.kernel), NEWER_KERNEL);
        }
        _ => report.ok(Check::Kernel, facts.kernel.clone()),
    }
    let missing = &facts.details.missing_modules;
    if missing.is_empty() {
        report.ok(Check::KernelModules, "all are there");
    } else {
        let fix = INSTALL_MODULES.with(&[("modules", &missing.join(" "))]);
        report.error(Check::KernelModules, format!("the kernel lacks {}", missing.join(", ")), fix);
    }
    match facts.sysctls.get(FILTER).map(String::as_str) {
        Some("1") => {
            let fix = LOOSE_FILTER.with(&[("key", FILTER)]);
            report.warning(Check::KernelSettings, format!("{FILTER} is 1: strict"), fix);
        }
        value => report.ok(Check::KernelSettings, format!("{FILTER} is {}", value.unwrap_or("not set"))),
    }
}

fn control_groups(cluster: &Cluster, facts: &LinuxFacts, report: &mut Report<'_>) {
    let (version, enabled) = (facts.details.cgroup_version, &facts.details.cgroup_controllers);
    if version == 2 && cluster.kubernetes.minor == KubernetesMinor::V1_5 {
        let detail = format!("version 2, which a kubelet {} does not know", cluster.kubernetes);
        return report.error(Check::ControlGroups, detail, CGROUP_V1);
    }
    let needed: &[&str] = if version == 2 { &CONTROLLERS_V2 } else { &CONTROLLERS };
    let missing: Vec<_> =
        needed.iter().filter(|name| !enabled.iter().any(|enabled| enabled == *name)).copied().collect();
    if missing.is_empty() {
        report.ok(Check::ControlGroups, format!("version {version}, all controllers"));
    } else {
        let detail = format!("version {version}; not enabled: {}", missing.join(", "));
        report.error(Check::ControlGroups, detail, CGROUP_CONTROLLERS);
    }
}

fn programs(facts: &LinuxFacts, report: &mut Report<'_>) {
    let missing: Vec<_> =
        PROGRAMS.into_iter().filter(|program| !facts.programs.iter().any(|found| found == program)).collect();
    if missing.is_empty() {
        report.ok(Check::Programs, PROGRAMS.join(", "));
    } else {
        report.error(Check::Programs, format!("missing: {}", missing.join(", ")), INSTALL_PROGRAMS);
    }
}

fn docker(cluster: &Cluster, facts: &LinuxFacts, report: &mut Report<'_>) {
    let Some(docker) = &facts.docker else {
        return report.error(Check::Docker, "Docker is not installed", INSTALL_DOCKER);
    };
    if !docker.running {
        return report.error(Check::Docker, format!("Docker {} does not run", docker.version), START_DOCKER);
    }
    if ["cgroupfs", "systemd"].contains(&docker.cgroup_driver.as_str()) {
        report.ok(Check::CgroupDriver, docker.cgroup_driver.clone());
    } else {
        let detail = format!("Docker's driver is `{}`; a kubelet has cgroupfs or systemd", docker.cgroup_driver);
        report.error(Check::CgroupDriver, detail, SET_CGROUP_DRIVER);
    }
    let Some(version) = DockerVersion::parse(&docker.version) else {
        let detail = format!("`{}` is not a version we know to read", docker.version);
        return report.warning(Check::Docker, detail, INSTALL_DOCKER);
    };
    // 1.5 was validated with 1.10.3 to 1.12.3 (facts B.3); 29 wants clients with a newer API than 1.5 has (facts D.1).
    let (minimum, maximum) = match cluster.kubernetes.minor {
        KubernetesMinor::V1_5 => ((1, 10), (20, 10)),
        KubernetesMinor::V1_20 => ((1, 13), (28, 99)),
    };
    let found = version.major_minor();
    let detail = format!("Docker {version}");
    if found < minimum {
        let detail = format!("{detail}; needed: {}.{} or later", minimum.0, minimum.1);
        report.error(Check::Docker, detail, INSTALL_DOCKER);
    } else if found > maximum {
        let detail = format!("{detail} is newer than any that a kubelet {} was seen to work with", cluster.kubernetes);
        let maximum = format!("{}.{}", maximum.0, maximum.1);
        report.warning(Check::Docker, detail, OLDER_DOCKER.with(&[("maximum", &maximum)]));
    } else {
        report.ok(Check::Docker, detail);
    }
}

/// The kubelet takes the first of the files.
fn cni(facts: &LinuxFacts, report: &mut Report<'_>) {
    let foreign: Vec<_> =
        facts.cni_configurations.iter().filter(|name| !name.starts_with(OWN_CNI) && is_configuration(name)).collect();
    match foreign.iter().find(|name| name.as_str() < OWN_CNI) {
        Some(first) => {
            let file = format!("/etc/cni/net.d/{first}");
            let detail = format!("{file} comes before ours, and the kubelet takes the first");
            report.error(Check::CniConfiguration, detail, REMOVE_CNI.with(&[("file", &file)]));
        }
        None => report.ok(Check::CniConfiguration, "no other network comes before ours"),
    }
}

fn is_configuration(name: &str) -> bool {
    [".conf", ".conflist", ".json"].iter().any(|ending| name.ends_with(ending))
}

fn etcd_data(facts: &LinuxFacts, report: &mut Report<'_>) {
    let ours = common::is_owned(&facts.common, &format!("directory:{}", leftovers::ETCD_DATA));
    let found = facts
        .common
        .details
        .traces
        .iter()
        .find(|trace| trace.kind == TraceKind::Folder && trace.name == leftovers::ETCD_DATA);
    match found {
        Some(trace) if !ours => {
            let detail = format!("{} holds the data of another etcd ({})", trace.name, trace.says);
            report.error(Check::EtcdData, detail, MOVE_ETCD_DATA);
        }
        Some(_) => report.ok(Check::EtcdData, "ours"),
        None => report.ok(Check::EtcdData, "empty"),
    }
}

fn firewall(cluster: &Cluster, facts: &LinuxFacts, report: &mut Report<'_>) {
    let active = &facts.details.firewalls;
    let Some(first) = active.first() else { return report.ok(Check::Firewall, "none is active") };
    let remedy = match first.as_str() {
        "firewalld" => OPEN_FIREWALLD,
        "ufw" => OPEN_UFW,
        _ => OPEN_TABLES,
    };
    let network = cluster.hosts.iter().find_map(|host| {
        let adapters = &facts.common.adapter_with(host.node_address)?.addresses;
        adapters.iter().find(|net| net.addr() == host.node_address).map(ipnet::Ipv4Net::trunc)
    });
    let nodes = network.map_or_else(|| "the nodes' network".to_owned(), |network| network.to_string());
    let fix = remedy.with(&[("pods", &cluster.pod_cidr.to_string()), ("nodes", &nodes)]);
    report.warning(Check::Firewall, format!("active: {}", active.join(", ")), fix);
}
