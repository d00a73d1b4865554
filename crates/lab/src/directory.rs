//! The folder of a lab: its layout, and the files that a client needs to reach the hosts.

use std::io::Write as _;

use camino::{Utf8Path, Utf8PathBuf};
use k8swin_inventory::twin::TwinDocker;
use k8swin_protocol::{Os, SecretBytes, Sha256};

use crate::LabError;

/// Says that a folder belongs to a lab, so that the next one may use it again.
const MARK: &str = ".k8swin-lab";

/// What an earlier lab may have left in it.
const FOLDERS: &[&str] = &["hosts", "passwords", "artifacts", "agents"];

/// Programs of a Linux host, by the names that the folder of local artifacts has them.
const LINUX_PROGRAMS: &[&str] = &[
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
    "kubectl",
    "bridge",
    "host-local",
    "loopback",
    "portmap",
];
/// Programs of a Windows host.
const WINDOWS_PROGRAMS: &[&str] = &["kubelet.exe", "kube-proxy.exe"];

/// The folder of a lab.
pub(crate) struct Directory {
    root: Utf8PathBuf,
    /// [`MARK`], locked for as long as the lab runs: a second lab would pull the files from under the first.
    _mark: std::fs::File,
}

impl Directory {
    /// Takes an empty folder, or the folder of an earlier lab, whose files are removed.
    ///
    /// # Errors
    /// When it holds something else, or cannot be written.
    pub(crate) fn prepare(folder: &Utf8Path) -> Result<Self, LabError> {
        std::fs::create_dir_all(folder).map_err(LabError::file("make the folder", folder))?;
        // What is written below names files by absolute paths: a client may have another working folder.
        let folder = folder.canonicalize_utf8().map_err(LabError::file("find", folder))?;
        let mut entries = folder.read_dir_utf8().map_err(LabError::file("read", &folder))?;
        if entries.next().is_some() && !folder.join(MARK).is_file() {
            return Err(LabError::FolderInUse { folder });
        }
        let mark = claim(&folder)?;
        let directory = Self { root: folder, _mark: mark };
        for name in FOLDERS {
            let path = directory.path(name);
            if path.is_dir() {
                std::fs::remove_dir_all(&path).map_err(LabError::file("remove", &path))?;
            }
            std::fs::create_dir(&path).map_err(LabError::file("make the folder", &path))?;
        }
        Ok(directory)
    }

    /// The folder itself.
    pub(crate) fn root(&self) -> &Utf8Path {
        &self.root
    }

    /// A path below it.
    pub(crate) fn path(&self, name: &str) -> Utf8PathBuf {
        self.root.join(name)
    }

    /// Writes a file that everybody may read.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> Result<Utf8PathBuf, LabError> {
        let path = self.path(name);
        std::fs::write(&path, content).map_err(LabError::file("write", &path))?;
        Ok(path)
    }

    /// Writes a file for its owner only: OpenSSH takes no other private keys.
    pub(crate) fn write_secret(&self, name: &str, content: &SecretBytes) -> Result<Utf8PathBuf, LabError> {
        let path = self.path(name);
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        // An earlier file may have other permissions, which opening it would keep.
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(LabError::File { action: "remove", path, answer: error });
            }
            _ => {}
        }
        let mut file = options.open(&path).map_err(LabError::file("write", &path))?;
        file.write_all(content.expose()).map_err(LabError::file("write", &path))?;
        Ok(path)
    }

    /// Writes stand-ins for the programs of a cluster of this version, with their digests.
    pub(crate) fn write_artifacts(&self, version: &str) -> Result<(), LabError> {
        let mut sums = String::new();
        for (os, programs) in [(Os::Linux, LINUX_PROGRAMS), (Os::Windows, WINDOWS_PROGRAMS)] {
            let folder = self.path("artifacts").join(os.as_str());
            std::fs::create_dir(&folder).map_err(LabError::file("make the folder", &folder))?;
            for program in programs {
                let content = stand_in(program.trim_end_matches(".exe"), version, os);
                sums.push_str(&format!("{}  {os}/{program}\n", Sha256::of(content.as_bytes())));
                self.write(&format!("artifacts/{os}/{program}"), content)?;
            }
        }
        self.write("artifacts/sha256sums", sums).map(|_| ())
    }

    /// Writes a zip with a stand-in for Docker of this version.
    pub(crate) fn write_docker(&self, version: &str) -> Result<TwinDocker, LabError> {
        let name = format!("artifacts/docker-{version}.zip");
        let zip = docker_zip(version).map_err(|error| LabError::File {
            action: "make",
            path: self.path(&name),
            answer: std::io::Error::other(error),
        })?;
        let sha256 = Sha256::of(&zip);
        self.write(&name, zip)?;
        Ok(TwinDocker { zip: name.into(), sha256 })
    }

    /// Writes stand-ins for the agents.
    pub(crate) fn write_agents(&self) -> Result<(), LabError> {
        for (os, name) in [(Os::Linux, "agents/k8swin-agent"), (Os::Windows, "agents/k8swin-agent.exe")] {
            self.write(name, agent(os))?;
        }
        Ok(())
    }
}

/// The stand-in for the agent's program: simulated hosts run the agent that is part of the lab when they are given this.
pub(crate) fn agent(os: Os) -> String {
    stand_in("k8swin-agent", env!("CARGO_PKG_VERSION"), os)
}

fn stand_in(program: &str, version: &str, os: Os) -> String {
    format!("#!simulated {program} {version}\nA stand-in of k8swin's lab for {os}: it runs on simulated hosts only.\n")
}

fn docker_zip(version: &str) -> zip::result::ZipResult<Vec<u8>> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for program in ["docker", "dockerd"] {
        zip.start_file(format!("docker/{program}.exe"), zip::write::SimpleFileOptions::default())?;
        zip.write_all(stand_in(program, version, Os::Windows).as_bytes())?;
    }
    Ok(zip.finish()?.into_inner())
}

/// Marks a folder as a lab's, and locks the mark.
fn claim(folder: &Utf8Path) -> Result<std::fs::File, LabError> {
    let path = folder.join(MARK);
    let opened = std::fs::OpenOptions::new().write(true).create(true).truncate(false).open(&path);
    let mut mark = opened.map_err(LabError::file("write", &path))?;
    match mark.try_lock() {
        Ok(()) => {}
        Err(std::fs::TryLockError::WouldBlock) => return Err(LabError::Running { folder: folder.to_owned() }),
        Err(std::fs::TryLockError::Error(answer)) => return Err(LabError::File { action: "lock", path, answer }),
    }
    mark.set_len(0).map_err(LabError::file("write", &path))?;
    mark.write_all(b"A lab of k8swin made this folder and may overwrite it.\n")
        .map_err(LabError::file("write", &path))?;
    Ok(mark)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_with_other_files_is_refused_and_one_of_a_lab_is_used_again() {
        let folder = tempfile::tempdir().unwrap();
        let folder = Utf8Path::from_path(folder.path()).unwrap();
        let lab = folder.join("new/lab");
        Directory::prepare(&lab).unwrap().write("hosts/old.json", "{}").unwrap();
        Directory::prepare(&lab).unwrap();
        assert!(!lab.join("hosts/old.json").exists());
        assert!(matches!(Directory::prepare(folder), Err(LabError::FolderInUse { .. })));
        assert_eq!(folder.read_dir_utf8().unwrap().count(), 1, "nothing was written into the refused folder");
    }

    #[test]
    fn a_folder_is_of_one_lab_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let folder = Utf8Path::from_path(folder.path()).unwrap();
        let first = Directory::prepare(folder).unwrap();
        first.write("hosts/lin01.json", "{}").unwrap();
        assert!(matches!(Directory::prepare(folder), Err(LabError::Running { .. })));
        assert!(first.path("hosts/lin01.json").is_file(), "the refused lab has removed a file of the first");
        drop(first);
        Directory::prepare(folder).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn secrets_are_for_their_owner_even_where_a_public_file_was() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::prepare(Utf8Path::from_path(folder.path()).unwrap()).unwrap();
        directory.write("key", "public").unwrap();
        let path = directory.write_secret("key", &SecretBytes::new("secret")).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read(path).unwrap(), b"secret");
    }

    #[test]
    fn artifacts_are_listed_with_their_digests() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::prepare(Utf8Path::from_path(folder.path()).unwrap()).unwrap();
        directory.write_artifacts("1.5.8").unwrap();
        let artifacts = directory.path("artifacts");
        let kubelet = std::fs::read_to_string(artifacts.join("windows/kubelet.exe")).unwrap();
        assert!(kubelet.starts_with("#!simulated kubelet 1.5.8\n"));
        let sums = std::fs::read_to_string(artifacts.join("sha256sums")).unwrap();
        assert!(sums.contains(&format!("{}  windows/kubelet.exe\n", Sha256::of(kubelet.as_bytes()))));
        assert_eq!(sums.lines().count(), LINUX_PROGRAMS.len() + WINDOWS_PROGRAMS.len());
    }
}
