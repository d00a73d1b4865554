//! Docker on Windows out of the inventory's zip, and what `status` says of services.

use serde_json::Value;

use crate::support::{Lab, Run, inventory, k8swin, without_what_stays};

/// The walkthrough's inventory, with a Docker to install on win01. The zip itself is never looked for: the twin has its own.
fn with_docker() -> (tempfile::TempDir, std::path::PathBuf) {
    let text = std::fs::read_to_string(inventory("seed.toml")).unwrap();
    let host = text.find("name = \"win01\"").unwrap();
    let digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let docker = format!("docker = {{ zip = \"none.zip\", sha256 = \"{digest}\", version = \"17.06.2-ee-16\" }}\n");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("inventory.toml");
    std::fs::write(&file, format!("{}{docker}{}", &text[..host], &text[host..])).unwrap();
    (folder, file)
}

fn state(lab: &Lab, name: &str) -> Value {
    let states = lab.states();
    let (_, state) = states.iter().find(|(file, _)| *file == format!("{name}.json")).unwrap();
    serde_json::from_str(state).unwrap()
}

/// The state of a host but for what Docker itself made, which stays: its folder, its network with its adapter, and the
/// service that came with the feature.
fn but_for_docker(state: &str) -> Value {
    let mut state = without_what_stays(state);
    state["docker_networks"].as_object_mut().unwrap().remove("nat");
    state["adapters"].as_array_mut().unwrap().retain(|adapter| adapter["name"] != "vEthernet (HNS Internal NIC)");
    state["windows"]["services"].as_object_mut().unwrap().remove("hns");
    state["files"].as_object_mut().unwrap().remove(r"C:\ProgramData\docker");
    state
}

#[test]
fn rehearse_installs_docker() {
    let (_folder, file) = with_docker();
    let run = Run::new(k8swin().arg("rehearse").arg(file).output().unwrap()).exits(0);
    assert!(run.stdout.lines().any(|line| line.contains("win01") && line.contains("Ready")), "{}", run.stdout);
}

#[test]
fn docker_comes_with_up_and_goes_with_reset_and_another_is_kept() {
    let (_folder, file) = with_docker();
    let lab = Lab::start(&file);
    let before = lab.states();
    assert!(state(&lab, "win01")["windows"]["services"].get("docker").is_none());
    let preflight = lab.json(&["preflight"]).exits(0).document();
    let findings = preflight["findings"].as_array().unwrap();
    assert!(findings.iter().any(|finding| finding["host"] == "win01" && finding["check"] == "docker-install"));
    let plan = Run::new(lab.command(&["plan"]).output().unwrap()).exits(0);
    for planned in
        [r"file:C:\Program Files\Docker\dockerd.exe", r"search-path:C:\Program Files\Docker", "service:docker"]
    {
        let line = plan.stdout.lines().find(|line| line.contains(planned));
        assert!(line.is_some_and(|line| line.contains("win01")), "{planned} in\n{}", plan.stdout);
    }
    lab.json(&["up"]).exits(0);
    let built = state(&lab, "win01");
    assert_eq!(built["windows"]["services"]["docker"]["running"], true);
    assert!(built["windows"]["search_path"].as_str().unwrap().ends_with(r";C:\Program Files\Docker"));
    assert_eq!(lab.json(&["up"]).exits(0).document()["changed"], 0);

    // The same zip for win02, whose Docker somebody else installed.
    let twin = lab.path("inventory.toml");
    let text = std::fs::read_to_string(&twin).unwrap();
    let docker = text.lines().find(|line| line.starts_with("docker = ")).unwrap().to_owned();
    std::fs::write(&twin, text.replace("name = \"win02\"", &format!("{docker}\nname = \"win02\""))).unwrap();
    let preflight = lab.json(&["preflight"]).exits(0).document();
    let findings = preflight["findings"].as_array().unwrap().iter();
    let kept: Vec<_> =
        findings.filter(|finding| finding["check"] == "docker-install" && finding["host"] == "win02").collect();
    assert!(kept.len() == 1 && kept[0]["severity"] == "warning" && kept[0]["remedy"].is_string(), "{kept:?}");
    assert_eq!(lab.json(&["up"]).exits(0).document()["changed"], 0);

    // Without the zip, `up` would take k8swin's Docker away from the node.
    std::fs::write(&twin, text.replace(&docker, "")).unwrap();
    let refused = lab.json(&["preflight"]).exits(3).document();
    assert!(refused.to_string().contains("no longer names its zip"), "{refused}");

    lab.json(&["reset", "--yes"]).exits(0);
    for ((name, after), (_, before)) in lab.states().iter().zip(&before) {
        if name.starts_with("win") {
            assert_eq!(but_for_docker(after), but_for_docker(before), "{name} is not as found");
        }
    }
}

#[test]
fn status_shows_a_program_that_crashes() {
    let lab = Lab::of("seed.toml");
    lab.json(&["up"]).exits(0);
    lab.faults("[hosts.win01]\ncrashing = [\"kubelet\"]\n");
    let document = lab.json(&["status"]).exits(0).document();
    let service = |host: &str, name: &str| {
        let services = document["hosts"][host]["services"].as_array().unwrap();
        services
            .iter()
            .find(|service| service["name"] == name)
            .unwrap_or_else(|| panic!("{name} in {document}"))
            .clone()
    };
    let crashing = service("win01", "kubelet");
    assert_eq!((&crashing["state"], &crashing["restarts"]), (&"starting-again".into(), &7.into()));
    assert!(crashing["last_exit"]["code"] == 1 && crashing["last_exit"]["at_ms"].as_i64().unwrap() > 0, "{crashing}");
    assert_eq!(service("win02", "kubelet")["state"], "running");
    assert_eq!(service("lin01", "etcd")["state"], "running");
    let text = Run::new(lab.command(&["status"]).output().unwrap()).exits(0);
    let line = text.stdout.lines().find(|line| line.contains("win01") && line.contains("starting again"));
    assert!(line.is_some_and(|line| line.contains("kubelet") && line.contains("code 1 at 20")), "{}", text.stdout);
}
