//! Files and folders of a Windows host.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Write as _};
use std::os::windows::fs::OpenOptionsExt as _;
use std::thread;
use std::time::{Duration, Instant};

use k8swin_protocol::{HostPath, Os};
use windows_sys::Win32::Foundation::{ERROR_ACCESS_DENIED, ERROR_SHARING_VIOLATION};

use super::super::files::{failed, names};
use super::super::{FileKind, Permissions, PlatformError, Result, Stat};
use super::access;

/// How long a file that is to be replaced may be in use, and how often the replacement is tried.
const IN_USE: Duration = Duration::from_secs(2);
const IN_USE_POLL: Duration = Duration::from_millis(20);

fn look(path: &HostPath) -> Result<Option<Metadata>> {
    match fs::symlink_metadata(path.as_str()) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(failed("look at", path)(error)),
    }
}

pub(super) fn stat(path: &HostPath) -> Result<Option<Stat>> {
    let Some(metadata) = look(path)? else { return Ok(None) };
    let kind = match metadata.file_type() {
        kind if kind.is_file() => FileKind::File,
        kind if kind.is_dir() => FileKind::Directory,
        _ => FileKind::Other,
    };
    let permissions = access::read(path, kind == FileKind::Directory)?;
    Ok(Some(Stat { kind, size: metadata.len(), permissions }))
}

pub(super) fn write(path: &HostPath, bytes: &[u8], permissions: &Permissions) -> Result<()> {
    replace(path, permissions, |file| file.write_all(bytes))
}

pub(super) fn copy(from: &HostPath, to: &HostPath, permissions: &Permissions) -> Result<()> {
    let mut source = File::open(from.as_str()).map_err(failed("read", from))?;
    replace(to, permissions, |file| io::copy(&mut source, file).map(drop))
}

pub(super) fn create(path: &HostPath, bytes: &[u8], permissions: &Permissions) -> Result<bool> {
    match fill(path, path, permissions, |file| file.write_all(bytes)) {
        Ok(()) => Ok(true),
        Err(Unfilled::Exists) => Ok(false),
        Err(Unfilled::Failed(error)) => Err(error),
    }
}

/// Appends, and takes back half a piece, which would not be resumable.
pub(super) fn append(path: &HostPath, bytes: &[u8]) -> Result<()> {
    let permissions = Permissions::secret_file(Os::Windows);
    let Some(before) = look(path)? else { return create(path, bytes, &permissions).map(drop) };
    let mut file = OpenOptions::new().append(true).open(path.as_str()).map_err(failed("append to", path))?;
    file.write_all(bytes).map_err(|error| {
        let _ = file.set_len(before.len());
        failed("append to", path)(error)
    })
}

pub(super) fn set_permissions(path: &HostPath, permissions: &Permissions) -> Result<()> {
    let directory = look(path)?.is_some_and(|metadata| metadata.is_dir());
    access::set(path, directory, permissions)
}

/// Removes what a killed agent left beside a file.
pub(super) fn discard_unfinished(path: &HostPath) -> Result<()> {
    match fs::remove_file(temporary_of(path)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path)(error)),
        _ => Ok(()),
    }
}

/// The file that is filled before it takes the place of another.
fn temporary_of(path: &HostPath) -> String {
    format!("{path}.k8swin")
}

pub(super) fn remove(path: &HostPath) -> Result<()> {
    // What removes a link depends on whether it is one to a folder.
    let directory_link = look(path)?.is_some_and(|metadata| {
        use std::os::windows::fs::FileTypeExt as _;
        metadata.file_type().is_symlink_dir()
    });
    if directory_link { fs::remove_dir(path.as_str()) } else { fs::remove_file(path.as_str()) }
        .map_err(failed("remove", path))
}

pub(super) fn create_directory(path: &HostPath, permissions: &Permissions) -> Result<()> {
    fs::create_dir(path.as_str()).map_err(failed("create", path))?;
    protect(path, true, permissions)
}

pub(super) fn remove_directory(path: &HostPath) -> Result<()> {
    fs::remove_dir(path.as_str()).map_err(failed("remove", path))
}

pub(super) fn remove_tree(path: &HostPath) -> Result<()> {
    fs::remove_dir_all(path.as_str()).map_err(failed("remove", path))
}

pub(super) fn list(path: &HostPath) -> Result<Vec<String>> {
    let mut names = names(path).map_err(failed("list", path))?;
    names.sort();
    Ok(names)
}

/// Writes beside `path`, then renames over it: whoever reads sees the old file or the new one.
fn replace(path: &HostPath, permissions: &Permissions, write: impl FnOnce(&mut File) -> io::Result<()>) -> Result<()> {
    let temporary = HostPath::new(temporary_of(path))
        .map_err(|error| PlatformError::new(format!("write {path}"), error.to_string()))?;
    // What a killed run left. A failure shows in the next step.
    let _ = fs::remove_file(temporary.as_str());
    let filled = fill(&temporary, path, permissions, write).map_err(|unfilled| match unfilled {
        Unfilled::Exists => PlatformError::new(format!("write {path}"), format!("{temporary} cannot be removed")),
        Unfilled::Failed(error) => error,
    });
    let renamed = filled.and_then(|()| rename(&temporary, path).map_err(failed("write", path)));
    if renamed.is_err() {
        let _ = fs::remove_file(temporary.as_str());
    }
    renamed
}

/// Windows refuses to replace a file while somebody has it open, be it for one look: it is tried again for a while.
fn rename(from: &HostPath, to: &HostPath) -> io::Result<()> {
    let since = Instant::now();
    loop {
        match fs::rename(from.as_str(), to.as_str()) {
            Err(error) if is_in_use(&error) && since.elapsed() < IN_USE => thread::sleep(IN_USE_POLL),
            result => return result,
        }
    }
}

fn is_in_use(error: &io::Error) -> bool {
    let codes = [ERROR_ACCESS_DENIED, ERROR_SHARING_VIOLATION].map(u32::cast_signed);
    error.raw_os_error().is_some_and(|code| codes.contains(&code))
}

enum Unfilled {
    Exists,
    Failed(PlatformError),
}

/// Creates a file that nobody else can open until it is complete: its access list is set while it is empty.
fn fill(
    path: &HostPath,
    shown: &HostPath,
    permissions: &Permissions,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> std::result::Result<(), Unfilled> {
    let mut file = match OpenOptions::new().write(true).create_new(true).share_mode(0).open(path.as_str()) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(Unfilled::Exists),
        Err(error) => return Err(Unfilled::Failed(failed("write", shown)(error))),
    };
    let filled = protect(path, false, permissions)
        .and_then(|()| write(&mut file).and_then(|()| file.sync_all()).map_err(failed("write", shown)));
    drop(file);
    filled.map_err(|error| {
        let _ = fs::remove_file(path.as_str());
        Unfilled::Failed(error)
    })
}

/// What is new has inherited its access list already.
fn protect(path: &HostPath, directory: bool, permissions: &Permissions) -> Result<()> {
    use super::super::AccessList;
    match permissions {
        Permissions::Acl(AccessList::Inherited) => Ok(()),
        permissions => access::set(path, directory, permissions),
    }
}
