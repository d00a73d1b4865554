//! Findings as text for people, by host, and the catalogue of all checks.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use k8swin_orchestrator::report::{Finding, Group, Severity, catalogue::entries};

use crate::render::style::{Palette, count, indented};

/// Findings by host: the worst host and its worst finding first. What is as it should be is counted, or listed if
/// `verbose`. At the end all are counted.
pub(crate) fn by_host(findings: &[Finding], verbose: bool, palette: Palette) -> String {
    let mut text = String::new();
    for (host, findings) in hosts(findings) {
        let _ = writeln!(text, "{}", palette.bold(host));
        let (fine, others): (Vec<_>, Vec<_>) =
            findings.into_iter().partition(|finding| finding.severity == Severity::Ok && !verbose);
        for finding in others {
            write_finding(&mut text, finding, palette);
        }
        if !fine.is_empty() {
            let _ = writeln!(text, "  {}  {}", palette.green("ok     "), count(fine.len(), "check"));
        }
    }
    let _ = writeln!(text, "\n{}", counts(findings));
    text
}

/// Findings of preflight, and what to do next.
pub(crate) fn of_preflight(findings: &[Finding], verbose: bool, palette: Palette) -> String {
    let mut text = by_host(findings, verbose, palette);
    let _ = writeln!(text, "{} {}", palette.cyan("next:"), next_step(findings));
    text
}

/// Each host with its findings, the worst first.
pub(crate) fn hosts(findings: &[Finding]) -> Vec<(&str, Vec<&Finding>)> {
    let mut hosts: BTreeMap<&str, Vec<&Finding>> = BTreeMap::new();
    for finding in findings {
        hosts.entry(&finding.host).or_default().push(finding);
    }
    let mut hosts: Vec<_> = hosts.into_iter().collect();
    for (_, findings) in &mut hosts {
        findings.sort_by_key(|finding| (Reverse(finding.severity), finding.ignored));
    }
    let worst = |findings: &[&Finding]| findings.iter().map(|finding| finding.severity).max();
    hosts.sort_by_key(|(_, findings)| Reverse(worst(findings)));
    hosts
}

/// `1 error, 2 warnings, 1 ignored, 40 ok`.
pub(crate) fn counts(findings: &[Finding]) -> String {
    let of = |severity| findings.iter().filter(|finding| finding.severity == severity && !finding.ignored).count();
    let ignored = findings.iter().filter(|finding| finding.ignored).count();
    let ignored = if ignored > 0 { format!("{ignored} ignored, ") } else { String::new() };
    format!(
        "{}, {}, {ignored}{} ok",
        count(of(Severity::Error), "error"),
        count(of(Severity::Warning), "warning"),
        of(Severity::Ok)
    )
}

/// So many hosts are named in the line that says what to do next.
const NAMED: usize = 5;

/// What to do next, in one line.
pub(crate) fn next_step(findings: &[Finding]) -> String {
    let worst = findings.iter().filter(|finding| !finding.ignored).map(|finding| finding.severity).max();
    match worst {
        Some(Severity::Error) => {
            let mut hosts: Vec<_> = findings
                .iter()
                .filter(|finding| finding.severity == Severity::Error && !finding.ignored)
                .map(|finding| finding.host.as_str())
                .collect();
            hosts.sort_unstable();
            hosts.dedup();
            let hosts = match hosts.get(..NAMED) {
                Some(first) if hosts.len() > NAMED => format!("{} and {} more", first.join(", "), hosts.len() - NAMED),
                _ => hosts.join(", "),
            };
            format!("put right the errors of {hosts}, then run `k8swin preflight` again")
        }
        Some(Severity::Warning) => {
            "read the warnings; `k8swin plan` shows what `k8swin up` would change in spite of them".to_owned()
        }
        Some(Severity::Ok) | None => "all is well: `k8swin plan` shows what `k8swin up` would change".to_owned(),
    }
}

fn write_finding(text: &mut String, finding: &Finding, palette: Palette) {
    let label = match finding.severity {
        _ if finding.ignored => palette.cyan("ignored"),
        Severity::Ok => palette.green("ok     "),
        Severity::Warning => palette.yellow("warning"),
        Severity::Error => palette.red("error  "),
    };
    let _ = writeln!(text, "  {label}  {}: {}", finding.check, indented(&finding.detail, 11));
    if finding.ignored {
        return;
    }
    if let Some(remedy) = &finding.remedy {
        let colon = if finding.commands.is_empty() { "" } else { ":" };
        let _ = writeln!(text, "           {} {}{colon}", palette.cyan("remedy:"), indented(remedy, 19));
    }
    for command in &finding.commands {
        let _ = writeln!(text, "             {command}");
    }
}

/// All checks, by what they are about.
pub(crate) fn catalogue(palette: Palette) -> String {
    let mut text = String::new();
    for group in Group::ALL {
        let _ = writeln!(text, "{}{}", if text.is_empty() { "" } else { "\n" }, palette.bold(group.title()));
        for entry in entries().filter(|entry| entry.group == group) {
            let worst = match entry.worst {
                Severity::Error => palette.red("error"),
                Severity::Warning | Severity::Ok => palette.yellow("warning"),
            };
            let _ = writeln!(text, "  {}  {worst}", palette.bold(entry.check.name()));
            let _ = writeln!(text, "      looks at   {}", entry.looks_at);
            let _ = writeln!(text, "      expected   {}", entry.expected);
            let _ = writeln!(text, "      why        {} ({})", entry.why, entry.source);
            for remedy in entry.remedies {
                let _ = writeln!(text, "      {}     {}", palette.cyan("remedy"), remedy.text);
                for command in remedy.commands {
                    let _ = writeln!(text, "                   {command}");
                }
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::samples;

    #[test]
    fn the_next_step_follows_from_the_worst_finding_that_counts() {
        let mut findings = samples::findings();
        assert!(next_step(&findings).starts_with("put right the errors of win01, then"), "{}", next_step(&findings));
        let template = findings.iter().find(|finding| finding.severity == Severity::Error).unwrap().clone();
        let more = (1..=6).map(|number| Finding { host: format!("win{number:02}"), ..template.clone() });
        let many = next_step(&more.collect::<Vec<_>>());
        assert!(many.contains("win04, win05 and 1 more, then"), "{many}");
        findings.retain(|finding| finding.severity < Severity::Error);
        assert!(next_step(&findings).starts_with("read the warnings"));
        findings.retain(|finding| finding.severity == Severity::Ok || finding.ignored);
        assert!(next_step(&findings).starts_with("all is well"));
    }

    #[test]
    fn the_catalogue_names_every_check() {
        let text = catalogue(Palette::new(false));
        for entry in entries() {
            assert!(text.contains(&format!("\n  {}  ", entry.check)), "{}", entry.check);
        }
    }
}
