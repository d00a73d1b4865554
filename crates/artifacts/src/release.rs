//! The official release tarballs: their names, addresses and digests, and what of a host's programs they hold.

use std::collections::{BTreeMap, BTreeSet};

use camino::{Utf8Path, Utf8PathBuf};
use k8swin_inventory::cluster::{KubernetesMinor, KubernetesVersion};
use k8swin_protocol::{Os, Sha256};

use crate::digests::Digests;
use crate::download::{Download, without_credentials};
use crate::error::{ArtifactError, io};
use crate::local::{self, Programs};
use crate::manifest::Origin;
use crate::{Progress, unpack};

/// Where releases are published (facts C.2).
const PUBLISHED: &str = "https://dl.k8s.io";

/// Digests of CHANGELOG-1.5 (facts C.2): patch of 1.5, server tarball for Linux, node tarball for Windows.
const KNOWN_1_5: [(u32, &str, &str); 3] = [
    (
        3,
        "ad4d101bec0ef981a7e1efbe11223e502ff644368d70ad54915e15fcb3ad6735",
        "aa166b275b3d0f80cbf23fbee7f42358b6176f37fd9ef66837f38910d4626079",
    ),
    (
        7,
        "ae18d659811da316d4a8bbdce15c4396fdee0068f9d3247a72c3a23433fee44c",
        "c3e89390c8026845fcf72765e84b7e3cd383de705ef46f4e3d422b343d66bd47",
    ),
    (
        8,
        "7e17b17e967722546541fdaeead4dc40037ddce4107aa2b2a561ea577aa62101",
        "59448d44c86002386450c8804757bfd63f4c943670d7cf15e9221efa53ee0ef5",
    ),
];

/// A release, as far as it is needed.
pub(crate) struct Release {
    /// `v1.5.8`.
    tag: String,
    /// The server that has it.
    mirror: String,
    /// The digest of each tarball that is needed.
    tarballs: BTreeMap<Os, Sha256>,
}

impl Release {
    /// The release of that version, with the tarballs for what is needed.
    pub(crate) fn known(
        version: KubernetesVersion,
        mirror: Option<&str>,
        needed: &BTreeSet<(Os, String)>,
    ) -> Result<Self, ArtifactError> {
        let systems: BTreeSet<Os> = needed.iter().filter(|program| is_in_tarball(program)).map(|(os, _)| *os).collect();
        let tarballs = systems
            .into_iter()
            .map(|os| match known_digest(version, os) {
                Some(sha256) => Ok((os, sha256)),
                None => Err(ArtifactError::UnknownRelease { version: version.to_string(), file: tarball(os) }),
            })
            .collect::<Result<_, _>>()?;
        let mirror = mirror.unwrap_or(PUBLISHED).trim_end_matches('/').to_owned();
        Ok(Self { tag: format!("v{version}"), mirror, tarballs })
    }

    /// The needed programs: from the cache, or downloaded into it. Nothing is downloaded before it is known that what
    /// the tarballs lack is there.
    pub(crate) async fn resolve(
        &self,
        needed: &BTreeSet<(Os, String)>,
        cache: &Utf8Path,
        digests: &mut Digests,
        progress: &impl Fn(Progress),
    ) -> Result<Programs, ArtifactError> {
        let (kubernetes, mut programs) = split(needed, cache, digests, progress).await?;
        let folder = cache.join("releases").join(&self.tag);
        let (mut unpacked, _) = local::examine(&folder, &kubernetes, digests, progress).await;
        for (&os, &sha256) in &self.tarballs {
            let absent: BTreeSet<String> = kubernetes
                .iter()
                .filter(|program| program.0 == os && !unpacked.contains_key(program))
                .map(|(_, name)| name.clone())
                .collect();
            if absent.is_empty() {
                continue;
            }
            let archive = self.tarball(os, sha256, cache, digests, progress).await?;
            progress(Progress::Unpacking { file: tarball(os).to_owned() });
            let origin = Origin::Release { url: without_credentials(&self.url(os)), sha256 };
            unpack::unpack(archive, os, inner_folder(os), absent, folder.clone(), origin).await?;
        }
        if unpacked.len() < kubernetes.len() {
            unpacked = local::verified(&folder, &kubernetes, digests, progress).await?;
        }
        programs.append(&mut unpacked);
        Ok(programs)
    }

    /// Where the needed programs would come from: the addresses of those tarballs that are not here yet.
    pub(crate) async fn absent(
        &self,
        needed: &BTreeSet<(Os, String)>,
        cache: &Utf8Path,
        digests: &mut Digests,
        progress: &impl Fn(Progress),
    ) -> Result<Vec<String>, ArtifactError> {
        let (kubernetes, _) = split(needed, cache, digests, progress).await?;
        let (unpacked, _) =
            local::examine(&cache.join("releases").join(&self.tag), &kubernetes, digests, progress).await;
        let mut absent = Vec::new();
        for (&os, &sha256) in &self.tarballs {
            let here =
                kubernetes.iter().filter(|program| program.0 == os).all(|program| unpacked.contains_key(program));
            let archive = cache.join("downloads").join(&self.tag).join(tarball(os));
            if !here && !digests.of_one(&archive, progress).await.is_ok_and(|found| found.sha256 == sha256) {
                absent.push(self.url(os));
            }
        }
        Ok(absent)
    }

    /// The verified tarball in the cache.
    async fn tarball(
        &self,
        os: Os,
        sha256: Sha256,
        cache: &Utf8Path,
        digests: &mut Digests,
        progress: &impl Fn(Progress),
    ) -> Result<Utf8PathBuf, ArtifactError> {
        let folder = cache.join("downloads").join(&self.tag);
        let path = folder.join(tarball(os));
        if digests.of_one(&path, progress).await.is_ok_and(|found| found.sha256 == sha256) {
            return Ok(path);
        }
        tokio::fs::create_dir_all(&folder).await.map_err(io("create", &folder))?;
        Download::new(self.url(os), sha256, path.clone()).run(progress).await?;
        Ok(path)
    }

    fn url(&self, os: Os) -> String {
        format!("{}/{}/{}", self.mirror, self.tag, tarball(os))
    }
}

/// The needed programs that are Kubernetes' own, and those that are not, which a folder of the cache must have.
pub(crate) async fn split(
    needed: &BTreeSet<(Os, String)>,
    cache: &Utf8Path,
    digests: &mut Digests,
    progress: &impl Fn(Progress),
) -> Result<(BTreeSet<(Os, String)>, Programs), ArtifactError> {
    let (kubernetes, extra): (BTreeSet<_>, BTreeSet<_>) = needed.iter().cloned().partition(is_in_tarball);
    let folder = cache.join("extra");
    let (programs, problems) = local::examine(&folder, &extra, digests, progress).await;
    if problems.is_empty() { Ok((kubernetes, programs)) } else { Err(ArtifactError::Extra { folder, problems }) }
}

fn known_digest(version: KubernetesVersion, os: Os) -> Option<Sha256> {
    let known: &[(u32, &str, &str)] = match version.minor {
        KubernetesMinor::V1_5 => &KNOWN_1_5,
        KubernetesMinor::V1_20 => &[],
    };
    let (_, linux, windows) = known.iter().find(|(patch, ..)| *patch == version.patch)?;
    match os {
        Os::Linux => linux.parse().ok(),
        Os::Windows => windows.parse().ok(),
    }
}

/// The tarball with the programs of an operating system. The server tarball holds the control plane and the node
/// programs; the Windows node tarball exists from 1.5.3 on (facts C.2).
fn tarball(os: Os) -> &'static str {
    match os {
        Os::Linux => "kubernetes-server-linux-amd64.tar.gz",
        Os::Windows => "kubernetes-node-windows-amd64.tar.gz",
    }
}

/// Where the programs are in the tarball (facts C.2).
fn inner_folder(os: Os) -> &'static str {
    match os {
        Os::Linux => "kubernetes/server/bin",
        Os::Windows => "kubernetes/node/bin",
    }
}

/// Whether a program is in the Kubernetes tarballs (facts C.2). etcd and the CNI plugins are not.
fn is_in_tarball((os, name): &(Os, String)) -> bool {
    let names: &[&str] = match os {
        Os::Linux => &[
            "hyperkube",
            "kube-apiserver",
            "kube-controller-manager",
            "kube-proxy",
            "kube-scheduler",
            "kubectl",
            "kubelet",
        ],
        Os::Windows => &["kube-proxy.exe", "kubectl.exe", "kubelet.exe"],
    };
    names.contains(&name.as_str())
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;
    use crate::test_server::TestServer;

    const V1_5_8: KubernetesVersion = KubernetesVersion { minor: KubernetesMinor::V1_5, patch: 8 };

    fn programs(list: &[(Os, &str)]) -> BTreeSet<(Os, String)> {
        list.iter().map(|(os, name)| (*os, (*name).to_owned())).collect()
    }

    fn tar_gz(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        for (path, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o755);
            builder.append_data(&mut header, path, *content).unwrap();
        }
        builder.into_inner().unwrap().finish().unwrap()
    }

    #[test]
    fn every_known_digest_is_one() {
        for (patch, ..) in KNOWN_1_5 {
            let version = KubernetesVersion { minor: KubernetesMinor::V1_5, patch };
            assert!([Os::Linux, Os::Windows].iter().all(|os| known_digest(version, *os).is_some()));
        }
        let digest = known_digest(V1_5_8, Os::Windows).unwrap();
        assert_eq!(digest.to_string(), "59448d44c86002386450c8804757bfd63f4c943670d7cf15e9221efa53ee0ef5");
    }

    #[test]
    fn a_release_without_known_digest_is_refused_with_the_remedy() {
        let needed = programs(&[(Os::Linux, "kubelet")]);
        let version = KubernetesVersion { minor: KubernetesMinor::V1_20, patch: 2 };
        let error = Release::known(version, None, &needed).err().unwrap();
        assert_eq!(
            error.to_string(),
            "the sha256 of kubernetes-server-linux-amd64.tar.gz for Kubernetes 1.20.2 is unknown, so it is not downloaded"
        );
        assert!(error.hint().unwrap().contains("source = \"local\""));
    }

    #[tokio::test]
    async fn a_release_is_downloaded_unpacked_and_then_taken_from_the_cache() {
        let server_tar = tar_gz(&[
            ("kubernetes/server/bin/kubelet", b"linux kubelet"),
            ("kubernetes/server/bin/kube-apiserver.tar", b"an image nobody needs"),
            ("kubernetes/server/bin/kube-apiserver", b"api server"),
        ]);
        let windows_tar = tar_gz(&[("kubernetes/node/bin/kubelet.exe", b"windows kubelet")]);
        let tarballs =
            [(Os::Linux, Sha256::of(&server_tar)), (Os::Windows, Sha256::of(&windows_tar))].into_iter().collect();
        let server = TestServer::start([
            ("/mirror/v1.5.8/kubernetes-server-linux-amd64.tar.gz", server_tar),
            ("/mirror/v1.5.8/kubernetes-node-windows-amd64.tar.gz", windows_tar),
        ])
        .await;
        let folder = tempfile::tempdir().unwrap();
        let cache = Utf8Path::from_path(folder.path()).unwrap();
        let release = Release { tag: "v1.5.8".into(), mirror: format!("{}/mirror", server.url()), tarballs };
        let needed = programs(&[
            (Os::Linux, "kubelet"),
            (Os::Linux, "kube-apiserver"),
            (Os::Linux, "etcd"),
            (Os::Windows, "kubelet.exe"),
        ]);

        let mut digests = Digests::load(cache).await;
        let error = release.resolve(&needed, cache, &mut digests, &|_| ()).await.unwrap_err();
        assert!(
            error.to_string().starts_with("etcd and the CNI plugins are not in the Kubernetes tarballs"),
            "{error}"
        );
        assert!(error.hint().unwrap().contains(&format!("{cache}/extra/linux")));
        assert_eq!(server.requests(), 0, "nothing is downloaded before what must be there is there");

        std::fs::create_dir_all(cache.join("extra/linux")).unwrap();
        std::fs::write(cache.join("extra/linux/etcd"), "etcd").unwrap();
        std::fs::write(cache.join("extra/sha256sums"), format!("{}  linux/etcd\n", Sha256::of(b"etcd"))).unwrap();
        let found = release.resolve(&needed, cache, &mut digests, &|_| ()).await.unwrap();
        assert_eq!(found.keys().cloned().collect::<BTreeSet<_>>(), needed);
        let kubelet = &found[&(Os::Windows, "kubelet.exe".to_owned())];
        assert_eq!(kubelet.sha256, Sha256::of(b"windows kubelet"));
        assert_eq!(std::fs::read(&kubelet.path).unwrap(), b"windows kubelet");
        assert!(!cache.join("releases/v1.5.8/linux/kube-apiserver.tar").exists());
        assert_eq!(server.requests(), 2);

        // Offline now: the cache has all; a damaged program is unpacked again from the kept tarball.
        server.stop();
        assert_eq!(release.resolve(&needed, cache, &mut digests, &|_| ()).await.unwrap(), found);
        std::fs::write(cache.join("releases/v1.5.8/linux/kubelet"), "damaged by a full disk").unwrap();
        assert_eq!(release.resolve(&needed, cache, &mut digests, &|_| ()).await.unwrap(), found);
    }

    #[tokio::test]
    async fn a_tarball_without_a_needed_program_says_which() {
        let tar = tar_gz(&[("kubernetes/node/bin/kubectl.exe", b"kubectl")]);
        let tarballs = [(Os::Windows, Sha256::of(&tar))].into_iter().collect();
        let server = TestServer::start([("/v1.5.8/kubernetes-node-windows-amd64.tar.gz", tar)]).await;
        let folder = tempfile::tempdir().unwrap();
        let cache = Utf8Path::from_path(folder.path()).unwrap();
        let release = Release { tag: "v1.5.8".into(), mirror: server.url(), tarballs };
        let needed = programs(&[(Os::Windows, "kubelet.exe")]);
        let mut digests = Digests::load(cache).await;
        let error = release.resolve(&needed, cache, &mut digests, &|_| ()).await.unwrap_err();
        assert!(error.to_string().ends_with("has no kubernetes/node/bin/kubelet.exe"), "{error}");
    }
}
