//! Checks that both operating systems share.

use std::collections::BTreeSet;

use ipnet::Ipv4Net;
use k8swin_inventory::{Check, Cluster};
use k8swin_protocol::facts::{CommonFacts, Listener, ServiceState};
use k8swin_protocol::{Facts, Os};

use super::catalogue::{
    CONNECT_ADAPTER, FREE_PORT, FREE_SPACE, FULL_TOKEN, KNOWN_DISTRIBUTION, MORE_MEMORY, NODE_ADDRESS_KEY, OWN_NAME,
    OWN_NAME_WINDOWS, RENAME, RENAME_WINDOWS, RESET_OTHER, SET_CLOCK, SET_CLOCK_WINDOWS, SUDO, UP_MENDS,
};
use super::{Report, Seen};

/// Certificates are backdated by an hour, tokens and leader election are not: beyond this, things fail in odd ways.
const CLOCK_ERROR_MS: i64 = 30_000;
/// Beyond this, log lines of two hosts can no longer be told in order.
const CLOCK_WARNING_MS: i64 = 5_000;

const GIB: u64 = 1 << 30;

/// Distributions whose packages and paths are known, by `ID` of os-release.
const DISTRIBUTIONS: [&str; 17] = [
    "almalinux",
    "amzn",
    "centos",
    "debian",
    "fedora",
    "flatcar",
    "linuxmint",
    "ol",
    "opensuse-leap",
    "opensuse-tumbleweed",
    "photon",
    "raspbian",
    "rhel",
    "rocky",
    "sles",
    "ubuntu",
    "coreos",
];

pub(super) fn check(cluster: &Cluster, seen: &Seen<'_>, report: &mut Report<'_>) {
    operating_system(seen, report);
    privileges(seen, report);
    node_address(seen, report);
    names(seen, report);
    clock(seen, report);
    disk_and_memory(seen, report);
    built(seen.facts.common(), report);
    match &seen.facts.common().cluster {
        Some(other) if *other != cluster.name => {
            report.error(Check::OtherCluster, format!("the host belongs to the cluster `{other}`"), RESET_OTHER);
        }
        Some(_) => report.ok(Check::OtherCluster, format!("part of `{}`", cluster.name)),
        None => report.ok(Check::OtherCluster, "part of no cluster yet"),
    }
}

fn operating_system(seen: &Seen<'_>, report: &mut Report<'_>) {
    match seen.facts {
        Facts::Linux(facts) => {
            let detail = format!("{} {}", facts.distribution, facts.distribution_version);
            if DISTRIBUTIONS.contains(&facts.distribution.as_str()) {
                report.ok(Check::OperatingSystem, detail);
            } else {
                report.warning(
                    Check::OperatingSystem,
                    format!("{detail} is no distribution that we know"),
                    KNOWN_DISTRIBUTION,
                );
            }
        }
        Facts::Windows(facts) => {
            report.ok(Check::OperatingSystem, format!("{}, {}", facts.product, facts.installation_type));
        }
    }
}

fn privileges(seen: &Seen<'_>, report: &mut Report<'_>) {
    let common = seen.facts.common();
    if common.privileged {
        return report.ok(Check::Privileges, format!("{} may change the system", common.user));
    }
    let fix = match seen.host.os() {
        Os::Linux => SUDO.with(&[("user", &common.user)]),
        Os::Windows => FULL_TOKEN.into(),
    };
    report.error(Check::Privileges, format!("{} may not change the system", common.user), fix);
}

fn node_address(seen: &Seen<'_>, report: &mut Report<'_>) {
    let address = seen.host.node_address;
    match seen.facts.common().adapter_with(address) {
        Some(adapter) if adapter.up => {
            report.ok(Check::NodeAddress, format!("{address} is on `{}`", adapter.name));
        }
        Some(adapter) => {
            let detail = format!("{address} is on `{}`, which is not connected", adapter.name);
            report.error(Check::NodeAddress, detail, CONNECT_ADAPTER);
        }
        None => {
            let detail = format!("no adapter has {address}; there are: {}", addresses(seen.facts.common()));
            report.error(Check::NodeAddress, detail, NODE_ADDRESS_KEY);
        }
    }
}

fn addresses(common: &CommonFacts) -> String {
    let list: Vec<_> = common
        .adapters
        .iter()
        .flat_map(|adapter| adapter.addresses.iter().map(move |net| format!("{} (`{}`)", net.addr(), adapter.name)))
        .collect();
    if list.is_empty() { "none".to_owned() } else { list.join(", ") }
}

fn names(seen: &Seen<'_>, report: &mut Report<'_>) {
    let (host, common) = (seen.host, seen.facts.common());
    let (rename, own_name) = match host.os() {
        Os::Linux => (RENAME, OWN_NAME),
        Os::Windows => (RENAME_WINDOWS, OWN_NAME_WINDOWS),
    };
    // A name with a domain is the same name.
    let short = |name: &str| name.split('.').next().unwrap_or_default().to_lowercase();
    if short(&common.hostname) == short(&host.name) {
        report.ok(Check::HostName, common.hostname.clone());
    } else {
        let detail = format!("the host calls itself `{}`, the inventory `{}`", common.hostname, host.name);
        report.warning(Check::HostName, detail, rename.with(&[("name", &host.name)]));
    }
    if common.details.own_name.is_empty() {
        let values = [("address", host.node_address.to_string()), ("name", common.hostname.clone())];
        let values = values.each_ref().map(|(name, value)| (*name, value.as_str()));
        let detail = format!("`{}` resolves to no address on the host itself", common.hostname);
        report.warning(Check::NameResolution, detail, own_name.with(&values));
    } else {
        let found: Vec<_> = common.details.own_name.iter().map(ToString::to_string).collect();
        report.ok(Check::NameResolution, format!("`{}` is {}", common.hostname, found.join(", ")));
    }
}

fn clock(seen: &Seen<'_>, report: &mut Report<'_>) {
    let ahead = seen.clock_ahead_ms;
    let side = if ahead < 0 { "behind" } else { "ahead of" };
    let skew = format!("the clock is {:.1} s {side} this machine's", ahead.abs() as f64 / 1000.0);
    let remedy = match seen.host.os() {
        Os::Linux => SET_CLOCK,
        Os::Windows => SET_CLOCK_WINDOWS,
    };
    if ahead.abs() > CLOCK_ERROR_MS {
        report.error(Check::Clock, format!("{skew}; certificates and leases need less than 30 s"), remedy);
    } else if ahead.abs() > CLOCK_WARNING_MS {
        report.warning(Check::Clock, skew, remedy);
    } else {
        report.ok(Check::Clock, "within 5 s of this machine's");
    }
}

fn disk_and_memory(seen: &Seen<'_>, report: &mut Report<'_>) {
    let common = seen.facts.common();
    let (folder, error_below, warning_below) = match seen.host.os() {
        Os::Linux => ("/var/lib", 2, 10),
        // windowsservercore alone is 5 GB, and a 30 GB system disk runs out (facts D.2).
        Os::Windows => ("C:", 5, 30),
    };
    let free = common.disk_free_bytes / GIB;
    let detail = format!("{free} GiB free on {folder}");
    if free < error_below {
        report.error(Check::DiskSpace, format!("{detail}, needed: {error_below}"), FREE_SPACE);
    } else if free < warning_below {
        report.warning(Check::DiskSpace, format!("{detail}, advised: {warning_below}"), FREE_SPACE);
    } else {
        report.ok(Check::DiskSpace, detail);
    }

    // Hypervisors round a "1 GB" machine down a little.
    let needed = if seen.host.is_control_plane() { 3 * GIB / 2 } else { 3 * GIB / 4 };
    let memory = format!("{:.1} GiB of memory", common.memory_bytes as f64 / GIB as f64);
    if common.memory_bytes < needed {
        report.warning(Check::Memory, memory, MORE_MEMORY);
    } else {
        report.ok(Check::Memory, memory);
    }
}

/// What an earlier `up` made is still as it was made: its services run, its routes are there.
fn built(common: &CommonFacts, report: &mut Report<'_>) {
    let down: Vec<_> = common.services.iter().filter(|service| service.state != ServiceState::Running).collect();
    if down.is_empty() {
        report.ok(Check::Services, format!("{} of ours, all running", common.services.len()));
    } else {
        let told = down.iter().map(|service| match service.last_exit {
            Some(exit) => format!("{} is {} (it ended with {exit})", service.name, service.state),
            None => format!("{} is {}", service.name, service.state),
        });
        report.error(Check::Services, told.collect::<Vec<_>>().join("; "), UP_MENDS);
    }
    let routes = common.owned.routes();
    let there: BTreeSet<Ipv4Net> = common.routes.iter().map(|route| route.destination).collect();
    let gone: Vec<_> = routes.difference(&there).map(ToString::to_string).collect();
    if gone.is_empty() {
        report.ok(Check::Routes, format!("{} of ours, all there", routes.len()));
    } else {
        report.error(Check::Routes, format!("gone: {}", gone.join(", ")), UP_MENDS);
    }
}

/// Ports that must be free, or held by what an earlier run made. `owner` is the resource that stands for our own program:
/// while that does not run, it holds no port.
pub(super) fn ports(os: Os, seen: &CommonFacts, needed: &[(u16, &str)], report: &mut Report<'_>) {
    let foreign: Vec<&Listener> = needed
        .iter()
        .filter(|(_, owner)| !is_owned(seen, owner) || is_down(seen, owner))
        .flat_map(|(port, _)| seen.listeners.iter().filter(move |listener| listener.port == *port))
        .collect();
    if foreign.is_empty() {
        let ports: Vec<_> = needed.iter().map(|(port, _)| port.to_string()).collect();
        return report.ok(Check::Ports, format!("{} are free or ours", ports.join(", ")));
    }
    let unknown = |program: &str| if program.is_empty() { "an unknown program".to_owned() } else { program.to_owned() };
    let taken: Vec<_> =
        foreign.iter().map(|listener| format!("{} by {}", listener.port, unknown(&listener.program))).collect();
    let command = |listener: &&Listener| match os {
        Os::Linux => format!("fuser --kill {}/tcp", listener.port),
        Os::Windows => {
            format!("Stop-Process (Get-NetTCPConnection -State Listen -LocalPort {}).OwningProcess", listener.port)
        }
    };
    let mut fix = FREE_PORT.with(&[]);
    fix.commands = foreign.iter().map(command).collect();
    report.error(Check::Ports, format!("taken: {}", taken.join(", ")), fix);
}

/// Whether the service that a resource stands for is known not to run.
fn is_down(common: &CommonFacts, owner: &str) -> bool {
    let name = owner.split_once(':').map_or(owner, |(_, name)| name);
    common.services.iter().any(|service| service.name == name && service.state != ServiceState::Running)
}

/// Whether an earlier run made this resource.
pub(super) fn is_owned(common: &CommonFacts, id: &str) -> bool {
    common.owned.contains(id)
}
