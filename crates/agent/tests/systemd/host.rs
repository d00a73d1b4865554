//! A Debian host that this machine boots: real systemd, files and network of its own, gone when the value is dropped.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use k8swin_protocol::bootstrap::{self, Bootstrap, Verb};
use k8swin_protocol::{HostPath, Os, Sha256};

use crate::rootfs;

/// The host's address.
pub(crate) const ADDRESS: [u8; 4] = [10, 5, 6, 215];

const BOOT: &str = include_str!("boot.sh");

/// eth0 gets its address from the host's own network service, some time after the boot began.
const NETWORK: &str = "[Match]\nName=eth0\n[Network]\nAddress=10.5.6.215/24\n\
                       LinkLocalAddressing=no\nIPv6AcceptRA=no\n";

/// Far more than any step takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// A booted host.
pub(crate) struct Host {
    name: String,
    rootfs: PathBuf,
    folder: PathBuf,
    cgroups: Vec<PathBuf>,
    machine: Child,
    leader: u32,
    /// The agent on the host.
    pub(crate) agent: HostPath,
}

impl Host {
    /// Boots a fresh host and puts the agent on it as the orchestrator does; none, and a line why, where that cannot be.
    pub(crate) fn boot() -> Option<Self> {
        static HOSTS: AtomicU32 = AtomicU32::new(0);
        let rootfs = match rootfs::rootfs() {
            Ok(rootfs) => rootfs,
            Err(why) => {
                static SAID: Once = Once::new();
                // Past what the test harness keeps to itself, so that it shows which tests a green run left out.
                SAID.call_once(|| drop(writeln!(std::io::stderr(), "\ntests on a booted host are skipped: {why}")));
                return None;
            }
        };
        remove_what_killed_tests_left();
        let name = format!("k8swin-{}-{}", std::process::id(), HOSTS.fetch_add(1, Ordering::Relaxed));
        let folder = rootfs::cache().join("hosts").join(&name);
        for part in ["upper/etc/systemd/network", "work", "root"] {
            fs::create_dir_all(folder.join(part)).unwrap();
        }
        fs::write(folder.join("upper/etc/systemd/network/eth0.network"), NETWORK).unwrap();
        // What the package of a kernel brings that has br_netfilter built in: nothing of this machine is loaded.
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        let modules = folder.join("upper/lib-modules");
        fs::create_dir_all(&modules).unwrap();
        fs::write(modules.join("modules.builtin"), "kernel/net/bridge/br_netfilter.ko\n").unwrap();
        fs::write(modules.join("modules.order"), "").unwrap();
        let lib = folder.join("upper/usr/lib/modules");
        fs::create_dir_all(&lib).unwrap();
        fs::rename(&modules, lib.join(release.trim())).unwrap();
        let cgroups = hierarchies().into_iter().map(|hierarchy| hierarchy.join(&name)).collect();
        let agent = fs::read(env!("CARGO_BIN_EXE_k8swin-agent")).unwrap();
        let (machine, path) = (start(&name, &rootfs, &folder, &cgroups), Os::Linux.agent(Sha256::of(&agent)));
        let mut host = Self { name, rootfs, folder, cgroups, machine, leader: 0, agent: path };
        host.wait_until_up();
        host.run(&["depmod"]);
        host.run(&["systemctl", "enable", "--now", "systemd-networkd", "systemd-networkd-wait-online"]);
        host.put_agent(&agent);
        Some(host)
    }

    /// Waits until the machine has gone down by itself, and boots it anew.
    pub(crate) fn comes_back(&mut self) {
        let ended = self.wait_until_down();
        // What systemd-nspawn ends with when its host restarts rather than goes down.
        assert_eq!(ended.code(), Some(133), "{ended:?}: {}", self.console());
        self.boot_again();
    }

    /// Cuts the power, and boots the machine anew: what was in the kernel is lost. What was written to files is not, also
    /// when it was not flushed.
    pub(crate) fn power_cut(&mut self) {
        self.machine.kill().unwrap();
        assert_eq!(self.wait_until_down().signal(), Some(9));
        self.boot_again();
    }

    fn boot_again(&mut self) {
        self.machine = start(&self.name, &self.rootfs, &self.folder, &self.cgroups);
        self.wait_until_up();
    }

    fn wait_until_down(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.machine.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "the host does not go down: {}", self.console());
            thread::sleep(Duration::from_millis(50));
        };
        remove_cgroups(&self.cgroups);
        status
    }

    fn wait_until_up(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < deadline, "the host does not come up: {}", self.console());
            assert!(self.machine.try_wait().unwrap().is_none(), "the host did not start: {}", self.console());
            let nspawn = children(self.machine.id());
            if let Some(leader) = nspawn.first().and_then(|nspawn| children(*nspawn).first().copied()) {
                self.leader = leader;
                // Once its files are its own: before, a program would run in those of this machine.
                if fs::metadata(format!("/proc/{leader}/root/etc/systemd/network/eth0.network")).is_ok() {
                    let output = self.command(&["systemctl", "is-system-running", "--wait"]).output().unwrap();
                    if matches!(output.stdout.trim_ascii(), b"running" | b"degraded") {
                        return;
                    }
                }
            }
            thread::sleep(Duration::from_millis(100));
        }
    }

    fn put_agent(&self, bytes: &[u8]) {
        let bootstrap = Bootstrap { verb: Verb::Put, sha256: Sha256::of(bytes), path: self.agent.clone() };
        let script = bootstrap::sh_command(false);
        let mut child = self
            .command(&["sh", "-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(bootstrap.header().as_bytes()).unwrap();
        stdin.write_all(bytes).unwrap();
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    /// A program in the host's namespaces, with an environment such as sshd gives.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wd", "--target"])
            .arg(self.leader.to_string())
            .arg("--")
            .args(words)
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .stdin(Stdio::null());
        command
    }

    /// Runs a program, whatever its exit code is.
    pub(crate) fn try_run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// Runs a program that must succeed; returns what it said.
    pub(crate) fn run(&self, words: &[&str]) -> String {
        let output = self.try_run(words);
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Writes a file as the host's administrator would.
    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// A file of the host, seen from outside.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.leader))
    }

    /// All that k8swin changes on a host, to compare.
    pub(crate) fn state(&self) -> String {
        let files = "find /etc /opt /usr/local /var/lib -not -path '/var/lib/systemd/*' -printf '%p %M %U:%G %l\\n'; \
                     find /etc /opt -type f -exec sha256sum {} +";
        let mut files: Vec<_> = self.run(&["sh", "-c", files]).lines().map(str::to_owned).collect();
        files.sort();
        let settings = self.run(&["sysctl", "net.ipv4.ip_forward", "net.ipv4.conf.all.rp_filter"]);
        let rules = self.run(&["iptables", "-w", "-S", "FORWARD"]);
        let routes = self.run(&["ip", "-4", "route"]);
        let units = self.run(&["systemctl", "list-units", "--all", "--plain", "--no-legend", "demo*", "k8swin*"]);
        format!("{}\n{settings}{rules}{routes}{units}", files.join("\n"))
    }

    fn console(&self) -> String {
        fs::read_to_string(self.folder.join("console")).unwrap_or_default()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.machine.kill();
        let _ = self.machine.wait();
        remove_cgroups(&self.cgroups);
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn start(name: &str, rootfs: &Path, folder: &Path, cgroups: &Vec<PathBuf>) -> Child {
    let console = File::create(folder.join("console")).unwrap();
    // The first program goes when the thread of the test ends, however it ends, and the host with it: `--kill-child` ends
    // the first process of its namespace, and the kernel all others in there.
    Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"])
        .args(["sh", "-c", BOOT, "boot", name])
        .args([rootfs, folder])
        .args(cgroups)
        .stdin(Stdio::null())
        .stdout(console.try_clone().unwrap())
        .stderr(console)
        .spawn()
        .unwrap()
}

/// The processes that a process started and that are there.
pub(crate) fn children(process: u32) -> Vec<u32> {
    let list = fs::read_to_string(format!("/proc/{process}/task/{process}/children")).unwrap_or_default();
    list.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

/// The mounted cgroup hierarchies: hosts that share a group would end each other's processes.
fn hierarchies() -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    fields.filter(|fields| fields[2].starts_with("cgroup")).map(|fields| PathBuf::from(fields[1])).collect()
}

fn remove_cgroups(cgroups: &[PathBuf]) {
    for group in cgroups {
        // Its last processes go in a moment.
        for _ in 0..100 {
            if !group.is_dir() || remove_cgroup(group).is_ok() {
                break;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// The files in a cgroup are not removed, only the groups.
fn remove_cgroup(group: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(group)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_cgroup(&entry.path())?;
        }
    }
    fs::remove_dir(group)
}

fn remove_what_killed_tests_left() {
    let is_gone = |name: &str| {
        let process = name.strip_prefix("k8swin-").and_then(|rest| rest.split('-').next());
        process.is_some_and(|process| process.parse::<u32>().is_ok() && !Path::new("/proc").join(process).exists())
    };
    let gone_in = |folder: &Path| {
        let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
        entries
            .filter(|entry| is_gone(&entry.file_name().to_string_lossy()))
            .map(|entry| entry.path())
            .collect::<Vec<_>>()
    };
    for folder in gone_in(&rootfs::cache().join("hosts")) {
        let _ = fs::remove_dir_all(folder);
    }
    for hierarchy in hierarchies() {
        remove_cgroups(&gone_in(&hierarchy));
    }
}
