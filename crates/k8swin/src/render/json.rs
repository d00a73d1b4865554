//! Results as JSON: one document each, whose shape is a contract with scripts (README).

use std::collections::BTreeMap;

use camino::Utf8Path;
use k8swin_orchestrator::report::{
    Entry, Finding, HostStatus, HostSummary, NodeStatus, PlanReport, Preflight, Severity, Summary, catalogue,
};
use k8swin_protocol::facts::ServiceStatus;
use k8swin_protocol::resource::{Effect, Phase};
use k8swin_protocol::wire;
use serde::Serialize;

use crate::exit::Exit;
use crate::failure::{Causes, Failure};
use crate::render::build::{self, CheckDocument};
use crate::report::Report;

/// The document of `up`, `plan`, `rehearse` and `reset`, and of each command that failed as a whole.
#[derive(Default, Serialize)]
struct Run<'a> {
    command: &'a str,
    result: &'static str,
    changed: usize,
    unchanged: usize,
    failed: usize,
    hosts: BTreeMap<&'a str, Host<'a>>,
    duration_ms: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    findings: Vec<Found<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Error<'a>>,
}

/// A finding of the cluster's hosts, or of this machine by a build.
#[derive(Serialize)]
#[serde(untagged)]
enum Found<'a> {
    Finding(&'a Finding),
    OfBuild(CheckDocument<'a>),
}

#[derive(Serialize)]
struct Host<'a> {
    changed: usize,
    unchanged: usize,
    failed: usize,
    /// Compressed bytes of files that this machine sent to the host.
    #[serde(skip_serializing_if = "is_zero")]
    sent_bytes: u64,
    /// Compressed bytes of files that the host took from the depot.
    #[serde(skip_serializing_if = "is_zero")]
    pulled_bytes: u64,
    /// Why the host could not take them from there.
    #[serde(skip_serializing_if = "Option::is_none")]
    streamed: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Error<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    differences: Vec<Difference<'a>>,
}

#[derive(Serialize)]
struct Difference<'a> {
    phase: Phase,
    resource: &'a str,
    difference: &'a str,
    effect: Effect,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    commands: &'a [String],
}

#[derive(Serialize)]
struct Error<'a> {
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
    /// Each error of an inventory.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    inventory: Vec<InventoryError<'a>>,
}

#[derive(Serialize)]
struct InventoryError<'a> {
    line: usize,
    column: usize,
    key: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<&'a str>,
}

/// The document of `preflight` and `verify`, with `error` where they failed as a whole.
#[derive(Serialize)]
struct Findings<'a> {
    command: &'a str,
    result: &'static str,
    findings: &'a [Finding],
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Error<'a>>,
}

/// The document of `preflight --list`.
#[derive(Serialize)]
struct Catalogue<'a> {
    command: &'a str,
    result: &'static str,
    checks: Vec<&'static Entry>,
}

/// The document of `status`.
#[derive(Serialize)]
struct Statuses<'a> {
    command: &'a str,
    result: &'static str,
    hosts: BTreeMap<&'a str, Status<'a>>,
}

#[derive(Serialize)]
struct Status<'a> {
    in_sync: usize,
    drifted: usize,
    node: Option<&'a NodeStatus>,
    services: &'a [ServiceStatus],
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Error<'a>>,
}

/// The document of commands that come to something else.
#[derive(Default, Serialize)]
struct Other<'a> {
    command: &'a str,
    result: &'static str,
    /// The file or folder that was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'a Utf8Path>,
    /// The inventory that reaches a lab.
    #[serde(skip_serializing_if = "Option::is_none")]
    inventory: Option<&'a Utf8Path>,
    /// The kubeconfig itself, which is what was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    kubeconfig: Option<std::borrow::Cow<'a, str>>,
}

/// The document for a report.
pub(crate) fn report(command: &str, report: &Report) -> String {
    let result = word(report.exit());
    let other = Other { command, result, ..Other::default() };
    match report {
        Report::Run(summary) => document(run(command, result, summary)),
        Report::Plan { plan: report, explain } => document(plan(command, result, report, *explain)),
        Report::Preflight(Preflight { findings, .. }) | Report::Verify(findings) => {
            document(Findings { command, result, findings, error: None })
        }
        Report::Catalogue => document(Catalogue { command, result, checks: catalogue::entries().collect() }),
        Report::Status(hosts) => {
            let hosts = hosts.iter().map(|host| (host.host.as_str(), status(host))).collect();
            document(Statuses { command, result, hosts })
        }
        Report::Built(built) => document(build::Document::new(command, result, built)),
        Report::Kubeconfig(config) => {
            document(Other { kubeconfig: Some(String::from_utf8_lossy(config.expose())), ..other })
        }
        Report::Written { path, .. } => document(Other { path: Some(path), ..other }),
        Report::Text(_) | Report::Ended => document(other),
    }
}

/// The document for a command that failed as a whole.
pub(crate) fn failure(command: &str, failure: &Failure) -> String {
    let (mut findings, mut build, mut inventory) = ([].as_slice(), [].as_slice(), [].as_slice());
    match &failure.causes {
        Causes::None => {}
        Causes::Findings(found) => findings = found,
        Causes::Build(checks) => build = checks,
        Causes::Inventory(errors) => inventory = errors,
    }
    let inventory: Vec<_> = inventory
        .iter()
        .map(|error| InventoryError {
            line: error.line,
            column: error.column,
            key: &error.key,
            message: &error.message,
            remedy: error.remedy.as_deref(),
        })
        .collect();
    // The excerpts of an inventory's errors are for people; here each error stands for itself.
    let message = match failure.message.split_once('\n') {
        Some((first, _)) if !inventory.is_empty() => first.to_owned(),
        _ => failure.message.clone(),
    };
    let error = Some(Error { message, hint: failure.hint.as_deref(), inventory });
    // Scripts that read findings find the list also when there is nothing in it.
    if matches!(command, "preflight" | "verify") {
        return document(Findings { command, result: "failed", findings, error });
    }
    let of_build = build.iter().map(|check| Found::OfBuild(CheckDocument::new(check)));
    let findings = findings.iter().map(Found::Finding).chain(of_build).collect();
    document(Run { command, result: "failed", error, findings, ..Run::default() })
}

/// The document of a lab that is ready.
pub(crate) fn ready(inventory: &Utf8Path) -> String {
    document(Other { command: "lab", result: "ok", inventory: Some(inventory), ..Other::default() })
}

fn word(exit: Exit) -> &'static str {
    if exit == Exit::Done { "ok" } else { "failed" }
}

fn run<'a>(command: &'a str, result: &'static str, summary: &'a Summary) -> Run<'a> {
    let sum = |count: fn(&HostSummary) -> usize| summary.hosts.values().map(count).sum();
    let hosts = summary.hosts.iter().map(|(name, host)| {
        let HostSummary { changed, unchanged, failed, sent_bytes, pulled_bytes, streamed, error } = host;
        let host = Host {
            changed: *changed,
            unchanged: *unchanged,
            failed: *failed,
            sent_bytes: *sent_bytes,
            pulled_bytes: *pulled_bytes,
            streamed: streamed.as_deref(),
            error: error.as_ref().map(of_host),
            differences: Vec::new(),
        };
        (name.as_str(), host)
    });
    let interrupted = "interrupted; what was done is kept, and the same command goes on from there";
    Run {
        command,
        result,
        changed: sum(|host| host.changed),
        unchanged: sum(|host| host.unchanged),
        failed: sum(|host| host.failed),
        hosts: hosts.collect(),
        duration_ms: milliseconds(summary.duration),
        findings: summary
            .verification
            .iter()
            .filter(|finding| finding.severity != Severity::Ok)
            .map(Found::Finding)
            .collect(),
        error: summary.interrupted.then(|| Error {
            message: interrupted.to_owned(),
            hint: None,
            inventory: Vec::new(),
        }),
    }
}

/// A plan is a run that has not happened: `changed` is what would change.
fn plan<'a>(command: &'a str, result: &'static str, plan: &'a PlanReport, explain: bool) -> Run<'a> {
    let hosts: BTreeMap<_, _> = plan
        .hosts
        .iter()
        .map(|(name, host)| {
            let explained = host.explained.iter().map(Vec::as_slice).chain(std::iter::repeat(&[][..]));
            let differences = host.differences.iter().zip(explained).map(|(difference, commands)| Difference {
                phase: difference.phase,
                resource: difference.resource.as_str(),
                difference: &difference.difference,
                effect: difference.effect,
                commands: if explain { commands } else { &[] },
            });
            let host = Host {
                changed: host.differences.len(),
                unchanged: host.unchanged,
                failed: 0,
                sent_bytes: 0,
                pulled_bytes: 0,
                streamed: None,
                error: host.error.as_ref().map(of_host),
                differences: differences.collect(),
            };
            (name.as_str(), host)
        })
        .collect();
    Run {
        command,
        result,
        changed: hosts.values().map(|host| host.changed).sum(),
        unchanged: hosts.values().map(|host| host.unchanged).sum(),
        hosts,
        duration_ms: milliseconds(plan.duration),
        ..Run::default()
    }
}

fn status(host: &HostStatus) -> Status<'_> {
    let error = host.error.as_ref().map(of_host);
    Status { in_sync: host.in_sync, drifted: host.drifted, node: host.node.as_ref(), services: &host.services, error }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

fn of_host(failure: &wire::Failure) -> Error<'_> {
    Error { message: failure.to_string(), hint: failure.hint.as_deref(), inventory: Vec::new() }
}

pub(crate) fn milliseconds(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn document(document: impl Serialize) -> String {
    #[expect(clippy::expect_used, reason = "the documents are structs and maps with text keys, which JSON can hold")]
    let mut text = serde_json::to_string_pretty(&document).expect("documents are JSON");
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::render::samples;

    fn read(document: &str) -> Value {
        serde_json::from_str(document).unwrap()
    }

    #[test]
    fn a_good_run() {
        insta::assert_snapshot!(report("up", &Report::Run(samples::good_run())));
    }

    #[test]
    fn a_run_with_failures() {
        insta::assert_snapshot!(report("rehearse", &Report::Run(samples::bad_run())));
    }

    #[test]
    fn a_plan() {
        insta::assert_snapshot!(report("plan", &Report::Plan { plan: samples::plan(), explain: true }));
        let short = report("plan", &Report::Plan { plan: samples::plan(), explain: false });
        assert!(!short.contains("systemctl"));
    }

    #[test]
    fn findings() {
        insta::assert_snapshot!(report("preflight", &Report::Preflight(samples::preflight())));
    }

    #[test]
    fn statuses() {
        insta::assert_snapshot!(report("status", &Report::Status(samples::status())));
    }

    #[test]
    fn files_and_kubeconfigs() {
        let written = Report::Written { path: "inventory.toml".into(), text: "for people".into() };
        let config = Report::Kubeconfig(k8swin_protocol::SecretBytes::new("apiVersion: v1\n"));
        insta::assert_snapshot!(
            report("init", &written) + &report("kubeconfig", &config) + &ready("lab/inventory.toml".into())
        );
    }

    #[test]
    fn an_invalid_inventory() {
        let errors = k8swin_inventory::parse("schema = 1\nbogus = 2\n", "inventory.toml".into()).unwrap_err();
        let document = read(&failure("up", &errors.into()));
        assert_eq!(document["command"], "up");
        assert_eq!(document["result"], "failed");
        assert_eq!(document["hosts"], Value::Object(serde_json::Map::new()));
        assert_eq!(document["error"]["message"], "the inventory is not valid");
        let errors = document["error"]["inventory"].as_array().unwrap();
        assert!(errors.iter().any(|error| error["line"] == 2 && error["key"] == "bogus"), "{errors:?}");
    }

    #[test]
    fn a_preflight_that_failed_as_a_whole_has_findings_too() {
        for command in ["preflight", "verify"] {
            let document = read(&failure(command, &Failure::usage("cannot read the inventory")));
            assert_eq!(document["findings"], Value::Array(Vec::new()), "{command}");
            assert_eq!(document["error"]["message"], "cannot read the inventory", "{command}");
        }
    }

    #[test]
    fn a_run_that_preflight_stopped() {
        let stopped = k8swin_orchestrator::RunError::Preflight(samples::findings());
        let document = read(&failure("up", &stopped.into()));
        assert_eq!(document["result"], "failed");
        assert_eq!(document["findings"][1]["check"], "disk-space");
        assert!(document["error"]["hint"].as_str().unwrap().contains("--ignore"));
    }
}
