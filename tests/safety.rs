//! Two admins at once, Ctrl-C, and what a run leaves behind.

use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::support::{Lab, Run, interrupt};

/// Makes every host slow, so that a run can be met in its middle.
const SLOW: &str = "[hosts.lin01]\nslow_ms = 150\n[hosts.win01]\nslow_ms = 150\n[hosts.win02]\nslow_ms = 150\n";

/// Waits until the journal says that the run changes hosts.
fn wait_until_changing(lab: &Lab) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while Instant::now() < deadline {
        let changing = std::fs::read_dir(lab.path(".k8swin"))
            .into_iter()
            .flatten()
            .filter_map(|entry| std::fs::read_to_string(entry.ok()?.path().join("journal.jsonl")).ok())
            .any(|journal| journal.contains("\"what\":\"changed\""));
        if changing {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("the run changed nothing within a minute");
}

#[test]
fn ctrl_c_ends_cleanly_and_the_next_run_converges() {
    let lab = Lab::of("seed.toml");
    lab.faults(SLOW);
    let run = lab.command(&["up"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_until_changing(&lab);
    interrupt(run.id());
    let run = Run::new(run.wait_with_output().unwrap()).exits(130);
    assert!(run.stderr.contains("interrupted"), "{}", run.stderr);
    lab.faults("");
    // The lock is free again, and the shells are gone: a second run takes both without waiting.
    lab.json(&["up"]).exits(0);
    assert_eq!(lab.json(&["up"]).exits(0).document()["changed"], 0);
}

#[test]
fn a_second_admin_is_told_who_is_at_work() {
    let lab = Lab::of("seed.toml");
    lab.faults(SLOW);
    let first = lab.command(&["up"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    wait_until_changing(&lab);
    let second = Run::new(lab.command(&["up"]).output().unwrap()).exits(1);
    assert!(second.stderr.contains("locked by"), "{}", second.stderr);
    assert!(second.stderr.contains("--break-lock"), "{}", second.stderr);
    Run::new(first.wait_with_output().unwrap()).exits(0);
    lab.faults("");
    assert_eq!(lab.json(&["up"]).exits(0).document()["changed"], 0);
}

#[test]
fn reset_asks_before_it_takes_a_cluster_apart() {
    let lab = Lab::of("seed.toml");
    lab.json(&["up"]).exits(0);
    let built = lab.states();
    let run = Run::new(lab.command(&["reset"]).output().unwrap()).exits(2);
    assert!(run.stderr.contains("--yes"), "{}", run.stderr);
    assert_eq!(lab.states(), built);
}
