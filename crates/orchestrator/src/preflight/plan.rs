//! The plan against what the hosts really have.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::Ipv4Net;
use jiff::{SignedDuration, Timestamp};
use k8swin_inventory::cluster::KubernetesMinor;
use k8swin_inventory::network::{overlap, service_networks, subnet_count};
use k8swin_inventory::{Check, Cluster};
use k8swin_protocol::facts::{Adapter, RouteEntry};
use k8swin_protocol::{Facts, Os};

use super::catalogue::{
    Fix, LARGER_RANGE, NEW_AUTHORITY, OTHER_DOCKER_RANGE, OTHER_SERVICE_RANGE, REMOVE_ROUTE, SAME_REVISION, UP_RENEWS,
};
use super::common::is_owned;
use super::{Evidence, Report, Seen};
use crate::report::{Finding, Severity};

/// What a node runs at most by default (facts B.3), each with an address, and the gateway's.
const ADDRESSES_OF_A_NODE: u64 = 110 + 1;

/// `up` renews certificates that end sooner (see the PKI of the blueprint).
const RENEWED_BEFORE_END: SignedDuration = SignedDuration::from_hours(30 * 24);
/// An authority cannot be renewed under a running cluster, so its end is told long before.
const AUTHORITY_WARNING: SignedDuration = SignedDuration::from_hours(365 * 24);

pub(super) fn check(cluster: &Cluster, evidence: &Evidence<'_>, report: &mut Report<'_>) {
    let seen = &evidence.seen;
    docker_ranges(cluster, seen, report);
    routes(cluster, seen, report);
    if cluster.hosts.iter().any(|host| host.os() == Os::Windows) && cluster.kubernetes.minor == KubernetesMinor::V1_5 {
        classful(cluster, seen, report);
    }
    capacity(cluster, report);
    versions(seen, report);
    // `up` renews what has ended, and looks here first.
    let ended = Severity::Warning;
    report.findings.extend(certificates(report.host, &evidence.certificates, evidence.now, ended));
}

/// The pods' and the services' range, and whose each is.
fn ranges(cluster: &Cluster) -> [(&'static str, Ipv4Net); 2] {
    [("pods", cluster.pod_cidr), ("services", cluster.service_cidr)]
}

/// Docker picks a range for its own network without asking anybody (facts D.3).
fn docker_ranges(cluster: &Cluster, seen: &BTreeMap<String, Seen<'_>>, report: &mut Report<'_>) {
    let (mut overlaps, mut commands) = (Vec::new(), BTreeSet::new());
    for (name, seen) in seen {
        let (docker, restart) = match seen.facts {
            Facts::Linux(facts) => (&facts.docker, "systemctl restart docker"),
            Facts::Windows(facts) => (&facts.docker, "Restart-Service docker"),
        };
        let ours = |network: &str| is_owned(seen.facts.common(), &format!("transparent-network:{network}"));
        for (network, range) in docker.iter().flat_map(|docker| &docker.networks) {
            let Some(subnet) = range.subnet.filter(|_| !ours(network)) else { continue };
            if let Some((whose, range)) = ranges(cluster).into_iter().find(|(_, range)| overlap(*range, subnet)) {
                overlaps.push(format!("{name}: Docker's network `{network}` has {subnet}, the {whose} have {range}"));
                commands.insert(restart.to_owned());
            }
        }
    }
    if overlaps.is_empty() {
        report.ok(Check::DockerRanges, "Docker's own networks are apart from pods and services");
    } else {
        let fix = Fix { commands: commands.into_iter().collect(), ..OTHER_DOCKER_RANGE.into() };
        report.error(Check::DockerRanges, overlaps.join("; "), fix);
    }
}

/// Routes that somebody else made: neither the default route, nor ours, which are in the ledger.
fn foreign_routes<'s>(seen: &'s Seen<'_>) -> impl Iterator<Item = &'s RouteEntry> {
    let common = seen.facts.common();
    common.routes.iter().filter(move |route| {
        let ours = common.owned.routes().contains(&route.destination);
        route.destination.prefix_len() > 0 && !ours && !is_own_link(seen, route)
    })
}

/// Whether a route is the link of an adapter that Docker, HNS or the kubelet made, or of the one that the transparent
/// network takes whole: Docker's ranges have a check of their own.
fn is_own_link(seen: &Seen<'_>, route: &RouteEntry) -> bool {
    let adapters = &seen.facts.common().adapters;
    let link_of = adapters.iter().find(|adapter| {
        *adapter.name == *route.adapter && adapter.addresses.iter().any(|net| net.trunc() == route.destination)
    });
    let routable = |adapter: &Adapter| adapter.addresses.iter().any(|net| net.addr() == seen.host.node_address);
    let taken_whole = |adapter: &Adapter| seen.host.os() == Os::Windows && !routable(adapter);
    route.via.is_none() && link_of.is_some_and(|adapter| !adapter.physical || taken_whole(adapter))
}

fn routes(cluster: &Cluster, seen: &BTreeMap<String, Seen<'_>>, report: &mut Report<'_>) {
    let (mut overlaps, mut commands) = (Vec::new(), BTreeSet::new());
    for (name, seen) in seen {
        for route in foreign_routes(seen) {
            let destination = route.destination;
            let Some((whose, range)) = ranges(cluster).into_iter().find(|(_, range)| overlap(*range, destination))
            else {
                continue;
            };
            let by = route.via.map_or_else(|| "on the link of".to_owned(), |via| format!("by way of {via} on"));
            overlaps.push(format!(
                "{name}: the route to {destination} {by} `{}` is in the {whose}' range {range}",
                route.adapter
            ));
            commands.insert(match seen.host.os() {
                Os::Linux => format!("ip route del {destination}"),
                Os::Windows => format!("Remove-NetRoute -DestinationPrefix {destination} -Confirm:$false"),
            });
        }
    }
    if overlaps.is_empty() {
        report.ok(Check::RouteOverlap, "no route of others leads into the ranges of pods and services");
    } else {
        let fix = Fix { commands: commands.into_iter().collect(), ..REMOVE_ROUTE.into() };
        report.error(Check::RouteOverlap, overlaps.join("; "), fix);
    }
}

fn classful(cluster: &Cluster, seen: &BTreeMap<String, Seen<'_>>, report: &mut Report<'_>) {
    let dragged_in = service_networks(cluster.service_cidr);
    let mut caught = Vec::new();
    for (name, seen) in seen.iter().filter(|(_, seen)| seen.host.os() == Os::Windows) {
        let common = seen.facts.common();
        for route in foreign_routes(seen) {
            if overlap(dragged_in, route.destination) && !overlap(cluster.service_cidr, route.destination) {
                caught.push(format!("{name}: the route to {}", route.destination));
            }
            if let Some(via) = route.via.filter(|via| dragged_in.contains(via)) {
                caught.push(format!("{name}: the router {via} of {}", route.destination));
            }
        }
        let routers =
            common.routes.iter().filter(|route| route.destination.prefix_len() == 0).filter_map(|route| route.via);
        caught.extend(
            routers.filter(|via| dragged_in.contains(via)).map(|via| format!("{name}: the default router {via}")),
        );
    }
    if caught.is_empty() {
        report.ok(Check::ClassfulNetwork, format!("nothing else is in {dragged_in}"));
    } else {
        let detail = format!("in {dragged_in}, which services take on Windows: {}", caught.join("; "));
        report.error(Check::ClassfulNetwork, detail, OTHER_SERVICE_RANGE);
    }
}

fn capacity(cluster: &Cluster, report: &mut Report<'_>) {
    // Network and broadcast address are no pod's.
    let addresses = (1_u64 << (32 - cluster.node_pod_prefix)) - 2;
    let subnets = subnet_count(cluster.pod_cidr, cluster.node_pod_prefix);
    let hosts = cluster.hosts.len() as u64;
    if addresses < ADDRESSES_OF_A_NODE {
        let detail = format!("a /{} has {addresses} addresses, a node runs up to 110 pods", cluster.node_pod_prefix);
        report.warning(Check::PodCapacity, detail, LARGER_RANGE);
    } else if subnets <= hosts {
        let detail = format!("{} has {subnets} subnets, all taken: no node can be added", cluster.pod_cidr);
        report.warning(Check::PodCapacity, detail, LARGER_RANGE);
    } else {
        let detail = format!("{addresses} addresses a node, room for {} more nodes", subnets - hosts);
        report.ok(Check::PodCapacity, detail);
    }
}

fn versions(seen: &BTreeMap<String, Seen<'_>>, report: &mut Report<'_>) {
    let mut builds: BTreeMap<(u32, u32), Vec<&str>> = BTreeMap::new();
    for (name, seen) in seen {
        if let Facts::Windows(facts) = seen.facts {
            builds.entry((facts.build, facts.ubr)).or_default().push(name);
        }
    }
    let list: Vec<_> =
        builds.iter().map(|((build, ubr), hosts)| format!("10.0.{build}.{ubr} on {}", hosts.join(", "))).collect();
    match builds.len() {
        0 => report.ok(Check::Versions, "there is no Windows host"),
        1 => report.ok(Check::Versions, list.join("; ")),
        _ => report.warning(Check::Versions, format!("the Windows hosts differ: {}", list.join("; ")), SAME_REVISION),
    }
}

/// Judges the last days of the cluster's certificates, by the file's name. Those of a host are told with the host, all
/// others with the cluster. `ended` says how bad it is where one that `up` renews has ended.
pub(crate) fn certificates(
    cluster: &str,
    certificates: &BTreeMap<String, Timestamp>,
    now: Timestamp,
    ended: Severity,
) -> Vec<Finding> {
    let left = |end: &Timestamp| end.duration_since(now);
    let days = |end: &Timestamp| left(end).as_hours() / 24;
    let mut troubles: BTreeMap<&str, Vec<Trouble>> = BTreeMap::new();
    for (name, end) in certificates {
        let is_authority = name == "ca.crt" || name.ends_with("/ca.crt");
        let limit = if is_authority { AUTHORITY_WARNING } else { RENEWED_BEFORE_END };
        if left(end) >= limit {
            continue;
        }
        let over = left(end) <= SignedDuration::ZERO;
        let detail = match (over, days(end)) {
            (true, days) => format!("{name} ended {} days ago", -days),
            (false, days) => format!("{name} ends in {days} days"),
        };
        let severity = match (over, is_authority) {
            (true, true) => Severity::Error,
            (true, false) => ended,
            (false, _) => Severity::Warning,
        };
        let owner = name.strip_prefix("hosts/").and_then(|rest| rest.split('/').next()).unwrap_or(cluster);
        troubles.entry(owner).or_default().push(Trouble { is_authority, severity, detail });
    }
    if troubles.is_empty() {
        let detail = match certificates.values().min() {
            None => "none yet".to_owned(),
            Some(first) => format!("{} certificates, the first ends in {} days", certificates.len(), days(first)),
        };
        return vec![Finding::new(cluster, Check::Certificates, Severity::Ok, detail, None)];
    }
    if let Some(of_cluster) = troubles.get_mut(cluster)
        && of_cluster.iter().any(|trouble| trouble.is_authority)
    {
        // With a new authority come new certificates for all.
        of_cluster.retain(|trouble| trouble.is_authority);
        troubles.retain(|owner, _| *owner == cluster);
    }
    let finding = |(owner, troubles): (&str, Vec<Trouble>)| {
        let severity = troubles.iter().map(|trouble| trouble.severity).max().unwrap_or(Severity::Ok);
        let remedy = if troubles.iter().any(|trouble| trouble.is_authority) { NEW_AUTHORITY } else { UP_RENEWS };
        let details: Vec<_> = troubles.into_iter().map(|trouble| trouble.detail).collect();
        Finding::new(owner, Check::Certificates, severity, details.join("; "), Some(remedy.into()))
    };
    troubles.into_iter().map(finding).collect()
}

/// A certificate that has ended, or ends soon.
struct Trouble {
    is_authority: bool,
    severity: Severity,
    detail: String,
}
