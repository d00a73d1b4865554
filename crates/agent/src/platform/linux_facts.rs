//! Facts of a real Linux host.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use k8swin_protocol::facts::{CommonFacts, Containerd, Docker, DockerNetwork, LinuxFacts};
use k8swin_protocol::owned::Owned;

use super::{PlatformError, Result, files, linux_details, linux_network, program};

/// The settings that matter to us.
const SYSCTLS: [&str; 4] = [
    "net.bridge.bridge-nf-call-iptables",
    "net.ipv4.conf.all.rp_filter",
    "net.ipv4.ip_forward",
    "vm.overcommit_memory",
];

/// The programs that kube-proxy, the kubelet and the agent call.
const PROGRAMS: [&str; 11] = [
    "conntrack",
    "ebtables",
    "ethtool",
    "ip",
    "iptables",
    "modprobe",
    "mount",
    "nsenter",
    "socat",
    "systemctl",
    "umount",
];

/// The CNI plugins that a node's bridge needs, and where they lie: as packages of Kubernetes and of the distributions
/// have it.
const CNI_PLUGINS: [&str; 4] = ["bridge", "host-local", "loopback", "portmap"];
const CNI_FOLDERS: [&str; 3] = ["/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni"];

const CNI_CONFIGURATIONS: &str = "/etc/cni/net.d";

/// Where the cluster's programs and images go.
const DISK: &str = "/var/lib";

pub(super) fn gather(now_ms: i64) -> Result<LinuxFacts> {
    let release = read("/etc/os-release")?;
    let memory = read("/proc/meminfo")?;
    let hostname = read("/proc/sys/kernel/hostname")?.trim().to_lowercase();
    let kernel = read("/proc/sys/kernel/osrelease")?.trim().to_owned();
    let uid = effective_user(&read("/proc/self/status")?);
    let mut sysctls = BTreeMap::new();
    for key in SYSCTLS {
        if let Some(value) = sysctl(key)? {
            sysctls.insert(key.to_owned(), value);
        }
    }
    Ok(LinuxFacts {
        common: CommonFacts {
            hostname: hostname.clone(),
            machine_id: read("/etc/machine-id")?.trim().to_owned(),
            boot_id: read("/proc/sys/kernel/random/boot_id")?.trim().to_owned(),
            clock_ms: now_ms,
            user: user_name(&read("/etc/passwd")?, &uid),
            privileged: uid == "0",
            memory_bytes: kilobytes(&memory, "MemTotal"),
            disk_free_bytes: disk_free()?,
            adapters: linux_network::adapters()?,
            routes: linux_network::routes()?,
            listeners: linux_network::listeners(),
            owned: Owned::default(),
            cluster: None,
            services: Vec::new(),
            details: linux_details::common(&hostname),
        },
        distribution: setting(&release, "ID"),
        distribution_version: setting(&release, "VERSION_ID"),
        details: linux_details::linux(&kernel)?,
        kernel,
        systemd: Path::new("/run/systemd/system").is_dir(),
        docker: docker()?,
        containerd: containerd()?,
        cni_plugins: CNI_PLUGINS.iter().filter(|name| is_plugin(name)).map(|name| (*name).to_owned()).collect(),
        cni_configurations: names(CNI_CONFIGURATIONS),
        clock_synchronised: clock_synchronised()?,
        swap_bytes: kilobytes(&memory, "SwapTotal"),
        sysctls,
        programs: PROGRAMS.iter().filter(|name| is_installed(name)).map(|name| (*name).to_owned()).collect(),
    })
}

/// A kernel setting, if the kernel has it.
pub(super) fn sysctl(key: &str) -> Result<Option<String>> {
    Ok(read_if_there(&sysctl_file(key))?.map(|value| value.trim_end().to_owned()))
}

/// A file; none where there is none. One that cannot be read is no absent one: what was there before would be lost.
pub(super) fn read_if_there(path: &str) -> Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(PlatformError::new(format!("read {path}"), files::describe(&error))),
    }
}

/// The file of a kernel setting.
pub(super) fn sysctl_file(key: &str) -> String {
    format!("/proc/sys/{}", key.replace('.', "/"))
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).map_err(|error| PlatformError::new(format!("read {path}"), error.to_string()))
}

fn is_installed(name: &str) -> bool {
    program::SEARCH_PATH.split(':').any(|folder| Path::new(folder).join(name).is_file())
}

fn is_plugin(name: &str) -> bool {
    CNI_FOLDERS.iter().any(|folder| Path::new(folder).join(name).is_file())
}

/// A value of os-release, which may be quoted.
fn setting(text: &str, key: &str) -> String {
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    value.unwrap_or_default().trim_matches(['"', '\'']).to_owned()
}

/// A value of `/proc/meminfo`, in bytes.
fn kilobytes(text: &str, key: &str) -> u64 {
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    let number = value.and_then(|value| value.split_whitespace().next()?.parse::<u64>().ok());
    number.unwrap_or(0) * 1024
}

/// The second number of `Uid:` in `/proc/self/status`.
fn effective_user(status: &str) -> String {
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    line.and_then(|line| line.split_whitespace().nth(1)).unwrap_or_default().to_owned()
}

fn user_name(passwd: &str, uid: &str) -> String {
    let mut accounts = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let account = accounts.find(|fields| fields.get(2) == Some(&uid));
    account.and_then(|fields| fields.first().map(|name| (*name).to_owned())).unwrap_or_else(|| uid.to_owned())
}

fn disk_free() -> Result<u64> {
    let attempted = format!("measure the free space of {DISK}");
    let text = program::succeed(&attempted, "df", &["-Pk", DISK])?;
    parse_free(&text).ok_or_else(|| PlatformError::new(attempted, format!("df said: {}", text.trim())))
}

/// The fourth column of the second line of `df -Pk`, which POSIX fixes.
fn parse_free(text: &str) -> Option<u64> {
    Some(text.lines().nth(1)?.split_whitespace().nth(3)?.parse::<u64>().ok()? * 1024)
}

fn docker() -> Result<Option<Docker>> {
    if !is_installed("docker") {
        return Ok(None);
    }
    let ask = |arguments: &[&str]| -> Result<Option<String>> {
        let finished = program::run("ask Docker", "docker", arguments)?;
        let answer = finished.stdout.trim().to_owned();
        Ok((finished.code == Some(0) && !answer.is_empty()).then_some(answer))
    };
    let Some(version) = ask(&["version", "--format", "{{.Server.Version}}"])? else {
        let version = ask(&["version", "--format", "{{.Client.Version}}"])?.unwrap_or_default();
        return Ok(Some(Docker { version, running: false, cgroup_driver: String::new(), networks: BTreeMap::new() }));
    };
    let mut networks = BTreeMap::new();
    for name in ask(&["network", "ls", "--format", "{{.Name}}"])?.unwrap_or_default().lines() {
        let format = "{{.Driver}}{{range .IPAM.Config}} {{.Subnet}}{{end}}";
        if let Some(network) = ask(&["network", "inspect", "--format", format, name])? {
            let mut words = network.split_whitespace();
            let driver = words.next().unwrap_or_default().to_owned();
            networks
                .insert(name.to_owned(), DockerNetwork { driver, subnet: words.find_map(|word| word.parse().ok()) });
        }
    }
    let cgroup_driver = ask(&["info", "--format", "{{.CgroupDriver}}"])?.unwrap_or_default();
    Ok(Some(Docker { version, running: true, cgroup_driver, networks }))
}

/// containerd as a service of systemd; one that only Docker starts for itself is not told apart from one that stands still.
fn containerd() -> Result<Option<Containerd>> {
    if !is_installed("containerd") {
        return Ok(None);
    }
    let ask = |program: &str, arguments: &[&str]| -> Result<String> {
        Ok(program::run("ask containerd", program, arguments)?.stdout)
    };
    let version = ask("containerd", &["--version"])?;
    // The defaults with what the configuration file changes.
    let configuration = ask("containerd", &["config", "dump"])?;
    let state = ask("systemctl", &["show", "containerd.service", "--property=ActiveState", "--value"])?;
    Ok(Some(Containerd {
        version: containerd_version(&version),
        running: state.trim() == "active",
        cgroup_driver: containerd_cgroup_driver(&configuration).to_owned(),
    }))
}

/// `containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+b1`.
fn containerd_version(text: &str) -> String {
    text.split_whitespace().nth(2).unwrap_or_default().trim_start_matches('v').to_owned()
}

/// The option of the runtime runc.
fn containerd_cgroup_driver(configuration: &str) -> &'static str {
    let mut settings = configuration.lines().filter_map(|line| line.split_once('='));
    match settings.any(|(key, value)| key.trim() == "SystemdCgroup" && value.trim() == "true") {
        true => "systemd",
        false => "cgroupfs",
    }
}

/// What the kernel itself says: whoever keeps the clock (systemd, chrony, ntpd) tells it.
fn clock_synchronised() -> Result<Option<bool>> {
    let arguments = ["show", "--property=NTPSynchronized", "--value"];
    if !is_installed("timedatectl") {
        return Ok(None);
    }
    Ok(match program::run("look at the clock", "timedatectl", &arguments)?.stdout.trim() {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    })
}

/// The names in a folder, sorted; none where there is no such folder.
fn names(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(std::result::Result::ok);
    let mut names: Vec<_> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_the_system_are_read() {
        assert_eq!(setting("NAME=x\nID=debian\nVERSION_ID=\"12\"\n", "ID"), "debian");
        assert_eq!(setting("ID=debian\nVERSION_ID=\"12\"\n", "VERSION_ID"), "12");
        assert_eq!(kilobytes("MemTotal:       16 kB\nSwapTotal: 2 kB\n", "SwapTotal"), 2048);
        assert_eq!(effective_user("Name:\tx\nUid:\t1000\t0\t0\t0\n"), "0");
        assert_eq!(user_name("root:x:0:0::/root:/bin/sh\nu:x:7:7::/:/bin/sh", "7"), "u");
        let version = "containerd github.com/containerd/containerd v1.6.20 1.6.20~ds1-1+b1\n";
        assert_eq!(containerd_version(version), "1.6.20");
        assert_eq!(containerd_cgroup_driver("    SystemdCgroup = false\n"), "cgroupfs");
        assert_eq!(containerd_cgroup_driver("  [runc.options]\n    SystemdCgroup = true\n"), "systemd");
        let df = "Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/sda1 100 40 60 40% /\n";
        assert_eq!(parse_free(df), Some(61440));
    }
}
