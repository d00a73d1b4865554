//! The identity of one run, under which all is named that it makes on this machine, and the end of what killed runs left.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::error::file;
use crate::program::is_installed;
use crate::{SandboxError, cgroup, network};

/// All that a sandbox makes on this machine begins with this.
const PREFIX: &str = "k8swin-";

/// What every sandbox needs, with the Debian package that has it.
const PROGRAMS: [(&str, &str); 8] = [
    ("ip", "iproute2"),
    ("nsenter", "util-linux"),
    ("unshare", "util-linux"),
    ("setpriv", "util-linux"),
    ("systemd-nspawn", "systemd-container"),
    ("debootstrap", "debootstrap"),
    ("sysctl", "procps"),
    ("mkfs.ext4", "e2fsprogs"),
];

/// Where root filesystems are cached and the hosts of running sandboxes lie.
#[must_use]
pub fn cache() -> PathBuf {
    match std::env::var_os("XDG_CACHE_HOME") {
        Some(folder) if !folder.is_empty() => PathBuf::from(folder).join("k8swin-tests"),
        _ => PathBuf::from("/var/cache/k8swin-tests"),
    }
}

/// One run: a name that no other running one has, and a folder for its hosts.
#[derive(Debug)]
pub struct Sandbox {
    name: String,
    folder: PathBuf,
}

impl Sandbox {
    /// Begins a sandbox, after taking away what killed ones left.
    ///
    /// # Errors
    /// [`SandboxError::Missing`] where this machine cannot have one.
    pub fn new() -> Result<Self, SandboxError> {
        static SANDBOXES: AtomicU32 = AtomicU32::new(0);
        needed()?;
        remove_what_killed_ones_left();
        // The process comes first: that is how a later run tells what nobody uses any more.
        let name = format!("{PREFIX}{}-{}", std::process::id(), SANDBOXES.fetch_add(1, Ordering::Relaxed));
        let folder = cache().join("hosts").join(&name);
        fs::create_dir_all(&folder).map_err(file("make", &folder))?;
        Ok(Self { name, folder })
    }

    /// The name of something of this sandbox that all sandboxes of this machine share the names of: a namespace, a cgroup.
    #[must_use]
    pub fn named(&self, what: &str) -> String {
        format!("{}-{what}", self.name)
    }

    /// Where the files of its hosts lie.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Says what this machine lacks for a sandbox with Linux hosts.
///
/// # Errors
/// [`SandboxError::Missing`].
pub fn needed() -> Result<(), SandboxError> {
    if effective_user() == "0" {
        return require(&PROGRAMS);
    }
    Err(SandboxError::Missing { what: "only root can make hosts".into(), remedy: "run this as root".into() })
}

/// Says the first of these programs that is not installed.
pub(crate) fn require(programs: &[(&str, &str)]) -> Result<(), SandboxError> {
    let missing: Vec<_> = programs.iter().filter(|(program, _)| !is_installed(program)).collect();
    let Some((program, _)) = missing.first() else { return Ok(()) };
    let mut packages: Vec<_> = missing.iter().map(|(_, package)| *package).collect();
    packages.dedup();
    Err(SandboxError::Missing {
        what: format!("there is no {program}"),
        remedy: format!("apt-get install {}", packages.join(" ")),
    })
}

fn effective_user() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap_or_default();
    line.split_whitespace().nth(1).unwrap_or_default().to_owned()
}

/// Whether a name is of a sandbox whose process is gone.
fn is_left(name: &str) -> bool {
    let process = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
    process.is_some_and(|process| process.parse::<u32>().is_ok() && !Path::new("/proc").join(process).exists())
}

fn left_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    entries.filter(|entry| is_left(&entry.file_name().to_string_lossy())).map(|entry| entry.path()).collect()
}

fn remove_what_killed_ones_left() {
    // Their processes are gone: the kernel killed them together with the one that had started them.
    for namespace in left_in(Path::new(network::NAMESPACES)) {
        network::remove_namespace(&namespace.file_name().unwrap_or_default().to_string_lossy());
    }
    for hierarchy in cgroup::hierarchies() {
        cgroup::remove(&left_in(&hierarchy));
    }
    for folder in left_in(&cache().join("hosts")) {
        let _ = fs::remove_dir_all(folder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_gone_process_made_is_left() {
        assert!(!is_left(&format!("k8swin-{}-0-lin01", std::process::id())));
        // Process identities end at 4194304 (proc(5), pid_max).
        assert!(is_left("k8swin-4194305-0-lin01"));
        assert!(!is_left("k8swin-client"));
        assert!(!is_left("4194305"));
        assert!(!is_left("docker-4194305-x"));
    }
}
