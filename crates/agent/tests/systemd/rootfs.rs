//! The files of a Debian host, made once by debootstrap and kept in a cache folder.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// What a host has beyond Debian's smallest system.
const PACKAGES: &str = "systemd,systemd-sysv,dbus,iproute2,iptables,kmod,procps,openssh-server,strace,sudo";

/// Changes with the recipe below, so that older files are not taken for these.
const RECIPE: u32 = 2;

/// The programs that a booted host is made with.
const PROGRAMS: [&str; 6] = ["debootstrap", "systemd-nspawn", "nsenter", "unshare", "setpriv", "ip"];

/// All that a host needs of this machine, with a program that ends at once in the place of its init system.
const PROBE: &str = "set -eu; mount -t tmpfs tmpfs /run; mkdir /run/upper /run/work /run/root; \
                     mount -t overlay -o \"lowerdir=$0,upperdir=/run/upper,workdir=/run/work\" overlay /run/root; \
                     ip link add eth0 type veth peer name router; \
                     exec systemd-nspawn --quiet --register=no --keep-unit --console=pipe --directory=/run/root \
                     --network-namespace-path=/proc/self/ns/net --capability=CAP_NET_ADMIN,CAP_SYS_MODULE /bin/true";

/// Where the cached files and the hosts of running tests lie.
pub(crate) fn cache() -> PathBuf {
    match std::env::var_os("XDG_CACHE_HOME") {
        Some(folder) if !folder.is_empty() => PathBuf::from(folder).join("k8swin-tests"),
        _ => PathBuf::from("/var/cache/k8swin-tests"),
    }
}

/// The folder with the files, which is made when it is not there. An error says what this machine lacks.
pub(crate) fn rootfs() -> Result<PathBuf, String> {
    if std::env::var_os("K8SWIN_HOST_TESTS").is_none() {
        return Err("booting a host takes a minute: K8SWIN_HOST_TESTS=1 asks for it".into());
    }
    if effective_user() != "0" {
        return Err("only root can boot hosts".into());
    }
    if let Some(missing) = PROGRAMS.into_iter().find(|program| !is_installed(program)) {
        return Err(format!(
            "there is no {missing}: apt-get install debootstrap systemd-container util-linux iproute2"
        ));
    }
    let (mirror, release) = debian()?;
    let cache = cache();
    let failed = |error: io::Error| format!("cannot prepare {}: {error}", cache.display());
    fs::create_dir_all(&cache).map_err(failed)?;
    // Held to the end: other tests wait for the one that makes the files.
    let lock = File::create(cache.join("lock")).map_err(failed)?;
    lock.lock().map_err(failed)?;
    let folder = cache.join(format!("{release}-{RECIPE}"));
    if !folder.is_dir() {
        make(&mirror, &release, &folder)?;
    }
    probe(&folder)?;
    Ok(folder)
}

/// Whether this machine lets a host be started at all: inside some containers it does not.
fn probe(folder: &Path) -> Result<(), String> {
    static PROBED: OnceLock<Result<(), String>> = OnceLock::new();
    let start = || {
        let output = Command::new("unshare")
            .args(["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", PROBE])
            .arg(folder)
            .output()
            .map_err(|error| format!("cannot run unshare: {error}"))?;
        let said = String::from_utf8_lossy(&output.stderr);
        let why = || format!("this machine cannot start hosts: {}", said.trim().lines().last().unwrap_or_default());
        output.status.success().then_some(()).ok_or_else(why)
    };
    PROBED.get_or_init(start).clone()
}

fn make(mirror: &str, release: &str, folder: &Path) -> Result<(), String> {
    let partial = folder.with_extension("partial");
    let failed = |error: io::Error| format!("cannot write {}: {error}", partial.display());
    if partial.exists() {
        fs::remove_dir_all(&partial).map_err(failed)?;
    }
    let output = Command::new("debootstrap")
        .args(["--variant=minbase", &format!("--include={PACKAGES}"), release])
        .arg(&partial)
        .arg(mirror)
        .output()
        .map_err(|error| format!("cannot run debootstrap: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stdout);
        return Err(format!("debootstrap failed: {}", said.trim().lines().last().unwrap_or_default()));
    }
    let finish = || -> io::Result<()> {
        for name in ["etc/hostname", "var/lib/dbus/machine-id"] {
            if let Err(error) = fs::remove_file(partial.join(name))
                && error.kind() != io::ErrorKind::NotFound
            {
                return Err(error);
            }
        }
        fs::write(partial.join("etc/machine-id"), "")?;
        // A resolver that cannot be reached would be asked, and waited for.
        fs::write(partial.join("etc/resolv.conf"), "")?;
        fs::write(partial.join("etc/hosts"), "127.0.0.1 localhost\n10.5.6.215 lin01\n")?;
        fs::rename(&partial, folder)
    };
    finish().map_err(failed)
}

/// The mirror and the release of the Debian that this machine itself runs, as its apt has them.
fn debian() -> Result<(String, String), String> {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let value =
        |key: &str| release.lines().find_map(|line| line.strip_prefix(key)).map(|value| value.trim_matches('"'));
    let (Some("debian"), Some(codename)) = (value("ID="), value("VERSION_CODENAME=")) else {
        return Err("this machine does not run Debian".into());
    };
    let format = "$(REPO_URI) $(CODENAME) $(COMPONENT)";
    let output = Command::new("apt-get").args(["indextargets", "--format", format, "Created-By: Packages"]).output();
    let targets = output.map_err(|error| format!("cannot run apt-get: {error}"))?.stdout;
    let targets = String::from_utf8_lossy(&targets);
    let mirror = targets.lines().find_map(|line| match line.split(' ').collect::<Vec<_>>().as_slice() {
        [mirror, name, "main"] if *name == codename => Some((*mirror).to_owned()),
        _ => None,
    });
    match mirror {
        Some(mirror) => Ok((mirror, codename.to_owned())),
        None => Err(format!("apt knows no mirror of {codename}: apt-get update")),
    }
}

fn effective_user() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap_or_default();
    line.split_whitespace().nth(1).unwrap_or_default().to_owned()
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}
