//! A run that is killed at any step, repeated, comes to the same state as an undisturbed one; one that is interrupted puts
//! its things in order.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use k8swin_lab::{Lab, LabOptions};
use tempfile::TempDir;

use crate::support::{Run, inventory, k8swin};

/// A lab in this process, whose hosts can be stopped before any step.
struct Stage {
    lab: Lab,
    runtime: tokio::runtime::Runtime,
    folder: TempDir,
}

/// Where all hosts together are: counts the steps, and holds the one that is to be the last.
#[derive(Default)]
struct Gate {
    steps: AtomicUsize,
    last: AtomicUsize,
    reached: AtomicBool,
    open: AtomicBool,
}

impl Stage {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let file = inventory("seed.toml");
        let text = fs::read_to_string(&file).unwrap();
        let file = camino(&file);
        let directory = camino(&folder.path().join("lab"));
        let options = LabOptions { boot_delay: Duration::from_millis(20) };
        let lab = runtime.block_on(Lab::start(&text, &file, &directory, options)).unwrap();
        Self { lab, runtime, folder }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = k8swin();
        let (subcommand, rest) = arguments.split_first().unwrap();
        command.arg(subcommand).arg(self.lab.inventory()).args(rest);
        command.arg("--state-dir").arg(self.folder.path().join("state"));
        command
    }

    /// Every step of every host passes this gate. A step begins where the agent writes down what it is about to do.
    fn gate(&self, last: usize) -> Arc<Gate> {
        let gate = Arc::new(Gate { last: AtomicUsize::new(last), ..Gate::default() });
        for (_, host) in self.lab.hosts() {
            let gate = Arc::clone(&gate);
            host.simulated().before_mutation(Arc::new(move |step: &str| {
                if step.contains("ledger.json") {
                    gate.pass();
                }
                Ok(())
            }));
        }
        gate
    }

    fn states(&self) -> Vec<serde_json::Value> {
        self.lab
            .hosts()
            .map(|(_, host)| {
                let mut state: serde_json::Value = serde_json::from_str(&host.simulated().state_json()).unwrap();
                // A run that was killed while a host restarted may restart it once more.
                state.as_object_mut().unwrap().remove("boots");
                state
            })
            .collect()
    }

    fn end(self) {
        self.runtime.block_on(self.lab.shutdown()).unwrap();
    }
}

impl Gate {
    fn pass(&self) {
        if self.steps.fetch_add(1, Ordering::SeqCst) + 1 < self.last.load(Ordering::SeqCst) {
            return;
        }
        self.reached.store(true, Ordering::SeqCst);
        while !self.open.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

fn camino(path: &Path) -> camino::Utf8PathBuf {
    camino::Utf8PathBuf::from_path_buf(path.to_owned()).unwrap()
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// What all runs are compared with, and the keys that all of them use.
struct Undisturbed {
    states: Vec<serde_json::Value>,
    steps: usize,
    keys: TempDir,
}

fn undisturbed() -> Undisturbed {
    let stage = Stage::new();
    let gate = stage.gate(usize::MAX);
    Run::new(stage.command(&["up"]).output().unwrap()).exits(0);
    let keys = tempfile::tempdir().unwrap();
    copy_folder(&stage.folder.path().join("state"), keys.path());
    let undisturbed = Undisturbed { states: stage.states(), steps: gate.steps.load(Ordering::SeqCst), keys };
    stage.end();
    undisturbed
}

fn killed_at(step: usize, undisturbed: &Undisturbed) {
    let stage = Stage::new();
    copy_folder(undisturbed.keys.path(), &stage.folder.path().join("state"));
    let gate = stage.gate(step);
    let mut run = stage.command(&["up"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while !gate.reached.load(Ordering::SeqCst) && run.try_wait().unwrap().is_none() {
        assert!(Instant::now() < deadline, "step {step} was not reached");
        std::thread::sleep(Duration::from_millis(1));
    }
    // SIGKILL: nothing of the run can be put in order.
    run.kill().unwrap();
    run.wait().unwrap();
    gate.open.store(true, Ordering::SeqCst);

    let again = Run::new(stage.command(&["up"]).output().unwrap());
    assert_eq!(again.code, 0, "killed at step {step}:\n{}\n{}", again.stdout, again.stderr);
    let states = stage.states();
    for (after, expected) in states.iter().zip(&undisturbed.states) {
        assert_eq!(after, expected, "killed at step {step}");
    }
    stage.end();
}

#[test]
fn a_run_killed_at_any_step_converges_when_it_is_repeated() {
    let undisturbed = Arc::new(undisturbed());
    assert!(undisturbed.steps > 100, "{}", undisturbed.steps);
    let next = Arc::new(Mutex::new(1..=undisturbed.steps));
    let workers: Vec<_> = (0..4)
        .map(|_| {
            let (undisturbed, next) = (Arc::clone(&undisturbed), Arc::clone(&next));
            std::thread::spawn(move || {
                loop {
                    let step = next.lock().unwrap().next();
                    let Some(step) = step else { break };
                    killed_at(step, &undisturbed);
                }
            })
        })
        .collect();
    for worker in workers {
        worker.join().unwrap();
    }
}

#[test]
fn an_interrupted_run_leaves_no_shell_and_no_lock() {
    let stage = Stage::new();
    let gate = stage.gate(60);
    let run = stage.command(&["up"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while !gate.reached.load(Ordering::SeqCst) {
        assert!(Instant::now() < deadline, "the run does not get on");
        std::thread::sleep(Duration::from_millis(1));
    }
    crate::support::interrupt(run.id());
    gate.open.store(true, Ordering::SeqCst);
    Run::new(run.wait_with_output().unwrap()).exits(130);
    for (name, host) in stage.lab.hosts() {
        if let Some(winrm) = host.winrm() {
            assert_eq!(winrm.shells_open(), 0, "{name}");
            assert!(winrm.shells_created() > 0, "{name}");
        }
        assert!(!host.simulated().state_json().contains("lock.json"), "{name}");
    }
    stage.end();
}

/// The process that changes a host's network crashes at one of its steps, in the midst of a run.
fn changed_network_killed_at(step: usize, undisturbed: &Undisturbed) -> bool {
    let stage = Stage::new();
    copy_folder(undisturbed.keys.path(), &stage.folder.path().join("state"));
    let killed = Arc::new(AtomicBool::new(false));
    for (name, host) in stage.lab.hosts() {
        if name != "win01" {
            continue;
        }
        let (host, killed, steps) = (host.simulated().clone(), Arc::clone(&killed), AtomicUsize::new(0));
        host.clone().before_mutation(Arc::new(move |_: &str| {
            let changing = std::thread::current().name().is_some_and(|name| name.starts_with("k8swin-change"));
            if changing && steps.fetch_add(1, Ordering::SeqCst) + 1 == step && !killed.swap(true, Ordering::SeqCst) {
                host.kill_change();
            }
            Ok(())
        }));
    }
    let run = Run::new(stage.command(&["up"]).output().unwrap());
    assert!([0, 4].contains(&run.code), "killed at step {step}:\n{}", run.stderr);
    if run.code == 4 {
        assert!(
            run.stderr.contains("win01")
                && ["taken back", "nothing was changed"].iter().any(|text| run.stderr.contains(text)),
            "step {step}:\n{}",
            run.stderr
        );
    }
    let again = Run::new(stage.command(&["up"]).output().unwrap());
    assert_eq!(again.code, 0, "killed at step {step}:\n{}\n{}", again.stdout, again.stderr);
    for (after, expected) in stage.states().iter().zip(&undisturbed.states) {
        assert_eq!(after, expected, "the change was killed at step {step}");
    }
    stage.end();
    killed.load(Ordering::SeqCst)
}

#[test]
fn a_network_change_whose_process_crashes_at_any_step_is_taken_back_and_done_again() {
    let undisturbed = undisturbed();
    let mut step = 1;
    while changed_network_killed_at(step, &undisturbed) {
        step += 1;
    }
    assert!(step > 10, "{step}");
}
