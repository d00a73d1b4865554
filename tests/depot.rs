//! Programs reach the hosts: each is sent once and taken from the depot by all; nothing goes twice; what cannot be taken is
//! sent; limits hold.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use k8swin_agent::Host;
use k8swin_agent::simulated::Transfers;
use serde_json::Value;

use crate::lock::LocalLab;
use crate::support::{Run, without_what_stays};

fn up(lab: &LocalLab, arguments: &[&str], code: i32) -> (Value, String) {
    let mut all = vec!["up", "-o", "json"];
    all.extend(arguments);
    let run = Run::new(lab.command(&all).output().unwrap()).exits(code);
    (run.document(), run.stderr)
}

/// A number of each host of a document; 0 where it is not said.
fn of_hosts(document: &Value, key: &str) -> BTreeMap<String, u64> {
    let hosts = document["hosts"].as_object().unwrap();
    hosts.iter().map(|(name, host)| (name.clone(), host[key].as_u64().unwrap_or(0))).collect()
}

fn transfers(lab: &LocalLab) -> BTreeMap<String, Transfers> {
    lab.hosts().map(|(name, host)| (name, host.transfers())).collect()
}

/// The hosts that were sent what they should have taken from the depot.
fn streamed(document: &Value) -> Vec<&str> {
    let hosts = document["hosts"].as_object().unwrap();
    hosts.iter().filter(|(_, host)| host["streamed"].is_string()).map(|(name, _)| name.as_str()).collect()
}

/// An inventory of one Linux control plane and so many Windows hosts.
fn cluster_of(windows: usize) -> String {
    let mut text = r#"schema = 1
[cluster]
name = "many"
kubernetes = "1.5.8"
pod_cidr = "192.168.0.0/16"
service_cidr = "172.30.0.0/16"
[cluster.artifacts]
source = "release"
[defaults.windows]
user = "Administrator"
password = { env = "K8SWIN_WINDOWS_PASSWORD" }
transport = "https"
pod_adapter = "Ethernet 2"
[[host]]
name = "lin01"
os = "linux"
roles = ["control-plane", "worker"]
address = "10.5.6.1"
"#
    .to_owned();
    for number in 1..=windows {
        text +=
            &format!("[[host]]\nname = \"win{number:02}\"\nos = \"windows\"\naddress = \"10.5.6.{}\"\n", 10 + number);
    }
    text
}

#[test]
fn each_program_is_sent_once_whatever_the_number_of_hosts_and_nothing_twice() {
    let mut sent = Vec::new();
    for hosts in [2, 6] {
        let lab = LocalLab::of_text(&cluster_of(hosts));
        let (document, stderr) = up(&lab, &[], 0);
        assert_eq!(streamed(&document), [""; 0], "{stderr}");
        let (of_laptop, pulled) = (of_hosts(&document, "sent_bytes"), of_hosts(&document, "pulled_bytes"));
        for number in 1..=hosts {
            assert!(pulled[&format!("win{number:02}")] > 0, "{pulled:?}");
        }
        let before = transfers(&lab);
        assert_eq!(before.values().map(|host| host.depots).sum::<u64>(), 1);
        sent.push((of_laptop["lin01"], of_laptop));

        let (document, _) = up(&lab, &[], 0);
        assert_eq!(document["changed"], 0);
        assert!(of_hosts(&document, "sent_bytes").values().all(|bytes| *bytes == 0), "{document}");
        assert_eq!(transfers(&lab), before, "a second run opened a depot or took something from one");
        lab.end();
    }
    let [(to_depot, few), (to_depot_of_many, many)] = <[_; 2]>::try_from(sent).unwrap();
    // Each host has a few keys of its own, which never go through the depot.
    let keys_of_linux = to_depot.abs_diff(to_depot_of_many);
    assert!(
        keys_of_linux < 8000,
        "{to_depot} and {to_depot_of_many} bytes: more hosts, more keys in the archive, no more programs"
    );
    assert_eq!(few["win01"] / 1000, many["win02"] / 1000, "{few:?} {many:?}");
}

#[test]
fn a_host_that_does_not_reach_the_depot_is_sent_its_programs_and_told() {
    let lab = LocalLab::of("seed.toml");
    lab.faults("[hosts.win02]\nno_depot = true\n");
    let (document, stderr) = up(&lab, &[], 0);
    assert_eq!(streamed(&document), ["win02"], "{document}");
    let told = |host: &str| {
        stderr.lines().filter(|line| line.starts_with(host) && line.contains("the depot on lin01")).count()
    };
    assert_eq!((told("win01"), told("win02")), (0, 1), "{stderr}");
    assert!(of_hosts(&document, "sent_bytes")["win02"] > of_hosts(&document, "sent_bytes")["win01"], "{document}");
    lab.faults("");
    assert_eq!(up(&lab, &[], 0).0["changed"], 0);
    lab.end();
}

#[test]
fn a_depot_that_dies_or_gives_out_broken_bytes_costs_time_only() {
    for fault in ["depot_dies_after_bytes = 2000", "depot_corrupts = true"] {
        let lab = LocalLab::of("seed.toml");
        lab.faults(&format!("[hosts.lin01]\n{fault}\n"));
        let (document, stderr) = up(&lab, &[], 0);
        assert!(!streamed(&document).is_empty(), "{fault}: {stderr}");
        lab.faults("");
        assert_eq!(up(&lab, &[], 0).0["changed"], 0, "{fault}");
        lab.end();
    }
}

#[test]
fn a_lost_connection_to_the_depots_host_opens_another_one() {
    let lab = LocalLab::of("seed.toml");
    // Enough for one look and a part of the work.
    lab.faults("[hosts.lin01]\ndrop_after_bytes = 60000\n");
    let (document, stderr) = up(&lab, &[], 0);
    assert!(stderr.lines().any(|line| line.starts_with("lin01") && line.contains("tries again")), "{stderr}");
    lab.faults("");
    assert_eq!(up(&lab, &[], 0).0["changed"], 0, "{document}");
    lab.end();
}

#[test]
fn nothing_of_a_depot_stays_on_its_host() {
    let lab = LocalLab::of("seed.toml");
    up(&lab, &[], 0);
    for (name, host) in lab.hosts() {
        let state = host.state_json();
        for folder in ["k8swin/depot", "k8swin/blobs", "state\\\\depot", "state\\\\blobs"] {
            assert!(!state.contains(folder), "{name} keeps {folder}");
        }
        assert_eq!(without_what_stays(&state)["name"], Value::String(name));
    }
    lab.end();
}

#[test]
fn no_more_hosts_receive_files_at_once_than_is_asked_for() {
    let lab = LocalLab::of_text(&cluster_of(6));
    let slow = |number| format!("[hosts.win{number:02}]\nlink_bytes_per_second = 20000\n");
    lab.faults(&(1..=6).map(slow).collect::<String>());
    up(&lab, &["--uploads", "2"], 0);
    let most = lab.most_pulls();
    assert!((1..=2).contains(&most), "{most} at once");
    lab.end();
}

/// Counts on how many hosts something is done at once.
#[derive(Default)]
struct AtOnce {
    now: AtomicUsize,
    most: AtomicUsize,
    hosts: Mutex<BTreeSet<String>>,
}

/// Watches the changes of all hosts that `counts` names, and holds each up a little, so that others can begin.
fn watch(lab: &LocalLab, counts: fn(&str) -> bool) -> Arc<AtOnce> {
    let at_once = Arc::new(AtOnce::default());
    for (name, host) in lab.hosts() {
        let at_once = Arc::clone(&at_once);
        host.before_mutation(Arc::new(move |what: &str| {
            if counts(what) {
                let now = at_once.now.fetch_add(1, Ordering::SeqCst) + 1;
                at_once.most.fetch_max(now, Ordering::SeqCst);
                at_once.hosts.lock().unwrap().insert(name.clone());
                std::thread::sleep(Duration::from_millis(20));
                at_once.now.fetch_sub(1, Ordering::SeqCst);
            }
            Ok(())
        }));
    }
    at_once
}

#[test]
fn no_more_hosts_are_changed_at_once_than_is_asked_for() {
    let lab = LocalLab::of_text(&cluster_of(4));
    // The lock's signs of life are no work.
    let at_once = watch(&lab, |what| what.starts_with("write ") && what.contains("bin"));
    up(&lab, &["--parallel", "2"], 0);
    assert_eq!(at_once.hosts.lock().unwrap().len(), 5);
    let most = at_once.most.load(Ordering::SeqCst);
    assert!((1..=2).contains(&most), "{most} at once");
    lab.end();
}

#[test]
fn no_more_nodes_in_service_are_disturbed_at_once_than_is_asked_for() {
    let lab = LocalLab::of_text(&cluster_of(6));
    up(&lab, &[], 0);
    // Somebody stops a service on every node: each must be started again.
    for (_, host) in lab.hosts() {
        let stopped = match host.platform() {
            Host::Linux(mut platform) => platform.stop_unit("kube-proxy"),
            Host::Windows(mut platform) => platform.stop_service("kube-proxy"),
        };
        stopped.unwrap();
    }
    let at_once = watch(&lab, |what| what.contains("start") && what.contains("kube-proxy"));
    up(&lab, &["--max-unavailable", "2"], 0);
    assert_eq!(at_once.hosts.lock().unwrap().len(), 7);
    let most = at_once.most.load(Ordering::SeqCst);
    assert!((1..=2).contains(&most), "{most} at once");
    lab.end();
}
