//! Proves that the cluster works: nodes Ready with the right system and podCIDR, pods of both systems scheduled where they
//! belong and running, the API reached from the admin's own machine.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use k8swin_inventory::{Check, Cluster, Host};
use k8swin_protocol::Os;
use k8swin_protocol::wire::{KubeCall, Request};
use serde_json::{Value, json};

use crate::event::{Event, Stage};
use crate::fleet::Fleet;
use crate::report::{Finding, NodeStatus, Severity};
use crate::session::{AgentSession, SessionError};
use crate::state::StateDir;
use crate::{RunError, api};

/// How long a kubelet may take to report Ready.
const READY_TIMEOUT: Duration = Duration::from_secs(180);
/// How long a pod of the pause image may take to run, its service account's first minute included.
const POD_TIMEOUT: Duration = Duration::from_secs(180);
/// Between two looks.
const POLL: Duration = Duration::from_millis(500);

/// The label of a node's operating system in 1.5 and, still, in 1.20 (facts A.2 #31).
const OS_LABEL: &str = "beta.kubernetes.io/os";

/// The label of a node's own name.
const HOSTNAME_LABEL: &str = "kubernetes.io/hostname";

/// What the verification of a cluster found.
#[derive(Default)]
pub(crate) struct Proof {
    /// The nodes as the API server sees them.
    pub(crate) nodes: Vec<NodeStatus>,
    /// What was looked at.
    pub(crate) findings: Vec<Finding>,
}

/// The nodes as any control-plane host sees them now; none when none can be asked: no API is an answer too, that of a
/// cluster that does not run yet.
pub(crate) async fn nodes_now(fleet: &mut Fleet<'_>) -> Vec<NodeStatus> {
    let Ok((member, context)) = fleet.any_control_plane() else { return Vec::new() };
    member.persist(context, async |member| nodes(member.session()?).await).await.unwrap_or_default()
}

/// Proves that the nodes of the `expected` hosts and pods on them work. Leaves nothing behind.
///
/// # Errors
/// When no control-plane host can be asked.
pub(crate) async fn prove(fleet: &mut Fleet<'_>, state: &StateDir, expected: &[&Host]) -> Result<Proof, RunError> {
    fleet.teller.tell(Event::StageStarted(Stage::Verify));
    let pki = state.read_pki()?;
    let (cluster, cancel) = (fleet.cluster, &fleet.options.cancel);
    let (member, context) = fleet.any_control_plane()?;
    let host = member.host.name.clone();
    let proven = member.persist(context, async |member| {
        let session = member.session()?;
        let (nodes, mut findings) = ready_nodes(session, expected).await?;
        findings.extend(pods(session, cluster, expected, &nodes).await?);
        Ok(Proof { nodes, findings })
    });
    let from_here = async {
        tokio::select! {
            biased;
            () = cancel.cancelled() => Vec::new(),
            findings = api::from_here(cluster, &pki) => findings,
        }
    };
    match tokio::join!(proven, from_here) {
        (Ok(mut proof), from_here) => {
            proof.findings.extend(from_here);
            Ok(proof)
        }
        (Err(SessionError::Cancelled), _) => Err(RunError::Interrupted),
        (Err(error), _) => Err(RunError::ControlPlane { host, failure: error.failure() }),
    }
}

/// The nodes as the API server sees them now.
async fn nodes(session: &mut AgentSession) -> Result<Vec<NodeStatus>, SessionError> {
    let answer = session.kube(KubeCall::Get { path: "/api/v1/nodes".to_owned() }).await?;
    let mut nodes: Vec<_> = answer.body["items"].as_array().into_iter().flatten().map(node_status).collect();
    nodes.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(nodes)
}

/// Waits until all `expected` nodes are Ready, or the time is up, and judges what is there then.
async fn ready_nodes(
    session: &mut AgentSession,
    expected: &[&Host],
) -> Result<(Vec<NodeStatus>, Vec<Finding>), SessionError> {
    let deadline = Instant::now() + READY_TIMEOUT;
    let mut answered = false;
    loop {
        match nodes(session).await {
            Ok(nodes) => {
                answered = true;
                let findings = judge_nodes(expected, &nodes);
                if findings.iter().all(|finding| finding.severity == Severity::Ok) || Instant::now() >= deadline {
                    return Ok((nodes, findings));
                }
            }
            // An API server that has answered, and does not now, is restarting.
            Err(SessionError::Refused(_)) if answered && Instant::now() < deadline => {}
            Err(error) => return Err(error),
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Runs one pod of each operating system that has a Ready worker, waits until it runs, and deletes it again.
async fn pods(
    session: &mut AgentSession,
    cluster: &Cluster,
    expected: &[&Host],
    nodes: &[NodeStatus],
) -> Result<Vec<Finding>, SessionError> {
    let mut findings = Vec::new();
    for os in [Os::Linux, Os::Windows] {
        let Some((workers, selector)) = workers(cluster, expected, nodes, os) else { continue };
        let result = run_pod(session, os, &workers, &selector).await;
        // Whatever happened, Ctrl-C included, nothing of it stays.
        let pod = KubeCall::Delete { kind: "pod".to_owned(), namespace: "default".to_owned(), name: pod_name(os) };
        let deleted = session.ask_at_last(Request::Kube(pod)).await;
        findings.push(result?);
        match deleted {
            Ok(_) => {}
            // It is going: it goes when its kubelet can be heard again.
            Err(SessionError::Refused(failure)) => findings.push(finding(
                &cluster.name,
                Check::PodRemoved,
                Severity::Warning,
                failure.to_string(),
                Some(format!("if it stays: `kubectl delete pod {} --force --grace-period=0`", pod_name(os))),
            )),
            Err(error) => return Err(error),
        }
    }
    Ok(findings)
}

/// The Ready workers of an operating system among the expected hosts, and the labels that lead a pod there; none where
/// there is no such worker. The scheduler takes the node of a host that went down less than 40 s ago for Ready (facts B.2),
/// so that the pod is led to one that is there wherever one is not.
fn workers<'a>(
    cluster: &Cluster,
    expected: &[&'a Host],
    nodes: &[NodeStatus],
    os: Os,
) -> Option<(Vec<&'a Host>, BTreeMap<&'static str, String>)> {
    let is_worker = |host: &Host| host.os() == os && host.is_worker();
    let is_ready = |host: &Host| nodes.iter().any(|node| node.name == host.name && node.ready);
    let workers: Vec<_> = expected.iter().copied().filter(|host| is_worker(host) && is_ready(host)).collect();
    let first = workers.first()?;
    let mut selector = BTreeMap::from([(OS_LABEL, os.to_string())]);
    if cluster.hosts.iter().any(|host| is_worker(host) && expected.iter().all(|expected| expected.name != host.name)) {
        selector.insert(HOSTNAME_LABEL, first.name.clone());
    }
    Some((workers, selector))
}

fn judge_nodes(expected: &[&Host], nodes: &[NodeStatus]) -> Vec<Finding> {
    let by_name: BTreeMap<_, _> = nodes.iter().map(|node| (node.name.as_str(), node)).collect();
    expected.iter().map(|host| judge_node(host, by_name.get(host.name.as_str()).copied())).collect()
}

fn judge_node(host: &Host, node: Option<&NodeStatus>) -> Finding {
    let os = host.os();
    let logs = match os {
        Os::Linux => "look at `journalctl -u kubelet` on the host",
        Os::Windows => "look at C:\\k8swin\\log\\kubelet on the host",
    };
    let problem = match node {
        None => Some("the API server knows no such node".to_owned()),
        Some(node) if !node.ready => Some("the node is not Ready".to_owned()),
        Some(node) if node.os != os.as_str() => Some(format!("its label {OS_LABEL} is `{}`, expected `{os}`", node.os)),
        Some(node) if node.pod_cidr != host.pod_cidr.to_string() => {
            Some(format!("its podCIDR is {}, expected {}", node.pod_cidr, host.pod_cidr))
        }
        Some(node) if node.address != host.node_address.to_string() => {
            Some(format!("its address is {}, expected {}", node.address, host.node_address))
        }
        Some(_) => None,
    };
    match problem {
        None => finding(&host.name, Check::Node, Severity::Ok, format!("Ready, {os}, pods {}", host.pod_cidr), None),
        Some(problem) => finding(&host.name, Check::Node, Severity::Error, problem, Some(logs.to_owned())),
    }
}

async fn run_pod(
    session: &mut AgentSession,
    os: Os,
    workers: &[&Host],
    selector: &BTreeMap<&'static str, String>,
) -> Result<Finding, SessionError> {
    let deadline = Instant::now() + POD_TIMEOUT;
    let name = pod_name(os);
    let path = format!("/api/v1/namespaces/default/pods/{name}");
    let check = match os {
        Os::Linux => Check::PodLinux,
        Os::Windows => Check::PodWindows,
    };
    let mut last = String::from("it was not created");
    let mut created = false;
    while Instant::now() < deadline {
        if !created {
            // A fresh cluster refuses pods until the controller-manager has made the default service account.
            match session.kube(KubeCall::Create { object: pod(os, selector) }).await {
                Ok(_) => created = true,
                Err(SessionError::Refused(failure)) if failure.answer.contains("AlreadyExists") => created = true,
                Err(SessionError::Refused(failure)) => last = failure.to_string(),
                Err(error) => return Err(error),
            }
        }
        if created {
            let pod = match session.kube(KubeCall::Get { path: path.clone() }).await {
                Ok(answer) => answer.body,
                // The API server is restarting.
                Err(SessionError::Refused(failure)) => {
                    last = failure.to_string();
                    Value::Null
                }
                Err(error) => return Err(error),
            };
            let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
            let address = pod["status"]["podIP"].as_str().unwrap_or_default();
            if is_ending(&pod) {
                // An earlier one of that name, of which nothing is learnt.
                created = false;
            } else if pod["status"]["phase"] == "Running" {
                return Ok(judge_running(check, workers, node, address));
            } else {
                last = describe_waiting(&pod);
            }
        }
        tokio::time::sleep(POLL).await;
    }
    let remedy = "look at it with `kubectl describe pod`, and at the kubelet's log of its node";
    Ok(finding(&name, check, Severity::Error, format!("the pod does not run: {last}"), Some(remedy.to_owned())))
}

/// Whether a pod is gone or going.
fn is_ending(pod: &Value) -> bool {
    pod.is_null() || pod["metadata"]["deletionTimestamp"].is_string()
}

fn judge_running(check: Check, workers: &[&Host], node: &str, address: &str) -> Finding {
    let Some(host) = workers.iter().find(|host| host.name == node) else {
        let detail = format!("the pod was scheduled to `{node}`, which is not a worker of its operating system");
        return finding(node, check, Severity::Error, detail, None);
    };
    let inside = address.parse().is_ok_and(|address: std::net::Ipv4Addr| host.pod_cidr.contains(&address));
    if inside {
        finding(node, check, Severity::Ok, format!("a pod runs with the address {address}"), None)
    } else {
        let detail = format!("a pod runs with the address `{address}`, which is not in the node's {}", host.pod_cidr);
        let remedy = "compare the node's pod network with its podCIDR: `k8swin plan` shows the drift".to_owned();
        finding(node, check, Severity::Error, detail, Some(remedy))
    }
}

fn describe_waiting(pod: &Value) -> String {
    let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    let messages: Vec<_> = conditions.filter_map(|condition| condition["message"].as_str()).collect();
    let phase = pod["status"]["phase"].as_str().unwrap_or("Unknown");
    if messages.is_empty() { format!("phase {phase}") } else { format!("phase {phase}: {}", messages.join("; ")) }
}

fn pod_name(os: Os) -> String {
    format!("k8swin-verify-{os}")
}

/// A pod that does nothing, from the pause image that every node of its operating system has anyway: no large image is
/// pulled to prove that scheduling and pod networks work.
fn pod(os: Os, selector: &BTreeMap<&'static str, String>) -> Value {
    let image = match os {
        Os::Linux => k8swin_blueprint::LINUX_PAUSE_IMAGE,
        Os::Windows => k8swin_blueprint::WINDOWS_PAUSE_IMAGE,
    };
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": pod_name(os), "namespace": "default", "labels": { "app": "k8swin-verify" } },
        "spec": {
            "containers": [{ "name": "pause", "image": image, "imagePullPolicy": "IfNotPresent" }],
            "nodeSelector": selector,
        },
    })
}

fn node_status(node: &Value) -> NodeStatus {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let find =
        |list: &Value, kind: &str| list.as_array().into_iter().flatten().find(|item| item["type"] == kind).cloned();
    NodeStatus {
        name: text(&node["metadata"]["name"]),
        os: text(&node["metadata"]["labels"][OS_LABEL]),
        ready: find(&node["status"]["conditions"], "Ready").is_some_and(|condition| condition["status"] == "True"),
        address: find(&node["status"]["addresses"], "InternalIP")
            .map_or_else(String::new, |item| text(&item["address"])),
        pod_cidr: text(&node["spec"]["podCIDR"]),
        version: text(&node["status"]["nodeInfo"]["kubeletVersion"]),
    }
}

/// One finding.
pub(crate) fn finding(host: &str, check: Check, severity: Severity, detail: String, remedy: Option<String>) -> Finding {
    Finding::new(host, check, severity, detail, remedy.map(Into::into))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preflight::samples::INVENTORY;

    fn cluster() -> Cluster {
        k8swin_inventory::parse(INVENTORY, "inventory.toml".into()).unwrap()
    }

    fn good_node(host: &Host) -> NodeStatus {
        NodeStatus {
            name: host.name.clone(),
            os: host.os().to_string(),
            ready: true,
            address: host.node_address.to_string(),
            pod_cidr: host.pod_cidr.to_string(),
            version: "v1.5.8".into(),
        }
    }

    #[test]
    fn a_node_is_judged_by_readiness_system_subnet_and_address() {
        let cluster = cluster();
        let host = cluster.host("win01").unwrap();
        let good = judge_node(host, Some(&good_node(host)));
        assert_eq!((good.host.as_str(), good.check, good.severity), ("win01", Check::Node, Severity::Ok));
        assert_eq!((good.detail.as_str(), good.remedy), ("Ready, windows, pods 192.168.1.0/24", None));

        let spoiled = |spoil: fn(&mut NodeStatus)| {
            let mut node = good_node(host);
            spoil(&mut node);
            judge_node(host, Some(&node))
        };
        for (finding, names) in [
            (judge_node(host, None), &["knows no such node"][..]),
            (spoiled(|node| node.ready = false), &["not Ready"]),
            (spoiled(|node| node.os = "linux".into()), &[OS_LABEL, "`linux`", "`windows`"]),
            (spoiled(|node| node.os.clear()), &[OS_LABEL, "``"]),
            (spoiled(|node| node.pod_cidr = "192.168.7.0/24".into()), &["192.168.7.0/24", "192.168.1.0/24"]),
            (spoiled(|node| node.address = "10.0.0.99".into()), &["10.0.0.99", "10.0.0.21"]),
        ] {
            assert_eq!((finding.host.as_str(), finding.severity), ("win01", Severity::Error), "{finding:?}");
            for name in names {
                assert!(finding.detail.contains(name), "`{name}` is not in `{}`", finding.detail);
            }
            assert!(finding.remedy.is_some_and(|remedy| remedy.contains(r"C:\k8swin\log\kubelet")));
        }
        let linux = judge_node(cluster.host("lin01").unwrap(), None);
        assert!(linux.remedy.is_some_and(|remedy| remedy.contains("journalctl -u kubelet")));
    }

    #[test]
    fn every_expected_node_is_judged_and_no_other() {
        let cluster = cluster();
        let [linux, windows] = ["lin01", "win01"].map(|name| cluster.host(name).unwrap());
        let nodes = [good_node(linux), good_node(windows)];
        let findings = judge_nodes(&[windows], &nodes);
        assert_eq!(findings.iter().map(|finding| finding.host.as_str()).collect::<Vec<_>>(), ["win01"]);
        let findings = judge_nodes(&[linux, windows], &nodes[..1]);
        assert_eq!(
            findings.iter().map(|finding| finding.severity).collect::<Vec<_>>(),
            [Severity::Ok, Severity::Error]
        );
    }

    #[test]
    fn a_pod_is_led_to_a_host_that_is_there_wherever_one_is_not() {
        let inventory = include_str!("../../../inventories/seed.toml");
        let cluster = k8swin_inventory::parse(inventory, "seed.toml".into()).unwrap();
        let hosts: Vec<_> = cluster.hosts.iter().filter(|host| host.os() == Os::Windows).collect();
        let nodes: Vec<_> = hosts.iter().map(|host| good_node(host)).collect();
        let of = |expected: &[&Host], nodes: &[NodeStatus]| {
            let (workers, selector) = workers(&cluster, expected, nodes, Os::Windows)?;
            Some((workers.len(), selector.get(HOSTNAME_LABEL).cloned()))
        };
        let [first, others @ ..] = hosts.as_slice() else { panic!("no Windows hosts") };
        assert!(!others.is_empty());
        assert_eq!(of(&hosts, &nodes), Some((hosts.len(), None)), "the scheduler chooses");
        assert_eq!(of(others, &nodes), Some((others.len(), Some(others[0].name.clone()))));
        assert_eq!(of(&[*first], &nodes[1..]), None, "it is not Ready");
        assert_eq!(of(&[], &nodes), None);
    }

    #[test]
    fn a_running_pod_is_judged_by_its_node_and_its_address() {
        let cluster = cluster();
        let workers = [cluster.host("win01").unwrap()];
        let judge = |node: &str, address: &str| judge_running(Check::PodWindows, &workers, node, address);
        let good = judge("win01", "192.168.1.7");
        assert_eq!((good.host.as_str(), good.check, good.severity), ("win01", Check::PodWindows, Severity::Ok));
        assert!(good.detail.contains("192.168.1.7"));

        let elsewhere = judge("lin01", "192.168.0.7");
        assert_eq!(elsewhere.severity, Severity::Error);
        assert!(elsewhere.detail.contains("`lin01`") && elsewhere.detail.contains("not a worker"));
        for address in ["192.168.0.7", "172.20.0.5", "", "none"] {
            let outside = judge("win01", address);
            assert_eq!((outside.host.as_str(), outside.severity), ("win01", Severity::Error), "{address}");
            assert!(outside.detail.contains(&format!("`{address}`")) && outside.detail.contains("192.168.1.0/24"));
            assert!(outside.remedy.is_some());
        }
    }

    #[test]
    fn a_waiting_pod_is_described_by_its_phase_and_its_conditions() {
        let waiting = json!({ "status": { "phase": "Pending", "conditions": [
            { "type": "PodScheduled", "status": "False", "message": "No nodes are available" },
            { "type": "Initialized", "status": "True" },
            { "type": "Ready", "status": "False", "message": "containers with unready status: [pause]" },
        ] } });
        assert_eq!(
            describe_waiting(&waiting),
            "phase Pending: No nodes are available; containers with unready status: [pause]"
        );
        assert_eq!(describe_waiting(&json!({ "status": { "phase": "Failed" } })), "phase Failed");
        assert_eq!(describe_waiting(&Value::Null), "phase Unknown");
    }

    #[test]
    fn a_pod_that_is_gone_or_going_is_not_the_one_that_was_asked_for() {
        assert!(is_ending(&Value::Null));
        assert!(is_ending(&json!({ "metadata": { "deletionTimestamp": "2016-12-14T00:00:00Z" } })));
        assert!(!is_ending(&json!({ "metadata": { "name": "k8swin-verify-linux" } })));
    }

    #[test]
    fn a_node_object_is_read_whole_and_a_new_one_is_not_ready() {
        let node = json!({
            "metadata": { "name": "win01", "labels": { (OS_LABEL): "windows", "kubernetes.io/hostname": "win01" } },
            "spec": { "podCIDR": "192.168.1.0/24" },
            "status": {
                "addresses": [
                    { "type": "Hostname", "address": "win01" },
                    { "type": "InternalIP", "address": "10.0.0.21" },
                ],
                "conditions": [
                    { "type": "OutOfDisk", "status": "False" },
                    { "type": "Ready", "status": "True" },
                ],
                "nodeInfo": { "kubeletVersion": "v1.5.8" },
            },
        });
        assert_eq!(node_status(&node), good_node(cluster().host("win01").unwrap()));

        for status in ["False", "Unknown"] {
            let conditions = json!({ "status": { "conditions": [{ "type": "Ready", "status": status }] } });
            assert!(!node_status(&conditions).ready, "{status}");
        }
        let empty = node_status(&json!({ "metadata": { "name": "new" } }));
        let nothing = NodeStatus {
            name: "new".into(),
            os: String::new(),
            ready: false,
            address: String::new(),
            pod_cidr: String::new(),
            version: String::new(),
        };
        assert_eq!(empty, nothing);
    }
}
