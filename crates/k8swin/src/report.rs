//! What a command came to: data, which `render` turns into tables or JSON, and the exit code that follows from it.

use camino::Utf8PathBuf;
use k8swin_artifacts::build::Built;
use k8swin_orchestrator::report::{Finding, HostStatus, PlanReport, Preflight, Severity, Summary};
use k8swin_protocol::SecretBytes;

use crate::exit::Exit;

/// The result of a command.
pub(crate) enum Report {
    /// Of `up`, `rehearse` and `reset`.
    Run(Summary),
    /// Of `plan`, with or without the manual commands that each difference stands for.
    Plan {
        /// The plan.
        plan: PlanReport,
        /// Whether the manual commands are shown.
        explain: bool,
    },
    /// Of `preflight`.
    Preflight(Preflight),
    /// Of `preflight --list`.
    Catalogue,
    /// Of `verify`.
    Verify(Vec<Finding>),
    /// Of `status`.
    Status(Vec<HostStatus>),
    /// Of `build`.
    Built(Built),
    /// Of `kubeconfig`, when it is printed.
    Kubeconfig(SecretBytes),
    /// Of a command that wrote a file.
    Written {
        /// Where.
        path: Utf8PathBuf,
        /// What that means, for people.
        text: String,
    },
    /// Text for other programs: completions, manual pages.
    Text(Vec<u8>),
    /// A lab that has ended.
    Ended,
}

impl Report {
    /// How the program ends.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Run(summary) => of_run(summary),
            Self::Plan { plan, .. } => {
                of_hosts(plan.hosts.len(), plan.hosts.values().filter(|host| host.error.is_some()).count())
            }
            Self::Preflight(preflight) if has_errors(&preflight.findings) => Exit::Preflight,
            Self::Verify(findings) if has_errors(findings) => Exit::Failed,
            Self::Status(hosts) => of_hosts(hosts.len(), hosts.iter().filter(|host| host.error.is_some()).count()),
            Self::Preflight(_)
            | Self::Catalogue
            | Self::Verify(_)
            | Self::Built(_)
            | Self::Kubeconfig(_)
            | Self::Written { .. }
            | Self::Text(_)
            | Self::Ended => Exit::Done,
        }
    }
}

fn of_run(summary: &Summary) -> Exit {
    let failed = summary.hosts.values().filter(|host| host.error.is_some()).count();
    if summary.interrupted {
        Exit::Interrupted
    } else if summary.stopped {
        // The run ended early: no host can be said to be done.
        Exit::Failed
    } else if failed == 0 && has_errors(&summary.verification) {
        Exit::Failed
    } else {
        of_hosts(summary.hosts.len(), failed)
    }
}

fn of_hosts(all: usize, failed: usize) -> Exit {
    match failed {
        0 => Exit::Done,
        _ if failed == all => Exit::Failed,
        _ => Exit::SomeHosts,
    }
}

/// Whether one of the findings is an error.
pub(crate) fn has_errors(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.severity == Severity::Error)
}

#[cfg(test)]
mod tests {
    use k8swin_orchestrator::report::HostPlan;

    use super::*;
    use crate::render::samples;

    fn exit(change: impl FnOnce(&mut Summary)) -> Exit {
        let mut summary = samples::good_run();
        change(&mut summary);
        Report::Run(summary).exit()
    }

    fn fail(summary: &mut Summary, host: &str) {
        summary.hosts.get_mut(host).unwrap().error = Some(samples::failure());
    }

    #[test]
    fn a_run_ends_as_its_hosts_and_its_verification_do() {
        assert_eq!(exit(|_| ()), Exit::Done);
        assert_eq!(exit(|summary| fail(summary, "win01")), Exit::SomeHosts);
        assert_eq!(
            exit(|summary| {
                fail(summary, "lin01");
                fail(summary, "win01");
            }),
            Exit::Failed
        );
        assert_eq!(
            exit(|summary| {
                fail(summary, "lin01");
                summary.stopped = true;
            }),
            Exit::Failed
        );
        assert_eq!(exit(|summary| summary.verification = samples::findings()), Exit::Failed);
        assert_eq!(exit(|summary| summary.interrupted = true), Exit::Interrupted);
    }

    #[test]
    fn findings_with_errors_have_a_code_of_their_own_in_preflight() {
        let preflight = |findings| Report::Preflight(Preflight { findings, ..Preflight::default() });
        assert_eq!(preflight(samples::findings()).exit(), Exit::Preflight);
        assert_eq!(Report::Verify(samples::findings()).exit(), Exit::Failed);
        let mut warnings = samples::findings();
        warnings.retain(|finding| finding.severity != Severity::Error);
        assert_eq!(preflight(warnings.clone()).exit(), Exit::Done);
        assert_eq!(Report::Verify(warnings).exit(), Exit::Done);
    }

    #[test]
    fn a_plan_with_differences_is_done_and_one_without_a_host_is_not() {
        let mut plan = samples::plan();
        plan.hosts.retain(|_, host| host.error.is_none());
        assert_eq!(Report::Plan { plan: plan.clone(), explain: false }.exit(), Exit::Done);
        plan.hosts.insert("gone".into(), HostPlan { error: Some(samples::failure()), ..HostPlan::default() });
        assert_eq!(Report::Plan { plan, explain: false }.exit(), Exit::SomeHosts);
        assert_eq!(Report::Status(samples::status()).exit(), Exit::SomeHosts);
    }
}
