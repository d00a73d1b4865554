//! The programs and agents that hosts need: where they come from, and path, digest and size of each.
//!
//! Whatever the source, the end is the same: a folder with `linux/`, `windows/` and `sha256sums`, of which every file
//! that is needed has been verified. A release is downloaded and unpacked into such a folder first.

mod agents;
pub mod build;
mod digests;
mod docker;
mod download;
mod error;
mod local;
mod look;
mod manifest;
mod release;
mod sums;
#[cfg(test)]
mod test_server;
mod unpack;
mod zip;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use camino::{Utf8Path, Utf8PathBuf};
use k8swin_inventory::cluster::{ArtifactSource, Cluster};
use k8swin_protocol::{Os, Sha256};

use crate::build::Source;
use crate::digests::Digests;
pub use crate::error::{ArtifactError, DownloadFault, Problem};
pub use crate::look::{Look, look};
use crate::release::Release;

/// A file of this machine that hosts need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifact {
    /// Where it lies on this machine.
    pub path: Utf8PathBuf,
    /// Its digest.
    pub sha256: Sha256,
    /// Its size in bytes.
    pub size: u64,
}

/// All that hosts need.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolved {
    /// The cluster's programs by operating system and file name.
    pub programs: BTreeMap<(Os, String), Artifact>,
    /// The agent for each operating system of the cluster's hosts.
    pub agents: BTreeMap<Os, Artifact>,
    /// The files of each zip of Docker that the inventory names: by the zip's digest, and by their path below its one
    /// folder, with forward slashes.
    pub docker: BTreeMap<Sha256, BTreeMap<String, Artifact>>,
}

/// What [`resolve`] is at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Bytes of a file have arrived.
    Downloading {
        /// The file's name.
        file: String,
        /// Bytes there now.
        done: u64,
        /// Bytes in all, where the server says so.
        total: Option<u64>,
    },
    /// An archive is unpacked.
    Unpacking {
        /// The archive's name.
        file: String,
    },
    /// The digest of a large file is computed, because it is new or has changed.
    Hashing {
        /// The file.
        file: Utf8PathBuf,
    },
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Downloading { file, done, total: Some(total) } => {
                write!(f, "downloading {file}: {} of {} MB", done / MEGABYTE, total.div_ceil(MEGABYTE))
            }
            Self::Downloading { file, done, total: None } => write!(f, "downloading {file}: {} MB", done / MEGABYTE),
            Self::Unpacking { file } => write!(f, "unpacking {file}"),
            Self::Hashing { file } => write!(f, "computing the sha256 of {file}"),
        }
    }
}

const MEGABYTE: u64 = 1_000_000;

/// Finds, downloads and verifies the programs that are `needed` (operating system and file name, such as `kubelet` or
/// `kubelet.exe`) and the agents. `cache` is a folder of this machine; it is made if it is not there.
///
/// # Errors
/// When something is missing, has another digest than it should have, or cannot be downloaded. What is missing in one
/// place is reported together.
pub async fn resolve(
    cluster: &Cluster,
    needed: &BTreeSet<(Os, String)>,
    cache: &Utf8Path,
    progress: impl Fn(Progress),
) -> Result<Resolved, ArtifactError> {
    tokio::fs::create_dir_all(cache).await.map_err(error::io("create", cache))?;
    let mut digests = Digests::load(cache).await;
    let systems: BTreeSet<Os> = cluster.hosts.iter().map(k8swin_inventory::Host::os).collect();
    let agents_folder = cluster.artifacts.agents.clone().map(expand_home);
    let result = async {
        // The agents first: they are cheap to look for, and a release may be a long download.
        let agents = agents::find(agents_folder.as_deref(), &systems, &mut digests, &progress).await?;
        let programs = match &cluster.artifacts.source {
            ArtifactSource::Local { path } => {
                local::verified(&expand_home(path.clone()), needed, &mut digests, &progress).await?
            }
            ArtifactSource::Release { mirror } => {
                let release = Release::known(cluster.kubernetes, mirror.as_deref(), needed)?;
                release.resolve(needed, cache, &mut digests, &progress).await?
            }
            ArtifactSource::Build { .. } if needed.is_empty() => BTreeMap::new(),
            ArtifactSource::Build { repository, tag, .. } => {
                let (kubernetes, mut programs) = release::split(needed, cache, &mut digests, &progress).await?;
                let source = Source::new(repository, tag.as_deref())
                    .map_err(|error| ArtifactError::Source { reason: error.to_string() })?;
                let cache = build::cache_of(cache);
                let version = cluster.kubernetes;
                let built = build::latest(&source, version, &kubernetes, &cache, &mut digests, &progress).await?;
                programs.extend(built);
                programs
            }
        };
        // Who needs no programs sends nothing to the hosts but the agents.
        let docker = if needed.is_empty() {
            BTreeMap::new()
        } else {
            docker::resolve(cluster, cache, &mut digests, &progress).await?
        };
        Ok(Resolved { programs, agents, docker })
    }
    .await;
    // Also after a failure: what has been computed need not be computed again.
    digests.save().await?;
    result
}

/// A path whose `~/` stands for the home folder, as inventories write it.
fn expand_home(path: Utf8PathBuf) -> Utf8PathBuf {
    let home = || std::env::home_dir().and_then(|home| Utf8PathBuf::from_path_buf(home).ok());
    match path.strip_prefix("~") {
        Ok(rest) => home().map_or(path.clone(), |home| home.join(rest)),
        Err(_) => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_home_folder_of_a_path_is_found() {
        let home = Utf8PathBuf::from_path_buf(std::env::home_dir().unwrap()).unwrap();
        assert_eq!(expand_home("~/programs".into()), home.join("programs"));
        assert_eq!(expand_home("~".into()), home);
        for other in ["/srv/~/programs", "programs", "~other/programs"] {
            assert_eq!(expand_home(other.into()), other);
        }
    }
}
