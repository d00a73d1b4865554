//! A real Linux host: files through the standard library, the rest through the kernel's files and the host's own
//! programs with argument vectors.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use k8swin_protocol::facts::{Adapter, RouteEntry, ServiceStatus};
use k8swin_protocol::probe::{Connect, Listen, Outcome};
use k8swin_protocol::{Facts, HostPath, Os, SecretBytes, Sha256};

use super::{
    Activity, Executable, ForwardDirection, ForwardRule, HostLock, KubeOperation, KubeOutcome, LinuxPlatform,
    Permissions, Platform, PlatformError, Result, Stat, SystemRoute, UnitState, Unloaded, files, host_lock,
    linux_facts, linux_files, linux_kube, linux_network, linux_service, program,
};
use crate::probe::{self, Listeners};
use crate::{change, ledger};

/// How many lines of the journal stand in an error.
const JOURNAL_LINES: &str = "20";

/// How long a service may take to stop: systemd gives it 90 s by default.
const SERVICE_TIME_LIMIT: Duration = Duration::from_secs(300);

/// The host that this agent runs on.
#[derive(Default)]
pub(super) struct LinuxHost {
    own: Option<Executable>,
    /// For other hosts' agents, while preflight asks for it.
    listeners: Listeners,
    /// When systemd was last told to read its units, since 1970: what a start has to say comes after.
    units_read: Option<Duration>,
}

impl Platform for LinuxHost {
    fn os(&self) -> Os {
        Os::Linux
    }

    fn now_ms(&mut self) -> i64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        i64::try_from(now).unwrap_or(i64::MAX)
    }

    fn sleep(&mut self, duration: Duration) {
        thread::sleep(duration);
    }

    fn facts(&mut self) -> Result<Facts> {
        linux_facts::gather(self.now_ms()).map(Facts::Linux)
    }

    fn adapters(&mut self) -> Result<Vec<Adapter>> {
        linux_network::adapters()
    }

    fn routes(&mut self) -> Result<Vec<RouteEntry>> {
        linux_network::routes()
    }

    fn add_route(&mut self, route: &SystemRoute) -> Result<()> {
        change_route("add", route)
    }

    fn remove_route(&mut self, route: &SystemRoute) -> Result<()> {
        change_route("delete", route)
    }

    fn stat(&mut self, path: &HostPath) -> Result<Option<Stat>> {
        linux_files::stat(path)
    }

    fn read_file(&mut self, path: &HostPath) -> Result<SecretBytes> {
        files::read(path)
    }

    fn hash_file(&mut self, path: &HostPath) -> Result<Sha256> {
        files::hash(path)
    }

    fn write_file(&mut self, path: &HostPath, bytes: &[u8], permissions: &Permissions) -> Result<()> {
        linux_files::write(path, bytes, permissions)
    }

    fn create_file(&mut self, path: &HostPath, bytes: &[u8], permissions: &Permissions) -> Result<bool> {
        linux_files::create(path, bytes, permissions)
    }

    fn append_file(&mut self, path: &HostPath, bytes: &[u8]) -> Result<()> {
        linux_files::append(path, bytes)
    }

    fn copy_file(&mut self, from: &HostPath, to: &HostPath, permissions: &Permissions) -> Result<()> {
        linux_files::copy(from, to, permissions)
    }

    fn set_permissions(&mut self, path: &HostPath, permissions: &Permissions) -> Result<()> {
        linux_files::set_permissions(path, permissions)
    }

    fn discard_unfinished(&mut self, path: &HostPath) -> Result<()> {
        linux_files::discard_unfinished(path)
    }

    fn remove_file(&mut self, path: &HostPath) -> Result<()> {
        linux_files::remove_file(path)
    }

    fn create_directory(&mut self, path: &HostPath, permissions: &Permissions) -> Result<()> {
        linux_files::create_directory(path, permissions)
    }

    fn remove_directory(&mut self, path: &HostPath) -> Result<()> {
        linux_files::remove_directory(path)
    }

    fn remove_tree(&mut self, path: &HostPath) -> Result<()> {
        linux_files::remove_tree(path)
    }

    fn list_directory(&mut self, path: &HostPath) -> Result<Vec<String>> {
        linux_files::list(path)
    }

    fn hold_network(&mut self) -> Result<Option<fs::File>> {
        // The folder itself is locked: a file for it would be one more thing to leave behind.
        let folder = Os::Linux.state();
        let failed = |error: std::io::Error| PlatformError::new(format!("lock {folder}"), files::describe(&error));
        let file = match fs::File::open(folder.as_str()) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        file.lock().map_err(failed)?;
        Ok(Some(file))
    }

    fn own_executable(&mut self) -> Result<Executable> {
        if let Some(own) = &self.own {
            return Ok(own.clone());
        }
        let own = files::own_executable()?;
        self.own = Some(own.clone());
        Ok(own)
    }

    fn try_lock(&mut self, doing: &str) -> Result<HostLock> {
        let state = Os::Linux.state();
        ledger::ensure_folder(self, &state)?;
        host_lock::try_lock(&state, doing)
    }

    fn start_change(&mut self) -> Result<()> {
        let own = self.own_executable()?.path;
        let unit = format!("--unit={}", change::NAME);
        let description = "--description=k8swin changes the network of this host";
        let arguments = [&unit, "--collect", "--quiet", description, own.as_str(), "change"];
        program::succeed("start the change of the network", "systemd-run", &arguments).map(drop)
    }

    /// systemd forgets a transient unit when it has ended.
    fn forget_change(&mut self) -> Result<()> {
        Ok(())
    }

    fn service_status(&mut self, name: &str) -> Result<ServiceStatus> {
        linux_service::status(name, self.now_ms())
    }

    fn listen(&mut self, wanted: &Listen) -> Result<Vec<u16>> {
        Ok(self.listeners.listen(wanted))
    }

    fn connect(&mut self, wanted: &Connect) -> Result<Vec<Outcome>> {
        Ok(probe::connect(wanted))
    }

    fn reboot(&mut self, reason: &str) -> Result<()> {
        let attempted = format!("restart the host ({reason})");
        let description = format!("--description=k8swin restarts the host: {reason}");
        // By way of a timer, so that the answer still goes out. Without the property it may be late by a minute.
        let arguments = ["--on-active=2s", "--timer-property=AccuracySec=100ms", &description, "systemctl", "reboot"];
        program::succeed(&attempted, "systemd-run", &arguments).map(drop)
    }
}

impl LinuxPlatform for LinuxHost {
    fn sysctl(&mut self, key: &str) -> Result<Option<String>> {
        linux_facts::sysctl(key)
    }

    fn set_sysctl(&mut self, key: &str, value: &str) -> Result<()> {
        fs::write(linux_facts::sysctl_file(key), value)
            .map_err(|error| PlatformError::new(format!("set {key} to {value}"), files::describe(&error)))
    }

    fn module_loaded(&mut self, name: &str) -> Result<bool> {
        let loaded = Path::new("/sys/module").join(name.replace('-', "_"));
        let looked = loaded
            .try_exists()
            .map_err(|error| PlatformError::new(format!("look for the kernel module {name}"), files::describe(&error)));
        if looked? {
            return Ok(true);
        }
        let release = linux_facts::sysctl("kernel.osrelease")?.unwrap_or_default();
        let builtin = linux_facts::read_if_there(&format!("/lib/modules/{release}/modules.builtin"))?;
        Ok(builtin.is_some_and(|list| is_built_in(name, &list)))
    }

    fn load_module(&mut self, name: &str) -> Result<()> {
        program::succeed(&format!("load the kernel module {name}"), "modprobe", &[name]).map(drop)
    }

    fn unload_module(&mut self, name: &str) -> Result<Unloaded> {
        let attempted = format!("unload the kernel module {name}");
        let finished = program::run(&attempted, "modprobe", &["-r", name])?;
        match finished.code {
            Some(0) => Ok(Unloaded::Gone),
            _ if ["in use", "is builtin"].iter().any(|words| finished.said().contains(words)) => Ok(Unloaded::InUse),
            _ => Err(PlatformError::new(attempted, finished.said())),
        }
    }

    fn unit(&mut self, name: &str) -> Result<UnitState> {
        let arguments = ["show", &service(name), "--property=ActiveState,UnitFileState,LoadState"];
        let text = program::succeed(&format!("look at the service {name}"), "systemctl", &arguments)?;
        Ok(parse_unit(&text))
    }

    fn replacing_drop_ins(&mut self, name: &str) -> Result<Vec<HostPath>> {
        let arguments = ["show", &service(name), "--property=DropInPaths", "--value"];
        let paths = program::succeed(&format!("look at the service {name}"), "systemctl", &arguments)?;
        let mut replacing = Vec::new();
        for path in paths.split_whitespace() {
            if linux_facts::read_if_there(path)?.is_some_and(|text| replaces_command(&text)) {
                replacing.extend(HostPath::new(path).ok());
            }
        }
        Ok(replacing)
    }

    fn reload_units(&mut self) -> Result<()> {
        self.units_read = SystemTime::now().duration_since(UNIX_EPOCH).ok();
        program::succeed("reload systemd's units", "systemctl", &["daemon-reload"]).map(drop)
    }

    fn enable_unit(&mut self, name: &str) -> Result<()> {
        program::succeed(&format!("enable {name}"), "systemctl", &["--quiet", "enable", &service(name)]).map(drop)
    }

    fn disable_unit(&mut self, name: &str) -> Result<()> {
        program::succeed(&format!("disable {name}"), "systemctl", &["--quiet", "disable", &service(name)]).map(drop)
    }

    fn restart_unit(&mut self, name: &str) -> Result<()> {
        forget_failures(name)?;
        let arguments = ["--no-block", "restart", &service(name)];
        program::succeed(&format!("start {name}"), "systemctl", &arguments).map(drop)
    }

    fn unit_in_motion(&mut self, name: &str) -> Result<bool> {
        let arguments = ["show", &service(name), "--property=Job", "--value"];
        let job = program::succeed(&format!("look at the service {name}"), "systemctl", &arguments)?;
        Ok(!matches!(job.trim(), "" | "0"))
    }

    fn stop_unit(&mut self, name: &str) -> Result<()> {
        systemctl_service(&format!("stop {name}"), &["stop", &service(name)])?;
        forget_failures(name)
    }

    fn journal(&mut self, name: &str) -> Result<String> {
        let (unit, lines) = (service(name), format!("--lines={JOURNAL_LINES}"));
        // Not `--unit`: that leaves out what systemd says in the service's place when a program cannot be run at all.
        let (written, about) = (format!("_SYSTEMD_UNIT={unit}"), format!("UNIT={unit}"));
        // `--after-cursor` would be more exact, but loses a line when the one at the cursor is of another unit.
        let since = self.units_read.map(|time| format!("--since=@{}.{:06}", time.as_secs(), time.subsec_micros()));
        // The service's last words may still be on their way.
        program::run("bring the journal up to date", "journalctl", &["--sync"])?;
        // Newest first: with `--since` alone, `--lines` counts from the oldest (systemd 252), and what ended the service
        // comes last.
        let arguments = ["--quiet", "--no-pager", "--reverse", "--output=cat", &lines, &written, "+", &about];
        let arguments: Vec<_> = arguments.into_iter().chain(since.as_deref()).collect();
        let newest_first = program::succeed(&format!("read the journal of {name}"), "journalctl", &arguments)?;
        Ok(oldest_first(&newest_first))
    }

    fn has_forward_rule(&mut self, rule: &ForwardRule) -> Result<bool> {
        let attempted = format!("look for the rule {rule}");
        let finished = iptables(&attempted, &["-C", "FORWARD"], rule)?;
        match finished.code {
            Some(0) => Ok(true),
            Some(1) => Ok(false),
            _ => Err(PlatformError::new(attempted, finished.said())),
        }
    }

    fn add_forward_rule(&mut self, rule: &ForwardRule) -> Result<()> {
        change_rule("add", &["-I", "FORWARD", "1"], rule)
    }

    fn remove_forward_rule(&mut self, rule: &ForwardRule) -> Result<()> {
        change_rule("remove", &["-D", "FORWARD"], rule)
    }

    fn kube(&mut self, operation: &KubeOperation) -> Result<KubeOutcome> {
        linux_kube::ask(operation)
    }

    fn kube_all(&mut self, operations: &[KubeOperation]) -> Result<Vec<KubeOutcome>> {
        linux_kube::ask_all(operations)
    }
}

fn oldest_first(text: &str) -> String {
    text.lines().rev().flat_map(|line| [line, "\n"]).collect()
}

fn service(name: &str) -> String {
    format!("{name}.service")
}

/// Stops a service, and waits for it.
fn systemctl_service(attempted: &str, arguments: &[&str]) -> Result<()> {
    let run = program::Run::new(attempted, "systemctl", arguments);
    program::Run { time_limit: SERVICE_TIME_LIMIT, ..run }.succeed().map(drop)
}

/// A service that failed too often is not started again until that is forgotten. One that never failed, or that
/// systemd does not know, has nothing to forget.
fn forget_failures(name: &str) -> Result<()> {
    program::run(&format!("forget failures of {name}"), "systemctl", &["reset-failed", &service(name)]).map(drop)
}

/// Lines such as `kernel/net/bridge/br_netfilter.ko`. `-` and `_` are one in names of modules.
fn is_built_in(name: &str, list: &str) -> bool {
    let same = |file: &str| file.replace('-', "_") == name.replace('-', "_");
    list.lines().any(|line| line.rsplit('/').next().and_then(|file| file.strip_suffix(".ko")).is_some_and(same))
}

/// Lines such as `ActiveState=active`.
fn parse_unit(text: &str) -> UnitState {
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).unwrap_or_default();
    UnitState {
        enabled: value("UnitFileState") == "enabled",
        activity: match value("ActiveState") {
            "active" | "reloading" => Activity::Active,
            "activating" => Activity::Activating,
            "failed" => Activity::Failed,
            _ => Activity::Inactive,
        },
        masked: value("LoadState") == "masked",
    }
}

/// Whether a drop-in file has a command: it takes the place of that in the unit file.
fn replaces_command(drop_in: &str) -> bool {
    drop_in.lines().any(|line| line.trim_start().starts_with("ExecStart="))
}

fn change_route(verb: &str, route: &SystemRoute) -> Result<()> {
    let (destination, via) = (route.destination.to_string(), route.via.to_string());
    let arguments = ["route", verb, &destination, "via", &via, "dev", &route.adapter];
    program::succeed(&format!("{verb} the route {route}"), "ip", &arguments).map(drop)
}

fn change_rule(verb: &str, command: &[&str], rule: &ForwardRule) -> Result<()> {
    let attempted = format!("{verb} the rule {rule}");
    let finished = iptables(&attempted, command, rule)?;
    match finished.code {
        Some(0) => Ok(()),
        _ => Err(PlatformError::new(attempted, finished.said())),
    }
}

/// `-w` waits for others who change rules: Docker and kube-proxy do.
fn iptables(attempted: &str, command: &[&str], rule: &ForwardRule) -> Result<program::Finished> {
    let pods = rule.pods.to_string();
    let direction = match rule.direction {
        ForwardDirection::From => "--source",
        ForwardDirection::To => "--destination",
    };
    let matching = [direction, &pods, "-m", "comment", "--comment", "k8swin", "-j", "ACCEPT"];
    let arguments: Vec<_> = ["-w"].into_iter().chain(command.iter().copied()).chain(matching).collect();
    program::run(attempted, "iptables", &arguments)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systemds_words_are_understood() {
        let state = |active, file| parse_unit(&format!("ActiveState={active}\nUnitFileState={file}\n"));
        assert_eq!(state("active", "enabled"), UnitState { enabled: true, activity: Activity::Active, masked: false });
        assert_eq!(state("activating", "disabled").activity, Activity::Activating);
        assert_eq!(state("failed", "").activity, Activity::Failed);
        assert_eq!(state("inactive", ""), UnitState { enabled: false, activity: Activity::Inactive, masked: false });
        assert!(parse_unit("LoadState=masked\nActiveState=inactive\nUnitFileState=masked\n").masked);
    }

    #[test]
    fn only_drop_ins_with_a_command_replace_it() {
        assert!(replaces_command("[Service]\nEnvironment=A=B\nExecStart=\nExecStart=/usr/bin/kubelet\n"));
        assert!(!replaces_command("[Service]\nEnvironment=HTTPS_PROXY=http://proxy\n# ExecStart=x\nExecStartPre=y\n"));
    }

    #[test]
    fn modules_of_the_kernel_itself_are_found() {
        let list = "kernel/net/bridge/br_netfilter.ko
kernel/arch/x86/crypto/aesni-intel.ko
";
        assert!(is_built_in("br_netfilter", list) && is_built_in("aesni_intel", list));
        assert!(!is_built_in("netfilter", list));
    }

    #[test]
    fn the_agent_knows_its_own_program() {
        let mut host = LinuxHost::default();
        let own = host.own_executable().unwrap();
        assert_eq!(host.hash_file(&own.path).unwrap(), own.sha256);
        assert_eq!(host.own_executable().unwrap(), own);
    }
}
