//! Checks between hosts: what no single host can tell.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::Ipv4Net;
use k8swin_inventory::Cluster;
use k8swin_protocol::Facts;

use super::{Report, Seen};

pub(super) fn check(cluster: &Cluster, seen: &BTreeMap<String, Seen<'_>>, report: &mut Report<'_>) {
    // By value, the hosts that have it. One host may have a MAC address twice: adapters that are bonded share one.
    let mut machines: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut macs: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (name, seen) in seen {
        let common = seen.facts.common();
        machines.entry(&common.machine_id).or_default().insert(name);
        for adapter in common.adapters.iter().filter(|adapter| adapter.physical) {
            macs.entry(&adapter.mac).or_default().insert(name);
        }
    }
    unique(
        "machine-identity",
        "machine id",
        &machines,
        "clones of one machine: give each an identity of its own (`systemd-machine-id-setup` after emptying \
         /etc/machine-id; sysprep on Windows)",
        report,
    );
    unique(
        "mac-addresses",
        "MAC address",
        &macs,
        "give each virtual machine adapters with MAC addresses of their own",
        report,
    );
    next_hops(cluster, seen, report);
    docker_ranges(cluster, seen, report);
}

fn unique(
    check: &'static str,
    what: &str,
    found: &BTreeMap<&str, BTreeSet<&str>>,
    remedy: &str,
    report: &mut Report<'_>,
) {
    let shared: Vec<_> = found
        .iter()
        .filter(|(value, hosts)| hosts.len() > 1 && !value.is_empty())
        .map(|(value, hosts)| {
            let hosts: Vec<_> = hosts.iter().copied().collect();
            format!("{} have the {what} {value}", hosts.join(" and "))
        })
        .collect();
    if shared.is_empty() {
        report.ok(check, format!("every {what} is there once"));
    } else {
        report.error(check, shared.join("; "), remedy);
    }
}

/// Each node's routes go by way of the other nodes' routable addresses, which a host takes as a next hop only where they
/// are on its own link.
fn next_hops(cluster: &Cluster, seen: &BTreeMap<String, Seen<'_>>, report: &mut Report<'_>) {
    let mut off_link = Vec::new();
    for (name, seen) in seen {
        let Some(adapter) = seen.facts.common().adapter_with(seen.host.node_address) else { continue };
        let Some(link) = adapter.addresses.iter().find(|net| net.addr() == seen.host.node_address) else { continue };
        let others = cluster.hosts.iter().filter(|other| other.name != *name && !link.contains(&other.node_address));
        let others: Vec<_> = others.map(|other| format!("{} ({})", other.name, other.node_address)).collect();
        if !others.is_empty() {
            off_link.push(format!("{name} ({link}) does not have on its link: {}", others.join(", ")));
        }
    }
    if off_link.is_empty() {
        report.ok("next-hops", "every node has all others on its link");
    } else {
        report.error(
            "next-hops",
            off_link.join("; "),
            "put the nodes into one subnet, or give as `node_address` the address of an adapter in the common one",
        );
    }
}

/// Docker picks a range for its own network without asking anybody (facts D.3).
fn docker_ranges(cluster: &Cluster, seen: &BTreeMap<String, Seen<'_>>, report: &mut Report<'_>) {
    let mut overlaps = Vec::new();
    for (name, seen) in seen {
        let docker = match seen.facts {
            Facts::Linux(facts) => &facts.docker,
            Facts::Windows(facts) => &facts.docker,
        };
        let ours = |network: &str| {
            let id = format!("transparent-network:{network}");
            seen.facts.common().owned.iter().any(|resource| resource.as_str() == id)
        };
        for (network, range) in docker.iter().flat_map(|docker| &docker.networks) {
            let Some(subnet) = range.subnet.filter(|_| !ours(network)) else { continue };
            let taken = [("pods", cluster.pod_cidr), ("services", cluster.service_cidr)]
                .into_iter()
                .find(|(_, range)| overlap(range, &subnet));
            if let Some((whose, range)) = taken {
                overlaps.push(format!("{name}: Docker's network `{network}` has {subnet}, the {whose} have {range}"));
            }
        }
    }
    if overlaps.is_empty() {
        report.ok("docker-ranges", "Docker's own networks are apart from pods and services");
    } else {
        report.error(
            "docker-ranges",
            overlaps.join("; "),
            "give Docker another range: `fixed-cidr` (Windows) or `bip` (Linux) in daemon.json, then restart it; or choose \
             other ranges in the inventory",
        );
    }
}

fn overlap(one: &Ipv4Net, other: &Ipv4Net) -> bool {
    one.contains(&other.network()) || other.contains(&one.network())
}
