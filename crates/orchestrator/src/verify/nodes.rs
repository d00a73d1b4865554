//! Nodes as the API server sees them.

use std::collections::BTreeMap;
use std::time::Instant;

use k8swin_inventory::{Check, Host};
use k8swin_protocol::Os;
use k8swin_protocol::wire::KubeCall;
use serde_json::Value;

use super::POLL;
use crate::preflight::catalogue::{Fix, KUBELET_IS_SILENT, LOOK_AT_KUBELET, RUNTIME_IS_DOWN};
use crate::report::{Finding, NodeStatus, Severity};
use crate::session::{AgentSession, SessionError};

/// The label of a node's operating system in 1.5 and, still, in 1.20 (facts A.2 #31).
pub(super) const OS_LABEL: &str = "beta.kubernetes.io/os";

/// The nodes now.
pub(super) async fn now(session: &mut AgentSession) -> Result<Vec<NodeStatus>, SessionError> {
    let answer = session.kube(KubeCall::Get { path: "/api/v1/nodes".to_owned() }).await?;
    let mut nodes: Vec<_> = answer.body["items"].as_array().into_iter().flatten().map(status).collect();
    nodes.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(nodes)
}

/// Waits until the nodes of all hosts that are `present` are as they should be, or the time is up, and judges those of all
/// `expected` hosts as they are then.
pub(super) async fn ready(
    session: &mut AgentSession,
    expected: &[&Host],
    present: &[&Host],
    deadline: Instant,
) -> Result<(Vec<NodeStatus>, Vec<Finding>), SessionError> {
    let mut answered = false;
    loop {
        match now(session).await {
            Ok(nodes) => {
                answered = true;
                let good = judge(present, &nodes).iter().all(|finding| finding.severity == Severity::Ok);
                if good || Instant::now() >= deadline {
                    let findings = judge(expected, &nodes);
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

/// Judges the nodes of hosts.
pub(super) fn judge(hosts: &[&Host], nodes: &[NodeStatus]) -> Vec<Finding> {
    let by_name: BTreeMap<_, _> = nodes.iter().map(|node| (node.name.as_str(), node)).collect();
    hosts.iter().map(|host| judge_one(host, by_name.get(host.name.as_str()).copied())).collect()
}

/// Judges one node.
pub(super) fn judge_one(host: &Host, node: Option<&NodeStatus>) -> Finding {
    let os = host.os();
    let problem = match node {
        None => Some("the API server knows no such node".to_owned()),
        Some(node) if !node.ready => {
            let why = node.reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
            Some(format!("the node is not Ready{why}"))
        }
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
        None => {
            Finding::new(&host.name, Check::Node, Severity::Ok, format!("Ready, {os}, pods {}", host.pod_cidr), None)
        }
        Some(problem) => {
            let fix = remedy(host, node.and_then(|node| node.reason.as_deref()).unwrap_or_default());
            Finding::new(&host.name, Check::Node, Severity::Error, problem, Some(fix))
        }
    }
}

/// What to do, by the reason that the API server gives for a node that is not Ready.
fn remedy(host: &Host, reason: &str) -> Fix {
    let reason = reason.to_lowercase();
    let remedy = if reason.starts_with("nodestatus") {
        KUBELET_IS_SILENT
    } else if ["docker", "container runtime"].iter().any(|word| reason.contains(word)) {
        RUNTIME_IS_DOWN
    } else {
        LOOK_AT_KUBELET
    };
    remedy.with(&[("logs", logs(host.os(), "kubelet")), ("state", state(host.os(), "kubelet"))])
}

/// Where the log of a program is read.
pub(super) fn logs(os: Os, program: &str) -> &'static str {
    match (os, program) {
        (Os::Linux, "kubelet") => "journalctl -u kubelet",
        (Os::Linux, _) => "journalctl -u kube-proxy",
        (Os::Windows, "kubelet") => r"Get-ChildItem C:\k8swin\log\kubelet",
        (Os::Windows, _) => r"Get-ChildItem C:\k8swin\log\kube-proxy",
    }
}

/// How it is seen whether a program runs.
pub(super) fn state(os: Os, program: &str) -> &'static str {
    match (os, program) {
        (Os::Linux, "kubelet") => "systemctl status kubelet",
        (Os::Linux, _) => "systemctl status kube-proxy",
        (Os::Windows, "kubelet") => "Get-Service kubelet",
        (Os::Windows, _) => "Get-Service kube-proxy",
    }
}

/// What concerns us of a Node object.
pub(super) fn status(node: &Value) -> NodeStatus {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let find =
        |list: &Value, kind: &str| list.as_array().into_iter().flatten().find(|item| item["type"] == kind).cloned();
    let condition = find(&node["status"]["conditions"], "Ready");
    let ready = condition.as_ref().is_some_and(|condition| condition["status"] == "True");
    NodeStatus {
        name: text(&node["metadata"]["name"]),
        os: text(&node["metadata"]["labels"][OS_LABEL]),
        ready,
        reason: condition.filter(|_| !ready).map(|condition| {
            let said = [text(&condition["reason"]), text(&condition["message"])];
            said.into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join(": ")
        }),
        address: find(&node["status"]["addresses"], "InternalIP")
            .map_or_else(String::new, |item| text(&item["address"])),
        pod_cidr: text(&node["spec"]["podCIDR"]),
        version: text(&node["status"]["nodeInfo"]["kubeletVersion"]),
    }
}
