//! `k8swin build`: Kubernetes' programs for Linux and Windows, compiled on this machine from a folder or a git tag.
//!
//! The way of a build: look whether everything is there that is needed, all of it before anything starts; take what was
//! built before from the same source with the same Go; else copy the source into the cache, let Kubernetes' own `make` do
//! the work as the walkthrough does, examine what came out, and put it beside a manifest.

mod binary;
mod checks;
mod error;
mod go;
mod program;
mod results;
mod run;
mod source;
mod steps;
mod toolchain;
mod tree;
mod version;
mod work;

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use k8swin_inventory::cluster::KubernetesVersion;
use k8swin_protocol::Os;

pub(crate) use checks::free;
pub use error::BuildError;
pub(crate) use results::latest;
pub use run::build;
pub use source::Source;
pub(crate) use toolchain::check as go;

use crate::{Artifact, Progress};

/// What is to be built.
#[derive(Clone, Debug)]
pub struct BuildRequest {
    /// The source.
    pub source: Source,
    /// The version; without it, what the source says.
    pub kubernetes: Option<KubernetesVersion>,
    /// The Go: its folder or its program. Without it, one of this machine that fits.
    pub go: Option<Utf8PathBuf>,
    /// Whether a Go is taken that is known to give broken programs.
    pub allow_toolchain: bool,
    /// The systems that programs are built for.
    pub systems: BTreeSet<Os>,
    /// A folder that gets copies of the programs, with `sha256sums` and `manifest.json`.
    pub out: Option<Utf8PathBuf>,
    /// The folder for what is kept between builds.
    pub cache: Utf8PathBuf,
}

impl BuildRequest {
    /// The version, as far as it is known without the source.
    fn expected(&self) -> Option<KubernetesVersion> {
        self.kubernetes.or_else(|| self.source.tagged()?.release())
    }
}

/// What a build is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The source is fetched.
    Fetch,
    /// The source is copied into the cache.
    Copy,
    /// Kubernetes' generators are built and run.
    Generate,
    /// The programs for a system are compiled.
    Compile(Os),
    /// The programs are examined and put into their folder.
    Examine,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fetch => "source",
            Self::Copy => "copy of the source",
            Self::Generate => "generated code",
            Self::Compile(Os::Linux) => "Linux programs",
            Self::Compile(Os::Windows) => "Windows programs",
            Self::Examine => "examination",
        })
    }
}

/// What a build tells while it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BuildProgress {
    /// A check of this machine or of the source.
    Checked(Check),
    /// A stage begins.
    Started(Stage),
    /// A package is compiled, the how-maniest of its stage.
    Package {
        /// Its number, from 1.
        number: usize,
        /// Its import path.
        name: String,
    },
    /// A stage has ended.
    Ended {
        /// Which.
        stage: Stage,
        /// How many packages were compiled.
        packages: usize,
        /// How long it took.
        took: Duration,
    },
    /// Digests are computed.
    Artifact(Progress),
}

/// One thing that was looked at before the build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Its stable name.
    pub name: &'static str,
    /// The verdict.
    pub verdict: Verdict,
    /// What was found.
    pub detail: String,
    /// What to do, where something is wrong.
    pub remedy: Option<String>,
}

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As it should be.
    Fine,
    /// The build goes on; somebody should know.
    Warning,
    /// The build does not start.
    Error,
}

impl Check {
    fn fine(name: &'static str, detail: String) -> Self {
        Self { name, verdict: Verdict::Fine, detail, remedy: None }
    }

    fn warning(name: &'static str, detail: String) -> Self {
        Self { name, verdict: Verdict::Warning, detail, remedy: None }
    }

    fn error(name: &'static str, detail: String, remedy: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Error, detail, remedy: Some(remedy.into()) }
    }
}

/// What was built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Built {
    /// The release.
    pub kubernetes: KubernetesVersion,
    /// The source, for people.
    pub source: String,
    /// `commit …` or `tree …`.
    pub state: String,
    /// The Go: `go1.15.15 linux/amd64`.
    pub go: String,
    /// The folder with `linux/`, `windows/`, `sha256sums` and `manifest.json`.
    pub folder: Utf8PathBuf,
    /// Whether all of it had been built before.
    pub cached: bool,
    /// How long this run took.
    pub took: Duration,
    /// How long the compilation took, now or then.
    pub build_took: Duration,
    /// The output of `make`, if it ran now.
    pub log: Option<Utf8PathBuf>,
    /// The programs.
    pub programs: Vec<BuiltProgram>,
}

/// A program that was built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuiltProgram {
    /// The system that it runs on.
    pub os: Os,
    /// Its file name.
    pub name: String,
    /// Where it is, with digest and size.
    pub artifact: Artifact,
    /// `ELF x86-64, static`.
    pub format: Option<String>,
    /// What it printed as its version, where it could run.
    pub version: Option<String>,
}

/// The builder's own folder in the cache.
pub(crate) fn cache_of(cache: &Utf8Path) -> Utf8PathBuf {
    cache.join("build")
}
