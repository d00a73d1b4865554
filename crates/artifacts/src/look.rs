//! Whether the programs can be had, without downloading or building any.

use std::collections::BTreeSet;

use camino::Utf8Path;
use k8swin_inventory::cluster::{ArtifactSource, Cluster};
use k8swin_protocol::{Os, Sha256};

use crate::digests::Digests;
use crate::download::{Download, without_credentials};
use crate::release::Release;
use crate::{ArtifactError, Problem, build, resolve};

/// Whether the programs can be had.
#[derive(Debug)]
pub struct Look {
    /// What is wrong with digests: unknown, or not those of the files.
    pub digests: Result<(), ArtifactError>,
    /// The addresses from which programs would be downloaded, all of which answer; or why programs cannot be had.
    pub programs: Result<Vec<String>, ArtifactError>,
    /// The Go that would build them, where they are still to be built.
    pub go: Option<build::Check>,
    /// Free bytes where downloads and builds go; none where it cannot be told.
    pub disk_free_bytes: Option<u64>,
}

/// Looks whether the programs that are `needed` can be had. Digests of local files are computed; nothing is downloaded.
pub async fn look(cluster: &Cluster, needed: &BTreeSet<(Os, String)>, cache: &Utf8Path) -> Look {
    let programs = match &cluster.artifacts.source {
        ArtifactSource::Release { mirror } => match Release::known(cluster.kubernetes, mirror.as_deref(), needed) {
            Ok(release) => downloads(&release, needed, cache).await,
            Err(error) => Err(error),
        },
        ArtifactSource::Local { .. } | ArtifactSource::Build { .. } => {
            resolve(cluster, needed, cache, |_| ()).await.map(|_| Vec::new())
        }
    };
    let go = match &cluster.artifacts.source {
        ArtifactSource::Build { go, .. } if programs.is_err() => {
            Some(build::go(cluster.kubernetes.minor, go.as_deref()).await)
        }
        _ => None,
    };
    let existing = cache.ancestors().find(|folder| folder.is_dir());
    let disk_free_bytes = existing.and_then(|folder| build::free(folder).ok());
    match programs {
        Err(error) if is_about_digests(&error) => {
            Look { digests: Err(error), programs: Ok(Vec::new()), go, disk_free_bytes }
        }
        programs => Look { digests: Ok(()), programs, go, disk_free_bytes },
    }
}

async fn downloads(
    release: &Release,
    needed: &BTreeSet<(Os, String)>,
    cache: &Utf8Path,
) -> Result<Vec<String>, ArtifactError> {
    let mut digests = Digests::load(cache).await;
    let absent = release.absent(needed, cache, &mut digests, &|_| ()).await?;
    for url in &absent {
        // Only the header is asked for, so neither digest nor place matter.
        Download::new(url.clone(), Sha256::of(b""), cache.join("probe")).probe().await?;
    }
    Ok(absent.iter().map(|url| without_credentials(url)).collect())
}

/// Whether files are there and only not to be trusted.
fn is_about_digests(error: &ArtifactError) -> bool {
    let of_digests = |problem: &Problem| !matches!(problem, Problem::Unreadable { .. });
    match error {
        ArtifactError::UnknownRelease { .. } | ArtifactError::Digest { .. } => true,
        ArtifactError::Folder { problems, .. } | ArtifactError::Extra { problems, .. } => {
            problems.iter().all(of_digests)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(source: &str) -> Cluster {
        let text = format!(
            "[cluster]\nname = \"a\"\nkubernetes = \"1.5.8\"\npod_cidr = \"192.168.0.0/16\"\nservice_cidr = \"172.30.0.0/16\"\n\
             [cluster.artifacts]\n{source}\n[[host]]\nname = \"lin01\"\nos = \"linux\"\nroles = [\"control-plane\"]\n\
             address = \"10.0.0.1\"\n"
        );
        k8swin_inventory::parse(&text, "inventory.toml".into()).unwrap()
    }

    fn kubelet() -> BTreeSet<(Os, String)> {
        [(Os::Linux, "kubelet".to_owned())].into()
    }

    fn write(folder: &Utf8Path, name: &str, content: &str) {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    #[tokio::test]
    async fn a_folder_is_complete_or_lacks_files_or_has_others_than_it_says() {
        let folder = tempfile::tempdir().unwrap();
        let folder = Utf8Path::from_path(folder.path()).unwrap();
        let source = format!("source = \"local\"\npath = \"{folder}/programs\"\nagents = \"{folder}/agents\"");
        let cluster = cluster(&source);
        write(folder, "agents/k8swin-agent", "agent");
        write(folder, "programs/sha256sums", &format!("{}  linux/kubelet\n", Sha256::of(b"kubelet")));
        let see = async || look(&cluster, &kubelet(), &folder.join("cache")).await;
        let missing = see().await;
        assert!(missing.digests.is_ok() && missing.programs.is_err(), "{missing:?}");
        assert!(missing.go.is_none() && missing.disk_free_bytes.is_some(), "{missing:?}");
        write(folder, "programs/linux/kubelet", "another kubelet");
        let differs = see().await;
        assert!(differs.digests.is_err() && differs.programs.is_ok(), "{differs:?}");
        write(folder, "programs/linux/kubelet", "kubelet");
        let fine = see().await;
        assert!(fine.digests.is_ok() && fine.programs.is_ok_and(|urls| urls.is_empty()));
    }

    #[tokio::test]
    async fn what_is_to_be_built_needs_a_go() {
        let folder = tempfile::tempdir().unwrap();
        let folder = Utf8Path::from_path(folder.path()).unwrap();
        let source = format!("source = \"build\"\nrepository = \"{folder}/kubernetes\"\ngo = \"{folder}/go\"");
        write(folder, "agents/k8swin-agent", "agent");
        let cluster = cluster(&format!("{source}\nagents = \"{folder}/agents\""));
        let found = look(&cluster, &kubelet(), &folder.join("cache")).await;
        assert!(found.programs.is_err(), "{found:?}");
        let go = found.go.unwrap();
        assert_eq!((go.name, go.verdict), ("go", build::Verdict::Error));
        assert!(go.detail.contains("go/bin/go") || go.detail.contains("/go:"), "{}", go.detail);
    }

    #[tokio::test]
    async fn a_release_is_asked_for_without_being_downloaded() {
        let server = crate::test_server::TestServer::start([(
            "/v1.5.8/kubernetes-server-linux-amd64.tar.gz",
            b"never read".to_vec(),
        )])
        .await;
        let folder = tempfile::tempdir().unwrap();
        let cache = Utf8Path::from_path(folder.path()).unwrap();
        let here = cluster(&format!("source = \"release\"\nmirror = \"{}\"", server.url()));
        let found = look(&here, &kubelet(), cache).await;
        assert_eq!(found.programs.unwrap().len(), 1);
        assert!(!cache.join("downloads").exists());
        server.stop();
        assert!(look(&here, &kubelet(), cache).await.programs.is_err());
    }
}
