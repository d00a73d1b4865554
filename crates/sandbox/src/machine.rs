//! The first process of a host and its namespaces, common to both kinds of hosts.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::file;
use crate::network::namespace_file;
use crate::{SandboxError, program};

/// Far more than any step takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// How many bytes of a console an error shows.
const SHOWN: usize = 4000;

/// The size of a host's disk in bytes.
const DISK: u64 = 64 << 30;

/// What a host is started with.
pub(crate) struct Start<'a> {
    /// The network namespace.
    pub(crate) namespace: &'a str,
    /// Further namespaces of its own, as `unshare` names them.
    pub(crate) unshare: &'a [&'a str],
    /// The script that becomes the host, and its arguments.
    pub(crate) script: &'a str,
    pub(crate) arguments: &'a [String],
    /// The file for what it writes.
    pub(crate) console: &'a Path,
}

/// A running machine: killing its first process ends all that runs in it.
#[derive(Debug)]
pub(crate) struct Machine {
    child: Child,
    console: PathBuf,
}

impl Machine {
    /// Starts one. It goes when the calling thread ends, however that ends: `--kill-child` ends the first process of its
    /// namespace, and the kernel all others in there.
    pub(crate) fn start(start: &Start<'_>) -> Result<Self, SandboxError> {
        let console = File::create(start.console).map_err(file("write", start.console))?;
        let output = console.try_clone().map_err(file("write", start.console))?;
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "nsenter"]);
        command.arg(format!("--net={}", namespace_file(start.namespace).display()));
        command.args(["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]);
        command.args(start.unshare).args(["sh", "-c", start.script, "boot"]).args(start.arguments);
        // Not of the terminal's group: Ctrl-C is for whoever drives the hosts, and ends them in its own way.
        command.process_group(0).stdin(Stdio::null()).stdout(output).stderr(console);
        let child = command
            .spawn()
            .map_err(|error| SandboxError::Program { program: "setpriv".into(), answer: error.to_string() })?;
        Ok(Self { child, console: start.console.to_owned() })
    }

    /// The first process of its own, once there is one.
    pub(crate) fn first_process(&self) -> Option<u32> {
        children(self.child.id()).first().copied()
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Waits for its end.
    pub(crate) fn wait_until_down(&mut self, host: &str) -> Result<ExitStatus, SandboxError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.ended() {
                return Ok(status);
            }
            if Instant::now() >= deadline {
                return Err(self.trouble(host, "does not go down"));
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Ends it at once, as a power cut does.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// An error with the end of the console.
    pub(crate) fn trouble(&self, host: &str, problem: &'static str) -> SandboxError {
        let text = fs::read(&self.console).unwrap_or_default();
        let end = text.get(text.len().saturating_sub(SHOWN)..).unwrap_or_default();
        SandboxError::Host { host: host.to_owned(), problem, console: String::from_utf8_lossy(end).into_owned() }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Makes the file of a host's disk, which takes room as it is filled.
pub(crate) fn make_disk(folder: &Path) -> Result<(), SandboxError> {
    let path = folder.join("disk.img");
    let made = File::create(&path).and_then(|disk| disk.set_len(DISK));
    made.map_err(file("write", &path))?;
    let mut command = program::command("mkfs.ext4", ["-q", "-F", "-E", "lazy_itable_init=1,nodiscard"]);
    program::finish(command.arg(&path)).map(drop)
}

/// The processes that a process started and that are there.
#[must_use]
pub fn children(process: u32) -> Vec<u32> {
    let list = fs::read_to_string(format!("/proc/{process}/task/{process}/children")).unwrap_or_default();
    list.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}
