//! Proves that the cluster works: nodes Ready with the right system and podCIDR, a pod on every worker that the other nodes
//! reach, service addresses, kubelets that the API servers reach, certificates, the API as the admin's own machine sees it.
//!
//! All hosts are asked at once. What a host is to connect to goes to it in one request, and is asked again only as far as it
//! failed.

mod kubelets;
mod nodes;
mod pods;
mod reach;
mod settle;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8swin_blueprint::Pki;
use k8swin_inventory::{Check, Cluster, Host};
use k8swin_protocol::SecretBytes;
use k8swin_protocol::wire::{KubeCall, Request};
use tokio_util::sync::CancellationToken;

use self::pods::TestPods;
use crate::event::{Event, Stage};
use crate::fleet::Fleet;
use crate::preflight::certificates;
use crate::report::{Finding, NodeStatus, Severity};
use crate::session::SessionError;
use crate::state::StateDir;
use crate::supplies::read_pki;
use crate::{RunError, api};

/// Between two looks.
const POLL: Duration = Duration::from_millis(500);

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
    member.persist(context, async |member| nodes::now(member.session()?).await).await.unwrap_or_default()
}

/// Proves that the nodes of the `expected` hosts and pods on them work. Leaves nothing behind.
///
/// # Errors
/// When no control-plane host can be asked.
pub(crate) async fn prove(fleet: &mut Fleet<'_>, state: &StateDir, expected: &[&Host]) -> Result<Proof, RunError> {
    fleet.teller.tell(Event::StageStarted(Stage::Verify));
    let (cluster, cancel) = (fleet.cluster, fleet.options.cancel.clone());
    let pki = keys(fleet, state).await?;
    let ends = k8swin_blueprint::certificate_ends(&pki);
    let (proven, from_here) = tokio::join!(from_inside(fleet, expected), from_here(cluster, &pki, &cancel));
    let mut proof = proven?;
    proof.findings.extend(certificates(&cluster.name, &ends, Timestamp::now(), Severity::Error));
    proof.findings.extend(from_here);
    Ok(proof)
}

/// The cluster's keys: those of the state folder, or those that the first control plane keeps.
async fn keys(fleet: &mut Fleet<'_>, state: &StateDir) -> Result<BTreeMap<String, SecretBytes>, RunError> {
    let files = state.read_pki()?;
    if !files.is_empty() {
        return Ok(files);
    }
    // Without them less is known, which is no reason to know nothing.
    let kept = read_pki(fleet).await.unwrap_or_default();
    Ok(Pki::from_files(kept).map(|pki| pki.files().clone()).unwrap_or_default())
}

async fn from_here(cluster: &Cluster, pki: &BTreeMap<String, SecretBytes>, cancel: &CancellationToken) -> Vec<Finding> {
    tokio::select! {
        biased;
        () = cancel.cancelled() => Vec::new(),
        findings = api::from_here(cluster, pki) => findings,
    }
}

/// All that hosts are asked for.
async fn from_inside(fleet: &mut Fleet<'_>, expected: &[&Host]) -> Result<Proof, RunError> {
    let (cluster, options) = (fleet.cluster, fleet.options);
    let present: Vec<&Host> =
        fleet.members.iter().filter(|member| member.takes_part()).map(|member| member.host).collect();
    let deadline = Instant::now() + options.ready_within;
    let (nodes, mut findings) = fleet
        .on_control_plane(Stage::Verify, async |member, context| {
            member
                .persist(context, async |member| nodes::ready(member.session()?, expected, &present, deadline).await)
                .await
        })
        .await?;
    let pods = TestPods::new(cluster, &present, &nodes);
    let tested = with_pods(fleet, &pods, &nodes).await;
    let removed = remove_pods(fleet, &pods).await;
    findings.extend(tested?);
    findings.extend(removed?);
    Ok(Proof { nodes, findings })
}

/// Runs the pods, and looks at everything that needs them or can be looked at meanwhile.
async fn with_pods(fleet: &mut Fleet<'_>, pods: &TestPods<'_>, nodes: &[NodeStatus]) -> Result<Vec<Finding>, RunError> {
    let deadline = Instant::now() + fleet.options.ready_within;
    fleet
        .on_control_plane(Stage::Verify, async |member, context| {
            member.persist(context, async |member| pods.create(member.session()?).await).await
        })
        .await?;
    let mut findings = kubelets::reach(fleet, nodes).await;
    let running = fleet
        .on_control_plane(Stage::Verify, async |member, context| {
            member.persist(context, async |member| pods.wait(member.session()?, deadline).await).await
        })
        .await?;
    findings.extend(pods.judge(&running));
    findings.extend(reach::networks(fleet, &pods.addresses(&running)).await);
    if let Some(image) = pods.image() {
        findings.push(reach::image(fleet, pods, image, deadline).await?);
    }
    Ok(findings)
}

/// Takes the pods away, whatever happened, Ctrl-C included.
async fn remove_pods(fleet: &mut Fleet<'_>, pods: &TestPods<'_>) -> Result<Vec<Finding>, RunError> {
    if pods.is_empty() {
        return Ok(Vec::new());
    }
    let delete = KubeCall::Delete {
        kind: "pod".to_owned(),
        namespace: pods::NAMESPACE.to_owned(),
        selector: format!("{}={}", pods::LABEL, pods::NAME),
    };
    match fleet.ask_at_last(Request::Kube(delete)).await {
        Ok(_) => Ok(Vec::new()),
        // They are going: they go when their kubelets can be heard again.
        Err(SessionError::Refused(failure)) => {
            let remedy = format!(
                "if they stay: `kubectl delete pods --selector {}={} --force --grace-period=0`",
                pods::LABEL,
                pods::NAME
            );
            let cluster = &fleet.cluster.name;
            Ok(vec![finding(cluster, Check::PodRemoved, Severity::Warning, failure.to_string(), Some(remedy))])
        }
        Err(SessionError::Cancelled) => Err(RunError::Interrupted),
        Err(error) => {
            let host = fleet.cluster.first_control_plane().name.clone();
            Err(RunError::ControlPlane { host, failure: error.failure() })
        }
    }
}

/// One finding.
pub(crate) fn finding(host: &str, check: Check, severity: Severity, detail: String, remedy: Option<String>) -> Finding {
    Finding::new(host, check, severity, detail, remedy.map(Into::into))
}
