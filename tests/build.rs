//! Building, looking at, proving and taking apart a cluster.

use crate::support::{Lab, Run, inventory, k8swin, without_what_stays};

#[test]
fn rehearse_builds_the_walkthrough_and_shows_three_ready_nodes() {
    let run = Run::new(k8swin().arg("rehearse").arg(inventory("seed.toml")).output().unwrap()).exits(0);
    for (name, os) in [("lin01", "linux"), ("win01", "windows"), ("win02", "windows")] {
        let line = run.stdout.lines().find(|line| line.contains(name) && line.contains("Ready"));
        assert!(line.is_some_and(|line| line.contains(os)), "{name} in\n{}", run.stdout);
    }
}

#[test]
fn a_second_up_changes_nothing_and_reset_leaves_the_hosts_as_found() {
    let lab = Lab::of("ha.toml");
    let before = lab.states();
    assert_eq!(before.len(), 7);

    let plan = lab.json(&["plan"]).exits(0).document();
    assert_eq!(plan["command"], "plan");
    assert!(plan["changed"].as_u64().unwrap() > 100, "{plan}");
    assert_eq!(lab.states(), before, "plan changed a host");
    lab.json(&["preflight"]).exits(0);
    assert_eq!(lab.states(), before, "preflight changed a host");

    let first = lab.json(&["up"]).exits(0).document();
    assert_eq!((&first["command"], &first["result"], &first["failed"]), (&"up".into(), &"ok".into(), &0.into()));
    assert_eq!(first["changed"], plan["changed"], "up did otherwise than plan said");
    assert_eq!(first["hosts"].as_object().unwrap().len(), 7);
    let built = lab.states();

    let second = lab.json(&["up"]).exits(0).document();
    assert_eq!(second["changed"], 0, "{second}");
    let all = |run: &serde_json::Value| run["changed"].as_u64().unwrap() + run["unchanged"].as_u64().unwrap();
    assert_eq!(all(&second), all(&first));
    assert_eq!(lab.states(), built);

    let preflight = lab.json(&["preflight"]).exits(0).document();
    assert_eq!(preflight["result"], "ok", "preflight on a finished cluster: {preflight}");
    let errors = preflight["findings"].as_array().unwrap().iter().filter(|finding| finding["severity"] == "error");
    assert_eq!(errors.count(), 0);
    assert_eq!(lab.json(&["plan"]).exits(0).document()["changed"], 0);
    lab.json(&["status"]).exits(0);
    lab.json(&["verify"]).exits(0);
    assert_eq!(lab.states(), built, "a command that only looks changed a host");

    lab.json(&["reset", "--yes"]).exits(0);
    for ((name, after), (_, before)) in lab.states().iter().zip(&before) {
        let (after, before) = (without_what_stays(after), without_what_stays(before));
        assert_eq!(after, before, "{name} is not as found");
    }

    let again = lab.json(&["up"]).exits(0).document();
    assert_eq!(again["result"], "ok");
}

#[test]
fn plan_explain_shows_the_walkthroughs_commands() {
    let lab = Lab::of("seed.toml");
    let run = Run::new(lab.command(&["plan", "--explain"]).output().unwrap()).exits(0);
    for command in [
        "ip route add 192.168.1.0/24 via 10.5.6.216",
        "docker network create -d transparent",
        "--gateway 192.168.1.1",
        "--subnet 192.168.1.0/24",
        "route -p add 192.168.0.0 mask 255.255.255.0 10.5.6.215",
        "netsh interface ipv4 set address",
        "Install-WindowsFeature",
        "CONTAINER_NETWORK",
        "INTERFACE_TO_ADD_SERVICE_IP",
        "--resolv-conf=",
    ] {
        assert!(run.stdout.contains(command), "`{command}` is not in\n{}", run.stdout);
    }
}

#[test]
fn what_the_inventory_no_longer_has_is_removed_from_the_other_hosts() {
    let lab = Lab::of("seed.toml");
    lab.json(&["up"]).exits(0);
    let file = lab.path("inventory.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let last = text.rfind("[[host]]").unwrap();
    assert!(text[last..].contains("win02"));
    std::fs::write(&file, &text[..last]).unwrap();

    let plan = lab.json(&["plan"]).exits(0).document();
    let up = lab.json(&["up"]).exits(0).document();
    assert_eq!(up["changed"], plan["changed"]);
    let states = lab.states();
    let routes_to_win02 = |name: &str| {
        let (_, state) = states.iter().find(|(file, _)| file.starts_with(name)).unwrap();
        let state: serde_json::Value = serde_json::from_str(state).unwrap();
        state["routes"].to_string().contains("192.168.2.0/24")
    };
    assert!(!routes_to_win02("lin01") && !routes_to_win02("win01"), "{plan}");
    assert_eq!(lab.json(&["up"]).exits(0).document()["changed"], 0);
}

#[test]
fn kubeconfig_is_one_document_with_the_twins_address() {
    let lab = Lab::of("seed.toml");
    let missing = Run::new(lab.command(&["kubeconfig"]).output().unwrap()).exits(1);
    assert!(missing.stderr.contains("k8swin up"), "{}", missing.stderr);
    lab.json(&["up"]).exits(0);
    let run = Run::new(lab.command(&["kubeconfig"]).output().unwrap()).exits(0);
    assert!(run.stdout.contains("server: \"https://127.0.0.1:"), "{}", run.stdout);
    assert!(run.stdout.contains("client-key-data"));
}
