//! What hosts reach: pods of other nodes, service addresses, and the web server of the test image.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use k8swin_blueprint::NetworkPlan;
use k8swin_inventory::{Check, Cluster, Host};
use k8swin_protocol::Os;
use k8swin_protocol::probe::{Ask, Connect, Outcome, Target};
use k8swin_protocol::wire::{Request, Response};

use super::nodes::{logs, state};
use super::pods::{ImagePod, NAME, TestPods};
use super::settle::{SETTLES_WITHIN, until_settled};
use crate::RunError;
use crate::event::Stage;
use crate::fleet::Fleet;
use crate::member::{Context, Member};
use crate::preflight::catalogue::{
    FORWARD_LINUX, FORWARD_WINDOWS, LOOK_AT_IMAGE, LOOK_AT_PROXY_LINUX, LOOK_AT_PROXY_WINDOWS, LOOK_AT_WEB_SERVER,
    RESTORE_ROUTES, ROUTE_TO_SERVICES,
};
use crate::preflight::links::met;
use crate::report::{Finding, Severity};
use crate::session::SessionError;

/// How long one connection may take. Hosts are near each other.
const TIMEOUT_MS: u32 = 2_000;

/// How long a web server may take from the start of its container to its first answer.
const SERVES_WITHIN: Duration = Duration::from_secs(120);

/// The port of the `kubernetes` service.
const SERVICE_PORT: u16 = 443;

/// A port at which nothing listens in a pause pod: its refusal is an answer, which came all the way.
const POD_PORT: u16 = 80;

/// The kubelet listens on all addresses of its host, that of the adapter for pods included.
const KUBELET: u16 = 10250;

/// What a host is to reach.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Goal {
    /// A pod of that node.
    Pod(String),
    /// The address of that node's adapter for pods. It tells where a pod that is not reached is lost: on the way to its node,
    /// or on the node.
    Gateway(String),
    /// The service of the API servers.
    Service,
}

impl Goal {
    /// Whether an attempt came to its goal.
    pub(super) fn is_reached(&self, outcome: &Outcome) -> bool {
        match self {
            Self::Pod(_) | Self::Gateway(_) => matches!(outcome, Outcome::Answered { .. } | Outcome::Refused),
            Self::Service => matches!(outcome, Outcome::Answered { .. }),
        }
    }
}

/// What became of each goal of a host.
pub(super) type Reached = Vec<(Goal, Outcome)>;

/// Lets every host connect to the pods of all other nodes and to the service address, all in one request a host, then to the
/// nodes of pods that it did not reach, and judges what became of it.
pub(super) async fn networks(fleet: &mut Fleet<'_>, pods: &BTreeMap<String, Ipv4Addr>) -> Vec<Finding> {
    let cluster = fleet.cluster;
    let within = SETTLES_WITHIN.min(fleet.options.ready_within);
    let found = fleet
        .part_of(Stage::Verify, async |member, context| {
            let (goals, targets): (Vec<_>, Vec<_>) = goals(cluster, member.host, pods).into_iter().unzip();
            let reached =
                |index: usize, outcome: &Outcome| goals.get(index).is_none_or(|goal| goal.is_reached(outcome));
            let outcomes = connect(member, context, targets, Instant::now() + within, reached).await?;
            let mut found: Reached = goals.into_iter().zip(outcomes).collect();
            let (gateways, targets): (Vec<_>, Vec<_>) = gateways(cluster, &found).into_iter().unzip();
            let outcomes = connect(member, context, targets, Instant::now(), |_, _| true).await?;
            found.extend(gateways.into_iter().zip(outcomes));
            Ok(found)
        })
        .await;
    let found: Vec<(String, Reached)> = found.into_iter().map(|(name, reached)| (name.to_owned(), reached)).collect();
    let mut findings = judge_pods(cluster, pods, &found);
    findings.extend(judge_services(cluster, &found));
    findings
}

fn connection(address: Ipv4Addr, port: u16) -> Target {
    Target { address, port, ask: Ask::Connection }
}

/// What a host is to reach, and how.
pub(super) fn goals(cluster: &Cluster, from: &Host, pods: &BTreeMap<String, Ipv4Addr>) -> Vec<(Goal, Target)> {
    let others = pods.iter().filter(|(node, _)| **node != from.name);
    let pods = others.map(|(node, address)| (Goal::Pod(node.clone()), connection(*address, POD_PORT)));
    let service = service_address(cluster).map(|address| (Goal::Service, connection(address, SERVICE_PORT)));
    pods.chain(service).collect()
}

/// What a host that did not reach some pods is to try, and how.
pub(super) fn gateways(cluster: &Cluster, found: &Reached) -> Vec<(Goal, Target)> {
    let lost = found.iter().filter(|(goal, outcome)| !goal.is_reached(outcome));
    let gateway = |(goal, _): &(Goal, Outcome)| match goal {
        Goal::Pod(node) => {
            let address = cluster.host(node)?.pod_gateway();
            Some((Goal::Gateway(node.clone()), connection(address, KUBELET)))
        }
        Goal::Gateway(_) | Goal::Service => None,
    };
    lost.filter_map(gateway).collect()
}

/// The address of the service `kubernetes`, which is the first of the range.
fn service_address(cluster: &Cluster) -> Option<Ipv4Addr> {
    cluster.service_cidr.hosts().next()
}

/// Connects from a host, and again to what was not reached until it is or the time is up.
async fn connect<'a>(
    member: &mut Member<'a>,
    context: Context<'_, 'a>,
    targets: Vec<Target>,
    deadline: Instant,
    is_reached: impl Fn(usize, &Outcome) -> bool,
) -> Result<Vec<Outcome>, SessionError> {
    let ask = async |member: &mut Member<'a>, targets| {
        let request = Request::Connect(Connect { targets, timeout_ms: TIMEOUT_MS });
        let ask = async |member: &mut Member<'a>| member.session()?.ask(request.clone()).await;
        match member.persist(context, ask).await? {
            Response::Connected { outcomes } => Ok(outcomes),
            _ => Err(SessionError::Nonsense { request: "connect" }),
        }
    };
    until_settled(member, context, deadline, &targets, Outcome::Silent, ask, is_reached).await
}

/// Judges how the other nodes reach each node's pod.
pub(super) fn judge_pods(
    cluster: &Cluster,
    pods: &BTreeMap<String, Ipv4Addr>,
    found: &[(String, Reached)],
) -> Vec<Finding> {
    let plan = NetworkPlan::of(cluster);
    // There are as many as pairs of hosts, so they are gone through once.
    let mut met = MetAt::new();
    for (from, reached) in found {
        for (goal, outcome) in reached {
            met.entry(goal).or_default().push((from, outcome));
        }
    }
    let hosts = cluster.hosts.iter().filter_map(|host| Some((host, *pods.get(&host.name)?)));
    hosts.map(|(host, address)| judge_pod(&plan, host, address, &met)).collect()
}

/// Who met what at each goal.
type MetAt<'a> = BTreeMap<&'a Goal, Vec<(&'a str, &'a Outcome)>>;

fn judge_pod(plan: &NetworkPlan, to: &Host, address: Ipv4Addr, met: &MetAt<'_>) -> Finding {
    let at = |goal: &Goal| met.get(goal).map_or(&[][..], Vec::as_slice);
    let (pod, gateway) = (Goal::Pod(to.name.clone()), Goal::Gateway(to.name.clone()));
    let (mut good, mut on_the_way, mut on_the_node) = (0, Lost::default(), Lost::default());
    for (from, outcome) in at(&pod) {
        if pod.is_reached(outcome) {
            good += 1;
            continue;
        }
        let arrives = at(&gateway).iter().any(|(by, outcome)| by == from && gateway.is_reached(outcome));
        if arrives { &mut on_the_node } else { &mut on_the_way }.add(outcome, from);
    }
    if on_the_way.is_empty() && on_the_node.is_empty() {
        let detail = match good {
            0 => format!("its pod {address} has no other node to be reached from"),
            good => format!("its pod {address} is reached by {good} other nodes"),
        };
        return Finding::new(&to.name, Check::PodNetwork, Severity::Ok, detail, None);
    }
    let mut said = Vec::new();
    if !on_the_way.is_empty() {
        let destination = to.pod_cidr.trunc();
        let planned = plan
            .node(on_the_way.first())
            .and_then(|node| node.routes.iter().find(|route| route.destination == destination).map(|route| route.via));
        let planned = planned.map_or_else(String::new, |via| format!(" via {via}"));
        said.push(format!(
            "from its pod {address} came {}; not even its node's own address {} in that subnet is reached: the plan's route \
             is {destination}{planned}",
            on_the_way.describe(),
            to.pod_gateway()
        ));
    }
    if !on_the_node.is_empty() {
        said.push(format!(
            "from its pod {address} came {}; its node's own address {} in that subnet is reached, so {} does not forward to \
             its pods",
            on_the_node.describe(),
            to.pod_gateway(),
            to.name
        ));
    }
    let fix = match to.os() {
        _ if !on_the_way.is_empty() => RESTORE_ROUTES.into(),
        Os::Linux => FORWARD_LINUX.into(),
        Os::Windows => FORWARD_WINDOWS.into(),
    };
    Finding::new(&to.name, Check::PodNetwork, Severity::Error, said.join("; "), Some(fix))
}

/// Hosts that did not reach something, by what they met.
#[derive(Default)]
struct Lost(BTreeMap<String, Vec<String>>);

impl Lost {
    fn add(&mut self, outcome: &Outcome, from: &str) {
        self.0.entry(met(outcome)).or_default().push(from.to_owned());
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn first(&self) -> &str {
        self.0.values().next().and_then(|hosts| hosts.first()).map_or("", String::as_str)
    }

    fn describe(&self) -> String {
        let each = self.0.iter().map(|(met, hosts)| format!("{met} to {}", hosts.join(", ")));
        each.collect::<Vec<_>>().join(", ")
    }
}

/// Judges how each host reaches the service address.
pub(super) fn judge_services(cluster: &Cluster, found: &[(String, Reached)]) -> Vec<Finding> {
    let Some(address) = service_address(cluster) else { return Vec::new() };
    let judge = |(name, reached): &(String, Reached)| {
        let (goal, outcome) = reached.iter().find(|(goal, _)| *goal == Goal::Service)?;
        if goal.is_reached(outcome) {
            let detail = format!("the API servers' service answers at {address}:{SERVICE_PORT}");
            return Some(Finding::new(name, Check::ServiceAddress, Severity::Ok, detail, None));
        }
        if let Outcome::Failed { answer } = outcome {
            let detail =
                format!("the host cannot send to the API servers' service at {address}:{SERVICE_PORT}: {answer}");
            return Some(Finding::new(
                name,
                Check::ServiceAddress,
                Severity::Error,
                detail,
                Some(ROUTE_TO_SERVICES.into()),
            ));
        }
        let os = cluster.host(name).map_or(Os::Linux, Host::os);
        let remedy = match os {
            Os::Linux => LOOK_AT_PROXY_LINUX,
            Os::Windows => LOOK_AT_PROXY_WINDOWS,
        };
        let fix = remedy.with(&[("logs", logs(os, "kube-proxy")), ("state", state(os, "kube-proxy"))]);
        let detail = format!(
            "from the API servers' service at {address}:{SERVICE_PORT} came {}: its kube-proxy does not lead there",
            met(outcome)
        );
        Some(Finding::new(name, Check::ServiceAddress, Severity::Error, detail, Some(fix)))
    };
    found.iter().filter_map(judge).collect()
}

/// Waits for the pod of the test image, lets all other hosts ask it, and judges what became of it.
pub(super) async fn image(
    fleet: &mut Fleet<'_>,
    pods: &TestPods<'_>,
    image: &ImagePod<'_>,
    deadline: Instant,
) -> Result<Finding, RunError> {
    let found = fleet
        .on_control_plane(Stage::Verify, async |member, context| {
            member
                .persist(context, async |member| {
                    pods.wait_for_image(member.session()?, image, deadline, context.teller).await
                })
                .await
        })
        .await?;
    let (cluster, name) = (fleet.cluster, &image.test.image);
    let Some((node, text)) = found.running(NAME) else {
        let host = found.node(NAME).unwrap_or(&cluster.name);
        let detail = format!("the pod of {name} does not run: {}", found.why_not(NAME));
        return Ok(Finding::new(host, Check::PodImage, Severity::Error, detail, Some(LOOK_AT_IMAGE.into())));
    };
    let host = cluster.host(node).filter(|host| host.os() == Os::Windows);
    let address = text.parse().ok().filter(|address| host.is_some_and(|host| host.pod_cidr.contains(address)));
    let (Some(host), Some(address)) = (host, address) else {
        let detail =
            format!("the pod of {name} runs on `{node}` with the address `{text}`, which is no Windows host's");
        return Ok(Finding::new(node, Check::PodImage, Severity::Error, detail, Some(LOOK_AT_IMAGE.into())));
    };
    let target = Target { address, port: image.test.port, ask: Ask::Http };
    let within = SERVES_WITHIN.min(fleet.options.ready_within);
    let answers = fleet
        .part_of_some(
            Stage::Verify,
            |member| member.host.name != host.name,
            async |member, context| {
                let reached = |_, outcome: &Outcome| matches!(outcome, Outcome::Answered { .. });
                connect(member, context, vec![target.clone()], Instant::now() + within, reached).await
            },
        )
        .await;
    let answers = answers.into_iter().filter_map(|(from, outcomes)| Some((from.to_owned(), outcomes.first()?.clone())));
    Ok(judge_image(&host.name, name, &target, &answers.collect::<Vec<_>>()))
}

/// Judges how the other hosts got on with the web server of the test image.
pub(super) fn judge_image(host: &str, image: &str, target: &Target, answers: &[(String, Outcome)]) -> Finding {
    let mut lost = Lost::default();
    for (from, outcome) in answers.iter().filter(|(_, outcome)| !matches!(outcome, Outcome::Answered { .. })) {
        lost.add(outcome, from);
    }
    let at = format!("{}:{}", target.address, target.port);
    if lost.is_empty() {
        let detail = format!("{image} runs and serves HTTP at {at} to {} other hosts", answers.len());
        return Finding::new(host, Check::PodImage, Severity::Ok, detail, None);
    }
    let detail = format!("{image} runs, and from its web server at {at} came {}", lost.describe());
    Finding::new(host, Check::PodImage, Severity::Error, detail, Some(LOOK_AT_WEB_SERVER.into()))
}
