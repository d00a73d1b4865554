//! Checks that both operating systems share.

use k8swin_inventory::Cluster;
use k8swin_protocol::Os;

use super::{Report, Seen};

/// Certificates are backdated by an hour, tokens and leader election are not: beyond this, things fail in odd ways.
const CLOCK_ERROR_MS: i64 = 30_000;
/// Beyond this, log lines of two hosts can no longer be told in order.
const CLOCK_WARNING_MS: i64 = 5_000;

const GIB: u64 = 1 << 30;

pub(super) fn check(cluster: &Cluster, seen: &Seen<'_>, report: &mut Report<'_>) {
    let (host, common) = (seen.host, seen.facts.common());
    let os = host.os();

    if common.privileged {
        report.ok("privileges", format!("{} may change the system", common.user));
    } else {
        let remedy = match os {
            Os::Linux => "log in as root, or allow the account `sudo -n` (NOPASSWD) in /etc/sudoers.d",
            Os::Windows => {
                "use the built-in Administrator or a domain administrator, or set LocalAccountTokenFilterPolicy=1 \
                 (HKLM\\SOFTWARE\\Microsoft\\Windows\\CurrentVersion\\Policies\\System)"
            }
        };
        report.error("privileges", format!("{} may not change the system", common.user), remedy);
    }

    match common.adapter_with(host.node_address) {
        Some(adapter) if adapter.up => {
            report.ok("node-address", format!("{} is on `{}`", host.node_address, adapter.name));
        }
        Some(adapter) => report.error(
            "node-address",
            format!("{} is on `{}`, which is not connected", host.node_address, adapter.name),
            "connect the adapter, or give the address of another as `node_address`",
        ),
        None => report.error(
            "node-address",
            format!("no adapter has {}; there are: {}", host.node_address, addresses(seen)),
            "give the address by which the other nodes reach this host as `node_address` in the inventory",
        ),
    }

    let ahead = seen.clock_ahead_ms;
    let skew = format!("the clock is {:.1} s {} this machine's", ahead.abs() as f64 / 1000.0, side(ahead));
    let remedy = match os {
        Os::Linux => "synchronise it, for example with chrony: `chronyc makestep`",
        Os::Windows => "synchronise it: `w32tm /resync /force` (on a VM, look at the hypervisor's time service too)",
    };
    if ahead.abs() > CLOCK_ERROR_MS {
        report.error("clock", format!("{skew}; certificates and leases need less than 30 s"), remedy);
    } else if ahead.abs() > CLOCK_WARNING_MS {
        report.warning("clock", skew, remedy);
    } else {
        report.ok("clock", "within 5 s of this machine's");
    }

    let (folder, error_below, warning_below) = match os {
        Os::Linux => ("/var/lib", 2, 10),
        // windowsservercore alone is 5 GB, and a 30 GB system disk runs out (facts D.2).
        Os::Windows => ("C:", 5, 30),
    };
    let free = common.disk_free_bytes / GIB;
    let detail = format!("{free} GiB free on {folder}");
    if free < error_below {
        report.error("disk-space", format!("{detail}, needed: {error_below}"), "free some, or enlarge the disk");
    } else if free < warning_below {
        report.warning(
            "disk-space",
            format!("{detail}, advised: {warning_below}"),
            "images are large: enlarge the disk",
        );
    } else {
        report.ok("disk-space", detail);
    }

    // Hypervisors round a "1 GB" machine down a little.
    let needed = if host.is_control_plane() { 3 * GIB / 2 } else { 3 * GIB / 4 };
    let memory = format!("{:.1} GiB of memory", common.memory_bytes as f64 / GIB as f64);
    if common.memory_bytes < needed {
        report.warning("memory", memory, "give the host more: 2 GiB for a control plane, 1 GiB for a node");
    } else {
        report.ok("memory", memory);
    }

    match &common.cluster {
        Some(other) if *other != cluster.name => report.error(
            "other-cluster",
            format!("the host belongs to the cluster `{other}`"),
            "take it out of that cluster first (`k8swin reset` with that cluster's inventory)",
        ),
        Some(_) => report.ok("other-cluster", format!("part of `{}`", cluster.name)),
        None => report.ok("other-cluster", "part of no cluster yet"),
    }
}

/// Ports that must be free, or held by what an earlier run made. `owner` is the resource that stands for our own program.
pub(super) fn ports(seen: &k8swin_protocol::facts::CommonFacts, needed: &[(u16, &str)], report: &mut Report<'_>) {
    let mut foreign = Vec::new();
    for (port, owner) in needed {
        let ours = seen.owned.iter().any(|resource| resource.as_str() == *owner);
        if ours {
            continue;
        }
        foreign.extend(
            seen.listeners
                .iter()
                .filter(|listener| listener.port == *port)
                .map(|listener| format!("{port} by {}", listener.program)),
        );
    }
    if foreign.is_empty() {
        let ports: Vec<_> = needed.iter().map(|(port, _)| port.to_string()).collect();
        report.ok("ports", format!("{} are free or ours", ports.join(", ")));
    } else {
        report.error(
            "ports",
            format!("taken: {}", foreign.join(", ")),
            "stop what holds them, or move it to other ports",
        );
    }
}

fn side(ahead: i64) -> &'static str {
    if ahead < 0 { "behind" } else { "ahead of" }
}

fn addresses(seen: &Seen<'_>) -> String {
    let list: Vec<_> = seen
        .facts
        .common()
        .adapters
        .iter()
        .flat_map(|adapter| adapter.addresses.iter().map(move |net| format!("{} (`{}`)", net.addr(), adapter.name)))
        .collect();
    if list.is_empty() { "none".to_owned() } else { list.join(", ") }
}
