//! `docs/preflight.md`, made from the catalogue.

use std::fmt::Write as _;

use super::{Entry, Group, entries};
use crate::report::Severity;

const HEAD: &str = "# Preflight: all checks

Made from the catalogue (`crates/orchestrator/src/preflight/catalogue/`); a test keeps this page current.

`k8swin preflight` looks at every host, at what lies between them, and at this machine, and changes nothing. `up` does the same
first, and refuses while there are errors. `--ignore NAME`, or `--ignore HOST:NAME` for one host, shows a finding and does not
count it; `ignore = [\"NAME\"]` under `[cluster]` or in a `[[host]]` of the inventory does the same for every run.
`k8swin preflight --list` prints this catalogue, also as JSON.

What an earlier `up` made is ours and fine; what somebody else made is named with its owner. Commands are typed on the host
that the finding names: as root on Linux, in an administrator's PowerShell on Windows. Words in braces are filled in.
Sources that begin with *facts* are sections of the developers' fact sheet, which names the public source of each.
";

/// The page.
#[must_use]
pub fn page() -> String {
    let mut page = HEAD.to_owned();
    for group in Group::ALL {
        let _ = write!(page, "\n## {group}\n");
        for entry in entries().filter(|entry| entry.group == group) {
            write_entry(&mut page, entry);
        }
    }
    page
}

fn write_entry(page: &mut String, entry: &Entry) {
    let worst = match entry.worst {
        Severity::Error => "error",
        Severity::Warning | Severity::Ok => "warning",
    };
    let Entry { check, looks_at, expected, why, source, remedies, .. } = entry;
    let _ = write!(
        page,
        "\n### `{check}`\n\n\
         Looks at {looks_at}. At worst: {worst}.\n\n\
         - Expected: {expected}.\n\
         - Why: {why} ({source}).\n"
    );
    for remedy in *remedies {
        let _ = writeln!(page, "- Remedy: {}.", remedy.text);
        if !remedy.commands.is_empty() {
            let _ = writeln!(page, "\n  ```\n  {}\n  ```\n", remedy.commands.join("\n  "));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_page_is_current() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/preflight.md");
        if std::env::var_os("K8SWIN_WRITE_DOCS").is_some() {
            std::fs::write(&file, page()).unwrap();
        }
        assert!(
            std::fs::read_to_string(&file).unwrap() == page(),
            "docs/preflight.md is out of date: K8SWIN_WRITE_DOCS=1 cargo xtask test -p k8swin-orchestrator"
        );
    }
}
