//! The files of Debian hosts, made once by debootstrap and kept in the cache folder.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::error::file;
use crate::sandbox::cache;
use crate::{SandboxError, program};

/// What a host has beyond Debian's smallest system.
const BASE: &str = "systemd,systemd-sysv,dbus,iproute2,iptables,kmod,procps,openssh-server,strace,sudo";

/// What a node has besides: what an administrator installs before k8swin, and what the sandbox itself needs.
const NODE: &str = "docker.io,containernetworking-plugins,conntrack,ipset,ebtables,ethtool,socat,\
                    ca-certificates,curl,iputils-ping,busybox-static";

/// What a host has besides that others than k8swin manage.
const MANAGED: &str = "python3";

/// All that a host needs of this machine, with a program that ends at once in the place of its init system.
const PROBE: &str = "set -eu; mount -t tmpfs tmpfs /run; mkdir /run/upper /run/work /run/root; \
                     mount -t overlay -o \"lowerdir=$0,upperdir=/run/upper,workdir=/run/work\" overlay /run/root; \
                     ip link add eth0 type veth peer name switch; \
                     exec systemd-nspawn --quiet --register=no --keep-unit --console=pipe --directory=/run/root \
                     --network-namespace-path=/proc/self/ns/net --capability=CAP_NET_ADMIN,CAP_SYS_MODULE /bin/true";

/// What is in a root filesystem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// systemd, sshd, and what the agent's tests call.
    Base,
    /// A host that can become a node: docker and what the kubelet calls.
    Node,
    /// A host that tools manage which need Python there, such as Ansible.
    Managed,
}

impl Flavour {
    /// The name in the cache. Its number changes with the recipe below, so that older files are not taken for these.
    fn name(self) -> &'static str {
        match self {
            Self::Base => "base-2",
            Self::Node => "node-2",
            Self::Managed => "managed-1",
        }
    }

    fn packages(self) -> String {
        match self {
            Self::Base => BASE.to_owned(),
            Self::Node => format!("{BASE},{NODE}"),
            Self::Managed => format!("{BASE},{MANAGED}"),
        }
    }
}

/// A root filesystem, which hosts only read.
#[derive(Clone, Debug)]
pub struct Rootfs {
    folder: PathBuf,
    flavour: Flavour,
}

impl Rootfs {
    /// The cached one, which is made when it is not there: that takes a minute and needs a Debian mirror.
    ///
    /// # Errors
    /// [`SandboxError::Missing`] where this machine cannot make one.
    pub fn cached(flavour: Flavour) -> Result<Self, SandboxError> {
        let (mirror, release) = debian()?;
        let cache = cache();
        fs::create_dir_all(&cache).map_err(file("make", &cache))?;
        // Held to the end: others wait for the one that makes the files.
        let lock = File::create(cache.join("lock")).map_err(file("write", cache.join("lock")))?;
        lock.lock().map_err(file("lock", cache.join("lock")))?;
        let folder = cache.join(format!("{release}-{}", flavour.name()));
        if !folder.is_dir() {
            make(&mirror, &release, flavour, &folder)?;
        }
        probe(&folder)?;
        Ok(Self { folder, flavour })
    }

    /// Its folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What is in it.
    #[must_use]
    pub fn flavour(&self) -> Flavour {
        self.flavour
    }
}

/// Whether this machine lets a host be started at all: inside some containers it does not.
fn probe(folder: &Path) -> Result<(), SandboxError> {
    static PROBED: OnceLock<Option<String>> = OnceLock::new();
    let refused = PROBED.get_or_init(|| {
        let mut command = program::command("unshare", ["--mount", "--net", "--pid", "--fork", "--kill-child"]);
        command.args(["--mount-proc", "sh", "-c", PROBE]).arg(folder);
        program::finish(&mut command).err().map(|error| error.to_string())
    });
    let Some(refused) = refused else { return Ok(()) };
    let end = refused.trim().lines().last().unwrap_or_default();
    Err(SandboxError::Missing {
        what: format!("this machine cannot start hosts: {end}"),
        remedy: "run this on a machine of its own, or in a privileged container".into(),
    })
}

fn make(mirror: &str, release: &str, flavour: Flavour, folder: &Path) -> Result<(), SandboxError> {
    let partial = folder.with_extension("partial");
    if partial.exists() {
        fs::remove_dir_all(&partial).map_err(file("remove", &partial))?;
    }
    // What it mounts goes with it.
    let mut command = program::command("setpriv", ["--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork"]);
    command.args(["--kill-child", "debootstrap", "--variant=minbase"]);
    command.arg(format!("--include={}", flavour.packages())).arg(release).arg(&partial).arg(mirror);
    program::finish(&mut command).map_err(|error| SandboxError::Missing {
        what: error.to_string(),
        remedy: format!("see whether {mirror} answers"),
    })?;
    finish(&partial, flavour).map_err(file("write below", &partial))?;
    fs::rename(&partial, folder).map_err(file("rename", &partial))
}

fn finish(root: &Path, flavour: Flavour) -> io::Result<()> {
    for name in ["etc/hostname", "var/lib/dbus/machine-id"] {
        if let Err(error) = fs::remove_file(root.join(name))
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(error);
        }
    }
    fs::write(root.join("etc/machine-id"), "")?;
    // A resolver that cannot be reached would be asked, and waited for.
    fs::write(root.join("etc/resolv.conf"), "")?;
    if flavour == Flavour::Node {
        // No mirror can be reached from there.
        let timers = root.join("etc/systemd/system/timers.target.wants");
        for timer in ["apt-daily.timer", "apt-daily-upgrade.timer"] {
            fs::remove_file(timers.join(timer))?;
        }
        // Each host has a key of its own.
        for entry in fs::read_dir(root.join("etc/ssh"))?.filter_map(Result::ok) {
            if entry.file_name().to_string_lossy().starts_with("ssh_host_") {
                fs::remove_file(entry.path())?;
            }
        }
    }
    Ok(())
}

/// The mirror and the release of the Debian that this machine itself runs, as its apt has them.
///
/// # Errors
/// [`SandboxError::Missing`] where it runs another system, or apt knows no mirror.
pub fn debian() -> Result<(String, String), SandboxError> {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let value =
        |key: &str| release.lines().find_map(|line| line.strip_prefix(key)).map(|value| value.trim_matches('"'));
    let missing = |what: &str, remedy: &str| SandboxError::Missing { what: what.into(), remedy: remedy.into() };
    let (Some("debian"), Some(codename)) = (value("ID="), value("VERSION_CODENAME=")) else {
        return Err(missing("this machine does not run Debian", "run this on Debian, or in a container of it"));
    };
    let format = "$(REPO_URI) $(CODENAME) $(COMPONENT)";
    let targets = program::run("apt-get", ["indextargets", "--format", format, "Created-By: Packages"])?;
    let mirror = targets.lines().find_map(|line| match line.split(' ').collect::<Vec<_>>().as_slice() {
        [mirror, name, "main"] if *name == codename => Some((*mirror).to_owned()),
        _ => None,
    });
    match mirror {
        Some(mirror) => Ok((mirror, codename.to_owned())),
        None => Err(missing(&format!("apt knows no mirror of {codename}"), "apt-get update")),
    }
}
