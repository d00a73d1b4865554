//! The state folder of a cluster on this machine: its PKI and its journal. Beside the inventory by default.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};

use camino::{Utf8Path, Utf8PathBuf};
use jiff::Timestamp;
use k8swin_protocol::SecretBytes;

use crate::RunError;
use crate::preflight::identity::Identity;

/// How a run is named in the cluster's lock, for as long as it lives.
pub(crate) struct RunName {
    /// The name.
    pub(crate) name: String,
    _lock: Option<File>,
}

/// The state folder.
pub(crate) struct StateDir {
    path: Utf8PathBuf,
}

impl StateDir {
    /// Names the folder; it is made when something is first written.
    pub(crate) fn new(path: &Utf8Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// The file of the journal, in a folder that exists.
    pub(crate) fn journal(&self) -> Result<Utf8PathBuf, RunError> {
        self.create(&self.path)?;
        Ok(self.path.join("journal.jsonl"))
    }

    /// The run, as it is named in the cluster's lock. The runs of one state folder have one name, except while another
    /// is alive: so a run takes over at once what a killed one held, and never what one that works holds.
    pub(crate) fn run(&self) -> Result<RunName, RunError> {
        let fresh = format!("{}-{}", std::process::id(), Timestamp::now().as_nanosecond());
        self.create(&self.path)?;
        let path = self.path.join("run");
        let file = fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = file.map_err(|source| failed("open", &path, source))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Ok(RunName { name: fresh, _lock: None }),
            Err(fs::TryLockError::Error(source)) => return Err(failed("lock", &path, source)),
        }
        let mut name = String::new();
        file.read_to_string(&mut name).map_err(|source| failed("read", &path, source))?;
        if name.is_empty() {
            file.write_all(fresh.as_bytes()).map_err(|source| failed("write", &path, source))?;
            name = fresh;
        }
        Ok(RunName { name, _lock: Some(file) })
    }

    /// The PKI's files, by their names below the PKI folder; empty when there are none.
    pub(crate) fn read_pki(&self) -> Result<BTreeMap<String, SecretBytes>, RunError> {
        let mut files = BTreeMap::new();
        let root = self.path.join("pki");
        self.read_folder(&root, "", &mut files)?;
        Ok(files)
    }

    /// Writes the PKI's files: keys for this user only, each by way of a temporary file, so that a crash leaves the old or
    /// the new one.
    pub(crate) fn write_pki(&self, files: &BTreeMap<String, SecretBytes>) -> Result<(), RunError> {
        for (name, bytes) in files {
            let path = self.path.join("pki").join(name);
            if fs::read(&path).is_ok_and(|old| old == bytes.expose()) {
                continue;
            }
            if let Some(folder) = path.parent() {
                self.create(folder)?;
            }
            write_private(&path, bytes.expose()).map_err(|source| failed("write", &path, source))?;
        }
        Ok(())
    }

    /// The machines that earlier runs built, by host; none where there is no such file or it is not ours.
    pub(crate) fn identities(&self) -> BTreeMap<String, Identity> {
        let Ok(text) = fs::read(self.path.join(IDENTITIES)) else { return BTreeMap::new() };
        serde_json::from_slice(&text).unwrap_or_else(|error| {
            tracing::warn!(%error, "{IDENTITIES} cannot be read, so no host is known");
            BTreeMap::new()
        })
    }

    /// Writes down which machines the hosts are.
    pub(crate) fn write_identities(&self, identities: &BTreeMap<String, Identity>) -> Result<(), RunError> {
        let path = self.path.join(IDENTITIES);
        let Ok(text) = serde_json::to_vec_pretty(identities) else { return Ok(()) };
        if fs::read(&path).is_ok_and(|old| old == text) {
            return Ok(());
        }
        self.create(&self.path)?;
        write_private(&path, &text).map_err(|source| failed("write", &path, source))
    }

    /// Forgets the PKI and the hosts, after the cluster is gone.
    pub(crate) fn remove_pki(&self) -> Result<(), RunError> {
        let known = self.path.join(IDENTITIES);
        match fs::remove_file(&known) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed("remove", &known, error)),
            _ => {}
        }
        let path = self.path.join("pki");
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", &path, error)),
            _ => Ok(()),
        }
    }

    fn read_folder(
        &self,
        folder: &Utf8Path,
        prefix: &str,
        files: &mut BTreeMap<String, SecretBytes>,
    ) -> Result<(), RunError> {
        let entries = match folder.read_dir_utf8() {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(failed("read", folder, error)),
        };
        for entry in entries {
            let entry = entry.map_err(|error| failed("read", folder, error))?;
            let name = format!("{prefix}{}", entry.file_name());
            let kind = entry.file_type().map_err(|error| failed("read", entry.path(), error))?;
            if kind.is_dir() {
                self.read_folder(entry.path(), &format!("{name}/"), files)?;
            } else if !name.ends_with(TEMPORARY) {
                let bytes = fs::read(entry.path()).map_err(|error| failed("read", entry.path(), error))?;
                files.insert(name, SecretBytes::new(bytes));
            }
        }
        Ok(())
    }

    fn create(&self, folder: &Utf8Path) -> Result<(), RunError> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(folder).map_err(|source| failed("create", folder, source))?;
        // It holds the cluster's keys, and lies in folders that people keep in git.
        let ignore = self.path.join(".gitignore");
        if !ignore.exists() {
            fs::write(&ignore, "*\n").map_err(|source| failed("write", &ignore, source))?;
        }
        Ok(())
    }
}

const TEMPORARY: &str = ".new";

/// The machines that the hosts are.
const IDENTITIES: &str = "hosts.json";

fn write_private(path: &Utf8Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = Utf8PathBuf::from(format!("{path}{TEMPORARY}"));
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)
}

fn failed(action: &'static str, path: &Utf8Path, source: io::Error) -> RunError {
    RunError::State { action, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_runs_that_are_gone_share_their_name() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::new(&Utf8Path::from_path(folder.path()).unwrap().join("demo"));
        let first = state.run().unwrap();
        assert_ne!(state.run().unwrap().name, first.name, "it is at work");
        let name = first.name.clone();
        drop(first);
        assert_eq!(state.run().unwrap().name, name);
    }

    #[test]
    fn pki_files_come_back_and_are_private() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::new(&Utf8Path::from_path(folder.path()).unwrap().join("demo"));
        assert!(state.read_pki().unwrap().is_empty());
        let files: BTreeMap<_, _> =
            ["ca.key", "etcd/ca.key"].map(|name| (name.to_owned(), SecretBytes::new(name))).into();
        state.write_pki(&files).unwrap();
        assert_eq!(state.read_pki().unwrap(), files);
        assert_eq!(fs::read_to_string(state.path.join(".gitignore")).unwrap(), "*\n");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = |path: &str| fs::metadata(state.path.join(path)).unwrap().permissions().mode() & 0o777;
            assert_eq!((mode("pki/etcd/ca.key"), mode("pki")), (0o600, 0o700));
        }
        state.remove_pki().unwrap();
        assert!(state.read_pki().unwrap().is_empty());
    }
}
