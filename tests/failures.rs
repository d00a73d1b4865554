//! What goes wrong with connections and hosts: each a message with host, cause and remedy, and the right exit code.

use std::fs;

use crate::support::{Lab, Run};

#[track_caller]
fn shows(run: &Run, texts: &[&str]) {
    let all = format!("{}{}", run.stdout, run.stderr);
    for text in texts {
        assert!(all.contains(text), "`{text}` is not in\n{all}");
    }
}

fn edit(lab: &Lab, file: &str, change: impl FnOnce(String) -> String) {
    let path = lab.path(file);
    let text = fs::read_to_string(&path).unwrap();
    let changed = change(text.clone());
    assert_ne!(text, changed, "{file} was not changed");
    fs::write(path, changed).unwrap();
}

#[test]
fn a_changed_host_key_is_a_hard_stop_with_both_fingerprints() {
    let lab = Lab::of("seed.toml");
    let other = Lab::of("seed.toml");
    // The key of another lab's host, under this host's name.
    let line = fs::read_to_string(other.path("known_hosts")).unwrap().lines().next().unwrap().to_owned();
    let key = line.split_once(' ').unwrap().1.to_owned();
    edit(&lab, "known_hosts", |text| {
        let host = text.split_once(' ').unwrap().0.to_owned();
        format!("{host} {key}\n")
    });
    let run = Run::new(lab.command(&["up"]).output().unwrap()).exits(1);
    shows(&run, &["lin01", "SHA256:", "changed", "known_hosts", "hint:"]);
    let all = format!("{}{}", run.stdout, run.stderr);
    let fingerprints: std::collections::BTreeSet<_> = all
        .split(|c: char| c.is_whitespace() || c == ',' || c == ')')
        .filter(|word| word.starts_with("SHA256:"))
        .collect();
    assert!(fingerprints.len() >= 2, "{all}");
}

#[test]
fn an_unknown_host_key_is_refused_unless_accept_new() {
    let lab = Lab::of("seed.toml");
    edit(&lab, "known_hosts", |_| String::new());
    let run = Run::new(lab.command(&["preflight"]).output().unwrap()).exits(3);
    shows(&run, &["lin01", "SHA256:", "accept-new"]);
    edit(&lab, "inventory.toml", |text| text.replacen("[[host]]", "[[host]]\nhost_key = \"accept-new\"", 1));
    Run::new(lab.command(&["preflight"]).output().unwrap()).exits(0);
    assert!(fs::read_to_string(lab.path("known_hosts")).unwrap().contains("ssh-ed25519"));
}

#[test]
fn an_unknown_winrm_certificate_is_refused() {
    let lab = Lab::of("seed.toml");
    let other = Lab::of("seed.toml");
    fs::copy(other.path("ca.pem"), lab.path("ca.pem")).unwrap();
    let run = Run::new(lab.command(&["up"]).output().unwrap()).exits(4);
    shows(&run, &["win01", "win02", "certificate", "hint:"]);
}

#[test]
fn a_wrong_password_is_not_tried_again() {
    let lab = Lab::of("seed.toml");
    fs::write(lab.path("passwords/win02"), "not the password\n").unwrap();
    let run = Run::new(lab.command(&["up"]).output().unwrap()).exits(4);
    shows(&run, &["win02", "password", "hint:"]);
    let all = format!("{}{}", run.stdout, run.stderr);
    assert!(!all.contains("retrying") && !all.contains("not the password"), "{all}");
    // The other hosts were built.
    let nodes = lab.json(&["status"]).document().to_string();
    assert!(nodes.contains("win01"));
}

#[test]
fn an_unreachable_windows_host_leaves_the_others_done_and_heals_later() {
    let lab = Lab::of("seed.toml");
    lab.faults("[hosts.win02]\nunreachable = true\n");
    let run = lab.json(&["up"]).exits(4);
    let document = run.document();
    assert_eq!(document["result"], "failed");
    assert!(document["hosts"]["win02"]["error"].is_string() || document["hosts"]["win02"]["error"].is_object());
    assert!(document["hosts"]["lin01"].get("error").is_none(), "{document}");
    assert!(document["hosts"]["win01"]["changed"].as_u64().unwrap() > 0);
    lab.faults("");
    let healed = lab.json(&["up"]).exits(0).document();
    assert!(healed["hosts"]["win02"]["changed"].as_u64().unwrap() > 0);
    assert_eq!(lab.json(&["up"]).exits(0).document()["changed"], 0);
}

#[test]
fn an_unreachable_control_plane_stops_the_run() {
    let lab = Lab::of("seed.toml");
    lab.faults("[hosts.lin01]\nunreachable = true\n");
    let run = Run::new(lab.command(&["up"]).output().unwrap()).exits(1);
    shows(&run, &["lin01", "hint:"]);
}

#[test]
fn a_full_disk_is_reported_with_host_and_resource_and_the_next_run_converges() {
    let lab = Lab::of("seed.toml");
    lab.faults("[hosts.win01]\ndisk_full = true\n");
    let run = Run::new(lab.command(&["up"]).output().unwrap());
    assert!(run.code == 4 || run.code == 3, "{}{}", run.stdout, run.stderr);
    shows(&run, &["win01"]);
    lab.faults("");
    lab.json(&["up"]).exits(0);
    assert_eq!(lab.json(&["up"]).exits(0).document()["changed"], 0);
}

#[test]
fn a_connection_lost_in_the_middle_is_opened_again() {
    let lab = Lab::of("seed.toml");
    lab.faults("[hosts.win01]\ndrop_after_bytes = 60000\n[hosts.lin01]\ndrop_after_bytes = 60000\n");
    let run = lab.json(&["up"]);
    assert!([0, 1, 4].contains(&run.code), "{}", run.stderr);
    lab.faults("");
    lab.json(&["up"]).exits(0);
    assert_eq!(lab.json(&["up"]).exits(0).document()["changed"], 0);
}

#[test]
fn each_prerequisite_fault_is_found_by_name_and_stops_up_before_anything_is_touched() {
    let lab = Lab::of("seed.toml");
    let before = lab.states();
    lab.faults(
        "[hosts.win01]\nwindows_build = 14300\ndocker_version = \"1.12.1\"\npending_reboot = true\nui_language = \"de-DE\"\n\
         [hosts.win02]\none_adapter = true\n\
         [hosts.lin01]\nclock_skew_seconds = 3600\nport_taken = [{ port = 6443, program = \"nginx\" }]\n",
    );
    let run = lab.json(&["preflight"]).exits(3);
    let document = run.document();
    assert_eq!(document["result"], "failed");
    let errors: Vec<_> = document["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|finding| finding["severity"] == "error")
        .map(|finding| {
            assert!(finding["remedy"].is_string(), "{finding}");
            (finding["host"].as_str().unwrap(), finding["check"].as_str().unwrap())
        })
        .collect();
    for expected in [
        ("win01", "windows-build"),
        ("win01", "docker-version"),
        ("win01", "pending-reboot"),
        ("win01", "display-language"),
        ("win02", "second-adapter"),
        ("lin01", "clock"),
        ("lin01", "ports"),
    ] {
        assert!(errors.contains(&expected), "{expected:?} is not among {errors:?}");
    }
    lab.json(&["up"]).exits(3);
    // The faults themselves show in the states until the hosts are looked at without them.
    lab.faults("");
    lab.json(&["preflight"]).exits(0);
    assert_eq!(lab.states(), before);
}
