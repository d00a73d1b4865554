//! The pods of the verification: a pause pod on every worker, and one of the inventory's test image on a Windows host.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use k8swin_inventory::cluster::TestImage;
use k8swin_inventory::{Check, Cluster, Host};
use k8swin_protocol::Os;
use k8swin_protocol::wire::KubeCall;
use serde_json::{Value, json};

use super::nodes::OS_LABEL;
use super::{POLL, finding};
use crate::event::Event;
use crate::journal::Teller;
use crate::report::{Finding, NodeStatus, Severity};
use crate::session::{AgentSession, SessionError};

/// The namespace of the pods.
pub(super) const NAMESPACE: &str = "default";
/// The label that they all have.
pub(super) const LABEL: &str = "app";
/// Its value; also the name of the pod of the test image, which no pause pod has: theirs have a host's name after it.
pub(super) const NAME: &str = "k8swin-verify";

/// The label of a node's own name.
const HOSTNAME_LABEL: &str = "kubernetes.io/hostname";

/// How long an image may be on its way: 10 GB over 25 Mbit/s, and unpacked on a slow disk.
const PULLED_WITHIN: Duration = Duration::from_secs(90 * 60);

/// Between two signs of life while an image is pulled.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// Which pods are run.
pub(super) struct TestPods<'a> {
    /// Hosts with a pause pod each.
    workers: Vec<&'a Host>,
    image: Option<ImagePod<'a>>,
}

/// The pod of the inventory's test image.
pub(super) struct ImagePod<'a> {
    /// The image.
    pub(super) test: &'a TestImage,
    /// What leads it to a Windows host.
    selector: BTreeMap<&'static str, String>,
}

/// A pod as the API server has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PodState {
    /// Its node; empty while it is not scheduled.
    pub(super) node: String,
    /// Its address, once it runs.
    pub(super) address: Option<String>,
    /// It was deleted, and goes.
    pub(super) ending: bool,
    /// What it waits for, in the API's words.
    pub(super) waits: String,
    /// Its image is on its way, as far as can be seen.
    pub(super) pulling: bool,
}

/// The pods that are there, by name, and what went wrong with the last call.
#[derive(Default)]
pub(super) struct Found {
    pods: BTreeMap<String, PodState>,
    last_failure: Option<String>,
}

impl<'a> TestPods<'a> {
    /// A pod for each worker that is present and Ready. The scheduler chooses where the test image runs, except where a
    /// Windows host is not there: it takes the node of a host that went down less than 40 s ago for Ready (facts B.2).
    pub(super) fn new(cluster: &'a Cluster, present: &[&'a Host], nodes: &[NodeStatus]) -> Self {
        let ready = |host: &Host| nodes.iter().any(|node| node.name == host.name && node.ready);
        let workers: Vec<_> = present.iter().copied().filter(|host| host.is_worker() && ready(host)).collect();
        let first = workers.iter().find(|host| host.os() == Os::Windows);
        let image = cluster.windows_test_image.as_ref().zip(first).map(|(test, first)| {
            let mut selector = BTreeMap::from([(OS_LABEL, Os::Windows.to_string())]);
            let windows = cluster.hosts.iter().filter(|host| host.os() == Os::Windows);
            if windows.clone().any(|host| workers.iter().all(|worker| worker.name != host.name)) {
                selector.insert(HOSTNAME_LABEL, first.name.clone());
            }
            ImagePod { test, selector }
        });
        Self { workers, image }
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.workers.is_empty()
    }

    /// The pod of the test image, if there is one.
    pub(super) fn image(&self) -> Option<&ImagePod<'a>> {
        self.image.as_ref()
    }

    /// The objects by name. A pause pod runs from the image that every node of its operating system has anyway.
    fn objects(&self) -> BTreeMap<String, Value> {
        let pause = self.workers.iter().map(|host| {
            let image = match host.os() {
                Os::Linux => k8swin_blueprint::LINUX_PAUSE_IMAGE,
                Os::Windows => k8swin_blueprint::WINDOWS_PAUSE_IMAGE,
            };
            let selector = BTreeMap::from([(OS_LABEL, host.os().to_string()), (HOSTNAME_LABEL, host.name.clone())]);
            let name = pause_name(host);
            (name.clone(), object(&name, image, &selector))
        });
        let image = self.image.iter().map(|image| (NAME.to_owned(), object(NAME, &image.test.image, &image.selector)));
        pause.chain(image).collect()
    }

    /// Creates those that are not there, all at once, and gives what is there then.
    pub(super) async fn create(&self, session: &mut AgentSession) -> Result<Found, SessionError> {
        let mut found = look(session).await?;
        let missing: Vec<_> = self.objects().into_iter().filter(|(name, _)| !found.pods.contains_key(name)).collect();
        if missing.is_empty() {
            return Ok(found);
        }
        let items: Vec<_> = missing.into_iter().map(|(_, object)| object).collect();
        let object = json!({ "apiVersion": "v1", "kind": "List", "items": items });
        match session.kube(KubeCall::Create { object }).await {
            Ok(_) => {}
            // A fresh cluster refuses pods until the controller-manager has made the default service account.
            Err(SessionError::Refused(failure)) => found.last_failure = Some(failure.to_string()),
            Err(error) => return Err(error),
        }
        Ok(found)
    }

    /// Waits until all pause pods run, or the time is up.
    pub(super) async fn wait(&self, session: &mut AgentSession, deadline: Instant) -> Result<Found, SessionError> {
        loop {
            let found = self.create(session).await?;
            let runs = |host: &&Host| found.running(&pause_name(host)).is_some();
            if self.workers.iter().all(runs) || Instant::now() >= deadline {
                return Ok(found);
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits until the pod of the test image runs. While its image is on its way, that may take long, and signs of life are
    /// told; for all else the time is up at `deadline`.
    pub(super) async fn wait_for_image(
        &self,
        session: &mut AgentSession,
        image: &ImagePod<'_>,
        deadline: Instant,
        teller: &Teller,
    ) -> Result<Found, SessionError> {
        let started = Instant::now();
        let mut told = None;
        loop {
            let found = self.create(session).await?;
            let pod = found.pods.get(NAME);
            let pulling = pod.is_some_and(|pod| pod.pulling);
            let waits_until = if pulling { deadline.max(started + PULLED_WITHIN) } else { deadline };
            if found.running(NAME).is_some() || Instant::now() >= waits_until {
                return Ok(found);
            }
            if let Some(pod) = pod.filter(|pod| pod.pulling)
                && told.is_none_or(|at: Instant| at.elapsed() >= TOLD_EVERY)
            {
                let minutes = started.elapsed().as_secs() / 60;
                let so_far = if told.is_some() { format!(", {minutes} min so far") } else { String::new() };
                let text = format!("{} is on its way; such images have gigabytes{so_far}", image.test.image);
                teller.tell(Event::Note { host: Some(pod.node.clone()), text });
                told = Some(Instant::now());
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Judges the pause pods.
    pub(super) fn judge(&self, found: &Found) -> Vec<Finding> {
        self.workers.iter().map(|host| judge(host, found)).collect()
    }

    /// The addresses of the pause pods that run where they should.
    pub(super) fn addresses(&self, found: &Found) -> BTreeMap<String, Ipv4Addr> {
        let address = |host: &&Host| {
            let (node, address) = found.running(&pause_name(host))?;
            let address = address.parse().ok().filter(|address| host.pod_cidr.contains(address));
            Some((host.name.clone(), address.filter(|_| node == host.name)?))
        };
        self.workers.iter().filter_map(address).collect()
    }
}

impl Found {
    /// The node and the address of a pod that runs.
    pub(super) fn running(&self, name: &str) -> Option<(&str, &str)> {
        let pod = self.pods.get(name).filter(|pod| !pod.ending)?;
        Some((pod.node.as_str(), pod.address.as_deref()?))
    }

    /// Why a pod does not run.
    pub(super) fn why_not(&self, name: &str) -> String {
        match (self.pods.get(name), &self.last_failure) {
            (Some(pod), _) if pod.ending => "an earlier one of its name has not gone yet".to_owned(),
            (Some(pod), _) => pod.waits.clone(),
            (None, Some(failure)) => failure.clone(),
            (None, None) => "it is not there".to_owned(),
        }
    }

    /// The node that a pod was scheduled to.
    pub(super) fn node(&self, name: &str) -> Option<&str> {
        self.pods.get(name).map(|pod| pod.node.as_str()).filter(|node| !node.is_empty())
    }

    #[cfg(test)]
    pub(super) fn of(list: &Value) -> Self {
        Self { pods: read(list), last_failure: None }
    }
}

/// The pods of the verification that are there. While the API server restarts, none are.
async fn look(session: &mut AgentSession) -> Result<Found, SessionError> {
    let path = format!("/api/v1/namespaces/{NAMESPACE}/pods?labelSelector={LABEL}%3D{NAME}");
    match session.kube(KubeCall::Get { path }).await {
        Ok(answer) => Ok(Found { pods: read(&answer.body), last_failure: None }),
        Err(SessionError::Refused(failure)) => {
            Ok(Found { last_failure: Some(failure.to_string()), ..Found::default() })
        }
        Err(error) => Err(error),
    }
}

fn read(list: &Value) -> BTreeMap<String, PodState> {
    let name = |pod: &Value| pod["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    list["items"].as_array().into_iter().flatten().map(|pod| (name(pod), state(pod))).collect()
}

/// What concerns us of a Pod object.
pub(super) fn state(pod: &Value) -> PodState {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let runs = pod["status"]["phase"] == "Running";
    let node = text(&pod["spec"]["nodeName"]);
    let waiting = &pod["status"]["containerStatuses"][0]["state"]["waiting"];
    // The kubelet of 1.5 says nothing of the container until its image is there.
    let under_way = waiting["reason"].as_str().is_none_or(|reason| reason == "ContainerCreating");
    PodState {
        address: runs.then(|| text(&pod["status"]["podIP"])),
        ending: pod["metadata"]["deletionTimestamp"].is_string(),
        waits: describe(pod),
        pulling: !node.is_empty() && pod["status"]["phase"] == "Pending" && under_way,
        node,
    }
}

/// What a pod waits for, in the API's words.
fn describe(pod: &Value) -> String {
    let phase = pod["status"]["phase"].as_str().unwrap_or("Unknown");
    let waiting = pod["status"]["containerStatuses"].as_array().into_iter().flatten();
    let waiting = waiting.map(|status| &status["state"]["waiting"]).filter(|waiting| waiting["reason"].is_string());
    let waiting = waiting.map(|waiting| match (waiting["reason"].as_str(), waiting["message"].as_str()) {
        (reason, Some(message)) => format!("{}: {message}", reason.unwrap_or_default()),
        (reason, None) => reason.unwrap_or_default().to_owned(),
    });
    let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    let conditions = conditions.filter_map(|condition| condition["message"].as_str()).map(str::to_owned);
    let own = pod["status"]["message"].as_str().map(str::to_owned);
    let said: Vec<_> = waiting.chain(own).chain(conditions).collect();
    if said.is_empty() { format!("phase {phase}") } else { format!("phase {phase}: {}", said.join("; ")) }
}

fn pause_name(host: &Host) -> String {
    format!("{NAME}-{}", host.name)
}

fn judge(host: &Host, found: &Found) -> Finding {
    let check = match host.os() {
        Os::Linux => Check::PodLinux,
        Os::Windows => Check::PodWindows,
    };
    let name = pause_name(host);
    let Some((node, address)) = found.running(&name) else {
        let detail = format!("the pod {name} does not run: {}", found.why_not(&name));
        let remedy = "look at it with `kubectl describe pod`, and at the kubelet's log of its node";
        return finding(&host.name, check, Severity::Error, detail, Some(remedy.to_owned()));
    };
    if node != host.name {
        let detail = format!("the pod {name} was scheduled to `{node}`, in spite of its nodeSelector");
        return finding(&host.name, check, Severity::Error, detail, None);
    }
    if address.parse().is_ok_and(|address: Ipv4Addr| host.pod_cidr.contains(&address)) {
        return finding(&host.name, check, Severity::Ok, format!("a pod runs with the address {address}"), None);
    }
    let detail = format!("a pod runs with the address `{address}`, which is not in the node's {}", host.pod_cidr);
    let remedy = "compare the node's pod network with its podCIDR: `k8swin plan` shows the drift".to_owned();
    finding(&host.name, check, Severity::Error, detail, Some(remedy))
}

fn object(name: &str, image: &str, selector: &BTreeMap<&'static str, String>) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": name, "namespace": NAMESPACE, "labels": { (LABEL): NAME } },
        "spec": {
            "containers": [{ "name": "test", "image": image, "imagePullPolicy": "IfNotPresent" }],
            "nodeSelector": selector,
            // Nothing in it needs time to end.
            "terminationGracePeriodSeconds": 1,
        },
    })
}
