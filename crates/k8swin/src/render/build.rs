//! A build for people and programs: its progress, and what came out of it.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _};
use std::time::Duration;

use camino::Utf8Path;
use indicatif::{ProgressBar, ProgressDrawTarget};
use k8swin_artifacts::build::{BuildProgress, Built, Check, Verdict};
use k8swin_orchestrator::report::{Severity, THIS_MACHINE};
use k8swin_protocol::Os;
use serde::Serialize;

use crate::context::Context;
use crate::logging;
use crate::render::json::milliseconds;
use crate::render::message;
use crate::render::style::{Palette, count, duration, indented, size};

/// Without a terminal, every so many packages are told.
const PACKAGES: usize = 250;

/// Shows the progress of a build: on a terminal as a line that changes, else as lines.
pub(crate) struct Renderer {
    bar: Option<ProgressBar>,
    lines: Lines,
}

impl Renderer {
    pub(crate) fn new(context: &Context) -> Self {
        // A bar and log lines would tear each other apart.
        let with_bar = io::stderr().is_terminal() && !context.global.quiet && context.global.verbose == 0;
        let bar = with_bar.then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        Self { bar, lines: Lines { quiet: context.global.quiet, palette: context.stderr } }
    }

    /// Shows what happened.
    pub(crate) fn show(&mut self, event: &BuildProgress) {
        let text = self.lines.text(event);
        if let Some(text) = &text {
            tracing::info!(target: logging::EVENTS, "{text}");
        }
        let Some(bar) = &self.bar else {
            text.iter().for_each(|text| message(text));
            return;
        };
        match event {
            BuildProgress::Package { number, name } => {
                bar.set_message(format!("{}: {name}", count(*number, "package")))
            }
            BuildProgress::Artifact(progress) => bar.set_message(progress.to_string()),
            BuildProgress::Started(stage) => {
                bar.set_message(stage.to_string());
                bar.println(text.unwrap_or_default());
            }
            BuildProgress::Checked(_) | BuildProgress::Ended { .. } => {
                if let Some(text) = text {
                    bar.println(text);
                }
            }
        }
    }

    /// Leaves the terminal as it was.
    pub(crate) fn close(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

struct Lines {
    quiet: bool,
    palette: Palette,
}

impl Lines {
    /// The line for an event, if it is worth one.
    fn text(&self, event: &BuildProgress) -> Option<String> {
        match event {
            BuildProgress::Checked(check) if check.verdict == Verdict::Warning => {
                Some(format!("{} {}: {}", self.palette.yellow("warning:"), check.name, check.detail))
            }
            _ if self.quiet => None,
            BuildProgress::Checked(check) => Some(format!("{}: {}", check.name, check.detail)),
            BuildProgress::Started(stage) => Some(self.palette.bold(&format!("==> {stage}"))),
            BuildProgress::Package { number, name } => {
                number.is_multiple_of(PACKAGES).then(|| format!("{}: {name}", count(*number, "package")))
            }
            BuildProgress::Ended { packages: 0, took, .. } => Some(format!("done in {}", duration(*took))),
            BuildProgress::Ended { packages, took, .. } => {
                Some(format!("{} in {}", count(*packages, "package"), duration(*took)))
            }
            BuildProgress::Artifact(progress) => Some(progress.to_string()),
        }
    }
}

/// What was built, for people.
pub(crate) fn table(built: &Built, palette: Palette) -> String {
    let width = built.programs.iter().map(|program| program.name.len()).max().unwrap_or(0).max("PROGRAM".len());
    let format = |program: &k8swin_artifacts::build::BuiltProgram| program.format.clone().unwrap_or_default();
    let kind = built.programs.iter().map(|program| format(program).len()).max().unwrap_or(0).max("KIND".len());
    let mut text = String::new();
    let head = format!("{:<width$}  {:>9}  {:<kind$}  SHA256", "PROGRAM", "SIZE", "KIND");
    // Writing into a String cannot fail.
    let _ = writeln!(text, "{}", palette.bold(&head));
    for program in &built.programs {
        let (name, bytes, sha256) = (&program.name, size(program.artifact.size), program.artifact.sha256);
        let _ = writeln!(text, "{name:<width$}  {bytes:>9}  {:<kind$}  {sha256}", format(program));
    }
    let Built { kubernetes, source, state, go, folder, .. } = built;
    let _ = writeln!(text, "\nKubernetes {kubernetes} from {source} ({state}), built with {go} in {folder}");
    let when = match built.cached {
        true => format!("built before, in {}; found in {}", duration(built.build_took), duration(built.took)),
        false => format!("built in {}", duration(built.took)),
    };
    let _ = writeln!(text, "{when}");
    let _ = writeln!(
        text,
        "etcd and the CNI plugins are no part of Kubernetes: they come into the folder `extra` of the cache, or, with \
         source = \"local\", into linux/ and sha256sums of the folder"
    );
    text
}

/// What a build needs of this machine, for people: like findings, with the errors first.
pub(crate) fn checks(checks: &[Check], verbose: bool, palette: Palette) -> String {
    let mut checks: Vec<_> = checks.iter().collect();
    checks.sort_by_key(|check| match check.verdict {
        Verdict::Error => 0,
        Verdict::Warning => 1,
        Verdict::Fine => 2,
    });
    let mut text = format!("{}\n", palette.bold(THIS_MACHINE));
    for check in checks {
        let label = match check.verdict {
            Verdict::Fine if !verbose => continue,
            Verdict::Fine => palette.green("ok     "),
            Verdict::Warning => palette.yellow("warning"),
            Verdict::Error => palette.red("error  "),
        };
        // Writing into a String cannot fail.
        let _ = writeln!(text, "  {label}  {}: {}", check.name, indented(&check.detail, 11));
        if let Some(remedy) = &check.remedy {
            let _ = writeln!(text, "           {} {}", palette.cyan("remedy:"), indented(remedy, 19));
        }
    }
    text
}

/// The same for programs, in the shape of findings.
#[derive(Serialize)]
pub(crate) struct CheckDocument<'a> {
    host: &'static str,
    check: &'a str,
    severity: Severity,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<&'a str>,
}

impl<'a> CheckDocument<'a> {
    /// The document of one check.
    pub(crate) fn new(check: &'a Check) -> Self {
        let severity = match check.verdict {
            Verdict::Fine => Severity::Ok,
            Verdict::Warning => Severity::Warning,
            Verdict::Error => Severity::Error,
        };
        let (detail, remedy) = (check.detail.as_str(), check.remedy.as_deref());
        Self { host: THIS_MACHINE, check: check.name, severity, detail, remedy }
    }
}

/// What was built, for programs.
#[derive(Serialize)]
pub(crate) struct Document<'a> {
    command: &'a str,
    result: &'static str,
    kubernetes: String,
    source: &'a str,
    state: &'a str,
    go: &'a str,
    folder: &'a Utf8Path,
    cached: bool,
    duration_ms: u64,
    /// How long the compilation took, now or then.
    build_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    log: Option<&'a Utf8Path>,
    programs: Vec<Program<'a>>,
}

#[derive(Serialize)]
struct Program<'a> {
    os: Os,
    name: &'a str,
    path: &'a Utf8Path,
    sha256: String,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'a str>,
}

impl<'a> Document<'a> {
    /// The document of `build`.
    pub(crate) fn new(command: &'a str, result: &'static str, built: &'a Built) -> Self {
        let programs = built.programs.iter().map(|program| Program {
            os: program.os,
            name: &program.name,
            path: &program.artifact.path,
            sha256: program.artifact.sha256.to_string(),
            size: program.artifact.size,
            format: program.format.as_deref(),
            version: program.version.as_deref(),
        });
        Self {
            command,
            result,
            kubernetes: built.kubernetes.to_string(),
            source: &built.source,
            state: &built.state,
            go: &built.go,
            folder: &built.folder,
            cached: built.cached,
            duration_ms: milliseconds(built.took),
            build_ms: milliseconds(built.build_took),
            log: built.log.as_deref(),
            programs: programs.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use k8swin_artifacts::Artifact;
    use k8swin_artifacts::build::{BuiltProgram, Check, Stage};
    use k8swin_protocol::Sha256;

    use super::*;

    fn built() -> Built {
        let program = |os: Os, name: &str, format: &str, version: Option<&str>| BuiltProgram {
            os,
            name: name.to_owned(),
            artifact: Artifact {
                path: format!("programs/{os}/{name}").into(),
                sha256: Sha256::of(name.as_bytes()),
                size: 113_000_000,
            },
            format: Some(format.to_owned()),
            version: version.map(str::to_owned),
        };
        Built {
            kubernetes: "1.20.2".parse().unwrap(),
            source: "/src/kubernetes".into(),
            state: "commit faecb196815e248d3ecfb03c680a4507229c2a56".into(),
            go: "go1.15.15 linux/amd64".into(),
            folder: "programs".into(),
            cached: true,
            took: Duration::from_millis(300),
            build_took: Duration::from_secs(480),
            log: None,
            programs: vec![
                program(Os::Linux, "kubelet", "ELF x86-64, static", Some("v1.20.2")),
                program(Os::Windows, "kubelet.exe", "PE x86-64", None),
            ],
        }
    }

    #[test]
    fn what_was_built_is_told_to_people_and_programs() {
        insta::assert_snapshot!(table(&built(), Palette::new(false)));
        let document = serde_json::to_string_pretty(&Document::new("build", "ok", &built())).unwrap();
        insta::assert_snapshot!(document);
    }

    #[test]
    fn lines_tell_stages_and_some_of_the_packages() {
        let lines = |quiet| {
            let lines = Lines { quiet, palette: Palette::new(false) };
            let check = |verdict, detail: &str| {
                BuildProgress::Checked(Check { name: "go", verdict, detail: detail.into(), remedy: None })
            };
            let package = |number| BuildProgress::Package { number, name: format!("k8s.io/package-{number}") };
            let stage = Stage::Compile(Os::Windows);
            let events =
                [check(Verdict::Fine, "Go 1.15.15 fits"), check(Verdict::Warning, "Go 1.16: nothing is known")]
                    .into_iter()
                    .chain([BuildProgress::Started(stage)])
                    .chain((1..=510).map(package))
                    .chain([BuildProgress::Ended { stage, packages: 510, took: Duration::from_secs(204) }]);
            events.filter_map(|event| lines.text(&event)).collect::<Vec<_>>().join("\n")
        };
        insta::assert_snapshot!(lines(false));
        assert_eq!(lines(true), "warning: go: Go 1.16: nothing is known");
    }
}
