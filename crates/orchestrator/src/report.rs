//! What the commands return: plain data that the command line renders as tables or JSON (design §4).

use std::collections::BTreeMap;
use std::time::Duration;

use k8swin_protocol::facts::ServiceStatus;
use k8swin_protocol::wire::Failure;
use serde::Serialize;

use crate::event::Difference;

/// The result of `up`, `rehearse` and `reset`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Each host.
    pub hosts: BTreeMap<String, HostSummary>,
    /// Findings of the closing verification (empty for `reset`).
    pub verification: Vec<Finding>,
    /// Nodes as the API server sees them at the end.
    pub nodes: Vec<NodeStatus>,
    /// How long it took.
    pub duration: Duration,
    /// Whether it was interrupted.
    pub interrupted: bool,
    /// Whether it stopped before its last stage, because the control-plane host without which nothing can be done failed.
    pub stopped: bool,
}

/// What a run did on one host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostSummary {
    /// Resources changed.
    pub changed: usize,
    /// Resources found as desired.
    pub unchanged: usize,
    /// Resources that failed.
    pub failed: usize,
    /// Why the host failed.
    pub error: Option<Failure>,
}

/// The result of `plan`: what `up` would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlanReport {
    /// Each host's differences in the order in which they would be applied.
    pub hosts: BTreeMap<String, HostPlan>,
    /// How long it took.
    pub duration: Duration,
}

/// What `up` would do on one host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostPlan {
    /// What would change.
    pub differences: Vec<Difference>,
    /// Resources found as desired.
    pub unchanged: usize,
    /// The manual commands that each difference stands for, in the same order.
    pub explained: Vec<Vec<String>>,
    /// Why the host could not be looked at.
    pub error: Option<Failure>,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// As it should be.
    Ok,
    /// It may hurt.
    Warning,
    /// `up` refuses.
    Error,
}

/// A finding of `preflight` or `verify`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The host; the cluster's name for what is between hosts.
    pub host: String,
    /// The check's stable name: `windows-build`.
    pub check: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What was found, and what was expected.
    pub detail: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

/// A node as the API server sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NodeStatus {
    /// Its name.
    pub name: String,
    /// `linux`, `windows`, or empty while its kubelet has not spoken.
    pub os: String,
    /// Whether it is Ready.
    pub ready: bool,
    /// Its routable address.
    pub address: String,
    /// Its pod subnet.
    pub pod_cidr: String,
    /// Its kubelet's version.
    pub version: String,
}

/// One host in `status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HostStatus {
    /// The host.
    pub host: String,
    /// Resources as desired.
    pub in_sync: usize,
    /// Resources that differ.
    pub drifted: usize,
    /// The node, if the API server knows it.
    pub node: Option<NodeStatus>,
    /// The services that k8swin made there, in the order in which they were made.
    pub services: Vec<ServiceStatus>,
    /// Why the host could not be looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
}
