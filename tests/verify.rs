//! `verify` against labs: a healthy cluster is all ok, and each thing that breaks is told with its host, its cause and what to
//! do.

use std::process::Stdio;

use jiff::{SignedDuration, Timestamp};
use k8swin_blueprint::Pki;
use serde_json::Value;

use crate::support::{Lab, Run};

/// The findings of a run that are not ok, as `host check`, with their details and remedies.
fn bad(document: &Value) -> Vec<(String, String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let findings = document["findings"].as_array().unwrap().iter();
    let bad = findings.filter(|finding| finding["severity"] != "ok");
    bad.map(|finding| {
        let name = format!("{} {} {}", text(&finding["host"]), text(&finding["check"]), text(&finding["severity"]));
        (name, text(&finding["detail"]), text(&finding["remedy"]))
    })
    .collect()
}

/// A built cluster.
fn built(inventory: &str) -> Lab {
    let lab = Lab::of(inventory);
    lab.json(&["up"]).exits(0);
    lab
}

/// Asserts that `verify` finds this under the faults, each with these words in detail and remedy, and nothing else.
#[track_caller]
fn assert_finds(lab: &Lab, faults: &str, expected: &[(&str, &[&str], &str)]) {
    lab.faults(faults);
    let document = lab.json(&["verify", "--wait", "1"]).exits(1).document();
    let found = bad(&document);
    let names = |list: &mut Vec<String>| {
        list.sort();
        list.clone()
    };
    assert_eq!(
        names(&mut found.iter().map(|(name, ..)| name.clone()).collect()),
        names(&mut expected.iter().map(|(name, ..)| format!("{name} error")).collect()),
        "{faults}: {found:#?}"
    );
    for (name, words, remedy) in expected {
        let (_, detail, told) = found.iter().find(|(found, ..)| *found == format!("{name} error")).unwrap();
        for word in *words {
            assert!(detail.contains(word), "`{word}` is not in `{detail}`");
        }
        assert!(told.contains(remedy), "`{remedy}` is not in `{told}`");
    }
}

#[test]
fn a_healthy_cluster_is_ok_in_every_respect() {
    let lab = built("seed.toml");
    let document = lab.json(&["verify"]).exits(0).document();
    assert_eq!(bad(&document), []);
    let findings = document["findings"].as_array().unwrap();
    let of = |check: &str| findings.iter().filter(|finding| finding["check"] == check).count();
    for (check, count) in [
        ("node", 3),
        ("pod-linux", 1),
        ("pod-windows", 2),
        ("pod-image", 1),
        ("pod-network", 3),
        ("service-address", 3),
        ("kubelet", 3),
        ("certificates", 1),
        ("api-from-here", 1),
    ] {
        assert_eq!(of(check), count, "{check}: {document}");
    }
    let text = Run::new(lab.command(&["verify"]).output().unwrap()).exits(0);
    assert!(text.stdout.contains("0 errors, 0 warnings"), "{}", text.stdout);
    assert!(!lab.states().iter().any(|(_, state)| state.contains("k8swin-verify")), "something of it stays");
}

#[test]
fn each_thing_that_breaks_is_told_with_its_host_its_cause_and_what_to_do() {
    let lab = built("seed.toml");
    let lost_routes = "lost_routes = [\"192.168.1.0/24\"]\n";
    assert_finds(
        &lab,
        &format!("[hosts.lin01]\n{lost_routes}"),
        &[
            (
                "win01 pod-network",
                &["no answer to lin01", "the plan's route is 192.168.1.0/24 via 10.5.6.216"],
                "`k8swin up` restores them",
            ),
            ("win01 pod-image", &["microsoft/iis runs", "no answer to lin01"], "windows_test_port"),
        ],
    );
    assert_finds(
        &lab,
        "[hosts.win02]\nno_forwarding = true\n",
        &[("win02 pod-network", &["no answer to lin01, win01", "win02 does not forward to its pods"], "RemoteAccess")],
    );
    assert_finds(
        &lab,
        "[hosts.win01]\ncrashing = [\"kube-proxy\"]\n",
        &[("win01 service-address", &["172.30.0.1:443", "no answer"], "IP Helper")],
    );
    assert_finds(
        &lab,
        "[hosts.win01]\nblocked_ports = [10250]\n",
        &[("win01 kubelet", &["the API server of lin01", "10.5.6.216:10250: i/o timeout"], "open TCP 10250")],
    );
    assert_finds(
        &lab,
        "[hosts.win01]\ncrashing = [\"kubelet\"]\n",
        &[("win01 node", &["not Ready: NodeStatusUnknown: Kubelet stopped posting node status."], "its kubelet runs")],
    );
    let of_both = |line: &str| format!("[hosts.win01]\n{line}\n[hosts.win02]\n{line}\n");
    assert_finds(
        &lab,
        &of_both("images = { \"microsoft/iis\" = \"missing\" }"),
        &[("win01 pod-image", &["microsoft/iis", "ErrImagePull: image not found"], "revision of Windows")],
    );
    assert_finds(
        &lab,
        &of_both("images = { \"microsoft/iis\" = \"silent\" }"),
        &[("win01 pod-image", &["a refusal to lin01, win02", ":80"], "windows_test_port")],
    );
    // What was run in vain has gone, too, and nothing was changed by looking.
    lab.faults("");
    assert_eq!(bad(&lab.json(&["verify"]).exits(0).document()), []);
    assert_eq!(lab.json(&["up"]).exits(0).document()["changed"], 0);
}

#[test]
fn up_proves_the_same_at_its_end() {
    let lab = built("seed.toml");
    lab.faults("[hosts.win02]\nno_forwarding = true\n");
    let run = lab.json(&["up"]).exits(1);
    assert!(run.stdout.contains("does not forward to its pods"), "{}\n{}", run.stdout, run.stderr);
}

#[test]
fn a_large_image_is_waited_for_and_the_wait_is_told() {
    let lab = built("seed.toml");
    let pulling = "images = { \"example.com/iis:10\" = \"pulling\" }";
    lab.faults(&format!("[hosts.win01]\n{pulling}\n[hosts.win02]\n{pulling}\n"));
    let mut command = lab.command(&["verify", "--wait", "1", "--windows-image", "example.com/iis:10"]);
    let run = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Longer than anything else is waited for.
    std::thread::sleep(std::time::Duration::from_secs(4));
    lab.faults("");
    // The lab looks at its faults when somebody connects.
    lab.json(&["status"]).exits(0);
    let run = Run::new(run.wait_with_output().unwrap()).exits(0);
    assert!(run.stderr.contains("example.com/iis:10 is on its way"), "{}", run.stderr);
}

#[test]
fn certificates_are_judged_by_their_last_days() {
    let lab = built("seed.toml");
    let inventory = lab.path("inventory.toml");
    let text = std::fs::read_to_string(&inventory).unwrap();
    let cluster = k8swin_inventory::parse(&text, inventory.to_str().unwrap().into()).unwrap();
    let two_years_ago = Timestamp::now() - SignedDuration::from_hours(2 * 365 * 24);
    let old = Pki::generate(&cluster, two_years_ago).unwrap();
    let name = "hosts/win02/kubelet.crt";
    std::fs::write(lab.path(".k8swin/seed/pki").join(name), old.files()[name].expose()).unwrap();
    assert_finds(&lab, "", &[("win02 certificates", &[name, "ended 36"], "`up` renews it")]);
    // And it does.
    lab.json(&["up"]).exits(0);
    assert_eq!(bad(&lab.json(&["verify"]).exits(0).document()), []);
}
