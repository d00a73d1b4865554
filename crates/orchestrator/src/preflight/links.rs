//! The connections that hosts need to each other: which they are, and what became of the attempts.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use k8swin_inventory::cluster::Host;
use k8swin_inventory::{Check, Cluster};
use k8swin_protocol::Facts;
use k8swin_protocol::facts::CommonFacts;
use k8swin_protocol::probe::{Ask, Outcome, Target};
use serde::Serialize;

use super::catalogue::{NEARER, OPEN_PATH, OPEN_WINDOWS, SMALLER_MTU};
use super::common::is_owned;
use super::{Evidence, Report};

/// Control planes that are farther apart do not keep etcd's default heartbeat (100 ms) with ease.
const FAR_MICROSECONDS: u64 = 10_000;

/// The kubelet's own port.
const KUBELET: u16 = 10250;

/// So many hosts are named in one sentence.
const NAMED: usize = 5;

/// The rule by which `up` opens the kubelet's port in Windows' firewall.
const OWN_RULE: &str = "firewall-rule:k8swin kubelet";

/// What a connection between two hosts is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// A node and the API server.
    ApiServer,
    /// Members of etcd.
    Etcd,
    /// The API server and a kubelet.
    Kubelet,
    /// Pods of two nodes. The kubelet's port stands for all that pods send.
    Pods,
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ApiServer => "API server",
            Self::Etcd => "etcd",
            Self::Kubelet => "kubelet",
            Self::Pods => "pods",
        })
    }
}

/// A connection from one host to another that was tried. There are as many as pairs of hosts, which share their names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The host that connected.
    pub from: Arc<str>,
    /// The host that was connected to.
    pub to: Arc<str>,
    /// The port.
    pub port: u16,
    /// What it is for.
    pub purpose: Purpose,
    /// What became of it.
    pub outcome: Outcome,
}

impl Link {
    /// Whether it works.
    #[must_use]
    pub fn works(&self) -> bool {
        matches!(self.outcome, Outcome::Answered { .. })
    }
}

/// The ports of `to` that `from` must reach.
fn needed(cluster: &Cluster, from: &Host, to: &Host) -> impl Iterator<Item = (u16, Purpose)> {
    let api_server = to.is_control_plane().then_some((cluster.api_port, Purpose::ApiServer));
    let members = to.is_control_plane() && from.is_control_plane();
    let etcd = members.then_some([(2379, Purpose::Etcd), (2380, Purpose::Etcd)]);
    let kubelet = (KUBELET, if from.is_control_plane() { Purpose::Kubelet } else { Purpose::Pods });
    api_server.into_iter().chain(etcd.into_iter().flatten()).chain([kubelet])
}

/// The ports on which a host's agent is to listen for the others.
pub(crate) fn listened(cluster: &Cluster, host: &Host) -> Vec<u16> {
    let others = cluster.hosts.iter().filter(|other| other.name != host.name);
    let mut ports: Vec<u16> = others.flat_map(|other| needed(cluster, other, host)).map(|(port, _)| port).collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

/// The ports of a host that can be connected to.
pub(crate) struct Open {
    /// Those on which its agent listens.
    pub(crate) by_agent: Vec<u16>,
    /// Those that one of our own programs has.
    pub(crate) by_us: Vec<u16>,
}

impl Open {
    /// Of a host whose agent listens on these ports.
    pub(crate) fn new(by_agent: Vec<u16>, common: &CommonFacts, cluster: &Cluster) -> Self {
        let ports = common.listeners.iter().map(|listener| listener.port);
        Self { by_agent, by_us: ports.filter(|port| holds(common, cluster, *port)).collect() }
    }
}

/// What a host is to connect to, and what for. Where one of our own programs has the port, that is connected to; where
/// another's does, nothing would be learnt.
pub(crate) fn targets(
    cluster: &Cluster,
    from: &Host,
    open: &BTreeMap<Arc<str>, Open>,
    token: &str,
) -> Vec<(Arc<str>, Purpose, Target)> {
    let mut targets = Vec::new();
    for to in cluster.hosts.iter().filter(|to| to.name != from.name) {
        let Some((name, open)) = open.get_key_value(to.name.as_str()) else { continue };
        for (port, purpose) in needed(cluster, from, to) {
            let by_agent = open.by_agent.contains(&port);
            if by_agent || open.by_us.contains(&port) {
                let ask = if by_agent { Ask::Token(token.to_owned()) } else { Ask::Connection };
                targets.push((Arc::clone(name), purpose, Target { address: to.node_address, port, ask }));
            }
        }
    }
    targets
}

/// Whether the program of ours that has this port was put on the host by an earlier run.
fn holds(common: &CommonFacts, cluster: &Cluster, port: u16) -> bool {
    let program = match port {
        2379 | 2380 => "etcd",
        KUBELET => "kubelet",
        port if port == cluster.api_port => "kube-apiserver",
        _ => return false,
    };
    is_owned(common, &format!("unit:{program}")) || is_owned(common, &format!("service:{program}"))
}

/// The links whose outcomes a host has told.
pub(crate) fn links(from: &Host, wanted: Vec<(Arc<str>, Purpose, Target)>, outcomes: Vec<Outcome>) -> Vec<Link> {
    let from: Arc<str> = from.name.as_str().into();
    wanted
        .into_iter()
        .zip(outcomes)
        .map(|((to, purpose, target), outcome)| Link {
            from: Arc::clone(&from),
            to,
            port: target.port,
            purpose,
            outcome,
        })
        .collect()
}

/// The links by the host that was connected to, each in the order of the inventory.
pub(super) type Arriving<'a> = BTreeMap<&'a str, Vec<&'a Link>>;

/// Sorts links. There are as many as pairs of hosts, so they are gone through once.
pub(super) fn arriving(links: &[Link]) -> Arriving<'_> {
    let mut arriving = Arriving::new();
    for link in links {
        arriving.entry(&*link.to).or_default().push(link);
    }
    arriving
}

/// What the others met who connected to `host`.
pub(super) fn check(
    cluster: &Cluster,
    host: &Host,
    evidence: &Evidence<'_>,
    all: &Arriving<'_>,
    report: &mut Report<'_>,
) {
    let arriving = all.get(host.name.as_str()).map_or(&[][..], Vec::as_slice);
    let failing = |stalled: bool| -> Vec<&Link> {
        let fails = |link: &&&Link| !link.works() && (link.outcome == Outcome::Stalled) == stalled;
        arriving.iter().filter(fails).copied().collect()
    };
    let stalled = failing(true);
    if !stalled.is_empty() {
        let detail = format!("large packets are lost: {}", describe(&stalled).join("; "));
        report.error(Check::PacketSize, detail, SMALLER_MTU);
    }
    let blocked = failing(false);
    if arriving.is_empty() && cluster.hosts.len() > 1 {
        return report.ok(Check::HostToHost, "no other host could be asked");
    }
    if blocked.is_empty() {
        let mut others: Vec<_> = arriving.iter().map(|link| &*link.from).collect();
        others.dedup();
        return report.ok(Check::HostToHost, format!("reached by {} other hosts", others.len()));
    }
    let detail = describe(&blocked).join("; ");
    if blocked.iter().all(|link| link.outcome == Outcome::Silent) && closed_yet(host, evidence, all, &blocked) {
        return report.warning(
            Check::HostToHost,
            format!("{detail}; perhaps Windows' firewall, which `up` opens"),
            OPEN_WINDOWS,
        );
    }
    let mut ports: Vec<_> = blocked.iter().map(|link| link.port).collect();
    ports.sort_unstable();
    ports.dedup();
    let ports: Vec<_> = ports.iter().map(ToString::to_string).collect();
    let fix = OPEN_PATH.with(&[("ports", &ports.join(", ")), ("hosts", &names(&blocked))]);
    report.error(Check::HostToHost, detail, fix);
}

/// Whether the host's own firewall may be all that is in the way, as it is before `up` has opened the port: the way back
/// works.
fn closed_yet(host: &Host, evidence: &Evidence<'_>, all: &Arriving<'_>, blocked: &[&Link]) -> bool {
    let Some(Facts::Windows(facts)) = evidence.seen.get(&host.name).map(|seen| seen.facts) else { return false };
    let filters = facts.details.firewall.iter().any(|profile| profile.enabled);
    let way_back = |link: &&Link| {
        let back = all.get(&*link.from).into_iter().flatten();
        back.into_iter().any(|back| *back.from == *host.name && back.works())
    };
    filters && !is_owned(&facts.common, OWN_RULE) && blocked.iter().all(way_back)
}

/// Links that failed in one way, in one sentence each.
fn describe(links: &[&Link]) -> Vec<String> {
    let mut groups: BTreeMap<(u16, Purpose, String), Vec<&Link>> = BTreeMap::new();
    for link in links {
        groups.entry((link.port, link.purpose, met(&link.outcome))).or_default().push(link);
    }
    groups
        .into_iter()
        .map(|((port, purpose, met), links)| format!("{met} to {} on port {port} ({purpose})", names(&links)))
        .collect()
}

/// What was met, as the object of a sentence: "no answer to lin01".
pub(crate) fn met(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Answered { .. } => "an answer".to_owned(),
        Outcome::Refused => "a refusal".to_owned(),
        Outcome::Silent => "no answer".to_owned(),
        Outcome::Stalled => "no more answer after small packets".to_owned(),
        Outcome::Stranger => "an answer of something else than what was asked for".to_owned(),
        Outcome::Failed { answer } => format!("`{answer}` said"),
    }
}

fn names(links: &[&Link]) -> String {
    let mut names: Vec<_> = links.iter().map(|link| &*link.from).collect();
    names.sort_unstable();
    names.dedup();
    match names.get(..NAMED) {
        Some(first) if names.len() > NAMED => format!("{} and {} more", first.join(", "), names.len() - NAMED),
        _ => names.join(", "),
    }
}

/// How long control planes take to reach each other.
pub(super) fn latency(cluster: &Cluster, links: &[Link], report: &mut Report<'_>) {
    let control_planes: BTreeSet<&str> = cluster.control_planes().map(|host| host.name.as_str()).collect();
    let slowest = links
        .iter()
        .filter(|link| [&*link.from, &*link.to].iter().all(|name| control_planes.contains(name)))
        .filter_map(|link| match link.outcome {
            Outcome::Answered { microseconds } => Some((microseconds, link)),
            _ => None,
        })
        .max_by_key(|(microseconds, _)| *microseconds);
    let Some((microseconds, link)) = slowest else {
        return report.ok(Check::Latency, "there are no two control planes to measure between");
    };
    let milliseconds = microseconds as f64 / 1000.0;
    let detail = format!("{milliseconds:.1} ms from {} to {}", link.from, link.to);
    if microseconds > FAR_MICROSECONDS {
        report.warning(Check::Latency, format!("{detail}; advised: 10 ms at most"), NEARER);
    } else {
        report.ok(Check::Latency, format!("at most {detail}"));
    }
}
