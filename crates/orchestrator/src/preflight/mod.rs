//! Preflight: what the hosts must be and have before anything is touched. Pure: cluster and facts in, findings out.
//!
//! Every check gives exactly one finding for each thing it looks at, good or bad, with a stable name. What an earlier run
//! made is ours and fine: a preflight on a finished cluster is all green.

mod between;
#[cfg(test)]
mod cases;
mod common;
mod linux;
#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
mod tests;
mod windows;

use std::collections::BTreeMap;

use k8swin_inventory::Cluster;
use k8swin_inventory::cluster::{Host, System};
use k8swin_protocol::Facts;

use crate::report::{Finding, Severity};

/// A host that could be looked at.
pub(crate) struct Seen<'a> {
    /// The host.
    pub(crate) host: &'a Host,
    /// What it is and has.
    pub(crate) facts: &'a Facts,
    /// How far its clock is ahead of this machine's, in milliseconds.
    pub(crate) clock_ahead_ms: i64,
}

/// All findings, in the order of the inventory, those between hosts last.
pub(crate) fn findings(cluster: &Cluster, seen: &BTreeMap<String, Seen<'_>>) -> Vec<Finding> {
    let mut all = Vec::new();
    for host in &cluster.hosts {
        let Some(seen) = seen.get(&host.name) else { continue };
        let mut report = Report { host: &host.name, findings: &mut all };
        match (&host.system, seen.facts) {
            (System::Linux(_), Facts::Linux(facts)) => {
                report.ok("operating-system", format!("{} {}", facts.distribution, facts.distribution_version));
                common::check(cluster, seen, &mut report);
                linux::check(cluster, seen.host, facts, &mut report);
            }
            (System::Windows(windows), Facts::Windows(facts)) => {
                report.ok("operating-system", format!("{}, {}", facts.product, facts.installation_type));
                common::check(cluster, seen, &mut report);
                windows::check(cluster, seen.host, windows, facts, &mut report);
            }
            (expected, _) => {
                let expected = match expected {
                    System::Linux(_) => "linux",
                    System::Windows(_) => "windows",
                };
                report.error(
                    "operating-system",
                    format!("the inventory says os = \"{expected}\", the host is another"),
                    "correct `os` of this host in the inventory".to_owned(),
                );
            }
        }
    }
    between::check(cluster, seen, &mut Report { host: &cluster.name, findings: &mut all });
    all
}

/// Collects the findings of one host.
struct Report<'a> {
    host: &'a str,
    findings: &'a mut Vec<Finding>,
}

impl Report<'_> {
    fn ok(&mut self, check: &'static str, detail: impl Into<String>) {
        self.add(check, Severity::Ok, detail.into(), None);
    }

    fn warning(&mut self, check: &'static str, detail: impl Into<String>, remedy: impl Into<String>) {
        self.add(check, Severity::Warning, detail.into(), Some(remedy.into()));
    }

    fn error(&mut self, check: &'static str, detail: impl Into<String>, remedy: impl Into<String>) {
        self.add(check, Severity::Error, detail.into(), Some(remedy.into()));
    }

    fn add(&mut self, check: &'static str, severity: Severity, detail: String, remedy: Option<String>) {
        self.findings.push(Finding { host: self.host.to_owned(), check, severity, detail, remedy });
    }
}
