//! Results as tables, for people.

use std::fmt::Write as _;

use k8swin_orchestrator::report::{HostPlan, HostStatus, NodeStatus, PlanReport, Severity, Summary};
use k8swin_protocol::facts::{ServiceState, ServiceStatus};
use k8swin_protocol::resource::{Effect, Phase};
use k8swin_protocol::wire::Failure;

use crate::render::style::{Palette, duration, indented};
use crate::render::{build, findings};
use crate::report::Report;

/// The text for a report.
pub(crate) fn report(report: &Report, verbose: bool, palette: Palette) -> String {
    match report {
        Report::Run(summary) => run(summary, verbose, palette),
        Report::Plan { plan: report, explain } => plan(report, *explain, palette),
        Report::Preflight(preflight) => findings::of_preflight(&preflight.findings, verbose, palette),
        Report::Verify(list) => findings::by_host(list, verbose, palette),
        Report::Catalogue => findings::catalogue(palette),
        Report::Status(hosts) => status(hosts, palette),
        Report::Built(built) => build::table(built, palette),
        // They have no table: `render::result` prints them as they are.
        Report::Kubeconfig(_) | Report::Written { .. } | Report::Text(_) | Report::Ended => String::new(),
    }
}

fn run(summary: &Summary, verbose: bool, palette: Palette) -> String {
    let mut text = String::new();
    if !summary.nodes.is_empty() {
        let rows = summary.nodes.iter().map(|node| node_row(Some(node), &node.name, palette)).collect();
        text.push_str(&table(&NODE_COLUMNS, rows, palette));
        text.push('\n');
    }
    let rows = summary.hosts.iter().map(|(name, host)| {
        let state = match &host.error {
            Some(error) if is_interruption(summary, error) => Cell::yellow("interrupted", palette),
            Some(_) => Cell::red("failed", palette),
            // Stages that others were to go through did not come.
            None if summary.stopped => Cell::yellow("not finished", palette),
            None => Cell::green("done", palette),
        };
        let numbers = [host.changed, host.unchanged, host.failed].map(|number| Cell::plain(number.to_string()));
        let [changed, unchanged, failed] = numbers;
        vec![Cell::plain(name.as_str()), state, changed, unchanged, failed]
    });
    text.push_str(&table(&["HOST", "RESULT", "CHANGED", "UNCHANGED", "FAILED"], rows.collect(), palette));
    let failures = summary.hosts.iter().filter_map(|(name, host)| Some((name.as_str(), host.error.as_ref()?)));
    // That the run was interrupted is said once, at the end.
    let failures = failures.filter(|(_, error)| !is_interruption(summary, error));
    write_failures(&mut text, failures, palette);
    if verbose || summary.verification.iter().any(|finding| finding.severity != Severity::Ok) {
        text.push('\n');
        text.push_str(&findings::by_host(&summary.verification, verbose, palette));
    }
    let sum = |number: fn(&_) -> usize| summary.hosts.values().map(number).sum::<usize>();
    let _ = writeln!(
        text,
        "\n{} changed, {} unchanged, {} failed in {}",
        sum(|host: &k8swin_orchestrator::report::HostSummary| host.changed),
        sum(|host| host.unchanged),
        sum(|host| host.failed),
        duration(summary.duration)
    );
    if summary.interrupted {
        let _ = writeln!(
            text,
            "{}",
            palette.yellow("interrupted; what was done is kept, and the same command goes on from there")
        );
    }
    text
}

/// Whether a host's error says no more than that the whole run was interrupted.
fn is_interruption(summary: &Summary, error: &Failure) -> bool {
    summary.interrupted && error.answer == "interrupted"
}

fn plan(plan: &PlanReport, explain: bool, palette: Palette) -> String {
    let mut text = String::new();
    let width = plan.hosts.keys().map(|name| name.chars().count()).max().unwrap_or(0);
    for phase in Phase::ALL {
        let mut heading = Some(palette.bold(phase.title()));
        for (name, host) in &plan.hosts {
            for (index, difference) in host.differences.iter().enumerate() {
                if difference.phase != phase {
                    continue;
                }
                if let Some(heading) = heading.take() {
                    let _ = writeln!(text, "{heading}");
                }
                let mark = mark(difference.effect, palette);
                let _ = writeln!(text, "  {name:<width$}  {mark} {} ({})", difference.resource, difference.difference);
                if explain {
                    write_commands(&mut text, host, index, width);
                }
            }
        }
    }
    let failures = plan.hosts.iter().filter_map(|(name, host)| Some((name.as_str(), host.error.as_ref()?)));
    write_failures(&mut text, failures, palette);
    let of = |effect| {
        let all = plan.hosts.values().flat_map(|host| &host.differences);
        all.filter(|difference| difference.effect == effect).count()
    };
    let unchanged: usize = plan.hosts.values().map(|host| host.unchanged).sum();
    if !text.is_empty() {
        text.push('\n');
    }
    let _ = writeln!(
        text,
        "{} to create (+), {} to change (~), {} to restart (!), {} to remove (-), {unchanged} as desired",
        of(Effect::Create),
        of(Effect::Change),
        of(Effect::Restart),
        of(Effect::Remove),
    );
    text
}

fn mark(effect: Effect, palette: Palette) -> String {
    match effect {
        Effect::Create => palette.green("+"),
        Effect::Change => palette.yellow("~"),
        Effect::Restart => palette.yellow("!"),
        Effect::Remove => palette.red("-"),
    }
}

/// What one would type instead, below the difference.
fn write_commands(text: &mut String, host: &HostPlan, index: usize, width: usize) {
    for command in host.explained.get(index).into_iter().flatten() {
        for line in command.lines() {
            let _ = writeln!(text, "  {:<width$}      {line}", "");
        }
    }
}

const NODE_COLUMNS: [&str; 6] = ["NODE", "OS", "STATUS", "ADDRESS", "POD CIDR", "VERSION"];

fn node_row(node: Option<&NodeStatus>, name: &str, palette: Palette) -> Vec<Cell> {
    let Some(node) = node else {
        return [name, "-", "-", "-", "-", "-"].map(Cell::plain).into();
    };
    let ready = if node.ready { Cell::green("Ready", palette) } else { Cell::red("NotReady", palette) };
    let [os, address, pod_cidr, version] = [&node.os, &node.address, &node.pod_cidr, &node.version]
        .map(|text| Cell::plain(if text.is_empty() { "-" } else { text }));
    vec![Cell::plain(name), os, ready, address, pod_cidr, version]
}

fn status(hosts: &[HostStatus], palette: Palette) -> String {
    let mut columns = vec!["HOST", "AS DESIRED", "DRIFTED"];
    columns.extend(NODE_COLUMNS.into_iter().skip(1));
    let rows = hosts.iter().map(|host| {
        let drifted = host.drifted.to_string();
        let mut row = vec![
            Cell::plain(host.host.as_str()),
            Cell::plain(if host.error.is_some() { "-".to_owned() } else { host.in_sync.to_string() }),
            match host.drifted {
                _ if host.error.is_some() => Cell::plain("-"),
                0 => Cell::plain(drifted),
                _ => Cell::yellow(&drifted, palette),
            },
        ];
        row.extend(node_row(host.node.as_ref(), &host.host, palette).into_iter().skip(1));
        row
    });
    let mut text = table(&columns, rows.collect(), palette);
    let services =
        hosts.iter().flat_map(|host| host.services.iter().map(|service| service_row(host, service, palette)));
    let services: Vec<_> = services.collect();
    if !services.is_empty() {
        text.push('\n');
        text.push_str(&table(&["HOST", "SERVICE", "STATE", "RESTARTS", "LAST EXIT"], services, palette));
    }
    let failures = hosts.iter().filter_map(|host| Some((host.host.as_str(), host.error.as_ref()?)));
    write_failures(&mut text, failures, palette);
    text
}

fn service_row(host: &HostStatus, service: &ServiceStatus, palette: Palette) -> Vec<Cell> {
    let state = service.state.to_string();
    let state = match service.state {
        ServiceState::Running => Cell::green(&state, palette),
        ServiceState::StartingAgain => Cell::yellow(&state, palette),
        ServiceState::Stopped | ServiceState::Failed | ServiceState::Absent => Cell::red(&state, palette),
    };
    vec![
        Cell::plain(host.host.as_str()),
        Cell::plain(service.name.as_str()),
        state,
        Cell::plain(service.restarts.map_or_else(|| "-".to_owned(), |restarts| restarts.to_string())),
        Cell::plain(service.last_exit.map_or_else(|| "-".to_owned(), |exit| exit.to_string())),
    ]
}

fn write_failures<'a>(text: &mut String, failures: impl Iterator<Item = (&'a str, &'a Failure)>, palette: Palette) {
    for (index, (host, failure)) in failures.enumerate() {
        if index == 0 && !text.is_empty() {
            text.push('\n');
        }
        let _ = writeln!(text, "{}: {}", palette.red(host), indented(&failure.to_string(), 2));
        if let Some(hint) = &failure.hint {
            let _ = writeln!(text, "  {} {}", palette.cyan("hint:"), indented(hint, 8));
        }
    }
}

/// A cell: what it shows, and how wide that is without colours.
struct Cell {
    text: String,
    width: usize,
}

impl Cell {
    fn plain(text: impl Into<String>) -> Self {
        let text = text.into();
        Self { width: text.chars().count(), text }
    }

    fn red(text: &str, palette: Palette) -> Self {
        Self { text: palette.red(text), ..Self::plain(text) }
    }

    fn yellow(text: &str, palette: Palette) -> Self {
        Self { text: palette.yellow(text), ..Self::plain(text) }
    }

    fn green(text: &str, palette: Palette) -> Self {
        Self { text: palette.green(text), ..Self::plain(text) }
    }

    fn bold(text: &str, palette: Palette) -> Self {
        Self { text: palette.bold(text), ..Self::plain(text) }
    }
}

fn table(columns: &[&str], rows: Vec<Vec<Cell>>, palette: Palette) -> String {
    let heading = columns.iter().map(|column| Cell::bold(column, palette)).collect();
    let rows: Vec<Vec<Cell>> = std::iter::once(heading).chain(rows).collect();
    let width_of =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.width).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns.len()).map(width_of).collect();
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(line, "{}{:padding$}  ", cell.text, "", padding = width - cell.width);
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::samples;

    const PLAIN: fn() -> Palette = || Palette::new(false);

    #[test]
    fn an_interruption_is_told_once() {
        let error = Failure { attempted: "the run".into(), answer: "interrupted".into(), hint: Some("again".into()) };
        let mut summary = samples::good_run();
        summary.interrupted = true;
        summary.hosts.values_mut().for_each(|host| host.error = Some(error.clone()));
        let text = run(&summary, false, Palette::new(false));
        let hosts = text.lines().filter(|line| line.split_whitespace().nth(1) == Some("interrupted")).count();
        assert_eq!(hosts, summary.hosts.len(), "{text}");
        assert_eq!(text.matches("goes on from there").count(), 1, "{text}");
        assert!(!text.contains("the run: interrupted") && !text.contains("failed\n"), "{text}");
    }

    #[test]
    fn a_good_run() {
        insta::assert_snapshot!(report(&Report::Run(samples::good_run()), false, PLAIN()));
    }

    #[test]
    fn a_run_with_failures() {
        let mut summary = samples::bad_run();
        summary.interrupted = true;
        insta::assert_snapshot!(report(&Report::Run(summary), false, PLAIN()));
    }

    #[test]
    fn a_plan() {
        insta::assert_snapshot!(report(&Report::Plan { plan: samples::plan(), explain: true }, false, PLAIN()));
    }

    #[test]
    fn an_empty_plan_says_so() {
        let mut plan = samples::plan();
        plan.hosts.retain(|_, host| {
            host.differences.clear();
            host.error.is_none()
        });
        let text = report(&Report::Plan { plan, explain: false }, false, PLAIN());
        assert_eq!(text, "0 to create (+), 0 to change (~), 0 to restart (!), 0 to remove (-), 51 as desired\n");
    }

    #[test]
    fn findings_with_the_worst_host_first() {
        insta::assert_snapshot!(report(&Report::Preflight(samples::preflight()), false, PLAIN()));
    }

    #[test]
    fn findings_in_full() {
        insta::assert_snapshot!(report(&Report::Verify(samples::findings()), true, PLAIN()));
    }

    #[test]
    fn statuses() {
        insta::assert_snapshot!(report(&Report::Status(samples::status()), false, PLAIN()));
    }

    #[test]
    fn colours_do_not_move_columns() {
        let strip = |text: String| {
            let parts = text.split('\x1b').enumerate().map(|(index, part)| match part.split_once('m') {
                Some((_, rest)) if index > 0 => rest,
                _ => part,
            });
            parts.collect::<String>()
        };
        let both = [true, false].map(|on| report(&Report::Status(samples::status()), false, Palette::new(on)));
        let [coloured, plain] = both;
        assert_ne!(coloured, plain);
        assert_eq!(strip(coloured), plain);
    }
}
