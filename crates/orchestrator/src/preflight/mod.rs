//! Preflight: what the hosts must be and have before anything is touched. Pure: cluster and evidence in, findings out.
//!
//! Every check gives exactly one finding for each thing it looks at, good or bad; what it is about stands in the
//! [`catalogue`]. What an earlier run made is ours and fine: a preflight on a finished cluster is all green.

mod adapters;
mod between;
#[cfg(test)]
mod cases;
pub mod catalogue;
mod common;
pub(crate) mod identity;
mod leftovers;
pub(crate) mod links;
mod linux;
pub(crate) mod local;
mod plan;
#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
mod tests;
mod windows;
mod windows_docker;

use std::collections::BTreeMap;

use catalogue::Fix;
use identity::Identity;
use jiff::Timestamp;
use k8swin_inventory::cluster::{Host, System};
use k8swin_inventory::{Check, Cluster, Ignored};
use k8swin_protocol::Facts;
use links::Link;
use local::ThisMachine;

pub(crate) use self::plan::certificates;
use crate::report::{Finding, Severity};

/// The host of findings about the machine that k8swin runs on. No host can have this name.
pub const THIS_MACHINE: &str = "this machine";

/// A host that could be looked at.
pub(crate) struct Seen<'a> {
    /// The host.
    pub(crate) host: &'a Host,
    /// What it is and has.
    pub(crate) facts: &'a Facts,
    /// How far its clock is ahead of this machine's, in milliseconds.
    pub(crate) clock_ahead_ms: i64,
}

/// All that preflight judges.
#[derive(Default)]
pub(crate) struct Evidence<'a> {
    /// The hosts that could be looked at, by name.
    pub(crate) seen: BTreeMap<String, Seen<'a>>,
    /// The connections between them that were tried.
    pub(crate) links: Vec<Link>,
    /// Whether connections were tried at all.
    pub(crate) links_tried: bool,
    /// The machines that the last `up` from here built, by host.
    pub(crate) known: BTreeMap<String, Identity>,
    /// The certificates of the state folder with the end of their lives, by file.
    pub(crate) certificates: BTreeMap<String, Timestamp>,
    /// What time it is.
    pub(crate) now: Timestamp,
    /// This machine, where it was looked at.
    pub(crate) local: Option<ThisMachine>,
}

/// All findings, in the order of the inventory, those between hosts after them, those about this machine last.
pub(crate) fn findings(cluster: &Cluster, evidence: &Evidence<'_>) -> Vec<Finding> {
    let mut all = Vec::new();
    let arriving = links::arriving(&evidence.links);
    for host in &cluster.hosts {
        let Some(seen) = evidence.seen.get(&host.name) else { continue };
        let mut report = Report { host: &host.name, findings: &mut all };
        match (&host.system, seen.facts) {
            (System::Linux(_), Facts::Linux(facts)) => {
                common::check(cluster, seen, &mut report);
                linux::check(cluster, seen.host, facts, &mut report);
            }
            (System::Windows(windows), Facts::Windows(facts)) => {
                common::check(cluster, seen, &mut report);
                windows::check(cluster, seen.host, windows, facts, &mut report);
            }
            _ => {
                let detail = format!("the inventory says os = \"{}\", the host is another", host.os());
                report.error(Check::OperatingSystem, detail, catalogue::CORRECT_OS);
                continue;
            }
        }
        identity::check(seen, evidence.known.get(&host.name), &mut report);
        if evidence.links_tried {
            links::check(cluster, host, evidence, &arriving, &mut report);
        }
    }
    let mut report = Report { host: &cluster.name, findings: &mut all };
    between::check(cluster, &evidence.seen, &mut report);
    if evidence.links_tried {
        links::latency(cluster, &evidence.links, &mut report);
    }
    plan::check(cluster, evidence, &mut report);
    if let Some(local) = &evidence.local {
        local::check(local, &mut Report { host: THIS_MACHINE, findings: &mut all });
    }
    all
}

/// Marks what the admin wants ignored, on the command line or in the inventory. An ignored error stays in sight as a
/// warning and does not count.
pub(crate) fn ignore(cluster: &Cluster, from_options: &[Ignored], findings: &mut [Finding]) {
    for finding in findings.iter_mut().filter(|finding| finding.severity != Severity::Ok) {
        let of_host = cluster.host(&finding.host).is_some_and(|host| host.ignore.contains(&finding.check));
        let asked = from_options.iter().any(|ignored| ignored.covers(&finding.host, finding.check));
        if of_host || asked || cluster.ignore.contains(&finding.check) {
            finding.severity = Severity::Warning;
            finding.ignored = true;
        }
    }
}

/// Collects the findings of one host.
struct Report<'a> {
    host: &'a str,
    findings: &'a mut Vec<Finding>,
}

impl Report<'_> {
    fn ok(&mut self, check: Check, detail: impl Into<String>) {
        self.findings.push(Finding::new(self.host, check, Severity::Ok, detail, None));
    }

    fn warning(&mut self, check: Check, detail: impl Into<String>, fix: impl Into<Fix>) {
        self.bad(check, Severity::Warning, detail.into(), fix.into());
    }

    fn error(&mut self, check: Check, detail: impl Into<String>, fix: impl Into<Fix>) {
        self.bad(check, Severity::Error, detail.into(), fix.into());
    }

    fn bad(&mut self, check: Check, severity: Severity, detail: String, fix: Fix) {
        let entry = catalogue::entry(check);
        debug_assert!(severity <= entry.worst, "{check} is worse than its entry says");
        debug_assert!(
            fix.remedy.is_none_or(|remedy| entry.remedies.contains(&remedy)),
            "a remedy of {check} is not in its entry: {}",
            fix.text
        );
        self.findings.push(Finding::new(self.host, check, severity, detail, Some(fix)));
    }
}
