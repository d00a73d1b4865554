//! Starts labs and runs the program under test.

use std::io::{BufRead as _, BufReader};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use k8swin_inventory::cluster::{ArtifactSource, System};
use serde_json::Value;
use tempfile::TempDir;

/// The program under test.
pub(crate) fn k8swin() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_k8swin"));
    // Nothing of the user who runs the tests may matter.
    let home = std::env::temp_dir().join("k8swin-tests-no-such-home");
    command.env("HOME", &home).env("XDG_CACHE_HOME", home.join("cache")).env("NO_COLOR", "1");
    command.env_remove("SSH_AUTH_SOCK").env_remove("KUBECONFIG").stdin(Stdio::null());
    // Whatever would go elsewhere goes to a port of loopback where nothing listens.
    for proxy in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        command.env(proxy, "http://127.0.0.1:9").env(proxy.to_lowercase(), "http://127.0.0.1:9");
    }
    command.env("NO_PROXY", "127.0.0.1,localhost").env("no_proxy", "127.0.0.1,localhost");
    command
}

/// Refuses an inventory that leads anywhere but to a lab on this machine.
#[track_caller]
pub(crate) fn assert_loopback(inventory: &Path) {
    let text = std::fs::read_to_string(inventory).unwrap();
    let cluster = k8swin_inventory::parse(&text, inventory.to_str().unwrap().into()).unwrap();
    let is_loopback = |host: &str| host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    for host in &cluster.hosts {
        assert!(is_loopback(&host.address), "{} would be reached at {}", host.name, host.address);
        if let Some(endpoint) = &host.api_endpoint {
            assert!(is_loopback(endpoint.split(':').next().unwrap()), "{} has its API at {endpoint}", host.name);
        }
        if let System::Linux(linux) = &host.system {
            assert_eq!(linux.ssh.proxy_jump, None, "{} would be reached by way of another host", host.name);
        }
    }
    assert!(matches!(cluster.artifacts.source, ArtifactSource::Local { .. }), "programs would be downloaded");
}

/// The folder of the workspace.
pub(crate) fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("crates/k8swin lies two below").to_owned()
}

/// One of the inventories of this repository.
pub(crate) fn inventory(name: &str) -> PathBuf {
    workspace().join("inventories").join(name)
}

/// A lab that runs as a process of its own, as a user would start it.
pub(crate) struct Lab {
    process: Child,
    folder: TempDir,
}

impl Lab {
    /// Starts the twin of one of the repository's inventories.
    pub(crate) fn of(name: &str) -> Self {
        Self::start(&inventory(name))
    }

    /// Starts the twin of an inventory.
    pub(crate) fn start(inventory: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut process = k8swin()
            .args(["lab", inventory.to_str().unwrap(), "--out"])
            .arg(folder.path().join("lab"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line.trim(), "ready");
        Self { process, folder }
    }

    /// A path below the lab's folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("lab").join(name)
    }

    /// Runs a command against the twin, with JSON output.
    pub(crate) fn json(&self, arguments: &[&str]) -> Run {
        Run::new(self.command(arguments).args(["-o", "json"]).output().unwrap())
    }

    /// A command against the twin: the first argument is the subcommand.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = k8swin();
        let (subcommand, rest) = arguments.split_first().unwrap();
        let inventory = self.path("inventory.toml");
        assert_loopback(&inventory);
        command.arg(subcommand).arg(inventory).args(rest);
        command
    }

    /// Every host's state as the lab shows it: file name to bytes.
    pub(crate) fn states(&self) -> Vec<(String, String)> {
        let mut states: Vec<_> = std::fs::read_dir(self.path("hosts"))
            .unwrap()
            .map(|entry| entry.unwrap())
            .filter(|entry| entry.path().extension().is_some_and(|extension| extension == "json"))
            .map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read_to_string(entry.path()).unwrap()))
            .collect();
        states.sort();
        states
    }

    /// Switches faults on, or off with an empty text.
    pub(crate) fn faults(&self, toml: &str) {
        std::fs::write(self.path("faults.toml"), toml).unwrap();
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What a run printed and how it ended.
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Run {
    pub(crate) fn new(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// The one JSON document on standard output.
    #[track_caller]
    pub(crate) fn document(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}: not one JSON document: {}\n{}", self.stdout, self.stderr))
    }

    /// Asserts the exit code, showing everything when it is another.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }
}

/// Sends Ctrl-C's signal.
pub(crate) fn interrupt(process: u32) {
    let sent = Command::new("kill").args(["-INT", &process.to_string()]).status().unwrap();
    assert!(sent.success());
}

/// What no installer should undo: the installation of a Windows feature with its service, which others may use by then,
/// and the restart that it took.
pub(crate) fn without_what_stays(state: &str) -> Value {
    let mut state: Value = serde_json::from_str(state).unwrap();
    let host = state.as_object_mut().unwrap();
    host.remove("boots");
    if let Some(windows) = host.get_mut("windows") {
        windows["features"] = Value::Null;
    }
    remove_key(&mut state, "RemoteAccess");
    state
}

fn remove_key(value: &mut Value, name: &str) {
    if let Some(object) = value.as_object_mut() {
        object.remove(name);
        object.values_mut().for_each(|value| remove_key(value, name));
    }
}
