//! What the commands return: plain data that the command line renders as tables or JSON (design §4).

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use ipnet::Ipv4Net;
use k8swin_inventory::Check;
use k8swin_protocol::Os;
use k8swin_protocol::facts::{Adapter, RouteEntry, ServiceStatus};
use k8swin_protocol::wire::Failure;
use serde::Serialize;

use crate::event::Difference;
pub use crate::preflight::THIS_MACHINE;
use crate::preflight::catalogue::Fix;
pub use crate::preflight::catalogue::{self, Entry, Group};
pub use crate::preflight::links::{Link, Purpose};

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
    /// Bytes of files that this machine sent to the host, compressed.
    pub sent_bytes: u64,
    /// Bytes of files that the host took from the depot, compressed.
    pub pulled_bytes: u64,
    /// Why this machine sent what the host should have taken from the depot.
    pub streamed: Option<String>,
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
    /// The host; the cluster's name for what is between hosts, [`THIS_MACHINE`] for what is here.
    pub host: String,
    /// The check, by its stable name: `windows-build`. Its entry in the catalogue says what it is about.
    pub check: Check,
    /// How bad it is.
    pub severity: Severity,
    /// What was found, and what is wrong with it.
    pub detail: String,
    /// What is expected, where something is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<&'static str>,
    /// Why it matters, where something is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<&'static str>,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// The same as commands for the host that the finding is about.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub commands: Vec<String>,
    /// Whether the admin wants it ignored. It is a warning at most, then.
    #[serde(skip_serializing_if = "is_false")]
    pub ignored: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_false(flag: &bool) -> bool {
    !flag
}

impl Finding {
    /// A finding, with what the catalogue says of its check where something is wrong.
    pub(crate) fn new(
        host: &str,
        check: Check,
        severity: Severity,
        detail: impl Into<String>,
        fix: Option<Fix>,
    ) -> Self {
        let entry = catalogue::entry(check);
        let told = |text| (severity > Severity::Ok).then_some(text);
        let (remedy, commands) = fix.map_or((None, Vec::new()), |fix| (Some(fix.text), fix.commands));
        Self {
            host: host.to_owned(),
            check,
            severity,
            detail: detail.into(),
            expected: told(entry.expected),
            why: told(entry.why),
            remedy,
            commands,
            ignored: false,
        }
    }
}

/// What `preflight` found, and the network that it looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Preflight {
    /// The cluster's name.
    pub cluster: String,
    /// The findings, in the order of the inventory.
    pub findings: Vec<Finding>,
    /// The hosts that could be looked at, in the order of the inventory.
    pub hosts: Vec<HostNetwork>,
    /// The connections between hosts that were tried.
    pub links: Vec<Link>,
    /// How long it took.
    pub duration: Duration,
}

/// A host's place in the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostNetwork {
    /// Its name.
    pub name: String,
    /// Its operating system.
    pub os: Os,
    /// Whether it is a control plane.
    pub control_plane: bool,
    /// Its routable address.
    pub node_address: Ipv4Addr,
    /// Its pod subnet.
    pub pod_cidr: Ipv4Net,
    /// Its adapters; none for a host that could not be looked at.
    pub adapters: Vec<Adapter>,
    /// Its routes.
    pub routes: Vec<RouteEntry>,
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
    /// Why it is not, as the API server has it: reason and message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
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
