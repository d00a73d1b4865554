//! Changes of a host's network that would lock the administrator out, and restarts that do not come back.

use serde_json::Value;

use crate::lock::LocalLab;
use crate::support::{Lab, Run};

/// What the lab shows of a host's network.
fn network(lab: &Lab, name: &str) -> Value {
    let states = lab.states();
    let (_, state) = states.iter().find(|(file, _)| *file == format!("{name}.json")).unwrap();
    let state: Value = serde_json::from_str(state).unwrap();
    Value::Array(["adapters", "routes", "docker_networks"].map(|key| state[key].clone()).into())
}

#[test]
fn a_change_that_cuts_the_way_to_a_host_is_taken_back_and_told() {
    let lab = Lab::of("seed.toml");
    let before = network(&lab, "win02");
    lab.faults("[hosts.win02]\nnetwork_cuts = true\n");
    let run = lab.json(&["up", "--confirm-within", "2"]).exits(4);
    let document = run.document();
    let error = &document["hosts"]["win02"]["error"];
    let message = error["message"].as_str().unwrap();
    for text in ["change the network", "transparent-network:", "within 2 s", "the host's network is as it was"] {
        assert!(message.contains(text), "{text}: {message}");
    }
    assert!(error["hint"].as_str().unwrap().contains("pod_adapter"), "{error}");
    for host in ["lin01", "win01"] {
        assert!(document["hosts"][host].get("error").is_none(), "{document}");
    }
    assert_eq!(network(&lab, "win02"), before);
    lab.faults("");
    let healed = lab.json(&["up"]).exits(0).document();
    assert!(healed["hosts"]["win02"]["changed"].as_u64().unwrap() > 0, "{healed}");
    assert_eq!(lab.json(&["up"]).exits(0).document()["changed"], 0);
}

#[test]
fn a_network_that_is_in_place_needs_no_second_connection() {
    let lab = LocalLab::of("seed.toml");
    let commands = || lab.commands();
    let run = Run::new(lab.command(&["up"]).output().unwrap()).exits(0);
    for host in ["lin01", "win01", "win02"] {
        let told = run.stderr.lines().filter(|line| line.starts_with(host) && line.contains("process of its own"));
        assert_eq!(told.count(), 1, "{}", run.stderr);
    }
    let before = commands();
    let run = Run::new(lab.command(&["up"]).output().unwrap()).exits(0);
    assert!(!run.stderr.contains("process of its own"), "{}", run.stderr);
    for (host, count) in commands() {
        assert_eq!(count - before[&host], 1, "{host} was connected to more than once");
    }
    lab.end();
}

#[test]
fn without_a_time_to_confirm_networks_are_changed_like_anything_else() {
    let lab = Lab::of("seed.toml");
    let run = Run::new(lab.command(&["up", "--confirm-within", "0"]).output().unwrap()).exits(0);
    assert!(!run.stderr.contains("process of its own"), "{}", run.stderr);
    assert_eq!(lab.json(&["up"]).exits(0).document()["changed"], 0);
}

#[test]
fn a_host_that_does_not_come_back_from_its_restart_is_told_with_what_was_last_seen() {
    let lab = Lab::of("seed.toml");
    lab.faults("[hosts.win01]\nstays_down = true\n");
    let run = lab.json(&["up", "--restart-within", "2"]).exits(4);
    let document = run.document();
    let message = document["hosts"]["win01"]["error"]["message"].as_str().unwrap();
    for text in
        ["restart the host", "the feature Routing", "within 2 s", "last answered at", "the boot ", "last error: "]
    {
        assert!(message.contains(text), "{text}: {message}");
    }
    lab.faults("");
    lab.json(&["up"]).exits(0);
    assert_eq!(lab.json(&["up"]).exits(0).document()["changed"], 0);
}

#[test]
fn a_restart_that_was_pending_is_one_reason_more_for_the_same_restart() {
    let lab = Lab::of("seed.toml");
    lab.faults("[hosts.win01]\npending_reboot = true\n");
    let run = Run::new(lab.command(&["up", "--ignore", "pending-reboot"]).output().unwrap()).exits(0);
    let told: Vec<_> =
        run.stderr.lines().filter(|line| line.starts_with("win01") && line.contains("restarts:")).collect();
    assert_eq!(told.len(), 1, "{}", run.stderr);
    assert!(told[0].contains("Routing was installed; Component Based Servicing"), "{told:?}");
}
