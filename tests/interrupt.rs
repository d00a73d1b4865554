//! Ctrl-C wherever a command waits: it ends with 130, soon, and leaves nothing behind that it should not.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::Stdio;

use crate::lock::LocalLab;
use crate::support::{Lab, Run, interrupt};

pub(crate) const SLOW: &str =
    "[hosts.lin01]\nslow_ms = 150\n[hosts.win01]\nslow_ms = 150\n[hosts.win02]\nslow_ms = 150\n";

/// Runs a command, sends Ctrl-C when its log has a line with `moment` in it, and gives how it ended.
pub(crate) fn interrupted_at(lab: &Lab, arguments: &[&str], moment: &str) -> Run {
    let mut run = lab.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(run.stderr.take().unwrap());
    let mut stderr = String::new();
    let mut sent = false;
    let mut line = String::new();
    while log.read_line(&mut line).unwrap() > 0 {
        if !sent && line.contains(moment) {
            interrupt(run.id());
            sent = true;
        }
        stderr.push_str(&std::mem::take(&mut line));
    }
    assert!(sent, "`{moment}` was not told:\n{stderr}");
    let mut stdout = String::new();
    run.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
    Run { code: run.wait().unwrap().code().unwrap_or(-1), stdout, stderr }.exits(130)
}

#[test]
fn commands_that_only_look_end_at_once_and_leave_the_hosts_as_found() {
    let lab = Lab::of("seed.toml");
    let before = lab.states();
    lab.faults(SLOW);
    for (command, moment) in [
        ("preflight", "==> connect"),
        ("plan", "==> connect"),
        ("plan", "connected"),
        ("plan", "==> check"),
        ("status", "==> connect"),
        ("status", "==> check"),
        ("kubeconfig", "==> connect"),
    ] {
        let run = interrupted_at(&lab, &[command], moment);
        assert!(run.stdout.is_empty(), "{command} printed half a result:\n{}", run.stdout);
        assert!(run.stderr.contains("interrupted"), "{command}: {}", run.stderr);
    }
    lab.faults("");
    lab.json(&["preflight"]).exits(0);
    assert_eq!(lab.states(), before);
}

#[test]
fn up_and_reset_end_in_every_stage_and_converge_when_they_are_repeated() {
    let lab = Lab::of("seed.toml");
    let before = lab.states();
    lab.faults(SLOW);
    for moment in ["connected", "==> facts and preflight"] {
        interrupted_at(&lab, &["up"], moment);
    }
    lab.faults("");
    lab.json(&["preflight"]).exits(0);
    assert_eq!(lab.states(), before, "a run that was interrupted before it had the lock changed a host");
    lab.faults(SLOW);
    for moment in ["==> check", "sent ", "==> files and keys", "restarts:", "==> verify"] {
        interrupted_at(&lab, &["up"], moment);
    }
    lab.faults("");
    lab.json(&["up"]).exits(0);
    assert_eq!(lab.json(&["up"]).exits(0).document()["changed"], 0);

    lab.faults(SLOW);
    for moment in ["==> connect", "changed "] {
        interrupted_at(&lab, &["reset", "--yes"], moment);
    }
    assert!(lab.path(".k8swin/seed/pki/ca.key").exists(), "keys are kept as long as the cluster is there");
    lab.faults("");
    lab.json(&["reset", "--yes"]).exits(0);
}

#[test]
fn a_host_that_is_tried_again_and_again_does_not_keep_ctrl_c_waiting() {
    let lab = Lab::of("seed.toml");
    lab.faults("[hosts.lin01]\nunreachable = true\n[hosts.win01]\nunreachable = true\n");
    interrupted_at(&lab, &["up"], "tries again");
}

#[test]
fn verify_takes_its_pod_away_in_spite_of_ctrl_c() {
    let lab = LocalLab::of("seed.toml");
    Run::new(lab.command(&["up"]).output().unwrap()).exits(0);
    lab.faults("[hosts.lin01]\nslow_ms = 1000\n");
    let run = lab.command(&["verify"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    lab.wait_for("a pod of the verification", || lab.pods().contains("k8swin-verify"));
    interrupt(run.id());
    let run = Run::new(run.wait_with_output().unwrap()).exits(130);
    assert!(run.stderr.contains("interrupted"), "{}", run.stderr);
    assert!(!lab.pods().contains("k8swin-verify"), "{}", lab.pods());
    lab.end();
}
