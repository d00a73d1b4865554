//! The cluster's lock is held as long as a run works anywhere, also where its own host has nothing to do for long.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use camino::Utf8PathBuf;
use k8swin_agent::simulated::SimulatedHost;
use k8swin_lab::{Lab, LabOptions};
use k8swin_protocol::HostPath;
use tempfile::TempDir;

use crate::support::{Run, assert_loopback, inventory, k8swin};

/// A lab in this process, whose hosts and cluster can be looked at and held.
pub(crate) struct LocalLab {
    lab: Lab,
    runtime: tokio::runtime::Runtime,
    _folder: TempDir,
}

impl LocalLab {
    /// Starts the twin of one of the repository's inventories.
    pub(crate) fn of(name: &str) -> Self {
        Self::of_text(&std::fs::read_to_string(inventory(name)).unwrap())
    }

    /// Starts the twin of an inventory.
    pub(crate) fn of_text(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let file = Utf8PathBuf::from_path_buf(folder.path().join("original.toml")).unwrap();
        std::fs::write(&file, text).unwrap();
        let directory = Utf8PathBuf::from_path_buf(folder.path().join("lab")).unwrap();
        let options = LabOptions { boot_delay: Duration::from_millis(20) };
        let lab = runtime.block_on(Lab::start(text, &file, &directory, options)).unwrap();
        assert_loopback(lab.inventory().as_std_path());
        Self { lab, runtime, _folder: folder }
    }

    /// A command against the twin: the first argument is the subcommand.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = k8swin();
        let (subcommand, rest) = arguments.split_first().unwrap();
        command.arg(subcommand).arg(self.lab.inventory()).args(rest);
        command
    }

    /// The simulated hosts.
    pub(crate) fn hosts(&self) -> impl Iterator<Item = (String, SimulatedHost)> {
        self.lab.hosts().map(|(name, host)| (name.to_owned(), host.simulated().clone()))
    }

    /// The most connections to depots that there were at once.
    pub(crate) fn most_pulls(&self) -> usize {
        self.lab.cluster().most_pulls()
    }

    /// How many commands each host was given so far.
    pub(crate) fn commands(&self) -> std::collections::BTreeMap<String, u64> {
        self.lab.hosts().map(|(name, host)| (name.to_owned(), host.counters().commands)).collect()
    }

    /// Switches faults on, or off with an empty text.
    pub(crate) fn faults(&self, toml: &str) {
        std::fs::write(self.lab.directory().join("faults.toml"), toml).unwrap();
    }

    /// The pods of the simulated cluster, as JSON.
    pub(crate) fn pods(&self) -> String {
        self.lab.cluster().api("GET", "/api/v1/namespaces/default/pods", None).1.to_string()
    }

    /// Waits until something is so.
    pub(crate) fn wait_for(&self, what: &str, is_so: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !is_so() {
            assert!(Instant::now() < deadline, "{what} did not come within a minute");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends the lab in order.
    pub(crate) fn end(self) {
        self.runtime.block_on(self.lab.shutdown()).unwrap();
    }
}

/// Holds a host at its first change until it is let go: whether it is there, and whether it may go on.
fn hold(lab: &LocalLab, host: &str) -> (Arc<AtomicBool>, Arc<AtomicBool>) {
    let (reached, open) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let gate = (Arc::clone(&reached), Arc::clone(&open));
    lab.lab.host(host).unwrap().simulated().before_mutation(Arc::new(move |_: &str| {
        gate.0.store(true, Ordering::SeqCst);
        while !gate.1.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }));
    (reached, open)
}

#[test]
fn two_admins_cannot_collide_when_only_one_of_them_reaches_the_first_control_plane() {
    let lab = LocalLab::of("ha.toml");
    lab.faults("[hosts.win01]\nunreachable = true\n");
    Run::new(lab.command(&["up"]).output().unwrap()).exits(4);
    let (reached, open) = hold(&lab, "win01");
    lab.faults("[hosts.control01]\nunreachable = true\n");
    let first = lab.command(&["up"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    lab.wait_for("the first change of win01", || reached.load(Ordering::SeqCst));
    lab.faults("");
    let second = Run::new(lab.command(&["up"]).output().unwrap()).exits(1);
    assert!(second.stderr.contains("control02: the cluster is locked by"), "{}", second.stderr);
    open.store(true, Ordering::SeqCst);
    Run::new(first.wait_with_output().unwrap()).exits(4);
    Run::new(lab.command(&["up"]).output().unwrap()).exits(0);
    lab.end();
}

#[test]
fn a_run_that_waits_for_another_host_keeps_its_lock_alive() {
    let lab = LocalLab::of("seed.toml");
    let (reached, open) = hold(&lab, "win01");
    let first = lab.command(&["up"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    lab.wait_for("the first change of win01", || reached.load(Ordering::SeqCst));

    // Every sign of life is another text of the lock. The first new one may still come of work on lin01 itself.
    let file = HostPath::new("/var/lib/k8swin/lock.json").unwrap();
    let signs_of_life = std::cell::RefCell::new(Vec::new());
    lab.wait_for("the third sign of life", || {
        let mut signs = signs_of_life.borrow_mut();
        let now = lab.lab.host("lin01").unwrap().simulated().read_file(&file);
        if now.is_some() && signs.last() != Some(&now) {
            signs.push(now);
        }
        signs.len() > 3
    });
    let second = Run::new(lab.command(&["up"]).output().unwrap()).exits(1);
    assert!(second.stderr.contains("locked by"), "{}", second.stderr);
    open.store(true, Ordering::SeqCst);
    Run::new(first.wait_with_output().unwrap()).exits(0);
    lab.end();
}
