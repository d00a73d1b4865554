//! A small Kubernetes API, shared by the hosts of a lab. It answers while an API server and a majority of the etcd
//! members run on them, and its nodes and pods follow what else runs.

mod api;
mod pods;
mod store;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8swin_protocol::Os;
use serde_json::{Value, json};

use self::store::{Store, object};
pub(super) use self::store::{collection, collection_of};

use super::process::Process;
use super::spec::{Faults, HostSpec, ImageTrouble};
use super::virtual_network::{Place, SimulatedNetwork};

/// A simulated second takes this many milliseconds of a host that waits for others.
const PACE: u32 = 50;

/// A small Kubernetes API shared by the hosts of a lab. Clones are the same cluster.
#[derive(Clone)]
pub struct SimulatedCluster {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    network: SimulatedNetwork,
}

pub(super) struct State {
    /// What the programs call themselves.
    version: String,
    hosts: BTreeMap<String, HostReport>,
    /// What etcd holds.
    store: Store,
    /// Kubelets that have registered their node, by host and start.
    registered: BTreeSet<(String, u64)>,
    /// What each node was last told to be: the object's version and its kubelet. There are as many as hosts of the lab.
    told: BTreeMap<String, (Value, Option<Kubelet>)>,
    /// Whose addresses are whose, until something changes.
    places: Option<Arc<Places>>,
}

/// The addresses of pods, services and adapters for pods.
pub(super) type Places = BTreeMap<Ipv4Addr, Place>;

/// What runs on one host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HostReport {
    /// The number of members of the etcd cluster, if one runs here.
    etcd_members: Option<usize>,
    /// Whether etcd's data is on this host.
    has_data: bool,
    /// The range of service addresses, if an API server runs here.
    api_server: Option<String>,
    scheduler: bool,
    kubelet: Option<Kubelet>,
    /// Images that cannot be had there, and why.
    images: BTreeMap<String, ImageTrouble>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Kubelet {
    node: String,
    os: Os,
    address: Ipv4Addr,
    start: u64,
}

impl HostReport {
    pub(super) fn new(spec: &HostSpec, faults: &Faults, has_data: bool, processes: &[Process]) -> Self {
        let running = |name: &str| processes.iter().find(|process| process.name() == name);
        let members = |etcd: &Process| etcd.flag("initial-cluster").map_or(1, |members| members.split(',').count());
        let kubelet = |kubelet: &Process| Kubelet {
            node: kubelet.flag("hostname-override").unwrap_or(&spec.name).to_owned(),
            os: spec.os,
            address: kubelet.flag("node-ip").and_then(|ip| ip.parse().ok()).unwrap_or(spec.node_address),
            start: kubelet.start,
        };
        let services = |api: &Process| api.flag("service-cluster-ip-range").unwrap_or("10.0.0.0/24").to_owned();
        Self {
            etcd_members: running("etcd").map(members),
            has_data,
            api_server: running("kube-apiserver").map(services),
            scheduler: running("kube-scheduler").is_some(),
            kubelet: running("kubelet").map(kubelet),
            images: faults.images.clone(),
        }
    }
}

impl SimulatedCluster {
    /// An empty cluster whose programs call themselves `version`, such as `v1.5.8`.
    #[must_use]
    pub fn new(version: impl Into<String>) -> Self {
        let state = State {
            version: version.into(),
            hosts: BTreeMap::new(),
            store: Store::default(),
            registered: BTreeSet::new(),
            told: BTreeMap::new(),
            places: None,
        };
        let (changed, network) = (Condvar::new(), SimulatedNetwork::default());
        Self { shared: Arc::new(Shared { state: Mutex::new(state), changed, network }) }
    }

    /// Answers a request of the Kubernetes API with a status code and a body. The status is 0, and the body null, while
    /// no API server runs: there is nothing to connect to.
    #[must_use]
    pub fn api(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        let mut state = self.state();
        let answer = state.answer(method, path, body);
        if method != "GET" {
            self.settle(state);
        }
        answer
    }

    /// Creates objects one after the other, each after `before` was told its path. The answer that was no success last, or else
    /// the last one.
    pub(super) fn create<E>(
        &self,
        objects: &[Value],
        before: impl Fn(&str) -> Result<(), E>,
    ) -> Result<(u16, Value), E> {
        let mut last = (201, Value::Null);
        let mut stopped = Ok(());
        for object in objects {
            let path = collection_of(object);
            stopped = before(&path);
            if stopped.is_err() {
                break;
            }
            let answer = self.state().answer("POST", &path, Some(object));
            if last.0 < 300 || answer.0 >= 300 {
                last = answer;
            }
        }
        self.settle(self.state());
        stopped.map(|()| last)
    }

    /// Brings nodes and pods in line, and wakes those who wait for that.
    fn settle(&self, mut state: MutexGuard<'_, State>) {
        state.reconcile();
        drop(state);
        self.shared.changed.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whose the addresses of pods and services are.
    pub(super) fn places(&self) -> Arc<Places> {
        let mut state = self.state();
        let places = state.places.take().unwrap_or_else(|| Arc::new(state.find_places()));
        Arc::clone(state.places.insert(places))
    }

    /// The most connections to depots that there were at once.
    #[must_use]
    pub fn most_pulls(&self) -> usize {
        self.network().most_pulls()
    }

    /// The network between the hosts.
    pub(super) fn network(&self) -> &SimulatedNetwork {
        &self.shared.network
    }

    /// Takes note of what runs on a host now.
    pub(super) fn report(&self, host: &str, report: HostReport) {
        let mut state = self.state();
        if state.hosts.get(host) != Some(&report) {
            state.hosts.insert(host.to_owned(), report);
            self.settle(state);
        }
    }

    /// Waits for something to change, at most for what a simulated `duration` takes. Where there is one host only,
    /// nothing changes while that one waits.
    pub(super) fn wait(&self, duration: Duration) {
        let state = self.state();
        if state.hosts.len() > 1 {
            drop(self.shared.changed.wait_timeout(state, duration * PACE / 1000));
        }
    }
}

impl State {
    /// Whether a majority of the etcd members runs.
    fn has_quorum(&self) -> bool {
        let running = self.hosts.values().filter_map(|host| host.etcd_members);
        let members = running.clone().max();
        members.is_some_and(|members| running.count() > members / 2)
    }

    fn has_api_server(&self) -> bool {
        self.hosts.values().any(|host| host.api_server.is_some())
    }

    /// Brings nodes and pods in line with what runs.
    fn reconcile(&mut self) {
        self.places = None;
        // The data lies in the members' folders: when those are gone, it is.
        if self.hosts.values().all(|host| !host.has_data) {
            self.store = Store::default();
            self.registered.clear();
            self.told.clear();
        }
        if !self.has_quorum() || !self.has_api_server() {
            return;
        }
        self.found();
        self.update_nodes();
        self.schedule_pods();
        self.run_pods();
    }

    /// What every cluster has.
    fn found(&mut self) {
        for namespace in ["default", "kube-system"] {
            if self.store.get("/api/v1/namespaces", namespace).is_some() {
                continue;
            }
            self.store.insert_new(
                "/api/v1/namespaces",
                object("Namespace", namespace, None, json!({"status": {"phase": "Active"}})),
            );
        }
        let services = "/api/v1/namespaces/default/services";
        if self.store.get(services, "kubernetes").is_some() {
            return;
        }
        let range = self.hosts.values().find_map(|host| host.api_server.clone()).unwrap_or_default();
        let first = range.parse::<ipnet::Ipv4Net>().ok().and_then(|range| range.hosts().next());
        let spec = json!({"spec": {
            "clusterIP": first.map(|address| address.to_string()),
            "type": "ClusterIP",
            "ports": [{"name": "https", "protocol": "TCP", "port": 443, "targetPort": 6443}],
        }});
        let service = object("Service", "kubernetes", Some("default"), spec);
        self.store.insert_new(services, service);
    }

    /// A kubelet registers its node once after its start; later it only reports. Nodes whose kubelet is silent are not
    /// Ready.
    fn update_nodes(&mut self) {
        for (host, report) in &self.hosts {
            let Some(kubelet) = &report.kubelet else { continue };
            if self.registered.insert((host.clone(), kubelet.start)) {
                let node = json!({"metadata": {"labels": labels(kubelet, is_1_5(&self.version))}, "spec": {}});
                self.store.insert_new("/api/v1/nodes", object("Node", &kubelet.node, None, node));
            }
        }
        let kubelets = self.hosts.values().filter_map(|report| report.kubelet.as_ref());
        let kubelets: BTreeMap<&str, &Kubelet> = kubelets.map(|kubelet| (kubelet.node.as_str(), kubelet)).collect();
        for node in self.store.objects_mut("/api/v1/nodes") {
            let name = store::name_of(node);
            let kubelet = kubelets.get(name).copied();
            let version = &node["metadata"]["resourceVersion"];
            let known = self.told.get(name);
            if known.is_some_and(|(told, by)| told == version && by.as_ref() == kubelet) {
                continue;
            }
            self.told.insert(name.to_owned(), (version.clone(), kubelet.cloned()));
            match kubelet {
                Some(kubelet) => report_node(node, kubelet, &self.version),
                None => silence_node(node),
            }
        }
    }
}

fn report_node(node: &mut Value, kubelet: &Kubelet, version: &str) {
    // The kubelet of 1.5 sets labels only on a node that it registers itself.
    let old = is_1_5(version);
    if !old {
        store::merge(node, &json!({"metadata": {"labels": labels(kubelet, old)}}));
    }
    // The stub of cAdvisor on Windows reports no resources before 1.9 (facts B.4).
    let counts = kubelet.os == Os::Linux || !old;
    let capacity = json!({
        "cpu": if counts { "4" } else { "0" },
        "memory": if counts { "8Gi" } else { "0" },
        "pods": "110",
    });
    let (image, runtime) = match kubelet.os {
        Os::Linux => ("Debian GNU/Linux 12 (bookworm)", "docker://20.10.24"),
        Os::Windows => ("Windows Server 2016 Datacenter", "docker://Unknown"),
    };
    let status = json!({
        "addresses": [
            {"type": "InternalIP", "address": kubelet.address.to_string()},
            {"type": "Hostname", "address": kubelet.node},
        ],
        "capacity": capacity,
        "allocatable": capacity,
        "conditions": [condition("True", "KubeletReady", "kubelet is posting ready status")],
        "nodeInfo": {
            "architecture": "amd64",
            "containerRuntimeVersion": runtime,
            "kubeletVersion": version,
            "kubeProxyVersion": version,
            "operatingSystem": kubelet.os.as_str(),
            "osImage": image,
        },
    });
    store::merge(node, &json!({"status": status}));
}

/// The labels that a kubelet gives its node.
fn labels(kubelet: &Kubelet, old: bool) -> Value {
    let os = kubelet.os.as_str();
    let mut labels = json!({
        "beta.kubernetes.io/arch": "amd64",
        "beta.kubernetes.io/os": os,
        "kubernetes.io/hostname": kubelet.node,
    });
    if !old {
        store::merge(&mut labels, &json!({"kubernetes.io/arch": "amd64", "kubernetes.io/os": os}));
    }
    labels
}

fn is_1_5(version: &str) -> bool {
    version.starts_with("v1.5.")
}

fn silence_node(node: &mut Value) {
    let heard = node.pointer("/status/nodeInfo").is_some();
    let condition = match heard {
        true => condition("Unknown", "NodeStatusUnknown", "Kubelet stopped posting node status."),
        false => condition("Unknown", "NodeStatusNeverUpdated", "Kubelet never posted node status."),
    };
    store::merge(node, &json!({"status": {"conditions": [condition]}}));
}

fn condition(status: &str, reason: &str, message: &str) -> Value {
    json!({"type": "Ready", "status": status, "reason": reason, "message": message})
}
