//! The state folder of a cluster on this machine: its PKI and its journal. Beside the inventory by default.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};

use camino::{Utf8Path, Utf8PathBuf};
use k8swin_protocol::SecretBytes;

use crate::RunError;

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

    /// Forgets the PKI, after the cluster is gone.
    pub(crate) fn remove_pki(&self) -> Result<(), RunError> {
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
