//! For tests: reports and events as a run makes them.

use std::time::Duration;

use k8swin_inventory::Check;
use k8swin_inventory::cluster::Os;
use k8swin_orchestrator::event::{Difference, Event, Stage};
use k8swin_orchestrator::report::{
    Finding, HostNetwork, HostPlan, HostStatus, HostSummary, Link, NodeStatus, PlanReport, Preflight, Purpose,
    Severity, Summary, catalogue,
};
use k8swin_protocol::facts::{Adapter, LastExit, RouteEntry, ServiceState, ServiceStatus};
use k8swin_protocol::probe::Outcome;
use k8swin_protocol::resource::{Effect, Phase, ResourceId};
use k8swin_protocol::wire::Failure;

pub(crate) fn failure() -> Failure {
    Failure {
        attempted: "write C:\\k8swin\\etc\\kubelet.kubeconfig".into(),
        answer: "There is not enough space on the disk. (os error 112)".into(),
        hint: Some("free some space on C:".into()),
    }
}

/// The only way to a resource's identity is its text: from JSON, as it crosses the wire.
fn id(text: &str) -> ResourceId {
    serde_json::from_value(text.into()).unwrap()
}

fn node(name: &str, os: Os, number: u8) -> NodeStatus {
    NodeStatus {
        name: name.into(),
        os: os.as_str().into(),
        ready: os == Os::Linux,
        reason: (os != Os::Linux).then(|| "NodeStatusUnknown: Kubelet stopped posting node status.".to_owned()),
        address: format!("10.5.6.{number}"),
        pod_cidr: format!("192.168.{number}.0/24"),
        version: "v1.5.8".into(),
    }
}

fn host(changed: usize, unchanged: usize) -> HostSummary {
    HostSummary { changed, unchanged, ..HostSummary::default() }
}

pub(crate) fn good_run() -> Summary {
    Summary {
        hosts: [("lin01".into(), host(31, 0)), ("win01".into(), host(24, 2))].into(),
        verification: vec![finding("lin01", Check::Node, Severity::Ok, "the node is Ready", None)],
        nodes: vec![node("lin01", Os::Linux, 215), node("win01", Os::Windows, 216)],
        duration: Duration::from_millis(83_250),
        interrupted: false,
        stopped: false,
    }
}

pub(crate) fn bad_run() -> Summary {
    let mut summary = good_run();
    let failed = HostSummary { changed: 3, failed: 1, error: Some(failure()), ..HostSummary::default() };
    summary.hosts.insert("win01".into(), failed);
    summary.verification.extend(findings());
    summary
}

fn finding(host: &str, check: Check, severity: Severity, detail: &str, remedy: Option<&str>) -> Finding {
    let entry = catalogue::entry(check);
    let told = |text| (severity > Severity::Ok).then_some(text);
    Finding {
        host: host.into(),
        check,
        severity,
        detail: detail.into(),
        expected: told(entry.expected),
        why: told(entry.why),
        remedy: remedy.map(Into::into),
        commands: Vec::new(),
        ignored: false,
    }
}

pub(crate) fn findings() -> Vec<Finding> {
    vec![
        Finding {
            commands: vec!["swapoff -a".into()],
            ..finding("lin01", Check::Swap, Severity::Warning, "1.0 GB of swap is active", Some("switch it off"))
        },
        finding("win01", Check::DiskSpace, Severity::Error, "1.2 GB free, 10 GB needed", Some("free some space on C:")),
        Finding {
            ignored: true,
            ..finding("win01", Check::Memory, Severity::Warning, "0.5 GiB of memory", Some("give the host more"))
        },
        finding("win01", Check::WindowsBuild, Severity::Ok, "14393 is Windows Server 2016", None),
        finding("lin02", Check::Clock, Severity::Ok, "0.2 s behind", None),
    ]
}

/// Two hosts, of which one is not reached by the other on one port.
pub(crate) fn preflight() -> Preflight {
    let adapter = |name: &str, address: &str, physical| Adapter {
        name: name.into(),
        mac: "00-15-5d-00-00-01".into(),
        addresses: vec![address.parse().unwrap()],
        up: true,
        physical,
    };
    let host = |name: &str, os, number: u8| HostNetwork {
        name: name.into(),
        os,
        control_plane: os == Os::Linux,
        node_address: [10, 5, 6, number].into(),
        pod_cidr: format!("192.168.{number}.0/24").parse().unwrap(),
        adapters: vec![
            adapter("Ethernet", &format!("10.5.6.{number}/24"), true),
            adapter("vEthernet (<nat> & more)", "172.25.0.1/20", false),
        ],
        routes: vec![RouteEntry {
            destination: "0.0.0.0/0".parse().unwrap(),
            via: Some([10, 5, 6, 1].into()),
            adapter: "Ethernet".into(),
        }],
    };
    let link = |from: &str, to: &str, purpose, outcome| Link {
        from: from.into(),
        to: to.into(),
        port: 10250,
        purpose,
        outcome,
    };
    Preflight {
        cluster: "demo".into(),
        findings: findings(),
        hosts: vec![host("lin01", Os::Linux, 215), host("win01", Os::Windows, 216)],
        links: vec![
            link("lin01", "win01", Purpose::Kubelet, Outcome::Silent),
            link("win01", "lin01", Purpose::Pods, Outcome::Answered { microseconds: 410 }),
        ],
        duration: Duration::from_millis(1_930),
    }
}

fn difference(phase: Phase, resource: &str, difference: &str, effect: Effect) -> Difference {
    Difference { phase, resource: id(resource), difference: difference.into(), effect }
}

pub(crate) fn plan() -> PlanReport {
    let lin01 = HostPlan {
        differences: vec![
            difference(Phase::Files, "file:/etc/kubernetes/pki/ca.key", "mode 0644, expected 0600", Effect::Change),
            difference(Phase::ControlPlane, "unit:etcd", "absent", Effect::Create),
        ],
        unchanged: 29,
        explained: vec![
            vec!["chmod 600 /etc/kubernetes/pki/ca.key".into()],
            vec!["systemctl enable etcd".into(), "systemctl restart etcd".into()],
        ],
        error: None,
    };
    let win01 = HostPlan {
        differences: vec![
            difference(Phase::WindowsNodes, "service:kubelet", "an input has changed", Effect::Restart),
            difference(Phase::AddOns, "route:192.168.9.0/24", "no longer planned", Effect::Remove),
        ],
        unchanged: 22,
        explained: vec![vec!["Restart-Service kubelet".into()], vec![]],
        error: None,
    };
    let win02 = HostPlan { error: Some(failure()), ..HostPlan::default() };
    PlanReport {
        hosts: [("lin01".into(), lin01), ("win01".into(), win01), ("win02".into(), win02)].into(),
        duration: Duration::from_millis(2_345),
    }
}

fn service(name: &str, state: ServiceState, restarts: Option<u32>, code: Option<i32>) -> ServiceStatus {
    let last_exit = code.map(|code| LastExit { code: Some(code), signal: None, at_ms: Some(1_479_895_200_000) });
    ServiceStatus { name: name.into(), state, restarts, last_exit }
}

pub(crate) fn status() -> Vec<HostStatus> {
    vec![
        HostStatus {
            host: "lin01".into(),
            in_sync: 31,
            drifted: 0,
            node: Some(node("lin01", Os::Linux, 215)),
            services: vec![
                service("etcd", ServiceState::Running, None, None),
                service("kubelet", ServiceState::Running, Some(2), None),
            ],
            error: None,
        },
        HostStatus {
            host: "win01".into(),
            in_sync: 20,
            drifted: 6,
            node: Some(node("win01", Os::Windows, 216)),
            services: vec![
                service("kubelet", ServiceState::StartingAgain, Some(7), Some(-1_073_741_819)),
                service("kube-proxy", ServiceState::Running, Some(1), Some(255)),
            ],
            error: None,
        },
        HostStatus {
            host: "win02".into(),
            in_sync: 0,
            drifted: 0,
            node: None,
            services: Vec::new(),
            error: Some(failure()),
        },
    ]
}

/// A run with one good host and one that fails.
pub(crate) fn events() -> Vec<Event> {
    let stage = |host: &str, stage, steps| Event::HostStage { host: host.into(), stage, steps };
    let done = |host: &str, stage| Event::HostDone { host: host.into(), stage };
    let control_plane = Stage::Phase(Phase::ControlPlane);
    let windows = Stage::Phase(Phase::WindowsNodes);
    vec![
        Event::StageStarted(Stage::Artifacts),
        Event::Note { host: None, text: "unpacking kubernetes-server-linux-amd64.tar.gz".into() },
        Event::StageStarted(Stage::Connect),
        stage("lin01", Stage::Connect, 0),
        stage("win01", Stage::Connect, 0),
        Event::Retrying { host: "win01".into(), cause: "connect to 10.5.6.216:5986: timed out".into() },
        Event::Sent { host: "win01".into(), what: "agent".into(), done: 3_000_000, total: 3_000_000 },
        done("lin01", Stage::Connect),
        done("win01", Stage::Connect),
        Event::StageStarted(control_plane),
        stage("lin01", control_plane, 2),
        Event::Started { host: "lin01".into(), resource: id("unit:etcd"), difference: "absent".into() },
        Event::Ended { host: "lin01".into(), resource: id("unit:etcd"), changed: true },
        Event::Ended { host: "lin01".into(), resource: id("unit:kube-apiserver"), changed: false },
        done("lin01", control_plane),
        Event::StageStarted(windows),
        stage("win01", windows, 9),
        Event::Rebooting { host: "win01".into(), reason: "the feature Routing was installed".into() },
        Event::Note { host: Some("win01".into()), text: "is back after 74 s".into() },
        Event::HostFailed { host: "win01".into(), stage: windows, failure: failure() },
    ]
}
