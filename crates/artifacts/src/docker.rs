//! Docker for Windows out of a zip that the inventory names: verified, taken apart into the cache, verified again there.

use std::collections::{BTreeMap, BTreeSet};

use camino::{Utf8Path, Utf8PathBuf};
use k8swin_inventory::cluster::{Cluster, DockerZip, System, ZipSource};
use k8swin_protocol::Sha256;

use crate::digests::{Digests, replace};
use crate::download::Download;
use crate::error::{ArtifactError, io};
use crate::sums::{self, Sums};
use crate::{Artifact, Progress, expand_home, zip};

/// The one folder in Docker's zips (facts D.2).
const TOP: &str = "docker";

/// What must be in it: the engine, and the program that asks it.
const NEEDED: [&str; 2] = ["dockerd.exe", "docker.exe"];

/// The files of each zip, by the zip's digest and by their path below its top folder.
pub(crate) type DockerFiles = BTreeMap<Sha256, BTreeMap<String, Artifact>>;

/// The files of all zips that hosts of the cluster name.
pub(crate) async fn resolve(
    cluster: &Cluster,
    cache: &Utf8Path,
    digests: &mut Digests,
    progress: &impl Fn(Progress),
) -> Result<DockerFiles, ArtifactError> {
    let zips: BTreeSet<&DockerZip> = cluster
        .hosts
        .iter()
        .filter_map(|host| match &host.system {
            System::Windows(windows) => windows.docker.as_ref(),
            System::Linux(_) => None,
        })
        .collect();
    let mut all = DockerFiles::new();
    for wanted in zips {
        let folder = cache.join("docker").join(wanted.sha256.to_string());
        let files = match unpacked(&folder, digests, progress).await {
            Some(files) => files,
            None => {
                let archive = archive(wanted, cache, digests, progress).await?;
                progress(Progress::Unpacking { file: archive.file_name().unwrap_or_default().to_owned() });
                unpack(archive, &folder).await?;
                let lost = || io("read", &folder)(std::io::Error::other("what was just unpacked has changed"));
                unpacked(&folder, digests, progress).await.ok_or_else(lost)?
            }
        };
        all.insert(wanted.sha256, files);
    }
    Ok(all)
}

/// The files of a zip that was taken apart before, if they are all as they were then.
async fn unpacked(
    folder: &Utf8Path,
    digests: &mut Digests,
    progress: &impl Fn(Progress),
) -> Option<BTreeMap<String, Artifact>> {
    let sums = Sums::parse(&tokio::fs::read_to_string(folder.join(sums::FILE)).await.ok()?).ok()?;
    let place = |file: &str| folder.join(TOP).join(file);
    let mut found = digests.of(sums.paths().map(place), progress).await;
    let files = sums.paths().map(|file| {
        let artifact = found.remove(&place(file))?.ok()?;
        (Some(artifact.sha256) == sums.get(file)).then(|| (file.to_owned(), artifact))
    });
    files.collect()
}

/// The zip itself, verified.
async fn archive(
    wanted: &DockerZip,
    cache: &Utf8Path,
    digests: &mut Digests,
    progress: &impl Fn(Progress),
) -> Result<Utf8PathBuf, ArtifactError> {
    match &wanted.source {
        ZipSource::File(path) => {
            let path = expand_home(path.clone());
            let found = digests.of_one(&path, progress).await.map_err(io("read", &path))?;
            if found.sha256 == wanted.sha256 {
                return Ok(path);
            }
            Err(ArtifactError::ZipDigest { archive: path, expected: wanted.sha256, actual: found.sha256 })
        }
        ZipSource::Url(url) => {
            let folder = cache.join("downloads").join("docker");
            let path = folder.join(format!("{}.zip", wanted.sha256));
            if digests.of_one(&path, progress).await.is_ok_and(|found| found.sha256 == wanted.sha256) {
                return Ok(path);
            }
            tokio::fs::create_dir_all(&folder).await.map_err(io("create", &folder))?;
            Download::new(url.clone(), wanted.sha256, path.clone()).run(progress).await?;
            Ok(path)
        }
    }
}

/// Takes a zip apart beside `folder`, which it becomes when it is complete.
async fn unpack(archive: Utf8PathBuf, folder: &Utf8Path) -> Result<(), ArtifactError> {
    let temporary = Utf8PathBuf::from(format!("{folder}.{}", std::process::id()));
    let result = unpack_into(archive, &temporary).await;
    if result.is_ok() {
        // What was there was not complete.
        remove(folder).await?;
        return tokio::fs::rename(&temporary, folder).await.map_err(io("replace", folder));
    }
    // The first failure is the one to tell.
    let _ = remove(&temporary).await;
    result
}

async fn unpack_into(archive: Utf8PathBuf, folder: &Utf8Path) -> Result<(), ArtifactError> {
    remove(folder).await?;
    let (source, target) = (archive.clone(), folder.join(TOP));
    let work = tokio::task::spawn_blocking(move || zip::extract(&source, TOP, &target));
    let files = work.await.map_err(|error| io("unpack", &archive)(std::io::Error::other(error)))??;
    let missing: Vec<_> = NEEDED.iter().filter(|name| !files.contains_key(**name)).collect();
    if !missing.is_empty() {
        let missing = missing.iter().map(|name| format!("{TOP}/{name}")).collect::<Vec<_>>().join(" and no ");
        return Err(ArtifactError::Zip { archive, reason: format!("it has no {missing}") });
    }
    let mut sums = Sums::default();
    for (path, digest) in files {
        sums.insert(path, digest);
    }
    replace(&folder.join(sums::FILE), sums.render().as_bytes()).await
}

async fn remove(folder: &Utf8Path) -> Result<(), ArtifactError> {
    match tokio::fs::remove_dir_all(folder).await {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(io("remove", folder)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use ::zip::ZipWriter;
    use ::zip::write::SimpleFileOptions;

    use super::*;
    use crate::test_server::TestServer;

    fn docker_zip(files: &[(&str, &str)]) -> Vec<u8> {
        let mut zip = ZipWriter::new(std::io::Cursor::new(Vec::new()));
        for (name, content) in files {
            zip.start_file(*name, SimpleFileOptions::default()).unwrap();
            zip.write_all(content.as_bytes()).unwrap();
        }
        zip.finish().unwrap().into_inner()
    }

    const FILES: [(&str, &str); 3] =
        [("docker/dockerd.exe", "engine"), ("docker/docker.exe", "client"), ("docker/a/b.dll", "library")];

    fn cluster(zip: &str, sha256: Sha256) -> Cluster {
        let text = format!(
            "[cluster]\nname = \"demo\"\nkubernetes = \"1.5.8\"\npod_cidr = \"192.168.0.0/16\"\n\
             service_cidr = \"172.30.0.0/16\"\n[[host]]\nname = \"lin01\"\nos = \"linux\"\n\
             roles = [\"control-plane\"]\naddress = \"10.0.0.1\"\n[[host]]\nname = \"win01\"\nos = \"windows\"\n\
             address = \"10.0.0.2\"\npassword = \"prompt\"\npod_adapter = \"Ethernet 2\"\n\
             docker = {{ zip = \"{zip}\", sha256 = \"{sha256}\", version = \"17.06.2-ee-16\" }}\n"
        );
        k8swin_inventory::parse(&text, "/nowhere/inventory.toml".into()).unwrap()
    }

    async fn run(cluster: &Cluster, cache: &Utf8Path) -> Result<BTreeMap<String, Artifact>, ArtifactError> {
        let mut digests = Digests::load(cache).await;
        Ok(resolve(cluster, cache, &mut digests, &|_| ()).await?.into_values().next().unwrap())
    }

    #[tokio::test]
    async fn a_zip_is_downloaded_once_and_a_damaged_file_is_unpacked_again() {
        let bytes = docker_zip(&FILES);
        let digest = Sha256::of(&bytes);
        let server = TestServer::start([("/docker.zip", bytes)]).await;
        let cluster = cluster(&format!("{}/docker.zip", server.url()), digest);
        let folder = tempfile::tempdir().unwrap();
        let cache = Utf8Path::from_path(folder.path()).unwrap();
        let files = run(&cluster, cache).await.unwrap();
        let names: Vec<_> = files.keys().map(String::as_str).collect();
        assert_eq!(names, ["a/b.dll", "docker.exe", "dockerd.exe"]);
        let engine = &files["dockerd.exe"];
        assert_eq!((engine.sha256, engine.size), (Sha256::of(b"engine"), 6));
        assert_eq!(std::fs::read(&engine.path).unwrap(), b"engine");
        assert_eq!(run(&cluster, cache).await.unwrap(), files);
        std::fs::write(&engine.path, "damaged by a full disk").unwrap();
        assert_eq!(run(&cluster, cache).await.unwrap(), files);
        assert_eq!(server.requests(), 1);
    }

    #[tokio::test]
    async fn another_zip_than_the_inventory_says_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Utf8Path::from_path(folder.path()).unwrap();
        let zip = cache.join("docker.zip");
        std::fs::write(&zip, docker_zip(&FILES)).unwrap();
        let error = run(&cluster(zip.as_str(), Sha256::of(b"other")), cache).await.unwrap_err();
        assert!(error.to_string().contains("docker.zip has sha256"), "{error}");
        assert!(error.hint().unwrap().contains("`docker`"));

        let lacking = docker_zip(&[("docker/docker.exe", "client")]);
        std::fs::write(&zip, &lacking).unwrap();
        let error = run(&cluster(zip.as_str(), Sha256::of(&lacking)), cache).await.unwrap_err();
        assert!(error.to_string().ends_with("it has no docker/dockerd.exe"), "{error}");
        let left: Vec<_> = std::fs::read_dir(cache.join("docker")).unwrap().collect();
        assert_eq!(left.len(), 0, "{left:?}");
    }
}
