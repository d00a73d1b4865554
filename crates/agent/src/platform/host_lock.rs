//! The host's lock of real hosts: a locked file, which the kernel lets go of when its process ends.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;

use k8swin_protocol::HostPath;

use super::{HostLock, PlatformError, Result};

/// The locked file. It is there while somebody holds the lock; one that nobody has locked was left by a killed agent.
const LOCK: &str = "agent.lock";

/// What the holder does, for people: a locked file cannot be read on Windows.
const NOTE: &str = "agent.doing";

/// Tries to take the lock whose file lies in the folder `state`, which is there.
pub(super) fn try_lock(state: &HostPath, doing: &str) -> Result<HostLock> {
    let (path, note) = (state.join(LOCK), state.join(NOTE));
    let failed = |error: io::Error| PlatformError::new(format!("lock {path}"), error.to_string());
    let busy = || HostLock::Busy(fs::read_to_string(note.as_str()).unwrap_or_else(|_| "another agent".to_owned()));
    let file = match options().open(path.as_str()) {
        Ok(file) => file,
        // The holder is about to take the file and its empty folder away.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => {
            return Ok(busy());
        }
        Err(error) => return Err(failed(error)),
    };
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(busy()),
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    }
    if !is_at(&file, &path).map_err(failed)? {
        return Ok(busy());
    }
    // A full disk is no reason not to have the lock.
    let _ = fs::write(note.as_str(), format!("{doing} (process {})", std::process::id()));
    Ok(HostLock::Taken(Box::new(Held { file: Some(file), path, note, state: state.clone() })))
}

#[cfg(unix)]
fn options() -> OpenOptions {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
    options
}

/// Nobody may delete the file while it is open.
#[cfg(windows)]
fn options() -> OpenOptions {
    use std::os::windows::fs::OpenOptionsExt as _;
    let mut options = OpenOptions::new();
    let (read, write) = (1, 2);
    options.write(true).create(true).truncate(false).share_mode(read | write);
    options
}

/// Whether the locked file is still the one at its path: its last holder may have removed it in between.
#[cfg(unix)]
fn is_at(file: &File, path: &HostPath) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt as _;
    let locked = file.metadata()?;
    match fs::metadata(path.as_str()) {
        Ok(there) => Ok((there.dev(), there.ino()) == (locked.dev(), locked.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(windows)]
fn is_at(_file: &File, _path: &HostPath) -> io::Result<bool> {
    Ok(true)
}

/// The lock, while it is held.
struct Held {
    file: Option<File>,
    path: HostPath,
    note: HostPath,
    state: HostPath,
}

impl Drop for Held {
    fn drop(&mut self) {
        // What cannot be removed is found unlocked by the next agent, and removed by it.
        let _ = fs::remove_file(self.note.as_str());
        if cfg!(windows) {
            self.file = None;
        }
        let _ = fs::remove_file(self.path.as_str());
        self.file = None;
        // A host on which nothing is left keeps no folder either; one that holds something stays.
        let _ = fs::remove_dir(self.state.as_str());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_holds_the_lock_and_it_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let state = HostPath::new(folder.path().join("state").to_str().unwrap()).unwrap();
        fs::create_dir(state.as_str()).unwrap();
        // Left by a killed agent.
        fs::write(state.join(LOCK).as_str(), "").unwrap();
        fs::write(state.join(NOTE).as_str(), "somebody of long ago").unwrap();
        let HostLock::Taken(first) = try_lock(&state, "apply").unwrap() else { panic!("nobody has it") };
        let HostLock::Busy(holder) = try_lock(&state, "remove").unwrap() else { panic!("it was given twice") };
        assert_eq!(holder, format!("apply (process {})", std::process::id()));
        drop(first);
        assert!(!folder.path().join("state").exists());
        fs::create_dir(state.as_str()).unwrap();
        assert!(matches!(try_lock(&state, "remove").unwrap(), HostLock::Taken(_)));
    }
}
