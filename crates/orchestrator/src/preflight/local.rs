//! Checks of the machine that k8swin runs on.

use k8swin_inventory::cluster::{ArtifactSource, KubernetesMinor};
use k8swin_inventory::{Check, Cluster};

use super::Report;
use super::catalogue::{FREE_LOCAL, Fix, GET_ARTIFACTS, GET_DIGESTS, INSTALL_GO};

const GIB: u64 = 1 << 30;

/// What this machine is and has.
#[derive(Clone, Debug)]
pub(crate) struct ThisMachine {
    /// Free bytes in the folder for downloads; none where it cannot be told.
    pub(crate) disk_free_bytes: Option<u64>,
    /// The addresses from which programs would be downloaded, or why programs cannot be had.
    pub(crate) programs: Result<Vec<String>, Trouble>,
    /// What is wrong with digests.
    pub(crate) digests: Result<(), Trouble>,
    /// What `go version` says, if the inventory asks for a build; none where there is no Go.
    pub(crate) go: Option<String>,
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

pub(super) fn check(cluster: &Cluster, local: &ThisMachine, report: &mut Report<'_>) {
    match &local.programs {
        Err(trouble) => report.error(Check::Artifacts, trouble.detail.clone(), trouble.fix(GET_ARTIFACTS)),
        Ok(urls) if urls.is_empty() => report.ok(Check::Artifacts, "all programs are here"),
        Ok(urls) => report.ok(Check::Artifacts, format!("to be downloaded: {}", urls.join(", "))),
    }
    match &local.digests {
        Err(trouble) => report.error(Check::ArtifactDigests, trouble.detail.clone(), trouble.fix(GET_DIGESTS)),
        Ok(()) => report.ok(Check::ArtifactDigests, "all are known"),
    }
    let builds = matches!(cluster.artifacts.source, ArtifactSource::Build { .. });
    let needed = if builds { 20 } else { 2 };
    match local.disk_free_bytes.map(|bytes| bytes / GIB) {
        None => report.ok(Check::LocalDisk, "the free space cannot be told"),
        Some(free) if free < needed => {
            report.error(Check::LocalDisk, format!("{free} GiB free for downloads, needed: {needed}"), FREE_LOCAL);
        }
        Some(free) => report.ok(Check::LocalDisk, format!("{free} GiB free for downloads")),
    }
    if builds {
        go(cluster, local.go.as_deref(), report);
    } else {
        report.ok(Check::GoToolchain, "nothing is built");
    }
}

fn go(cluster: &Cluster, says: Option<&str>, report: &mut Report<'_>) {
    let window = match cluster.kubernetes.minor {
        KubernetesMinor::V1_5 => 7..=9,
        KubernetesMinor::V1_20 => 15..=17,
    };
    let shown = format!("1.{} to 1.{}", window.start(), window.end());
    let fix = INSTALL_GO.with(&[("window", &shown)]);
    let Some(says) = says else {
        return report.error(Check::GoToolchain, "there is no Go on the PATH", fix);
    };
    let minor = |word: &str| word.strip_prefix("go1.")?.split(['.', 'r', 'b']).next()?.parse::<u32>().ok();
    match says.split_whitespace().find_map(minor) {
        Some(minor) if window.contains(&minor) => report.ok(Check::GoToolchain, says.to_owned()),
        _ => report.error(
            Check::GoToolchain,
            format!("`{says}`; Kubernetes {} needs Go {shown}", cluster.kubernetes),
            fix,
        ),
    }
}

#[cfg(test)]
impl ThisMachine {
    /// Nothing is wrong with it.
    pub(super) fn healthy() -> Self {
        Self { disk_free_bytes: Some(100 << 30), programs: Ok(Vec::new()), digests: Ok(()), go: None }
    }
}
