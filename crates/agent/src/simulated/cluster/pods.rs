//! Where the simulated scheduler puts pods, and how the simulated kubelets run them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde_json::{Value, json};

use super::super::spec::ImageTrouble;
use super::super::virtual_network::Place;
use super::store::{merge, name_of};
use super::{Places, State};

const NODES: &str = "/api/v1/nodes";

impl State {
    /// Binds pods without a node to the first node that fits; says of the others why none does.
    pub(super) fn schedule_pods(&mut self) {
        if !self.hosts.values().any(|host| host.scheduler) {
            return;
        }
        let collections = self.store.collections_of("/api/v1", "pods");
        let waits = |pod: &Value| pod.pointer("/spec/nodeName").and_then(Value::as_str).is_none_or(str::is_empty);
        if !collections.iter().flat_map(|collection| self.store.objects(collection)).any(waits) {
            return;
        }
        let nodes: Vec<Value> = self.store.objects(NODES).cloned().collect();
        for collection in collections {
            for pod in self.store.objects_mut(&collection).filter(|pod| waits(pod)) {
                let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
                let mut chosen = None;
                for node in &nodes {
                    match misfit(pod, node) {
                        None => {
                            chosen = Some(name_of(node).to_owned());
                            break;
                        }
                        Some(reason) => *reasons.entry(reason).or_default() += 1,
                    }
                }
                match chosen {
                    Some(node) => {
                        let scheduled = json!({"type": "PodScheduled", "status": "True"});
                        merge(pod, &json!({"spec": {"nodeName": node}, "status": {"conditions": [scheduled]}}));
                    }
                    None => merge(pod, &json!({"status": {"conditions": [unschedulable(&reasons, nodes.len())]}})),
                }
            }
        }
    }

    /// Starts the pods of Ready nodes.
    pub(super) fn run_pods(&mut self) {
        let collections = self.store.collections_of("/api/v1", "pods");
        let is_pending = |pod: &Value| pod.pointer("/status/phase").and_then(Value::as_str) == Some("Pending");
        if !collections.iter().flat_map(|collection| self.store.objects(collection)).any(is_pending) {
            return;
        }
        let nodes: BTreeMap<String, Value> =
            self.store.objects(NODES).map(|node| (name_of(node).to_owned(), node.clone())).collect();
        let mut taken: BTreeSet<Ipv4Addr> = collections
            .iter()
            .flat_map(|collection| self.store.objects(collection))
            .filter_map(|pod| pod.pointer("/status/podIP")?.as_str()?.parse().ok())
            .collect();
        let kubelets = self.hosts.values().filter_map(|host| Some((host.kubelet.as_ref()?.node.clone(), &host.images)));
        let images: BTreeMap<_, _> = kubelets.map(|(node, images)| (node, images.clone())).collect();
        for collection in &collections {
            for pod in self.store.objects_mut(collection).filter(|pod| is_pending(pod)) {
                let node = pod.pointer("/spec/nodeName").and_then(Value::as_str).and_then(|name| nodes.get(name));
                if let Some(node) = node.filter(|node| is_ready(node)) {
                    let trouble = images.get(name_of(node)).and_then(|images| images.get(image_of(pod))).copied();
                    start(pod, node, trouble, &mut taken);
                }
            }
        }
    }

    /// The addresses of services, pods, and of the nodes' adapters for pods, which a Linux host has from its first pod on.
    pub(super) fn find_places(&self) -> Places {
        let text = |object: &Value, pointer: &str| object.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let objects = |kind: &str| -> Vec<&Value> {
            let collections = self.store.collections_of("/api/v1", kind);
            collections.iter().flat_map(|collection| self.store.objects(collection)).collect()
        };
        let mut places = Places::new();
        for service in objects("services") {
            let ports = service.pointer("/spec/ports").and_then(Value::as_array).into_iter().flatten();
            let ports = ports.filter_map(|port| u16::try_from(port["port"].as_u64()?).ok()).collect();
            let address = text(service, "/spec/clusterIP").and_then(|address| address.parse().ok());
            places.extend(address.map(|address| (address, Place::Service { ports })));
        }
        for pod in objects("pods") {
            let own_network = pod.pointer("/spec/hostNetwork").and_then(Value::as_bool) != Some(true);
            let address = text(pod, "/status/podIP").filter(|_| own_network).and_then(|address| address.parse().ok());
            let Some(address) = address else { continue };
            let node = text(pod, "/spec/nodeName").unwrap_or_default();
            let object = self.store.get(NODES, &node);
            let subnet = object.and_then(|node| text(node, "/spec/podCIDR")?.parse::<Ipv4Net>().ok());
            let gateway = subnet.and_then(|subnet| subnet.hosts().next());
            places.extend(gateway.map(|gateway| (gateway, Place::Gateway { node: node.clone() })));
            places.insert(address, Place::Pod { node, image: image_of(pod).to_owned() });
        }
        places
    }
}

/// The image of a pod's first container.
fn image_of(pod: &Value) -> &str {
    pod.pointer("/spec/containers/0/image").and_then(Value::as_str).unwrap_or_default()
}

/// Why a pod cannot go to a node, in the scheduler's words.
fn misfit(pod: &Value, node: &Value) -> Option<&'static str> {
    if !is_ready(node) {
        return Some("node(s) were not ready");
    }
    if node.pointer("/spec/unschedulable").and_then(Value::as_bool) == Some(true) {
        return Some("node(s) were unschedulable");
    }
    if let Some(selector) = pod.pointer("/spec/nodeSelector").and_then(Value::as_object) {
        let labels = node.pointer("/metadata/labels");
        if !selector.iter().all(|(label, value)| labels.and_then(|labels| labels.get(label)) == Some(value)) {
            return Some("MatchNodeSelector");
        }
    }
    let containers = pod.pointer("/spec/containers").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    for (resource, reason) in [("cpu", "Insufficient cpu"), ("memory", "Insufficient memory")] {
        let wants = containers.iter().any(|container| {
            let requests = container.pointer("/resources/requests").or_else(|| container.pointer("/resources/limits"));
            requests.and_then(|requests| requests.get(resource)).is_some_and(|amount| amount != "0" && amount != 0)
        });
        let has = node.pointer("/status/allocatable").and_then(|has| has.get(resource)).and_then(Value::as_str);
        if wants && has == Some("0") {
            return Some(reason);
        }
    }
    None
}

fn unschedulable(reasons: &BTreeMap<&str, usize>, nodes: usize) -> Value {
    let message = if nodes == 0 {
        "no nodes available to schedule pods".to_owned()
    } else {
        let reasons: Vec<_> = reasons.iter().map(|(reason, count)| format!("{reason} ({count})")).collect();
        format!("No nodes are available that match all of the following predicates:: {}.", reasons.join(", "))
    };
    json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message})
}

fn is_ready(node: &Value) -> bool {
    let conditions = node.pointer("/status/conditions").and_then(Value::as_array);
    conditions.is_some_and(|conditions| {
        conditions.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
    })
}

/// What a kubelet does with a new pod.
fn start(pod: &mut Value, node: &Value, trouble: Option<ImageTrouble>, taken: &mut BTreeSet<Ipv4Addr>) {
    let text = |value: &Value, pointer: &str| value.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let host = text(node, "/status/addresses/0/address").unwrap_or_default();
    let containers = pod.pointer("/spec/containers").and_then(Value::as_array).cloned().unwrap_or_default();
    let windows = text(node, "/status/nodeInfo/operatingSystem").as_deref() == Some("windows");
    if windows && containers.len() > 1 {
        // Containers of a pod share no network namespace on Server 2016 (facts A.2 #33, B.4).
        let message = "a Windows Server 2016 node runs one container a pod";
        merge(
            pod,
            &json!({"status": {"phase": "Failed", "reason": "OneContainerOnly", "message": message, "hostIP": host}}),
        );
        return;
    }
    let own_network = pod.pointer("/spec/hostNetwork").and_then(Value::as_bool) != Some(true);
    let subnet = text(node, "/spec/podCIDR").and_then(|subnet| subnet.parse::<Ipv4Net>().ok());
    let address = match (own_network, subnet) {
        (false, _) => host.parse().ok(),
        // The first address is the gateway's.
        (true, Some(subnet)) => subnet.hosts().skip(1).find(|address| !taken.contains(address)),
        (true, None) => None,
    };
    let address = address.filter(|_| trouble.is_none_or(|trouble| trouble == ImageTrouble::Silent));
    let status = |name: &str| {
        let reason = match trouble {
            Some(ImageTrouble::Missing) => {
                json!({"reason": "ErrImagePull", "message": "image not found: no such manifest"})
            }
            _ => json!({"reason": "ContainerCreating"}),
        };
        let state = if address.is_some() { json!({"running": {}}) } else { json!({ "waiting": reason }) };
        json!({"name": name, "ready": address.is_some(), "restartCount": 0, "state": state})
    };
    let statuses: Vec<_> =
        containers.iter().map(|container| status(container["name"].as_str().unwrap_or_default())).collect();
    merge(pod, &json!({"status": {"hostIP": host, "containerStatuses": statuses}}));
    let Some(address) = address else { return };
    taken.insert(address);
    let conditions: Vec<_> =
        ["Initialized", "Ready", "PodScheduled"].map(|kind| json!({"type": kind, "status": "True"})).into();
    merge(pod, &json!({"status": {"phase": "Running", "podIP": address.to_string(), "conditions": conditions}}));
}
