//! Checks of the machine that k8swin runs on.

use k8swin_artifacts::build::{self, Verdict};
use k8swin_inventory::Check;

use super::Report;
use super::catalogue::{FREE_LOCAL, Fix, GET_ARTIFACTS, GET_DIGESTS, INSTALL_GO};

const GIB: u64 = 1 << 30;

/// Room for the archives of a release and what is in them.
const ARCHIVES_GIB: u64 = 2;

/// What a build of Kubernetes can come to (`k8swin build` warns of the same).
const BUILD_GIB: u64 = 6;

/// What this machine is and has.
#[derive(Clone, Debug)]
pub(crate) struct ThisMachine {
    /// Free bytes in the folder for downloads; none where it cannot be told.
    pub(crate) disk_free_bytes: Option<u64>,
    /// The addresses from which programs would be downloaded, or why programs cannot be had.
    pub(crate) programs: Result<Vec<String>, Trouble>,
    /// What is wrong with digests.
    pub(crate) digests: Result<(), Trouble>,
    /// The Go that would build them, where they are still to be built.
    pub(crate) go: Option<build::Check>,
}

/// What is wrong, as the crate says that knows it.
#[derive(Clone, Debug)]
pub(crate) struct Trouble {
    /// What.
    pub(crate) detail: String,
    /// What to do.
    pub(crate) hint: Option<String>,
}

impl Trouble {
    /// The catalogue's remedy, or better the hint.
    fn fix(&self, remedy: super::catalogue::Remedy) -> Fix {
        let fix = Fix::from(remedy);
        Fix { text: self.hint.clone().unwrap_or_else(|| fix.text.clone()), ..fix }
    }
}

pub(super) fn check(local: &ThisMachine, report: &mut Report<'_>) {
    match &local.programs {
        Err(trouble) => report.error(Check::Artifacts, trouble.detail.clone(), trouble.fix(GET_ARTIFACTS)),
        Ok(urls) if urls.is_empty() => report.ok(Check::Artifacts, "all programs are here"),
        Ok(urls) => report.ok(Check::Artifacts, format!("to be downloaded: {}", urls.join(", "))),
    }
    match &local.digests {
        Err(trouble) => report.error(Check::ArtifactDigests, trouble.detail.clone(), trouble.fix(GET_DIGESTS)),
        Ok(()) => report.ok(Check::ArtifactDigests, "all are known"),
    }
    match local.disk_free_bytes.map(|bytes| bytes / GIB) {
        None => report.ok(Check::LocalDisk, "the free space cannot be told"),
        Some(free) if free < ARCHIVES_GIB => {
            report.error(Check::LocalDisk, format!("{free} GiB free, needed: {ARCHIVES_GIB}"), FREE_LOCAL);
        }
        Some(free) if free < BUILD_GIB && local.go.is_some() => {
            report.warning(
                Check::LocalDisk,
                format!("{free} GiB free, a build of Kubernetes can need {BUILD_GIB}"),
                FREE_LOCAL,
            );
        }
        Some(free) => report.ok(Check::LocalDisk, format!("{free} GiB free for downloads")),
    }
    let Some(go) = &local.go else { return report.ok(Check::GoToolchain, "nothing has to be built") };
    let fix = || Fix { text: go.remedy.clone().unwrap_or_else(|| INSTALL_GO.text.to_owned()), ..Fix::from(INSTALL_GO) };
    match go.verdict {
        Verdict::Fine => report.ok(Check::GoToolchain, go.detail.clone()),
        Verdict::Warning => report.warning(Check::GoToolchain, go.detail.clone(), fix()),
        Verdict::Error => report.error(Check::GoToolchain, go.detail.clone(), fix()),
    }
}

#[cfg(test)]
impl ThisMachine {
    /// Nothing is wrong with it.
    pub(super) fn healthy() -> Self {
        Self { disk_free_bytes: Some(100 << 30), programs: Ok(Vec::new()), digests: Ok(()), go: None }
    }
}
