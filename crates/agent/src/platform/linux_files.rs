//! Files and folders of a real Linux host.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use k8swin_protocol::HostPath;

use super::files::{failed, names};
use super::{FileKind, Permissions, Result, Stat, program};

/// How the name of a file ends that is filled before it takes the place of another.
const TEMPORARY: &str = ".k8swin";

pub(super) fn stat(path: &HostPath) -> Result<Option<Stat>> {
    let metadata = match fs::symlink_metadata(path.as_str()) {
        Ok(metadata) => metadata,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(failed("look at", path)(error)),
    };
    let kind = match metadata.file_type() {
        kind if kind.is_file() => FileKind::File,
        kind if kind.is_dir() => FileKind::Directory,
        _ => FileKind::Other,
    };
    let permissions = Permissions::Unix { mode: metadata.mode() & 0o7777, uid: metadata.uid(), gid: metadata.gid() };
    Ok(Some(Stat { kind, size: metadata.len(), permissions }))
}

pub(super) fn write(path: &HostPath, bytes: &[u8], permissions: &Permissions) -> Result<()> {
    replace(path, permissions, |file| file.write_all(bytes)).map_err(failed("write", path))
}

pub(super) fn copy(from: &HostPath, to: &HostPath, permissions: &Permissions) -> Result<()> {
    let mut source = File::open(from.as_str()).map_err(failed("read", from))?;
    replace(to, permissions, |file| io::copy(&mut source, file).map(drop)).map_err(failed("write", to))
}

pub(super) fn create(path: &HostPath, bytes: &[u8], permissions: &Permissions) -> Result<bool> {
    let mut file = match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path.as_str()) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
        Err(error) => return Err(failed("create", path)(error)),
    };
    let filled = file.write_all(bytes).and_then(|()| protect(Path::new(path.as_str()), permissions));
    match filled.and_then(|()| file.sync_all()) {
        Ok(()) => Ok(true),
        Err(error) => {
            let _ = fs::remove_file(path.as_str());
            Err(failed("create", path)(error))
        }
    }
}

pub(super) fn append(path: &HostPath, bytes: &[u8]) -> Result<()> {
    let before = stat(path)?.map(|stat| stat.size);
    let mut file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path.as_str())
        .map_err(failed("append to", path))?;
    file.write_all(bytes).map_err(|error| {
        // Half a piece would not be resumable.
        let _ = file.set_len(before.unwrap_or(0));
        failed("append to", path)(error)
    })
}

pub(super) fn set_permissions(path: &HostPath, permissions: &Permissions) -> Result<()> {
    protect(Path::new(path.as_str()), permissions).map_err(failed("set the permissions of", path))
}

/// Removes what a killed agent left beside a file.
pub(super) fn discard_unfinished(path: &HostPath) -> Result<()> {
    remove_if_there(&temporary_of(Path::new(path.as_str()))).map_err(failed("remove", path))
}

pub(super) fn remove_file(path: &HostPath) -> Result<()> {
    fs::remove_file(path.as_str()).map_err(failed("remove", path))
}

/// The folder is never open to more than it is to be, also when what follows its making fails.
pub(super) fn create_directory(path: &HostPath, permissions: &Permissions) -> Result<()> {
    let mode = match permissions {
        Permissions::Unix { mode, .. } => *mode,
        Permissions::Acl(_) => 0o700,
    };
    fs::DirBuilder::new()
        .mode(mode)
        .create(path.as_str())
        .and_then(|()| protect(Path::new(path.as_str()), permissions))
        .map_err(failed("create", path))
}

/// Removes an empty folder, and what a killed agent left in it.
pub(super) fn remove_directory(path: &HostPath) -> Result<()> {
    let remove = || -> io::Result<()> {
        for name in names(path)?.iter().filter(|name| is_temporary(name)) {
            remove_if_there(&Path::new(path.as_str()).join(name))?;
        }
        fs::remove_dir(path.as_str())
    };
    remove().map_err(failed("remove", path))
}

/// The kubelet mounts volumes below its folder: those are unmounted first, so that their content stays.
pub(super) fn remove_tree(path: &HostPath) -> Result<()> {
    let mounts = fs::read_to_string("/proc/self/mounts").map_err(failed("look for mounts below", path))?;
    for mount in mounts_below(&mounts, path.as_str()) {
        program::succeed(&format!("unmount {mount}"), "umount", &[&mount])?;
    }
    fs::remove_dir_all(path.as_str()).map_err(failed("remove", path))
}

/// The names in a folder, without what a killed agent left there.
pub(super) fn list(path: &HostPath) -> Result<Vec<String>> {
    let mut names = names(path).map_err(failed("list", path))?;
    names.retain(|name| !is_temporary(name));
    names.sort();
    Ok(names)
}

/// The file that is filled before it takes the place of another.
fn temporary_of(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    path.with_file_name(format!(".{name}{TEMPORARY}"))
}

fn is_temporary(name: &str) -> bool {
    name.starts_with('.') && name.ends_with(TEMPORARY)
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Err(error),
        _ => Ok(()),
    }
}

/// Fills a temporary file beside `path` and renames it over it; both are flushed.
fn replace(
    path: &HostPath,
    permissions: &Permissions,
    fill: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    let path = Path::new(path.as_str());
    let temporary = temporary_of(path);
    // What a killed agent left behind is in the way of `create_new`.
    remove_if_there(&temporary)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    let done = fill(&mut file)
        .and_then(|()| protect(&temporary, permissions))
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&temporary, path));
    if done.is_err() {
        let _ = fs::remove_file(&temporary);
        return done;
    }
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

fn protect(path: &Path, permissions: &Permissions) -> io::Result<()> {
    let Permissions::Unix { mode, uid, gid } = permissions else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "Windows permissions on a Linux host"));
    };
    let metadata = fs::symlink_metadata(path)?;
    if (metadata.uid(), metadata.gid()) != (*uid, *gid) {
        chown(path, Some(*uid), Some(*gid))?;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(*mode))
}

/// The mount points below a folder, the deepest first.
fn mounts_below(mounts: &str, folder: &str) -> Vec<String> {
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(1)).map(unescape);
    let prefix = format!("{}/", folder.trim_end_matches('/'));
    let mut below: Vec<_> = points.filter(|point| point.starts_with(&prefix) || point == folder).collect();
    below.sort();
    below.reverse();
    below
}

/// The kernel writes blanks in paths as `\040`.
fn unescape(path: &str) -> String {
    path.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use k8swin_protocol::Sha256;

    use super::super::files::{hash, read};
    use super::*;

    fn own(mode: u32, folder: &Path) -> Permissions {
        let metadata = fs::metadata(folder).unwrap();
        Permissions::Unix { mode, uid: metadata.uid(), gid: metadata.gid() }
    }

    #[test]
    fn a_file_is_replaced_as_a_whole_with_its_permissions() {
        let folder = tempfile::tempdir().unwrap();
        let below = |name: &str| HostPath::new(folder.path().join(name).to_str().unwrap()).unwrap();
        let (path, copied) = (below("key"), below("copy"));
        assert_eq!(stat(&path).unwrap(), None);
        write(&path, b"one", &own(0o644, folder.path())).unwrap();
        fs::write(below(".key.k8swin").as_str(), "left by a killed agent").unwrap();
        write(&path, b"two!", &own(0o600, folder.path())).unwrap();
        let found = stat(&path).unwrap().unwrap();
        assert_eq!((found.kind, found.size, found.permissions), (FileKind::File, 4, own(0o600, folder.path())));
        assert_eq!(hash(&path).unwrap(), Sha256::of(b"two!"));
        copy(&path, &copied, &own(0o640, folder.path())).unwrap();
        assert_eq!(read(&copied).unwrap().expose(), b"two!");
        assert!(!create(&copied, b"x", &own(0o600, folder.path())).unwrap());
        append(&below("blob"), b"ab").unwrap();
        append(&below("blob"), b"cd").unwrap();
        assert_eq!(read(&below("blob")).unwrap().expose(), b"abcd");
        assert_eq!(list(&below("key").parent().unwrap()).unwrap(), ["blob", "copy", "key"]);
        let error = read(&below("nothing")).unwrap_err();
        assert_eq!(error.answer, "No such file or directory");
    }

    #[test]
    fn what_a_killed_agent_left_is_no_reason_to_keep_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let below = |name: &str| HostPath::new(folder.path().join(name).to_str().unwrap()).unwrap();
        create_directory(&below("pki"), &own(0o700, folder.path())).unwrap();
        fs::write(below("pki/.ca.key.k8swin").as_str(), "half a").unwrap();
        fs::write(below("pki/.sa.key.k8swin").as_str(), "half a").unwrap();
        write(&below("pki/sa.pub"), b"x", &own(0o600, folder.path())).unwrap();
        assert_eq!(list(&below("pki")).unwrap(), ["sa.pub"]);
        discard_unfinished(&below("pki/ca.key")).unwrap();
        discard_unfinished(&below("pki/ca.key")).unwrap();
        discard_unfinished(&below("pki/sa.pub/no-folder")).unwrap();
        assert_eq!(stat(&below("pki/.ca.key.k8swin")).unwrap(), None);
        remove_file(&below("pki/sa.pub")).unwrap();
        assert_eq!(list(&below("pki")).unwrap(), [""; 0]);
        remove_directory(&below("pki")).unwrap();
        assert_eq!(stat(&below("pki")).unwrap(), None);
    }

    #[test]
    fn links_are_removed_and_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let below = |name: &str| HostPath::new(folder.path().join(name).to_str().unwrap()).unwrap();
        create_directory(&below("outside"), &own(0o700, folder.path())).unwrap();
        write(&below("outside/kept"), b"x", &own(0o600, folder.path())).unwrap();
        create_directory(&below("tree"), &own(0o700, folder.path())).unwrap();
        symlink(below("outside").as_str(), below("tree/link").as_str()).unwrap();
        assert_eq!(stat(&below("tree/link")).unwrap().unwrap().kind, FileKind::Other);
        assert!(remove_directory(&below("tree")).is_err());
        remove_tree(&below("tree")).unwrap();
        assert!(stat(&below("outside/kept")).unwrap().is_some());
    }

    #[test]
    fn mounts_are_undone_from_the_deepest() {
        let mounts = "tmpfs /var/lib/kubelet/pods/a\\040b tmpfs rw 0 0\n\
                      tmpfs /var/lib/kubelet/pods/a\\040b/c tmpfs rw 0 0\n/dev/sda1 / ext4 rw 0 0\n\
                      tmpfs /var/lib/kubelet2 tmpfs rw 0 0\n";
        assert_eq!(
            mounts_below(mounts, "/var/lib/kubelet"),
            ["/var/lib/kubelet/pods/a b/c", "/var/lib/kubelet/pods/a b"]
        );
    }
}
