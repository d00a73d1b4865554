//! Proves that the cluster works: nodes Ready with the right system and podCIDR, pods of both systems scheduled where they
//! belong and running, the API reached from the admin's own machine.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use k8swin_inventory::{Cluster, Host};
use k8swin_protocol::Os;
use k8swin_protocol::wire::KubeCall;
use serde_json::{Value, json};

use crate::report::{Finding, NodeStatus, Severity};
use crate::session::{AgentSession, SessionError};

/// How long a kubelet may take to report Ready.
const READY_TIMEOUT: Duration = Duration::from_secs(180);
/// How long a pod of the pause image may take to run, its service account's first minute included.
const POD_TIMEOUT: Duration = Duration::from_secs(180);
/// Between two looks.
const POLL: Duration = Duration::from_millis(500);

/// The label of a node's operating system in 1.5 and, still, in 1.20 (facts A.2 #31).
const OS_LABEL: &str = "beta.kubernetes.io/os";

/// The nodes as the API server sees them now.
pub(crate) async fn nodes(session: &mut AgentSession) -> Result<Vec<NodeStatus>, SessionError> {
    let answer = session.kube(KubeCall::Get { path: "/api/v1/nodes".to_owned() }).await?;
    let mut nodes: Vec<_> = answer.body["items"].as_array().into_iter().flatten().map(node_status).collect();
    nodes.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(nodes)
}

/// Waits until all `expected` nodes are Ready, or the time is up, and judges what is there then.
pub(crate) async fn ready_nodes(
    session: &mut AgentSession,
    expected: &[&Host],
) -> Result<(Vec<NodeStatus>, Vec<Finding>), SessionError> {
    let deadline = Instant::now() + READY_TIMEOUT;
    loop {
        let nodes = nodes(session).await?;
        let findings = judge_nodes(expected, &nodes);
        if findings.iter().all(|finding| finding.severity == Severity::Ok) || Instant::now() >= deadline {
            return Ok((nodes, findings));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Runs one pod of each operating system that has a Ready worker, waits until it runs, and deletes it again.
pub(crate) async fn pods(
    session: &mut AgentSession,
    cluster: &Cluster,
    nodes: &[NodeStatus],
) -> Result<Vec<Finding>, SessionError> {
    let mut findings = Vec::new();
    for os in [Os::Linux, Os::Windows] {
        let ready: Vec<_> = cluster
            .hosts
            .iter()
            .filter(|host| host.os() == os && host.is_worker())
            .filter(|host| nodes.iter().any(|node| node.name == host.name && node.ready))
            .collect();
        if ready.is_empty() {
            continue;
        }
        let result = run_pod(session, os, &ready).await;
        // Whatever happened, nothing of it stays.
        let deleted = session.kube(KubeCall::Delete {
            kind: "pod".to_owned(),
            namespace: "default".to_owned(),
            name: pod_name(os),
        });
        let deleted = deleted.await;
        findings.push(result?);
        deleted?;
    }
    Ok(findings)
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
        None => finding(&host.name, "node", Severity::Ok, format!("Ready, {os}, pods {}", host.pod_cidr), None),
        Some(problem) => finding(&host.name, "node", Severity::Error, problem, Some(logs.to_owned())),
    }
}

async fn run_pod(session: &mut AgentSession, os: Os, workers: &[&Host]) -> Result<Finding, SessionError> {
    let deadline = Instant::now() + POD_TIMEOUT;
    let name = pod_name(os);
    let path = format!("/api/v1/namespaces/default/pods/{name}");
    let check = match os {
        Os::Linux => "pod-linux",
        Os::Windows => "pod-windows",
    };
    let mut last = String::from("it was not created");
    let mut created = false;
    while Instant::now() < deadline {
        if !created {
            // A fresh cluster refuses pods until the controller-manager has made the default service account.
            match session.kube(KubeCall::Create { object: pod(os) }).await {
                Ok(_) => created = true,
                Err(SessionError::Refused(failure)) if failure.answer.contains("AlreadyExists") => created = true,
                Err(SessionError::Refused(failure)) => last = failure.to_string(),
                Err(error) => return Err(error),
            }
        }
        if created {
            let pod = session.kube(KubeCall::Get { path: path.clone() }).await?.body;
            let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
            let address = pod["status"]["podIP"].as_str().unwrap_or_default();
            if pod["status"]["phase"] == "Running" {
                return Ok(judge_running(check, workers, node, address));
            }
            last = describe_waiting(&pod);
        }
        tokio::time::sleep(POLL).await;
    }
    let remedy = "look at it with `kubectl describe pod`, and at the kubelet's log of its node";
    Ok(finding(&name, check, Severity::Error, format!("the pod does not run: {last}"), Some(remedy.to_owned())))
}

fn judge_running(check: &'static str, workers: &[&Host], node: &str, address: &str) -> Finding {
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
fn pod(os: Os) -> Value {
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
            "nodeSelector": { (OS_LABEL): os.as_str() },
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
pub(crate) fn finding(
    host: &str,
    check: &'static str,
    severity: Severity,
    detail: String,
    remedy: Option<String>,
) -> Finding {
    Finding { host: host.to_owned(), check, severity, detail, remedy }
}
