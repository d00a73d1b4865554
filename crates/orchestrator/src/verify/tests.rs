//! What is made of answers: each judgement on its own.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use jiff::{SignedDuration, Timestamp};
use k8swin_inventory::cluster::TestImage;
use k8swin_inventory::{Check, Cluster, Host};
use k8swin_protocol::probe::{Ask, Outcome, Target};
use serde_json::{Value, json};

use super::nodes::{OS_LABEL, judge as judge_nodes, judge_one, status};
use super::pods::{Found, NAME, TestPods, state};
use super::reach::{Goal, Reached, gateways, goals, judge_image, judge_pods, judge_services};
use super::{certificates, kubelets};
use crate::preflight::samples::INVENTORY;
use crate::report::{Finding, NodeStatus, Severity};

const ANSWERED: Outcome = Outcome::Answered { microseconds: 300 };

fn cluster() -> Cluster {
    k8swin_inventory::parse(INVENTORY, "inventory.toml".into()).unwrap()
}

/// The walkthrough's cluster: one Linux host and two Windows hosts.
fn seed() -> Cluster {
    let inventory = include_str!("../../../../inventories/seed.toml");
    k8swin_inventory::parse(inventory, "seed.toml".into()).unwrap()
}

fn good_node(host: &Host) -> NodeStatus {
    NodeStatus {
        name: host.name.clone(),
        os: host.os().to_string(),
        ready: true,
        reason: None,
        address: host.node_address.to_string(),
        pod_cidr: host.pod_cidr.to_string(),
        version: "v1.5.8".into(),
    }
}

#[track_caller]
fn assert_bad(finding: &Finding, host: &str, check: Check, names: &[&str], remedy: &str) {
    assert_eq!((finding.host.as_str(), finding.check, finding.severity), (host, check, Severity::Error), "{finding:?}");
    for name in names {
        assert!(finding.detail.contains(name), "`{name}` is not in `{}`", finding.detail);
    }
    assert!(finding.remedy.as_ref().is_some_and(|told| told.contains(remedy)), "{:?}", finding.remedy);
    assert!(finding.why.is_some() && finding.expected.is_some());
    assert!(!finding.commands.iter().any(|command| command.contains('{')), "{:?}", finding.commands);
}

#[test]
fn a_node_is_judged_by_readiness_system_subnet_and_address() {
    let cluster = cluster();
    let host = cluster.host("win01").unwrap();
    let good = judge_one(host, Some(&good_node(host)));
    assert_eq!((good.host.as_str(), good.check, good.severity), ("win01", Check::Node, Severity::Ok));
    assert_eq!((good.detail.as_str(), good.remedy), ("Ready, windows, pods 192.168.1.0/24", None));

    let spoiled = |spoil: fn(&mut NodeStatus)| {
        let mut node = good_node(host);
        spoil(&mut node);
        judge_one(host, Some(&node))
    };
    for (finding, names) in [
        (judge_one(host, None), &["knows no such node"][..]),
        (spoiled(|node| node.ready = false), &["not Ready"]),
        (spoiled(|node| node.os = "linux".into()), &[OS_LABEL, "`linux`", "`windows`"]),
        (spoiled(|node| node.os.clear()), &[OS_LABEL, "``"]),
        (spoiled(|node| node.pod_cidr = "192.168.7.0/24".into()), &["192.168.7.0/24", "192.168.1.0/24"]),
        (spoiled(|node| node.address = "10.0.0.99".into()), &["10.0.0.99", "10.0.0.21"]),
    ] {
        assert_bad(&finding, "win01", Check::Node, names, "kubelet's log");
        assert!(finding.commands.iter().any(|command| command.contains(r"C:\k8swin\log\kubelet")));
    }
    let linux = judge_one(cluster.host("lin01").unwrap(), None);
    assert!(linux.commands.iter().any(|command| command.contains("journalctl -u kubelet")));
}

#[test]
fn a_node_that_is_not_ready_is_told_with_the_reason_and_what_helps_against_it() {
    let cluster = cluster();
    let host = cluster.host("win01").unwrap();
    for (reason, message, remedy) in [
        ("NodeStatusUnknown", "Kubelet stopped posting node status.", "whether its kubelet runs"),
        ("NodeStatusNeverUpdated", "Kubelet never posted node status.", "whether its kubelet runs"),
        ("KubeletNotReady", "container runtime is down", "start Docker"),
        ("KubeletNotReady", "docker: network plugin is not ready", "start Docker"),
        ("KubeletNotReady", "runtime network not ready: NetworkReady=false", "kubelet's log"),
    ] {
        let node = json!({
            "metadata": { "name": "win01" },
            "status": { "conditions": [{ "type": "Ready", "status": "False", "reason": reason, "message": message }] },
        });
        let finding = judge_one(host, Some(&status(&node)));
        assert_bad(&finding, "win01", Check::Node, &["not Ready", reason, message], remedy);
    }
}

#[test]
fn every_expected_node_is_judged_and_no_other() {
    let cluster = cluster();
    let [linux, windows] = ["lin01", "win01"].map(|name| cluster.host(name).unwrap());
    let nodes = [good_node(linux), good_node(windows)];
    let findings = judge_nodes(&[windows], &nodes);
    assert_eq!(findings.iter().map(|finding| finding.host.as_str()).collect::<Vec<_>>(), ["win01"]);
    let findings = judge_nodes(&[linux, windows], &nodes[..1]);
    assert_eq!(findings.iter().map(|finding| finding.severity).collect::<Vec<_>>(), [Severity::Ok, Severity::Error]);
}

#[test]
fn a_node_object_is_read_whole_and_a_new_one_is_not_ready() {
    let node = json!({
        "metadata": { "name": "win01", "labels": { (OS_LABEL): "windows", "kubernetes.io/hostname": "win01" } },
        "spec": { "podCIDR": "192.168.1.0/24" },
        "status": {
            "addresses": [
                { "type": "Hostname", "address": "win01" },
                { "type": "InternalIP", "address": "10.0.0.21" },
            ],
            "conditions": [
                { "type": "OutOfDisk", "status": "False" },
                { "type": "Ready", "status": "True", "reason": "KubeletReady", "message": "kubelet is posting ready status" },
            ],
            "nodeInfo": { "kubeletVersion": "v1.5.8" },
        },
    });
    assert_eq!(status(&node), good_node(cluster().host("win01").unwrap()));

    for unready in ["False", "Unknown"] {
        let conditions = json!({ "status": { "conditions": [{ "type": "Ready", "status": unready }] } });
        assert!(!status(&conditions).ready, "{unready}");
    }
    let empty = status(&json!({ "metadata": { "name": "new" } }));
    assert_eq!((empty.name.as_str(), empty.ready, empty.reason), ("new", false, None));
}

/// A pod as the API server has it while it runs.
fn running(name: &str, node: &str, address: &str) -> Value {
    json!({ "metadata": { "name": name }, "spec": { "nodeName": node }, "status": { "phase": "Running", "podIP": address } })
}

#[test]
fn a_pod_is_judged_by_its_node_and_its_address() {
    let cluster = cluster();
    let host = cluster.host("win01").unwrap();
    let pods = TestPods::new(&cluster, &[host], &[good_node(host)]);
    let judge = |pod: Value| pods.judge(&Found::of(&json!({ "items": [pod] }))).remove(0);
    let good = judge(running("k8swin-verify-win01", "win01", "192.168.1.7"));
    assert_eq!((good.host.as_str(), good.check, good.severity), ("win01", Check::PodWindows, Severity::Ok));
    assert!(good.detail.contains("192.168.1.7"));

    let elsewhere = judge(running("k8swin-verify-win01", "lin01", "192.168.0.7"));
    assert_eq!(elsewhere.severity, Severity::Error);
    assert!(elsewhere.detail.contains("`lin01`") && elsewhere.detail.contains("nodeSelector"));
    for address in ["192.168.0.7", "172.20.0.5", "", "none"] {
        let outside = judge(running("k8swin-verify-win01", "win01", address));
        assert_bad(&outside, "win01", Check::PodWindows, &[&format!("`{address}`"), "192.168.1.0/24"], "k8swin plan");
    }
    let absent = judge(running("another", "win01", "192.168.1.7"));
    assert_bad(&absent, "win01", Check::PodWindows, &["k8swin-verify-win01", "not there"], "kubectl describe pod");
    let mut ending = running("k8swin-verify-win01", "win01", "192.168.1.7");
    ending["metadata"]["deletionTimestamp"] = "2016-12-14T00:00:00Z".into();
    assert_bad(&judge(ending), "win01", Check::PodWindows, &["has not gone yet"], "kubectl describe pod");
}

#[test]
fn pods_run_on_workers_that_are_there_and_ready() {
    let cluster = seed();
    let hosts: Vec<_> = cluster.hosts.iter().collect();
    let nodes: Vec<_> = hosts.iter().map(|host| good_node(host)).collect();
    let of = |present: &[&Host], nodes: &[NodeStatus]| -> Vec<String> {
        let pods = TestPods::new(&cluster, present, nodes);
        let found = pods.judge(&Found::default()).into_iter().map(|finding| finding.host).collect();
        assert_eq!(pods.is_empty(), Vec::is_empty(&found));
        found
    };
    assert_eq!(of(&hosts, &nodes), ["lin01", "win01", "win02"]);
    assert_eq!(of(&hosts[1..], &nodes), ["win01", "win02"]);
    assert_eq!(of(&hosts, &nodes[..2]), ["lin01", "win01"]);
    assert!(of(&[], &nodes).is_empty());
}

#[test]
fn the_test_image_is_led_to_windows_hosts_that_are_there() {
    let cluster = seed();
    let hosts: Vec<_> = cluster.hosts.iter().collect();
    let nodes: Vec<_> = hosts.iter().map(|host| good_node(host)).collect();
    assert!(TestPods::new(&cluster, &hosts, &nodes).image().is_some());
    assert!(TestPods::new(&cluster, &hosts[..1], &nodes).image().is_none(), "there is no Windows host");
    let plain = Cluster { windows_test_image: None, ..cluster.clone() };
    assert!(TestPods::new(&plain, &hosts, &nodes).image().is_none());
    let another = TestImage { image: "example.com/web:1".into(), port: 8080 };
    let cluster = Cluster { windows_test_image: Some(another.clone()), ..plain.clone() };
    assert_eq!(TestPods::new(&cluster, &hosts, &nodes).image().map(|image| image.test), Some(&another));
}

#[test]
fn a_waiting_pod_is_described_by_its_phase_and_what_it_waits_for() {
    let waiting = json!({ "spec": { "nodeName": "win01" }, "status": {
        "phase": "Pending",
        "containerStatuses": [{ "state": { "waiting": { "reason": "ErrImagePull", "message": "no such manifest" } } }],
        "conditions": [
            { "type": "Initialized", "status": "True" },
            { "type": "Ready", "status": "False", "message": "containers with unready status: [test]" },
        ],
    } });
    let failing = state(&waiting);
    assert_eq!(failing.waits, "phase Pending: ErrImagePull: no such manifest; containers with unready status: [test]");
    assert!(!failing.pulling, "it is tried again, but nothing is on its way");
    assert_eq!(state(&json!({ "status": { "phase": "Failed" } })).waits, "phase Failed");
    assert_eq!(state(&Value::Null).waits, "phase Unknown");
}

#[test]
fn an_image_is_on_its_way_as_long_as_nothing_else_is_said() {
    let pod = |node: &str, status: Value| state(&json!({ "spec": { "nodeName": node }, "status": status })).pulling;
    let creating = json!([{ "state": { "waiting": { "reason": "ContainerCreating" } } }]);
    assert!(pod("win01", json!({ "phase": "Pending", "containerStatuses": creating })));
    assert!(pod("win01", json!({ "phase": "Pending" })), "1.5 says no more");
    assert!(!pod("", json!({ "phase": "Pending" })), "it has no node");
    assert!(!pod("win01", json!({ "phase": "Failed" })));
    for reason in ["ErrImagePull", "ImagePullBackOff", "InvalidImageName"] {
        let failing = json!([{ "state": { "waiting": { "reason": reason } } }]);
        assert!(!pod("win01", json!({ "phase": "Pending", "containerStatuses": failing })), "{reason}");
    }
    assert_eq!(
        Found::of(&json!({ "items": [running(NAME, "win01", "192.168.1.9")] })).running(NAME),
        Some(("win01", "192.168.1.9"))
    );
}

/// The pods of the walkthrough's hosts.
fn pods() -> BTreeMap<String, Ipv4Addr> {
    [("lin01", [192, 168, 0, 2]), ("win01", [192, 168, 1, 2]), ("win02", [192, 168, 2, 2])]
        .map(|(name, address)| (name.to_owned(), Ipv4Addr::from(address)))
        .into()
}

/// What every host of the walkthrough reached, where the ones that `lost` names met `outcome`.
fn reached(cluster: &Cluster, lost: &[(&str, Goal)], outcome: &Outcome) -> Vec<(String, Reached)> {
    let of = |host: &Host| {
        let meet = |(goal, _)| {
            let usual = if matches!(goal, Goal::Pod(_)) { Outcome::Refused } else { ANSWERED };
            let is_lost = lost.iter().any(|(from, of)| *from == host.name && *of == goal);
            (goal, if is_lost { outcome.clone() } else { usual })
        };
        let mut found: Reached = goals(cluster, host, &pods()).into_iter().map(meet).collect();
        found.extend(gateways(cluster, &found).into_iter().map(meet));
        (host.name.clone(), found)
    };
    cluster.hosts.iter().map(of).collect()
}

#[test]
fn a_host_is_asked_for_every_other_pod_and_the_service_and_for_the_node_of_a_pod_that_it_does_not_reach() {
    let cluster = seed();
    let told = |(goal, target): (Goal, Target)| (goal, format!("{}:{}", target.address, target.port));
    let goals: Vec<_> = goals(&cluster, cluster.host("win01").unwrap(), &pods()).into_iter().map(told).collect();
    let expected = [
        (Goal::Pod("lin01".into()), "192.168.0.2:80"),
        (Goal::Pod("win02".into()), "192.168.2.2:80"),
        (Goal::Service, "172.30.0.1:443"),
    ];
    assert_eq!(goals, expected.map(|(goal, address)| (goal, address.to_owned())));

    let found = [Outcome::Refused, Outcome::Silent, Outcome::Silent];
    let found = goals.into_iter().map(|(goal, _)| goal).zip(found).collect();
    let gateways: Vec<_> = gateways(&cluster, &found).into_iter().map(told).collect();
    assert_eq!(gateways, [(Goal::Gateway("win02".into()), "192.168.2.1:10250".to_owned())]);
}

#[test]
fn a_refusal_of_a_pod_is_an_answer_and_silence_is_told_with_both_ends_and_the_planned_route() {
    let cluster = seed();
    let good = judge_pods(&cluster, &pods(), &reached(&cluster, &[], &Outcome::Silent));
    assert!(good.iter().all(|finding| finding.severity == Severity::Ok), "{good:?}");
    assert_eq!(good[1].detail, "its pod 192.168.1.2 is reached by 2 other nodes");

    let (pod, gateway) = (Goal::Pod("win01".into()), Goal::Gateway("win01".into()));
    let lost = [("lin01", pod.clone()), ("lin01", gateway)];
    let found = judge_pods(&cluster, &pods(), &reached(&cluster, &lost, &Outcome::Silent));
    let names = ["192.168.1.2", "no answer to lin01", "192.168.1.0/24 via 10.5.6.216", "192.168.1.1"];
    assert_bad(&found[1], "win01", Check::PodNetwork, &names, "k8swin up");
    assert!(!found[1].detail.contains("win02"), "{}", found[1].detail);
    assert_eq!([found[0].severity, found[2].severity], [Severity::Ok; 2]);

    // The node is reached, its pod is not: it is the node that does not forward.
    let lost = [("lin01", pod.clone()), ("win02", pod)];
    let found = judge_pods(&cluster, &pods(), &reached(&cluster, &lost, &Outcome::Silent));
    let names = ["no answer to lin01, win02", "win01 does not forward to its pods"];
    assert_bad(&found[1], "win01", Check::PodNetwork, &names, "RemoteAccess");

    let unreachable = Outcome::Failed { answer: "No route to host".into() };
    let lost = [("win01", Goal::Pod("lin01".into())), ("win01", Goal::Gateway("lin01".into()))];
    let found = judge_pods(&cluster, &pods(), &reached(&cluster, &lost, &unreachable));
    assert_bad(&found[0], "lin01", Check::PodNetwork, &["No route to host", "win01"], "k8swin up");
}

#[test]
fn a_service_address_must_be_answered_from_every_host() {
    let cluster = seed();
    let good = judge_services(&cluster, &reached(&cluster, &[], &Outcome::Silent));
    assert_eq!(good.iter().map(|finding| finding.severity).collect::<Vec<_>>(), [Severity::Ok; 3]);
    for (outcome, told) in [(Outcome::Silent, "no answer"), (Outcome::Refused, "a refusal")] {
        let lost = [("lin01", Goal::Service), ("win02", Goal::Service)];
        let found = judge_services(&cluster, &reached(&cluster, &lost, &outcome));
        assert_bad(&found[0], "lin01", Check::ServiceAddress, &["172.30.0.1:443", told], "kube-proxy");
        assert_bad(&found[2], "win02", Check::ServiceAddress, &["172.30.0.1:443", told], "IP Helper");
        assert!(found[0].commands.iter().any(|command| command == "systemctl status kube-proxy"));
        assert_eq!(found[1].severity, Severity::Ok);
    }
}

#[test]
fn a_kubelet_is_judged_by_what_every_api_server_got() {
    let cluster = seed();
    let names = ["lin01", "win01"].map(str::to_owned);
    let judge = |failure: &str| {
        let answers = [("lin01", vec![None, None]), ("lin02", vec![None, Some(failure.to_owned())])];
        let found = kubelets::judge(&cluster, &names, &answers);
        assert_eq!(
            (found[0].severity, found[0].detail.as_str()),
            (Severity::Ok, "answers the API server of lin01, lin02")
        );
        found[1].clone()
    };
    for (failure, remedy) in [
        ("Error: 'dial tcp 10.5.6.216:10250: i/o timeout'", "open TCP 10250"),
        ("no answer within 30 s", "open TCP 10250"),
        ("Error: 'dial tcp 10.5.6.216:10250: getsockopt: connection refused'", "whether the kubelet runs"),
        ("error: You must be logged in to the server (Unauthorized)", "keys and flags"),
        ("x509: certificate signed by unknown authority", "keys and flags"),
    ] {
        assert_bad(&judge(failure), "win01", Check::Kubelet, &["API server of lin02", failure], remedy);
    }
}

#[test]
fn the_test_image_must_serve_to_all_other_hosts() {
    let target = Target { address: Ipv4Addr::new(192, 168, 1, 9), port: 80, ask: Ask::Http };
    let answers = |win02: Outcome| [("lin01".to_owned(), ANSWERED), ("win02".to_owned(), win02)];
    let good = judge_image("win01", "microsoft/iis", &target, &answers(ANSWERED));
    assert_eq!((good.severity, good.check), (Severity::Ok, Check::PodImage));
    assert!(good.detail.contains("192.168.1.9:80 to 2 other hosts"), "{}", good.detail);
    for outcome in [Outcome::Refused, Outcome::Silent, Outcome::Stranger] {
        let bad = judge_image("win01", "microsoft/iis", &target, &answers(outcome));
        assert_bad(&bad, "win01", Check::PodImage, &["microsoft/iis", "192.168.1.9:80", "win02"], "windows_test_port");
        assert!(!bad.detail.contains("lin01"), "{}", bad.detail);
    }
}

#[test]
fn certificates_that_have_ended_are_errors_of_their_hosts_and_those_that_end_soon_are_warnings() {
    let now = Timestamp::now();
    let judge = |days: &[(&str, i64)]| {
        let ends: BTreeMap<_, _> = days
            .iter()
            .map(|(name, days)| ((*name).to_owned(), now + SignedDuration::from_hours(24 * days + 1)))
            .collect();
        let found = certificates("demo", &ends, now, Severity::Error);
        found.into_iter().map(|finding| (finding.host, finding.severity, finding.detail)).collect::<Vec<_>>()
    };
    let told = |host: &str, severity, detail: &str| (host.to_owned(), severity, detail.to_owned());
    let good = [("ca.crt", 3000), ("admin.crt", 300), ("hosts/win01/kubelet.crt", 200)];
    assert_eq!(judge(&good), [told("demo", Severity::Ok, "3 certificates, the first ends in 200 days")]);
    assert_eq!(
        judge(&[("ca.crt", 3000), ("admin.crt", 20), ("hosts/win01/kubelet.crt", -3), ("hosts/win02/kubelet.crt", 10)]),
        [
            told("demo", Severity::Warning, "admin.crt ends in 20 days"),
            told("win01", Severity::Error, "hosts/win01/kubelet.crt ended 2 days ago"),
            told("win02", Severity::Warning, "hosts/win02/kubelet.crt ends in 10 days"),
        ]
    );
    assert_eq!(
        judge(&[("ca.crt", -1), ("hosts/win01/kubelet.crt", -1)]),
        [told("demo", Severity::Error, "ca.crt ended 0 days ago")],
        "with a new authority come new certificates for all"
    );
}
