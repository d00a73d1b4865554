//! A host for Windows programs: Wine in namespaces of its own, with a prefix, a name and a network of its own.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::file;
use crate::machine::{Machine, PATIENCE, Start, make_disk};
use crate::network::Namespace;
use crate::sandbox::require;
use crate::{Sandbox, SandboxError, network, program};

const BOOT: &str = include_str!("windows/boot.sh");

/// Wine's loader and server, as Debian has them: the 64-bit ones, never a wrapper that chooses.
const LOADER: &str = "/usr/lib/wine/wine64";
const SERVER: &str = "/usr/lib/wine/wineserver64";

/// The account that programs run as. It is the administrator: Wine knows one account only.
pub const ADMINISTRATOR: &str = "Administrator";

/// The variable of the environment by which the processes of one command are known.
const MARK: &str = "K8SWIN_SANDBOX_COMMAND";

/// What tells programs another time than the kernel's, which all hosts share.
const MOVED_CLOCK: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";

/// What a host is.
#[derive(Clone, Debug)]
pub struct WindowsSettings {
    /// Its name.
    pub hostname: String,
    /// The network namespace, with the host's adapters in it.
    pub namespace: Namespace,
    /// The machine identity: a GUID in its usual form.
    pub machine_guid: String,
    /// All hosts' names, for the file `hosts`.
    pub names: Vec<(Ipv4Addr, String)>,
    /// A Wine prefix in which nothing runs: what the host begins with.
    pub template: PathBuf,
}

/// A host, which is off until [`Self::power_on`].
#[derive(Debug)]
pub struct WindowsHost {
    settings: WindowsSettings,
    folder: PathBuf,
    machine: Machine,
    leader: u32,
    /// A program of Linux that each boot begins with, before Wine, and its arguments.
    before_boot: Option<Vec<String>>,
    commands: AtomicU64,
    /// By how many seconds the clock is ahead, for programs that start now.
    ahead: AtomicU64,
}

/// What one command is known by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandMark(String);

impl WindowsHost {
    /// Makes a fresh host. It ends with the calling thread at the latest.
    ///
    /// # Errors
    /// [`SandboxError::Missing`] where there is no Wine; or when this machine refuses.
    pub fn start(sandbox: &Sandbox, settings: WindowsSettings) -> Result<Self, SandboxError> {
        require_wine()?;
        let folder = sandbox.folder().join(&settings.hostname);
        let prefix = folder.join("prefix");
        fs::create_dir_all(&prefix).map_err(file("make", prefix))?;
        make_disk(&folder)?;
        let mut hosts = String::from("127.0.0.1 localhost\n");
        for (address, name) in &settings.names {
            hosts.push_str(&format!("{address} {name}\n"));
        }
        let machine_id = settings.machine_guid.replace('-', "") + "\n";
        for (name, text) in [("hosts", hosts.as_str()), ("resolv.conf", ""), ("machine-id", &machine_id)] {
            let path = folder.join(name);
            fs::write(&path, text).map_err(file("write", path))?;
        }
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let arguments = [settings.hostname.clone(), text(&settings.template), text(&folder)];
        let machine = Machine::start(&Start {
            namespace: &settings.namespace,
            unshare: &["--uts"],
            script: BOOT,
            arguments: &arguments,
            console: &folder.join("console"),
        })?;
        let mut host = Self {
            settings,
            folder,
            machine,
            leader: 0,
            before_boot: None,
            commands: AtomicU64::new(0),
            ahead: AtomicU64::new(0),
        };
        host.wait_for_files()?;
        Ok(host)
    }

    /// Gives it, while it is on, the identity that its template does not have: that one is everybody's.
    ///
    /// # Errors
    /// When the registry cannot be written.
    pub fn set_identity(&self) -> Result<(), SandboxError> {
        self.set_text(r"HKLM\SOFTWARE\Microsoft\Cryptography", "MachineGuid", &self.settings.machine_guid)
    }

    /// Writes a text into the registry, while the host is on.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn set_text(&self, key: &str, name: &str, text: &str) -> Result<(), SandboxError> {
        self.run(&["reg.exe", "add", key, "/v", name, "/d", text, "/f"])
    }

    /// Runs a program of Windows that must succeed.
    ///
    /// # Errors
    /// When it fails.
    pub fn run(&self, words: &[&str]) -> Result<(), SandboxError> {
        program::succeed(&mut self.wine(words))
    }

    fn wait_for_files(&mut self) -> Result<(), SandboxError> {
        let deadline = Instant::now() + PATIENCE;
        while !self.folder.join("ready").is_file() {
            if self.machine.ended().is_some() || Instant::now() >= deadline {
                return Err(self.machine.trouble(&self.settings.hostname, "did not start"));
            }
            thread::sleep(Duration::from_millis(20));
        }
        let Some(leader) = self.machine.first_process() else {
            return Err(self.machine.trouble(&self.settings.hostname, "did not start"));
        };
        self.leader = leader;
        Ok(())
    }

    /// Its name.
    #[must_use]
    pub fn hostname(&self) -> &str {
        &self.settings.hostname
    }

    /// The link that stands for its network namespace, as `/proc/PID/ns/net` has it.
    ///
    /// # Errors
    /// When its first process is gone.
    pub fn namespace_link(&self) -> Result<String, SandboxError> {
        let path = PathBuf::from(format!("/proc/{}/ns/net", self.leader));
        let link = fs::read_link(&path).map_err(file("read", path))?;
        Ok(link.to_string_lossy().into_owned())
    }

    /// Has each boot begin with this program of Linux.
    pub fn before_boot(&mut self, words: Vec<String>) {
        self.before_boot = Some(words);
    }

    /// The Wine prefix, seen from the host itself.
    #[must_use]
    pub fn prefix_inside(&self) -> PathBuf {
        self.folder.join("prefix")
    }

    /// Its drive C:, seen from this machine.
    #[must_use]
    pub fn drive(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{}", self.leader, self.folder.join("prefix/drive_c").display()))
    }

    /// The Wine prefix, seen from this machine.
    #[must_use]
    pub fn prefix(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{}", self.leader, self.folder.join("prefix").display()))
    }

    /// Boots: services that start by themselves run afterwards, in a while.
    ///
    /// # Errors
    /// When Wine does not start.
    pub fn power_on(&self) -> Result<(), SandboxError> {
        if let Some(words) = &self.before_boot {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            program::finish(&mut self.linux(&words))?;
        }
        // A server that stays lets services live on between two commands.
        program::succeed(&mut self.linux(&[SERVER, "-p"]))?;
        // The first command is the boot.
        program::succeed(&mut self.wine(&["cmd.exe", "/c", "ver"]))
    }

    /// Ends all that runs on it. What only Linux' kernel had of its network is gone, as it is with Windows.
    ///
    /// # Errors
    /// When Linux does not forget.
    pub fn power_off(&self) -> Result<(), SandboxError> {
        // SIGINT alone: `-k` would follow it with SIGKILL, and what was not yet written of the registry would be lost.
        for argument in ["--kill=2", "--wait"] {
            // Where there is no server there is nothing to end.
            let _ = program::succeed(&mut self.linux(&[SERVER, argument]));
        }
        network::forget(&self.settings.namespace)
    }

    /// Whether its services run: off, or after an orderly shutdown, they do not.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.processes().any(|process| command_line(process).contains("services.exe"))
    }

    /// A program of Windows with its arguments, on the host, not yet marked as a command's.
    #[must_use]
    pub fn wine(&self, words: &[&str]) -> Command {
        let mut all = vec![LOADER];
        all.extend(words);
        let mut command = self.linux(&all);
        let ahead = self.ahead.load(Ordering::Relaxed);
        if ahead > 0 {
            command.env("LD_PRELOAD", MOVED_CLOCK).env("FAKETIME", format!("+{ahead}s"));
        }
        command
    }

    /// Moves the clock, for programs of Windows that start from now on: those that run have the time that they had. Needs
    /// [`require_moved_clock`].
    pub fn set_clock_ahead(&self, ahead: Duration) {
        self.ahead.store(ahead.as_secs(), Ordering::Relaxed);
    }

    /// A program of Windows whose processes, and theirs, can be ended together: as one command of a remote shell.
    #[must_use]
    pub fn marked(&self, words: &[&str]) -> (Command, CommandMark) {
        let number = self.commands.fetch_add(1, Ordering::Relaxed);
        let mark = CommandMark(format!("{}-{number}", self.leader));
        let mut command = self.wine(words);
        command.env(MARK, &mark.0);
        (command, mark)
    }

    /// Ends all processes of a command. Services that it started stay: they are children of the manager of services.
    pub fn end(&self, mark: &CommandMark) {
        let entry = format!("{MARK}={}", mark.0);
        // A process may start another one while this looks.
        for _ in 0..10 {
            let marked: Vec<u32> = self.processes().filter(|process| has_environment(*process, &entry)).collect();
            if marked.is_empty() {
                return;
            }
            let numbers = marked.iter().map(u32::to_string);
            let _ = program::command("kill", std::iter::once("-KILL".to_owned()).chain(numbers)).output();
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// A program of Linux in the host's namespaces.
    #[must_use]
    pub fn linux(&self, words: &[&str]) -> Command {
        let leader = self.leader.to_string();
        let mut command =
            program::command("nsenter", ["--mount", "--uts", "--net", "--pid", "--target", &leader, "--"]);
        command.args(words).current_dir("/").env_clear();
        command.env("PATH", "/usr/lib/wine:/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("WINEPREFIX", self.folder.join("prefix")).env("WINEDEBUG", "-all");
        command.env("WINEDLLOVERRIDES", "winemenubuilder.exe=d;mscoree=d;mshtml=d");
        command.env("HOME", "/root").env("USER", ADMINISTRATOR).env("LANG", "C.UTF-8");
        command
    }

    /// The processes in its namespaces, as this machine numbers them.
    fn processes(&self) -> impl Iterator<Item = u32> {
        let own = fs::read_link(format!("/proc/{}/ns/pid", self.leader)).ok();
        let entries = fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
        entries
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter(move |process: &u32| own.is_some() && fs::read_link(format!("/proc/{process}/ns/pid")).ok() == own)
    }
}

impl Drop for WindowsHost {
    fn drop(&mut self) {
        self.machine.kill();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Says what of Wine is missing.
///
/// # Errors
/// [`SandboxError::Missing`].
pub fn require_wine() -> Result<(), SandboxError> {
    for needed in [LOADER, SERVER] {
        if !Path::new(needed).is_file() {
            return Err(SandboxError::Missing {
                what: format!("there is no {needed}"),
                remedy: "apt-get install --no-install-recommends wine wine64".to_owned(),
            });
        }
    }
    require(&[("nsenter", "util-linux")])
}

/// Says whether what moves clocks is missing.
///
/// # Errors
/// [`SandboxError::Missing`].
pub fn require_moved_clock() -> Result<(), SandboxError> {
    if Path::new(MOVED_CLOCK).is_file() {
        return Ok(());
    }
    Err(SandboxError::Missing {
        what: format!("there is no {MOVED_CLOCK}"),
        remedy: "apt-get install --no-install-recommends libfaketime".to_owned(),
    })
}

fn command_line(process: u32) -> String {
    let bytes = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn has_environment(process: u32, entry: &str) -> bool {
    let bytes = fs::read(format!("/proc/{process}/environ")).unwrap_or_default();
    bytes.split(|byte| *byte == 0).any(|found| found == entry.as_bytes())
}
