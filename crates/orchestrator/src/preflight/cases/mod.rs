//! What each check of preflight is heard for, on hosts that are spoiled in one way.

mod cluster;
mod every_host;
mod linux;
mod windows;

use k8swin_artifacts::build::Verdict;
use k8swin_protocol::Facts;
use k8swin_protocol::details::{Trace, TraceKind};
use k8swin_protocol::facts::{CommonFacts, RouteEntry, ServiceState, WindowsFacts};
use k8swin_protocol::probe::Outcome;
use k8swin_protocol::resource::FeatureName;

use super::identity::Identity;
use super::links::{Link, Purpose};
use super::local::Trouble;
use super::samples::{Sample, adapter, link};
use crate::report::Severity::{self, Error, Warning};

/// One thing that is wrong with one host.
pub(super) struct Case {
    pub(super) host: &'static str,
    pub(super) check: &'static str,
    pub(super) severity: Severity,
    /// What the detail must name: what was found, and what was expected where that is not obvious.
    pub(super) names: &'static [&'static str],
    /// What the remedy must name.
    pub(super) remedy: &'static str,
    pub(super) spoil: fn(&mut Sample),
}

/// What can be wrong, one thing at a time.
pub(super) fn cases() -> impl Iterator<Item = &'static Case> {
    [every_host::CASES, linux::CASES, windows::CASES, cluster::CASES].into_iter().flatten()
}

/// Another Windows host beside win01, which differs from it as clones must not.
fn second_windows(sample: &mut Sample, change: impl Fn(&mut WindowsFacts)) {
    let mut host = sample.cluster.host("win01").unwrap().clone();
    (host.name, host.node_address) = ("win02".into(), [10, 0, 0, 22].into());
    sample.cluster.hosts.push(host);
    let mut facts = sample.windows.clone();
    facts.common.hostname = "win02".into();
    facts.common.machine_id = "machine-win02".into();
    facts.common.details.hardware_id = "hardware-win02".into();
    facts.common.adapters[0] = adapter("Ethernet", "00-15-5d-00-00-31", "10.0.0.22/24");
    facts.common.adapters[1] = adapter("Ethernet 2", "00-15-5d-00-00-32", "169.254.77.22/16");
    change(&mut facts);
    sample.others.push(("win02", Facts::Windows(facts)));
}

fn trouble(detail: &str, hint: Option<&str>) -> Trouble {
    Trouble { detail: detail.into(), hint: hint.map(Into::into) }
}

fn go(verdict: Verdict, detail: &str, remedy: Option<&str>) -> k8swin_artifacts::build::Check {
    k8swin_artifacts::build::Check { name: "go", verdict, detail: detail.into(), remedy: remedy.map(Into::into) }
}

fn service(sample: &mut Sample, name: &str, state: ServiceState) {
    sample.windows.details.services.insert(name.to_owned(), state);
}

fn trace(common: &mut CommonFacts, kind: TraceKind, name: &str, says: &str) {
    common.details.traces.push(Trace { kind, name: name.into(), says: says.into() });
}

fn route(common: &mut CommonFacts, destination: &str, via: Option<[u8; 4]>, adapter: &str) {
    let destination = destination.parse().unwrap();
    common.routes.push(RouteEntry { destination, via: via.map(Into::into), adapter: adapter.into() });
}
