//! Checks between hosts: what no single host can tell.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use k8swin_inventory::{Check, Cluster};
use k8swin_protocol::Os;

use super::catalogue::{Fix, NEW_IDENTITY, ONE_MTU, ONE_SUBNET, OWN_ADDRESS, OWN_HOST_NAME, OWN_MAC, SYSPREP};
use super::{Report, Seen};

pub(super) fn check(cluster: &Cluster, seen: &BTreeMap<String, Seen<'_>>, report: &mut Report<'_>) {
    // By value, the hosts that have it. One host may have a MAC address twice: adapters that are bonded share one.
    let mut machines: Owners<'_> = BTreeMap::new();
    let mut macs: Owners<'_> = BTreeMap::new();
    let mut names: Owners<'_> = BTreeMap::new();
    let mut addresses: Owners<'_> = BTreeMap::new();
    for (name, seen) in seen {
        let common = seen.facts.common();
        let details = &common.details;
        for identity in [&common.machine_id, &details.hardware_id] {
            machines.entry(identity.clone()).or_default().insert(name);
        }
        names.entry(common.hostname.clone()).or_default().insert(name);
        for adapter in common.adapters.iter().filter(|adapter| adapter.physical) {
            macs.entry(adapter.mac.clone()).or_default().insert(name);
            // Addresses that hosts give themselves are for their own link.
            for address in adapter.addresses.iter().map(|net| net.addr()).filter(|address| !address.is_link_local()) {
                addresses.entry(address.to_string()).or_default().insert(name);
            }
        }
    }
    let clones_are_windows = shared(&machines)
        .flat_map(|(_, hosts)| hosts)
        .all(|name| cluster.host(name).map(|host| host.os()) == Some(Os::Windows));
    let new_identity = if clones_are_windows { SYSPREP } else { NEW_IDENTITY };
    unique(Check::MachineIdentity, "machine id", &machines, new_identity.into(), report);
    let a_clone = shared(&macs).flat_map(|(_, hosts)| hosts).last().copied().unwrap_or_default();
    unique(Check::MacAddresses, "MAC address", &macs, OWN_MAC.with(&[("host", a_clone)]), report);
    unique(Check::Addresses, "address", &addresses, OWN_ADDRESS.into(), report);
    unique(Check::HostNames, "name", &names, OWN_HOST_NAME.into(), report);
    next_hops(cluster, seen, report);
    packet_sizes(seen, report);
}

/// Something that should be there once, and the hosts that have it.
type Owners<'a> = BTreeMap<String, BTreeSet<&'a str>>;

fn shared<'o, 'a>(found: &'o Owners<'a>) -> impl Iterator<Item = (&'o String, &'o BTreeSet<&'a str>)> {
    found.iter().filter(|(value, hosts)| hosts.len() > 1 && !value.is_empty())
}

fn unique(check: Check, what: &str, found: &Owners<'_>, fix: Fix, report: &mut Report<'_>) {
    let shared: Vec<_> = shared(found)
        .map(|(value, hosts)| {
            let hosts: Vec<_> = hosts.iter().copied().collect();
            format!("{} have the {what} {value}", hosts.join(" and "))
        })
        .collect();
    if shared.is_empty() {
        report.ok(check, format!("every {what} is there once"));
    } else if check == Check::HostNames {
        report.warning(check, shared.join("; "), fix);
    } else {
        report.error(check, shared.join("; "), fix);
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
        report.ok(Check::NextHops, "every node has all others on its link");
    } else {
        report.error(Check::NextHops, off_link.join("; "), ONE_SUBNET);
    }
}

/// The MTU of the adapter with the node's address, on each host.
fn packet_sizes(seen: &BTreeMap<String, Seen<'_>>, report: &mut Report<'_>) {
    let of_host = |seen: &Seen<'_>, address: Ipv4Addr| {
        let adapter = seen.facts.common().adapter_with(address)?;
        Some((adapter.name.clone(), *seen.facts.common().details.mtus.get(&adapter.name)?))
    };
    let mut sizes: BTreeMap<u32, Vec<(&str, String)>> = BTreeMap::new();
    for (name, seen) in seen {
        if let Some((adapter, mtu)) = of_host(seen, seen.host.node_address) {
            sizes.entry(mtu).or_default().push((name, adapter));
        }
    }
    let Some((smallest, _)) = sizes.first_key_value().filter(|_| sizes.len() > 1) else {
        let size = sizes.keys().next().map_or_else(|| "not told".to_owned(), ToString::to_string);
        return report.ok(Check::PacketSize, format!("the adapters of all nodes have one MTU: {size}"));
    };
    let list: Vec<_> = sizes
        .iter()
        .map(|(mtu, hosts)| format!("{mtu} on {}", hosts.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")))
        .collect();
    // Those that differ from the rest are the ones to look at.
    let odd = sizes.values().min_by_key(|hosts| hosts.len()).and_then(|hosts| hosts.first());
    let adapter = odd.map_or("eth0", |(_, adapter)| adapter);
    let common = sizes.iter().max_by_key(|(_, hosts)| hosts.len()).map_or(*smallest, |(mtu, _)| *mtu);
    let fix = ONE_MTU.with(&[("adapter", adapter), ("mtu", &common.to_string())]);
    report.warning(Check::PacketSize, format!("the adapters of the nodes have several MTUs: {}", list.join("; ")), fix);
}
