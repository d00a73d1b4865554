//! `manifest.json`: for each program of a folder its digest, what it is, and where it comes from.

use std::collections::BTreeMap;

use camino::Utf8Path;
use k8swin_protocol::Sha256;
use serde::{Deserialize, Serialize};

use crate::digests::replace;
use crate::error::{ArtifactError, io};

/// The name of the file in its folder.
const FILE: &str = "manifest.json";

/// Programs by path, as `sha256sums` writes it: `linux/kubelet`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// The programs.
    pub(crate) programs: BTreeMap<String, Entry>,
}

/// One program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// Its digest.
    pub(crate) sha256: Sha256,
    /// Its size in bytes.
    pub(crate) size: u64,
    /// What its first bytes say: `ELF x86-64, static`. Only of what was built here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) format: Option<String>,
    /// The version that it printed, where it could run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<String>,
    /// Where it comes from.
    pub(crate) origin: Origin,
}

/// Where a program comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(crate) enum Origin {
    /// Built on this machine.
    Build {
        /// The folder, or the git URL and its tag.
        source: String,
        /// `commit …`, or `tree …` with the digest of all files.
        state: String,
        /// The version that was stamped into it.
        kubernetes: String,
        /// The Go that built it: `go1.15.15 linux/amd64`.
        go: String,
        /// How long the build took, in milliseconds.
        took_ms: u64,
    },
    /// Out of an official archive.
    Release {
        /// Its address.
        url: String,
        /// The digest of the archive.
        sha256: Sha256,
    },
}

impl Manifest {
    /// Reads the manifest of a folder; a folder without one, or with a damaged one, has an empty one.
    pub(crate) async fn read(folder: &Utf8Path) -> Self {
        match tokio::fs::read(folder.join(FILE)).await {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_default(),
            Err(_) => Self::default(),
        }
    }

    /// Adds these programs to the manifest of a folder.
    pub(crate) async fn add(folder: &Utf8Path, programs: BTreeMap<String, Entry>) -> Result<(), ArtifactError> {
        let path = folder.join(FILE);
        let mut manifest = Self::read(folder).await;
        manifest.programs.extend(programs);
        let mut json = serde_json::to_vec_pretty(&manifest).map_err(|error| io("write", &path)(error.into()))?;
        json.push(b'\n');
        replace(&path, &json).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(origin: Origin) -> Entry {
        Entry { sha256: Sha256::of(b"kubelet"), size: 7, format: None, version: None, origin }
    }

    fn release() -> Origin {
        Origin::Release { url: "https://dl.k8s.io/v1.5.8/kubernetes.tar.gz".into(), sha256: Sha256::of(b"tar") }
    }

    #[tokio::test]
    async fn programs_are_added_to_those_that_are_there() {
        let folder = tempfile::tempdir().unwrap();
        let folder = Utf8Path::from_path(folder.path()).unwrap();
        std::fs::write(folder.join(FILE), "{").unwrap();
        let built = Origin::Build {
            source: "https://github.com/kubernetes/kubernetes v1.5.8".into(),
            state: "commit e8c167a115ec662726904265d17f75a6d79d78d8".into(),
            kubernetes: "v1.5.8".into(),
            go: "go1.7.6 linux/amd64".into(),
            took_ms: 250_000,
        };
        let built = Entry {
            format: Some("ELF x86-64, static".into()),
            version: Some("Kubernetes v1.5.8".into()),
            ..entry(built)
        };
        Manifest::add(folder, [("linux/kubelet".to_owned(), built)].into()).await.unwrap();
        Manifest::add(folder, [("windows/kubelet.exe".to_owned(), entry(release()))].into()).await.unwrap();
        insta::assert_snapshot!(std::fs::read_to_string(folder.join(FILE)).unwrap());
        assert_eq!(Manifest::read(folder).await.programs.len(), 2);
    }
}
