//! What reading files is on every host; how they are written and protected is each system's own.

use std::fs::{self, File};
use std::io::{self, Read as _};

use k8swin_protocol::digest::Hasher;
use k8swin_protocol::{HostPath, SecretBytes, Sha256};

use super::{Executable, PlatformError, Result};

/// Bytes read at once.
const BUFFER: usize = 256 << 10;

/// The system's words, without the number that Rust adds.
pub(super) fn describe(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

/// An error of a call on a path, with what most often helps.
pub(super) fn failed(verb: &str, path: &HostPath) -> impl Fn(io::Error) -> PlatformError {
    let attempted = format!("{verb} {path}");
    let privilege = if cfg!(windows) {
        "the agent must run as an administrator with a full token"
    } else {
        "the agent must run as root: log in as root or allow sudo -n"
    };
    move |error| {
        let failure = PlatformError::new(attempted.clone(), describe(&error));
        match error.kind() {
            io::ErrorKind::PermissionDenied => failure.with_hint(privilege),
            io::ErrorKind::StorageFull => failure.with_hint("free some space on the host, then run this again"),
            _ => failure,
        }
    }
}

pub(super) fn read(path: &HostPath) -> Result<SecretBytes> {
    fs::read(path.as_str()).map(SecretBytes::new).map_err(failed("read", path))
}

pub(super) fn hash(path: &HostPath) -> Result<Sha256> {
    let digest = || -> io::Result<Sha256> {
        let mut file = File::open(path.as_str())?;
        let (mut hasher, mut buffer) = (Hasher::default(), vec![0; BUFFER]);
        loop {
            let read = file.read(&mut buffer)?;
            if read == 0 {
                return Ok(hasher.finish());
            }
            hasher.update(buffer.get(..read).unwrap_or_default());
        }
    };
    digest().map_err(failed("read", path))
}

/// The names in a folder, in no order.
pub(super) fn names(path: &HostPath) -> io::Result<Vec<String>> {
    fs::read_dir(path.as_str())?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

/// The program that runs here.
pub(super) fn own_executable() -> Result<Executable> {
    let unknown = |answer: String| PlatformError::new("find the agent's own program", answer);
    let path = std::env::current_exe().map_err(|error| unknown(describe(&error)))?;
    let path = HostPath::new(path.to_string_lossy()).map_err(|error| unknown(error.to_string()))?;
    Ok(Executable { sha256: hash(&path)?, path })
}
