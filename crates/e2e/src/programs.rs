//! The folder of programs that the inventory's `source = "local"` names: `linux/`, `windows/` and `sha256sums`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use k8swin_protocol::{Os, Sha256};
use k8swin_sandbox::Rootfs;

use crate::error::{Error, file};

/// The programs of each system that a cluster needs, by the folders where they may be.
const LINUX: [&str; 6] =
    ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl"];
const WINDOWS: [&str; 2] = ["kubelet.exe", "kube-proxy.exe"];
const CNI: [&str; 4] = ["bridge", "host-local", "loopback", "portmap"];

/// Where Debian's containernetworking-plugins has its programs.
const CNI_FOLDER: &str = "usr/lib/cni";

/// Links the programs into `folder`. They lie in `binaries` itself, or in `linux/` and `windows/` below it, as `k8swin build`
/// leaves them. etcd comes from the same folder as the others, or from this machine's package
/// `etcd-server`; CNI's plugins come from the hosts' own package.
pub(crate) fn assemble(folder: &Path, binaries: &Path, rootfs: &Rootfs, systems: &BTreeSet<Os>) -> Result<(), Error> {
    let mut wanted: Vec<(Os, &str, PathBuf)> = Vec::new();
    let mut missing = Vec::new();
    let mut want = |os, name: &'static str, places: Vec<PathBuf>| match places.iter().find(|path| path.is_file()) {
        Some(path) => wanted.push((os, name, path.clone())),
        None => missing.push(name),
    };
    for name in LINUX {
        want(Os::Linux, name, vec![binaries.join(name), binaries.join("linux").join(name)]);
    }
    want(Os::Linux, "etcd", vec![binaries.join("etcd"), binaries.join("../etcd/etcd"), "/usr/bin/etcd".into()]);
    for name in CNI {
        want(Os::Linux, name, vec![rootfs.folder().join(CNI_FOLDER).join(name)]);
    }
    if systems.contains(&Os::Windows) {
        for name in WINDOWS {
            want(Os::Windows, name, vec![binaries.join(name), binaries.join("windows").join(name)]);
        }
    }
    if !missing.is_empty() {
        let etcd = if missing.contains(&"etcd") {
            "; etcd also counts as /usr/bin/etcd: apt-get install etcd-server"
        } else {
            ""
        };
        return Err(Error::Programs(format!("{} lacks {}{etcd}", binaries.display(), missing.join(", "))));
    }
    let mut sums = String::new();
    for (os, name, source) in wanted {
        let to = folder.join(os.as_str()).join(name);
        let parent = to.parent().unwrap_or(folder);
        fs::create_dir_all(parent).map_err(file("make", parent))?;
        let source = fs::canonicalize(&source).map_err(file("read", &source))?;
        std::os::unix::fs::symlink(&source, &to).map_err(file("write", &to))?;
        let bytes = fs::read(&source).map_err(file("read", &source))?;
        sums.push_str(&format!("{}  {os}/{name}\n", Sha256::of(&bytes)));
    }
    let path = folder.join("sha256sums");
    fs::write(&path, sums).map_err(file("write", path))
}
