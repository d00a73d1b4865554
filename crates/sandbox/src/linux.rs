//! A Debian host that this machine boots: real systemd, files and network of its own, gone when the value is dropped.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::file;
use crate::machine::{Machine, PATIENCE, Start, children, make_disk};
use crate::network::Namespace;
use crate::rootfs::Rootfs;
use crate::sandbox::require;
use crate::{Sandbox, SandboxError, cgroup, network, program};

const BOOT: &str = include_str!("linux/boot.sh");

/// What systemd-nspawn ends with when its host restarts rather than goes down.
const RESTARTS: i32 = 133;

/// The PATH that sshd gives to root on Debian.
const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What the package of a kernel says that is in it.
const BUILT_IN: &str = "kernel/drivers/net/veth.ko\nkernel/fs/overlayfs/overlay.ko\nkernel/net/bridge/br_netfilter.ko\n\
                        kernel/net/bridge/bridge.ko\nkernel/net/netfilter/nf_conntrack.ko\n";

/// Files that a node has and no package brings: path below the root, mode, content.
const NODE_FILES: [(&str, u32, &str); 5] = [
    ("etc/systemd/system/sandbox-prepare.service", 0o644, include_str!("linux/sandbox-prepare.service")),
    ("etc/systemd/system/sandbox-images.service", 0o644, include_str!("linux/sandbox-images.service")),
    ("usr/local/lib/sandbox/prepare", 0o755, include_str!("linux/prepare.sh")),
    ("usr/local/lib/sandbox/images", 0o755, include_str!("linux/images.sh")),
    ("usr/local/sbin/runc", 0o755, include_str!("linux/runc.sh")),
];

/// What a host is.
#[derive(Clone, Debug)]
pub struct LinuxSettings {
    /// Its name.
    pub hostname: String,
    /// The machine identity: 32 hexadecimal digits.
    pub machine_id: String,
    /// Its address with the prefix length, on the adapter `eth0`: it gives itself that some time after its boot began.
    pub address: (Ipv4Addr, u8),
    /// The default route.
    pub gateway: Option<Ipv4Addr>,
    /// The network namespace, with `eth0` in it.
    pub namespace: Namespace,
    /// Other hosts' names, for /etc/hosts.
    pub neighbours: Vec<(Ipv4Addr, String)>,
    /// Of hosts with files for nodes (`Flavour::Node`): what makes it one.
    pub node: Option<Node>,
}

/// What makes a host one that can become a node.
#[derive(Clone, Debug)]
pub struct Node {
    /// The public key that may log in as root.
    pub authorized_key: String,
}

/// A booted host.
#[derive(Debug)]
pub struct LinuxHost {
    name: String,
    settings: LinuxSettings,
    rootfs: Rootfs,
    folder: PathBuf,
    cgroups: Vec<PathBuf>,
    machine: Machine,
    leader: u32,
    /// It has been up before.
    seasoned: bool,
    /// Somebody cut its power.
    off: bool,
}

impl LinuxHost {
    /// Starts a fresh host; [`Self::wait_until_up`] waits for it. It ends with the calling thread at the latest.
    ///
    /// # Errors
    /// When this machine refuses.
    pub fn start(sandbox: &Sandbox, rootfs: &Rootfs, settings: LinuxSettings) -> Result<Self, SandboxError> {
        let folder = sandbox.folder().join(&settings.hostname);
        write_files(&folder, &settings)?;
        let name = sandbox.named(&settings.hostname);
        let cgroups: Vec<_> = cgroup::hierarchies().into_iter().map(|hierarchy| hierarchy.join(&name)).collect();
        let machine = start(&name, &settings, rootfs, &folder, &cgroups)?;
        Ok(Self {
            name,
            settings,
            rootfs: rootfs.clone(),
            folder,
            cgroups,
            machine,
            leader: 0,
            seasoned: false,
            off: false,
        })
    }

    /// Its name.
    #[must_use]
    pub fn hostname(&self) -> &str {
        &self.settings.hostname
    }

    /// The public half of its SSH host key, as one line.
    ///
    /// # Errors
    /// When it has none.
    pub fn host_key(&self) -> Result<String, SandboxError> {
        let path = self.folder.join("upper/etc/ssh/ssh_host_ed25519_key.pub");
        fs::read_to_string(&path).map_err(file("read", path))
    }

    /// Waits until all that starts at its boot has started.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn wait_until_up(&mut self) -> Result<(), SandboxError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if self.machine.ended().is_some() {
                return Err(self.machine.trouble(&self.settings.hostname, "did not start"));
            }
            if Instant::now() >= deadline {
                return Err(self.machine.trouble(&self.settings.hostname, "does not come up"));
            }
            let leader = self.machine.first_process().and_then(|nspawn| children(nspawn).first().copied());
            if let Some(leader) = leader {
                self.leader = leader;
                // Once its files are its own: before, a program would run in those of this machine.
                if fs::metadata(self.path("/etc/systemd/network/eth0.network")).is_ok() {
                    let output = self.try_run(&["systemctl", "is-system-running", "--wait"])?;
                    if matches!(output.stdout.trim_ascii(), b"running" | b"degraded") {
                        break;
                    }
                }
            }
            thread::sleep(Duration::from_millis(100));
        }
        if !self.seasoned {
            // The database of the modules that write_files put there.
            self.run(&["depmod"])?;
            self.seasoned = true;
        }
        Ok(())
    }

    /// Boots it anew if it went down to restart; whether it did.
    ///
    /// # Errors
    /// When it went down in another way, or does not start.
    pub fn restart_if_asked(&mut self) -> Result<bool, SandboxError> {
        match self.machine.ended() {
            _ if self.off => Ok(false),
            None => Ok(false),
            Some(status) => self.start_after(status).map(|()| true),
        }
    }

    /// Waits until it has gone down to restart, and boots it anew.
    ///
    /// # Errors
    /// When it does not go down, or does not come up.
    pub fn comes_back(&mut self) -> Result<(), SandboxError> {
        let status = self.machine.wait_until_down(&self.settings.hostname)?;
        self.start_after(status)?;
        self.wait_until_up()
    }

    fn start_after(&mut self, status: ExitStatus) -> Result<(), SandboxError> {
        if status.code() != Some(RESTARTS) {
            return Err(self.machine.trouble(&self.settings.hostname, "went down and did not want to restart"));
        }
        self.start_again()
    }

    /// Cuts the power, and boots the machine anew: what was in the kernel is lost. What was written to files is not, also
    /// when it was not flushed.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn power_cut(&mut self) -> Result<(), SandboxError> {
        self.power_off();
        self.power_on()
    }

    /// Cuts the power.
    pub fn power_off(&mut self) {
        self.off = true;
        self.machine.kill();
        // Else its address would go on to answer: the namespace is still there.
        network::pull_the_plug(&self.settings.namespace, "eth0");
        cgroup::remove(&self.cgroups);
    }

    /// Boots the machine after [`Self::power_off`].
    ///
    /// # Errors
    /// When it does not come up.
    pub fn power_on(&mut self) -> Result<(), SandboxError> {
        self.start_again()?;
        self.wait_until_up()
    }

    fn start_again(&mut self) -> Result<(), SandboxError> {
        cgroup::remove(&self.cgroups);
        self.settings.namespace.renew()?;
        self.machine = start(&self.name, &self.settings, &self.rootfs, &self.folder, &self.cgroups)?;
        self.off = false;
        Ok(())
    }

    /// A program in the host's namespaces, with an environment such as sshd gives.
    #[must_use]
    pub fn command(&self, words: &[&str]) -> Command {
        let leader = self.leader.to_string();
        let namespaces = ["--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wd"];
        let mut command = program::command("nsenter", namespaces);
        command.args(["--target", &leader, "--"]).args(words).env_clear().env("PATH", SEARCH_PATH);
        command
    }

    /// Runs a program, whatever its exit code is.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn try_run(&self, words: &[&str]) -> Result<Output, SandboxError> {
        self.command(words)
            .output()
            .map_err(|error| SandboxError::Program { program: words.join(" "), answer: error.to_string() })
    }

    /// Runs a program that must succeed; returns what it said.
    ///
    /// # Errors
    /// When it does not.
    pub fn run(&self, words: &[&str]) -> Result<String, SandboxError> {
        program::finish(&mut self.command(words))
    }

    /// A file of the host, seen from outside.
    #[must_use]
    pub fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.leader))
    }

    /// What it wrote on its console since its last boot.
    #[must_use]
    pub fn console(&self) -> String {
        let text = fs::read(self.folder.join("console")).unwrap_or_default();
        String::from_utf8_lossy(&text).into_owned()
    }
}

impl Drop for LinuxHost {
    fn drop(&mut self) {
        self.power_off();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn start(
    name: &str,
    settings: &LinuxSettings,
    rootfs: &Rootfs,
    folder: &Path,
    cgroups: &[PathBuf],
) -> Result<Machine, SandboxError> {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let flavour = if settings.node.is_some() { "node" } else { "base" };
    let mut arguments = vec![name.to_owned(), settings.hostname.clone(), settings.machine_id.clone()];
    arguments.extend([text(rootfs.folder()), text(folder), flavour.to_owned()]);
    arguments.extend(cgroups.iter().map(|group| text(group)));
    let console = folder.join("console");
    Machine::start(&Start {
        namespace: &settings.namespace,
        unshare: &[],
        script: BOOT,
        arguments: &arguments,
        console: &console,
    })
}

/// Writes what differs between hosts over the root filesystem.
fn write_files(folder: &Path, settings: &LinuxSettings) -> Result<(), SandboxError> {
    let upper = folder.join("upper");
    for path in [folder.join("work"), folder.join("root")] {
        fs::create_dir_all(&path).map_err(file("make", path))?;
    }
    let files = Files { root: &upper };
    let (address, prefix) = settings.address;
    let gateway = settings.gateway.map_or_else(String::new, |gateway| format!("Gateway={gateway}\n"));
    let network = format!(
        "[Match]\nName=eth0\n[Network]\nAddress={address}/{prefix}\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n{gateway}"
    );
    files.write("etc/systemd/network/eth0.network", 0o644, &network)?;
    let mut hosts = format!("127.0.0.1 localhost\n{address} {}\n", settings.hostname);
    for (address, name) in settings.neighbours.iter().filter(|(_, name)| *name != settings.hostname) {
        hosts.push_str(&format!("{address} {name}\n"));
    }
    files.write("etc/hosts", 0o644, &hosts)?;
    // What the package of a kernel brings that has these built in: nothing of this machine is loaded.
    let release =
        fs::read_to_string("/proc/sys/kernel/osrelease").map_err(file("read", "/proc/sys/kernel/osrelease"))?;
    let modules = format!("usr/lib/modules/{}", release.trim());
    files.write(&format!("{modules}/modules.builtin"), 0o644, BUILT_IN)?;
    files.write(&format!("{modules}/modules.order"), 0o644, "")?;
    files.enable("systemd-networkd.service", "multi-user.target")?;
    files.enable("systemd-networkd-wait-online.service", "network-online.target")?;
    let Some(node) = &settings.node else { return Ok(()) };
    make_disk(folder)?;
    for (name, mode, content) in NODE_FILES {
        files.write(name, mode, content)?;
    }
    files.enable("sandbox-prepare.service", "multi-user.target")?;
    files.enable("sandbox-images.service", "multi-user.target")?;
    files.write("root/.ssh/authorized_keys", 0o600, &format!("{}\n", node.authorized_key.trim()))?;
    for name in ["root", "root/.ssh"] {
        files.protect(name, 0o700)?;
    }
    files.write("etc/ssh/sshd_config.d/sandbox.conf", 0o644, "UseDNS no\n")?;
    ssh_key(&upper.join("etc/ssh/ssh_host_ed25519_key"))
}

/// The files of a host that is not up yet.
struct Files<'a> {
    root: &'a Path,
}

impl Files<'_> {
    fn write(&self, name: &str, mode: u32, text: &str) -> Result<(), SandboxError> {
        let path = self.root.join(name);
        let folder = path.parent().unwrap_or(self.root);
        fs::create_dir_all(folder).map_err(file("make", folder))?;
        fs::write(&path, text).map_err(file("write", path))?;
        self.protect(name, mode)
    }

    fn protect(&self, name: &str, mode: u32) -> Result<(), SandboxError> {
        let path = self.root.join(name);
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).map_err(file("protect", path))
    }

    /// Has a unit started at boot, as `systemctl enable` does.
    fn enable(&self, unit: &str, target: &str) -> Result<(), SandboxError> {
        let wants = self.root.join("etc/systemd/system").join(format!("{target}.wants"));
        fs::create_dir_all(&wants).map_err(file("make", &wants))?;
        let own = Path::new("/etc/systemd/system").join(unit);
        let packaged = Path::new("/lib/systemd/system").join(unit);
        let is_own = self.root.join("etc/systemd/system").join(unit).is_file();
        let link = wants.join(unit);
        symlink(if is_own { own } else { packaged }, &link).map_err(file("write", link))
    }
}

/// Makes an SSH key: the private half at `path`, the public one beside it.
///
/// # Errors
/// When `ssh-keygen` fails or is not there.
pub fn ssh_key(path: &Path) -> Result<(), SandboxError> {
    require(&[("ssh-keygen", "openssh-client")])?;
    let path = path.to_string_lossy();
    program::run("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-C", "sandbox", "-f", path.as_ref()]).map(|_| ())
}
