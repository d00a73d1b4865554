//! One host of several fails: each command does what can be done without it, says which host and why, and exits as promised.

use std::fs;

use serde_json::Value;

use crate::support::{Lab, Run, without_what_stays};

/// The hosts of a document that have an error.
fn failed(document: &Value) -> Vec<&str> {
    let hosts = document["hosts"].as_object().unwrap();
    hosts.iter().filter(|(_, host)| host.get("error").is_some()).map(|(name, _)| name.as_str()).collect()
}

/// The state of one host.
fn state(lab: &Lab, name: &str) -> Value {
    let states = lab.states();
    let (_, state) = states.iter().find(|(file, _)| *file == format!("{name}.json")).unwrap();
    serde_json::from_str(state).unwrap()
}

#[track_caller]
fn assert_as_found(lab: &Lab, before: &[(String, String)], but: &str) {
    for ((name, after), (_, before)) in lab.states().iter().zip(before) {
        if *name != format!("{but}.json") {
            assert_eq!(without_what_stays(after), without_what_stays(before), "{name} is not as found");
        }
    }
}

#[test]
fn up_goes_on_without_a_second_control_plane_and_heals_it_later() {
    let lab = Lab::of("ha.toml");
    lab.faults("[hosts.control02]\nunreachable = true\n");
    let run = lab.json(&["up"]).exits(4);
    let document = run.document();
    assert_eq!(document["result"], "failed");
    assert_eq!(failed(&document), ["control02"], "{document}");
    assert!(run.stderr.contains("control02") && run.stderr.contains("hint:"), "{}", run.stderr);
    for host in ["control01", "control03", "worker01", "win01", "win02", "win03"] {
        assert!(document["hosts"][host]["changed"].as_u64().unwrap() > 0, "{host} in {document}");
    }
    // What there is works: two of three members are a majority.
    let again = lab.json(&["up"]).exits(4).document();
    assert_eq!((&again["changed"], failed(&again)), (&0.into(), vec!["control02"]));

    lab.faults("");
    let healed = lab.json(&["up"]).exits(0).document();
    assert!(healed["hosts"]["control02"]["changed"].as_u64().unwrap() > 0, "{healed}");
    assert_eq!(lab.json(&["up"]).exits(0).document()["changed"], 0);
    lab.json(&["verify"]).exits(0);
}

#[test]
fn up_changes_nothing_when_the_first_control_plane_cannot_be_reached() {
    let lab = Lab::of("ha.toml");
    let before = lab.states();
    lab.faults("[hosts.control01]\nunreachable = true\n");
    let run = lab.json(&["up"]).exits(1);
    let document = run.document();
    assert_eq!((&document["result"], &document["changed"]), (&"failed".into(), &0.into()));
    assert!(document["hosts"]["control01"]["error"]["hint"].is_string(), "{document}");
    assert!(run.stderr.contains("control01") && run.stderr.contains("hint:"), "{}", run.stderr);
    lab.faults("");
    assert_eq!(lab.states(), before, "a host was changed");
    assert!(!lab.path(".k8swin/ha/pki").exists(), "keys were made for a cluster that cannot be built");
}

#[test]
fn a_built_cluster_is_looked_after_without_its_first_control_plane() {
    let lab = Lab::of("ha.toml");
    lab.faults("[hosts.win01]\nunreachable = true\n");
    lab.json(&["up"]).exits(4);
    lab.faults("[hosts.control01]\nunreachable = true\n");
    let document = lab.json(&["up"]).exits(4).document();
    assert_eq!(failed(&document), ["control01"], "{document}");
    assert!(document["hosts"]["win01"]["changed"].as_u64().unwrap() > 0, "{document}");
    // Without a majority, etcd answers nobody.
    lab.faults("[hosts.control01]\nunreachable = true\n[hosts.control03]\nunreachable = true\n");
    let document = lab.json(&["up"]).exits(1).document();
    assert_eq!((failed(&document), &document["changed"]), (vec!["control01", "control03"], &0.into()), "{document}");
    lab.faults("");
    lab.json(&["up"]).exits(0);
    assert_eq!(lab.json(&["up"]).exits(0).document()["changed"], 0);
    lab.json(&["verify"]).exits(0);
}

#[test]
fn a_host_that_fails_in_the_check_takes_no_further_part() {
    let lab = Lab::of("ha.toml");
    // Enough to connect and to tell facts, too little for the plan of a control plane.
    lab.faults("[hosts.control02]\ndrop_after_bytes = 30000\n");
    let run = lab.json(&["up"]).exits(4);
    let document = run.document();
    assert_eq!(failed(&document), ["control02"], "{document}");
    let told = run.stderr.lines().find(|line| line.starts_with("control02") && line.contains("failed:"));
    assert!(told.is_some_and(|line| line.contains(" check ")), "{}", run.stderr);
    assert_eq!(document["hosts"]["control02"]["changed"], 0);
    assert!(state(&lab, "control02")["units"].as_object().is_none_or(|units| !units.contains_key("etcd")));
    lab.faults("");
    assert_eq!(failed(&lab.json(&["up"]).exits(0).document()), [""; 0]);
    assert_eq!(lab.json(&["up"]).exits(0).document()["changed"], 0);
}

#[test]
fn nothing_is_applied_when_the_first_control_plane_fails_in_the_check() {
    let lab = Lab::of("seed.toml");
    lab.faults("[hosts.lin01]\ndrop_after_bytes = 30000\n");
    let document = lab.json(&["up"]).exits(1).document();
    assert_eq!((&document["changed"], failed(&document)), (&0.into(), vec!["lin01"]), "{document}");
    lab.faults("");
    lab.json(&["up"]).exits(0);
}

#[test]
fn plan_shows_the_others() {
    let lab = Lab::of("seed.toml");
    let before = lab.states();
    lab.faults("[hosts.win02]\nunreachable = true\n");
    let run = lab.json(&["plan"]).exits(4);
    let document = run.document();
    assert_eq!(failed(&document), ["win02"], "{document}");
    for host in ["lin01", "win01"] {
        assert!(document["hosts"][host]["changed"].as_u64().unwrap() > 0, "{document}");
    }
    let text = Run::new(lab.command(&["plan"]).output().unwrap()).exits(4);
    assert!(text.stdout.contains("win01") && text.stdout.contains("hint:"), "{}", text.stdout);
    assert!(text.stdout.contains("connect to win02"), "{}", text.stdout);
    lab.faults("");
    assert_eq!(lab.states(), before);
}

#[test]
fn preflight_names_the_host_and_judges_the_others() {
    let lab = Lab::of("seed.toml");
    lab.faults("[hosts.win02]\nunreachable = true\n");
    let document = lab.json(&["preflight"]).exits(3).document();
    let findings = document["findings"].as_array().unwrap();
    let errors: Vec<_> = findings.iter().filter(|finding| finding["severity"] == "error").collect();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert_eq!((&errors[0]["host"], &errors[0]["check"]), (&"win02".into(), &"reachable".into()));
    assert!(errors[0]["remedy"].is_string() && errors[0]["detail"].as_str().unwrap().contains("win02"));
    assert!(findings.iter().any(|finding| finding["host"] == "win01" && finding["check"] == "windows-build"));
}

#[test]
fn status_shows_the_others_and_asks_another_control_plane() {
    let lab = Lab::of("ha.toml");
    lab.json(&["up"]).exits(0);
    for gone in ["win03", "control01"] {
        lab.faults(&format!("[hosts.{gone}]\nunreachable = true\n"));
        let document = lab.json(&["status"]).exits(4).document();
        assert_eq!(failed(&document), [gone], "{document}");
        for host in ["control02", "worker01", "win01"] {
            let host = &document["hosts"][host];
            assert_eq!((&host["drifted"], &host["node"]["ready"]), (&0.into(), &true.into()), "{document}");
        }
    }
    let text = Run::new(lab.command(&["status"]).output().unwrap()).exits(4);
    assert!(text.stdout.contains("connect to control01"), "{}", text.stdout);
}

#[test]
fn verify_asks_another_control_plane_and_names_the_one_that_is_gone() {
    let lab = Lab::of("ha.toml");
    lab.json(&["up"]).exits(0);
    lab.faults("[hosts.control01]\nunreachable = true\n");
    let document = lab.json(&["verify"]).exits(1).document();
    let findings = document["findings"].as_array().unwrap();
    let errors: Vec<_> = findings.iter().filter(|finding| finding["severity"] == "error").collect();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert_eq!((&errors[0]["host"], &errors[0]["check"]), (&"control01".into(), &"reachable".into()));
    for check in ["node", "pod-linux", "pod-windows"] {
        assert!(findings.iter().any(|finding| finding["check"] == check && finding["severity"] == "ok"), "{check}");
    }
}

#[test]
fn reset_takes_the_others_apart_keeps_the_keys_and_ends_later() {
    let lab = Lab::of("seed.toml");
    let before = lab.states();
    lab.json(&["up"]).exits(0);
    let built = state(&lab, "win02");
    lab.faults("[hosts.win02]\nunreachable = true\n");
    let document = lab.json(&["reset", "--yes"]).exits(4).document();
    assert_eq!(failed(&document), ["win02"], "{document}");
    lab.faults("");
    assert_as_found(&lab, &before, "win02");
    assert_eq!(state(&lab, "win02"), built, "a host that could not be reached was changed");
    assert!(lab.path(".k8swin/seed/pki/ca.key").exists(), "a host still has certificates of these keys");

    let document = lab.json(&["reset", "--yes"]).exits(0).document();
    assert!(document["hosts"]["win02"]["changed"].as_u64().unwrap() > 0, "{document}");
    assert_as_found(&lab, &before, "");
    assert!(!lab.path(".k8swin/seed/pki").exists());
}

#[test]
fn reset_does_nothing_without_the_first_control_plane() {
    let lab = Lab::of("seed.toml");
    lab.json(&["up"]).exits(0);
    let built = lab.states();
    lab.faults("[hosts.lin01]\nunreachable = true\n");
    let run = lab.json(&["reset", "--yes"]).exits(1);
    assert!(run.stderr.contains("lin01") && run.stderr.contains("hint:"), "{}", run.stderr);
    assert_eq!(run.document()["changed"], 0);
    lab.faults("");
    assert_eq!(lab.states(), built);
    assert!(lab.path(".k8swin/seed/pki/ca.key").exists());
}

#[test]
fn reset_of_hosts_where_nothing_is_leaves_them_as_they_are() {
    let lab = Lab::of("seed.toml");
    let before = lab.states();
    let document = lab.json(&["reset", "--yes"]).exits(0).document();
    assert_eq!((&document["result"], &document["changed"]), (&"ok".into(), &0.into()), "{document}");
    assert_eq!(lab.states(), before);
}

#[test]
fn connections_that_are_lost_again_and_again_only_cost_time() {
    // Each connection carries its hello and one phase, or a part of it. With some of these numbers a connection ends right before
    // a change of the network, whose confirmation then comes between a resource and its second look.
    for bytes in [60_000, 72_000, 76_500] {
        let lab = Lab::of("seed.toml");
        let undisturbed = lab.json(&["plan"]).exits(0).document();
        let cut = |host| format!("[hosts.{host}]\ndrop_after_bytes = {bytes}\n");
        lab.faults(&["lin01", "win01", "win02"].map(cut).concat());
        let run = lab.json(&["up"]).exits(0);
        for host in ["lin01", "win01", "win02"] {
            let told = run.stderr.lines().filter(|line| line.starts_with(host) && line.contains("tries again")).count();
            assert!(told > 0, "{host} lost no connection:\n{}", run.stderr);
        }
        assert_eq!(run.document()["changed"], undisturbed["changed"], "what was done before a loss counts as well");
        lab.faults("");
        assert_eq!(lab.json(&["up"]).exits(0).document()["changed"], 0);
    }
}

#[test]
fn a_windows_host_is_restarted_once_for_its_features_and_waited_for() {
    let lab = Lab::of("seed.toml");
    let run = lab.json(&["up"]).exits(0);
    for host in ["win01", "win02"] {
        let told = run.stderr.lines().filter(|line| line.starts_with(host) && line.contains("restarts:")).count();
        assert_eq!(told, 1, "{}", run.stderr);
        assert_eq!(state(&lab, host)["boots"], 2);
    }
    assert_eq!(state(&lab, "lin01")["boots"], 1);
}

#[test]
fn a_lost_state_folder_is_read_back_from_the_first_control_plane() {
    let lab = Lab::of("seed.toml");
    lab.json(&["up"]).exits(0);
    let key = fs::read(lab.path(".k8swin/seed/pki/ca.key")).unwrap();
    fs::remove_dir_all(lab.path(".k8swin")).unwrap();
    // Neither an authority nor a host gets a new key.
    assert_eq!(lab.json(&["up"]).exits(0).document()["changed"], 0);
    assert_eq!(fs::read(lab.path(".k8swin/seed/pki/ca.key")).unwrap(), key);
}
