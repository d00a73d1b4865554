//! Node objects with a fixed podCIDR, and what the orchestrator asks the cluster's API by way of this host.

use std::collections::BTreeMap;

use ipnet::Ipv4Net;
use k8swin_protocol::resource::{CheckOutcome, NodeObject};
use k8swin_protocol::wire::{KubeAnswer, KubeCall};
use serde_json::{Value, json};

use super::{NodePrior, Prior, Removal, absent, changed};
use crate::platform::{KubeOperation, KubeOutcome, LinuxPlatform, PlatformError, Result};

type Host<'a> = &'a mut (dyn LinuxPlatform + Send);

pub(super) fn check(node: &NodeObject, host: Host<'_>) -> Result<CheckOutcome> {
    let found = match get(&node.name, host)? {
        KubeOutcome::Done(object) => observe(&object, node.labels.keys()),
        KubeOutcome::NotFound => return Ok(absent("absent")),
        KubeOutcome::Unreachable(_) => return Ok(CheckOutcome::Unknown { waits_for: "the API server".into() }),
        KubeOutcome::Refused(answer) => return Err(refused(&format!("read node {}", node.name), answer)),
    };
    let mut differences = Vec::new();
    if found.pod_cidr != Some(node.pod_cidr) {
        let has = found.pod_cidr.map_or_else(|| "no podCIDR".to_owned(), |net| format!("podCIDR {net}"));
        differences.push(format!("{has}, expected {}", node.pod_cidr));
    }
    for (label, value) in &node.labels {
        match found.labels.get(label) {
            Some(has) if has == value => {}
            Some(has) => differences.push(format!("label {label}={has}, expected {value}")),
            None => differences.push(format!("label {label} is absent, expected {value}")),
        }
    }
    match (found.schedulable, node.schedulable) {
        (true, false) => differences.push("schedulable, expected cordoned".into()),
        (false, true) => differences.push("cordoned, expected schedulable".into()),
        _ => {}
    }
    Ok(if differences.is_empty() { CheckOutcome::InSync } else { changed(differences.join("; ")) })
}

pub(super) fn capture(node: &NodeObject, host: Host<'_>) -> Result<Prior> {
    match get(&node.name, host)? {
        KubeOutcome::Done(object) => Ok(Prior::Node(Some(observe(&object, node.labels.keys())))),
        KubeOutcome::NotFound => Ok(Prior::Node(None)),
        other => Err(unexpected(&format!("read node {}", node.name), other)),
    }
}

pub(super) fn apply(node: &NodeObject, host: Host<'_>) -> Result<()> {
    let labels = node.labels.iter().map(|(label, value)| (label.clone(), Value::from(value.as_str()))).collect();
    converge(&node.name, Some(node.pod_cidr), labels, node.schedulable, host)
}

pub(super) fn take_back(node: &NodeObject, host: Host<'_>, prior: Option<&NodePrior>, removal: Removal) -> Result<()> {
    let name = &node.name;
    match (get(name, host)?, prior) {
        (KubeOutcome::NotFound, None) => Ok(()),
        // The object went, or goes, with etcd's data.
        (KubeOutcome::Unreachable(_), _) if removal == Removal::Reset => Ok(()),
        (KubeOutcome::Done(_) | KubeOutcome::NotFound, Some(prior)) => {
            let labels = node.labels.keys().map(|label| (label.clone(), prior.labels.get(label).cloned().into()));
            converge(name, prior.pod_cidr, labels.collect(), prior.schedulable, host)
        }
        (KubeOutcome::Done(_), None) => delete(name, host),
        (other, _) => Err(unexpected(&format!("read node {name}"), other)),
    }
}

/// Answers the orchestrator's question.
pub(super) fn kube(host: Host<'_>, call: KubeCall) -> Result<KubeAnswer> {
    let attempted = match &call {
        KubeCall::Get { path } => format!("read {path} of the Kubernetes API"),
        KubeCall::Create { object } => {
            let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or("an object without a name");
            format!("create {} {name}", object.get("kind").and_then(Value::as_str).unwrap_or("an object"))
        }
        KubeCall::Delete { kind, namespace, selector } => format!("delete {kind}s with {selector} in {namespace}"),
    };
    match host.kube(&KubeOperation::Call(call))? {
        KubeOutcome::Done(body) => Ok(KubeAnswer { body }),
        KubeOutcome::NotFound => Ok(KubeAnswer { body: Value::Null }),
        other => Err(unexpected(&attempted, other)),
    }
}

/// Lets the API server reach the kubelets of nodes: what each answered instead of that it is well.
pub(super) fn reach_kubelets(host: Host<'_>, nodes: &[String]) -> Result<Vec<Option<String>>> {
    let healthz = |node: &String| KubeCall::Get { path: format!("/api/v1/nodes/{node}/proxy/healthz") };
    let operations: Vec<_> = nodes.iter().map(|node| KubeOperation::Call(healthz(node))).collect();
    let failure = |outcome| match outcome {
        KubeOutcome::Done(Value::String(text)) if text == "ok" => None,
        KubeOutcome::Done(other) => Some(format!("it answered `{other}`")),
        KubeOutcome::NotFound => Some("the API server does not know the node".to_owned()),
        KubeOutcome::Refused(answer) | KubeOutcome::Unreachable(answer) => Some(answer),
    };
    Ok(host.kube_all(&operations)?.into_iter().map(failure).collect())
}

/// What of a Node object is our concern: its subnet, those labels, and whether pods may go there.
fn observe<'a>(object: &Value, labels: impl Iterator<Item = &'a String>) -> NodePrior {
    let pod_cidr: Option<Ipv4Net> =
        object.pointer("/spec/podCIDR").and_then(Value::as_str).and_then(|text| text.parse().ok());
    let value = |label: &String| {
        let value = object.pointer("/metadata/labels")?.get(label)?.as_str()?;
        Some((label.clone(), value.to_owned()))
    };
    NodePrior {
        pod_cidr,
        labels: labels.filter_map(value).collect(),
        schedulable: object.pointer("/spec/unschedulable").and_then(Value::as_bool) != Some(true),
    }
}

/// Makes a Node object so. A podCIDR cannot be changed, only a Node object replaced; its kubelet goes on reporting to
/// the new one.
fn converge(
    name: &str,
    pod_cidr: Option<Ipv4Net>,
    labels: BTreeMap<String, Value>,
    schedulable: bool,
    host: Host<'_>,
) -> Result<()> {
    let found = match get(name, host)? {
        KubeOutcome::Done(object) => Some(observe(&object, std::iter::empty())),
        KubeOutcome::NotFound => None,
        other => return Err(unexpected(&format!("read node {name}"), other)),
    };
    let patchable = found.as_ref().is_some_and(|found| found.pod_cidr.is_none() || found.pod_cidr == pod_cidr);
    if patchable {
        let mut spec = json!({ "unschedulable": !schedulable });
        if let (Some(pod_cidr), Some(spec)) = (pod_cidr, spec.as_object_mut()) {
            spec.insert("podCIDR".into(), pod_cidr.to_string().into());
        }
        let patch = json!({ "metadata": { "labels": labels }, "spec": spec });
        return done(
            &format!("change node {name}"),
            host.kube(&KubeOperation::PatchNode { name: name.into(), patch })?,
        );
    }
    if found.is_some() {
        delete(name, host)?;
    }
    let labels: BTreeMap<_, _> = labels.into_iter().filter(|(_, value)| !value.is_null()).collect();
    let mut object = json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": { "name": name, "labels": labels },
        // A kubelet 1.5 deletes a Node object whose externalID is not its own name, and registers a new one without podCIDR.
        "spec": { "externalID": name, "unschedulable": !schedulable },
        // A kubelet 1.20 crashes on a Node object without capacities when it enters the sizes of huge pages into them
        // (kubelet_node_status.go, reconcileHugePageResource). Until it reports, there is room for no pod.
        "status": { "capacity": { "pods": "0" }, "allocatable": { "pods": "0" } },
    });
    if let (Some(pod_cidr), Some(spec)) = (pod_cidr, object.get_mut("spec").and_then(Value::as_object_mut)) {
        spec.insert("podCIDR".into(), pod_cidr.to_string().into());
    }
    done(&format!("create node {name}"), host.kube(&KubeOperation::Call(KubeCall::Create { object }))?)
}

fn get(name: &str, host: Host<'_>) -> Result<KubeOutcome> {
    host.kube(&KubeOperation::Call(KubeCall::Get { path: format!("/api/v1/nodes/{name}") }))
}

fn delete(name: &str, host: Host<'_>) -> Result<()> {
    match host.kube(&KubeOperation::DeleteNode { name: name.into() })? {
        KubeOutcome::NotFound => Ok(()),
        outcome => done(&format!("delete node {name}"), outcome),
    }
}

fn done(attempted: &str, outcome: KubeOutcome) -> Result<()> {
    match outcome {
        KubeOutcome::Done(_) => Ok(()),
        other => Err(unexpected(attempted, other)),
    }
}

fn unexpected(attempted: &str, outcome: KubeOutcome) -> PlatformError {
    match outcome {
        KubeOutcome::Unreachable(answer) => PlatformError::new(attempted, answer)
            .with_hint("is an API server running, and do a majority of the etcd members run?"),
        KubeOutcome::Refused(answer) => refused(attempted, answer),
        KubeOutcome::NotFound => PlatformError::new(attempted, "there is no such object"),
        KubeOutcome::Done(_) => PlatformError::new(attempted, "an answer that was not expected"),
    }
}

fn refused(attempted: &str, answer: String) -> PlatformError {
    PlatformError::new(attempted, answer)
}
