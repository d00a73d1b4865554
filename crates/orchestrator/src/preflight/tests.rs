//! Every check: silent on healthy hosts, and heard with host, name, severity and remedy where something is wrong.

use std::collections::BTreeSet;

use k8swin_inventory::{Check, Ignored};
use k8swin_protocol::Facts;
use k8swin_protocol::facts::{DockerNetwork, ServiceState, ServiceStatus};
use k8swin_protocol::probe::{Ask, Outcome};
use k8swin_protocol::resource::FeatureName;

use super::cases::cases;
use super::samples::{Sample, adapter, listener, resource};
use crate::report::{Finding, Severity};

use Severity::{Error, Warning};

/// What is not as it should be.
fn bad(findings: &[Finding]) -> Vec<&Finding> {
    findings.iter().filter(|finding| finding.severity != Severity::Ok).collect()
}

/// What is wrong with a sample that `spoil` spoiled: exactly one thing.
#[track_caller]
fn only_bad(findings: &[Finding]) -> &Finding {
    let bad = bad(findings);
    assert_eq!(bad.len(), 1, "{bad:#?}");
    bad[0]
}

#[test]
fn healthy_hosts_give_no_error_and_no_warning_and_every_check_is_heard() {
    let findings = Sample::healthy().findings();
    assert!(bad(&findings).is_empty(), "{findings:#?}");
    let heard: BTreeSet<_> = findings.iter().map(|finding| finding.check.name()).collect();
    // That a host cannot be reached is told by whoever tried.
    let all = Check::ALL.iter().filter(|check| !check.is_of_verify() && **check != Check::Reachable);
    assert_eq!(heard, all.map(|check| check.name()).collect());
    assert!(findings.iter().all(|finding| finding.remedy.is_none() && !finding.detail.is_empty()));
}

#[test]
fn each_check_says_once_on_each_host_what_it_found() {
    let mut seen = BTreeSet::new();
    for finding in Sample::healthy().findings() {
        assert!(seen.insert((finding.host.clone(), finding.check)), "{finding:?} twice");
    }
}

#[test]
fn every_check_of_the_catalogue_has_a_case() {
    let tested: BTreeSet<_> = cases().map(|case| case.check).chain(["ports", "reachable"]).collect();
    let all = Check::ALL.iter().filter(|check| !check.is_of_verify()).map(|check| check.name());
    assert_eq!(tested, all.collect());
}

#[test]
fn each_check_fires_alone_with_host_severity_detail_and_remedy() {
    for case in cases() {
        let mut sample = Sample::healthy();
        (case.spoil)(&mut sample);
        let findings = sample.findings();
        let found = bad(&findings);
        let [finding] = found.as_slice() else { panic!("{} on {}: {found:#?}", case.check, case.host) };
        assert_eq!(
            (finding.host.as_str(), finding.check.name(), finding.severity),
            (case.host, case.check, case.severity),
            "{finding:?}"
        );
        for name in case.names {
            assert!(finding.detail.contains(name), "`{name}` is not in `{}`", finding.detail);
        }
        assert!(finding.expected.is_some() && finding.why.is_some());
        let remedy = format!("{} {}", finding.remedy.as_deref().unwrap_or_default(), finding.commands.join(" "));
        assert!(remedy.contains(case.remedy), "`{}` is not in the remedy `{remedy}` of {}", case.remedy, case.check);
    }
}

#[test]
fn limits_are_where_the_checks_say() {
    let mut sample = Sample::healthy();
    sample.ahead_ms.extend([("lin01", 5_000), ("win01", -5_000)]);
    sample.linux.common.disk_free_bytes = 10 << 30;
    sample.windows.common.disk_free_bytes = 30 << 30;
    sample.linux.common.memory_bytes = 3 << 29;
    sample.windows.common.memory_bytes = 3 << 28;
    sample.windows.max_envelope_size_kb = 150;
    sample.windows.docker.as_mut().unwrap().version = "1.12.2-cs2-ws-beta".into();
    sample.linux.docker.as_mut().unwrap().version = "1.10.3".into();
    assert!(bad(&sample.findings()).is_empty());

    sample.ahead_ms.extend([("lin01", 30_000), ("win01", -30_000)]);
    let findings = sample.findings();
    let found = bad(&findings);
    assert!(found.len() == 2 && found.iter().all(|finding| finding.severity == Warning), "{found:#?}");
}

#[test]
fn a_preflight_on_a_finished_cluster_has_no_errors_and_no_warnings() {
    assert!(bad(&Sample::finished().findings()).is_empty());
}

#[test]
fn an_adapter_that_our_own_network_took_is_as_it_should_be() {
    let mut sample = Sample::with("\"Ethernet 2\"", "\"169.254.77.21\"");
    assert!(bad(&sample.findings()).is_empty(), "selected by its address");
    sample.windows.common.adapters[1].addresses.clear();
    assert_eq!(only_bad(&sample.findings()).check.name(), "pod-adapter");
    sample.windows.common.owned.insert(resource("transparent-network:k8swin"));
    assert!(bad(&sample.findings()).is_empty());
}

#[test]
fn an_adapter_can_be_named_by_its_mac_address() {
    for selector in ["\"00-15-5D-00-00-22\"", "\"00:15:5d:00:00:22\""] {
        assert!(bad(&Sample::with("\"Ethernet 2\"", selector).findings()).is_empty(), "{selector}");
    }
}

#[test]
fn ports_held_by_our_own_units_are_fine_and_foreign_holders_are_named() {
    let healthy = Sample::finished();
    for (port, unit) in [
        (2379, "etcd"),
        (2380, "etcd"),
        (6443, "kube-apiserver"),
        (10249, "kube-proxy"),
        (10250, "kubelet"),
        (10251, "kube-scheduler"),
        (10252, "kube-controller-manager"),
    ] {
        let mut sample = Sample::healthy();
        sample.linux.common.listeners.push(listener(port, "nginx"));
        let findings = sample.findings();
        let finding = only_bad(&findings);
        assert_eq!(
            (finding.host.as_str(), finding.check.name(), finding.severity),
            ("lin01", "ports", Error),
            "{port}"
        );
        assert!(finding.detail.contains(&format!("{port} by nginx")), "{}", finding.detail);
        assert!(finding.remedy.is_some());
        sample.linux.common.owned.insert(resource(&format!("unit:{unit}")));
        assert!(bad(&sample.findings()).is_empty(), "{port} is held by our own {unit}");
        assert!(healthy.linux.common.listeners.iter().any(|listener| listener.port == port));
    }
    for (port, service) in [(10250, "kubelet"), (10249, "kube-proxy")] {
        let mut sample = Sample::healthy();
        sample.windows.common.listeners.push(listener(port, "w3wp.exe"));
        let findings = sample.findings();
        let finding = only_bad(&findings);
        assert_eq!(
            (finding.host.as_str(), finding.check.name(), finding.severity),
            ("win01", "ports", Error),
            "{port}"
        );
        assert!(finding.detail.contains(&format!("{port} by w3wp.exe")), "{}", finding.detail);
        sample.windows.common.owned.insert(resource(&format!("service:{service}")));
        assert!(bad(&sample.findings()).is_empty());
    }

    // Of a program of ours that does not run, nobody holds the port but another.
    let mut sample = Sample::finished();
    let kubelet =
        ServiceStatus { name: "kubelet".into(), state: ServiceState::Stopped, restarts: None, last_exit: None };
    sample.linux.common.services.push(kubelet);
    let findings = sample.findings();
    let told: Vec<_> = bad(&findings).iter().map(|finding| finding.check.name()).collect();
    assert_eq!(told, ["services", "ports"], "{findings:#?}");
}

#[test]
fn all_foreign_holders_are_named_at_once_and_only_ports_that_the_host_needs_count() {
    let mut sample = Sample::healthy();
    sample.linux.common.listeners.extend([listener(6443, "haproxy"), listener(2379, "consul"), listener(80, "nginx")]);
    let findings = sample.findings();
    let detail = &only_bad(&findings).detail;
    assert!(detail.contains("2379 by consul") && detail.contains("6443 by haproxy"), "{detail}");
    assert!(!detail.contains("nginx"), "{detail}");

    // The control plane's ports are nothing to a host that is none, and neither is the default port when another is set.
    let mut sample =
        Sample::with("service_cidr = \"172.30.0.0/16\"", "service_cidr = \"172.30.0.0/16\"\napi_port = 8443");
    sample.linux.common.listeners.push(listener(6443, "haproxy"));
    sample.windows.common.listeners.extend([listener(2379, "consul"), listener(8443, "tomcat")]);
    assert!(bad(&sample.findings()).is_empty());
    sample.linux.common.listeners.push(listener(8443, "tomcat"));
    assert_eq!(only_bad(&sample.findings()).host, "lin01");
}

#[test]
fn another_operating_system_than_the_inventory_says_is_all_that_is_said_of_a_host() {
    let mut sample = Sample::healthy();
    sample.windows.common = sample.linux.common.clone();
    sample.windows.common.machine_id = "another".into();
    sample.windows.common.adapters[0].mac = "00-15-5d-00-00-99".into();
    let facts = [("lin01", Facts::Windows(sample.windows.clone()))];
    let findings = sample.findings_of(&facts);
    let finding = only_bad(&findings);
    assert_eq!((finding.host.as_str(), finding.check.name(), finding.severity), ("lin01", "operating-system", Error));
    assert!(finding.detail.contains("os = \"linux\""), "{}", finding.detail);
    assert!(finding.remedy.as_deref().is_some_and(|remedy| remedy.contains("`os`")));
    assert_eq!(findings.iter().filter(|finding| finding.host == "lin01").count(), 1);

    let sample = Sample::healthy();
    let facts = [("win01", Facts::Linux(sample.linux.clone()))];
    assert!(only_bad(&sample.findings_of(&facts)).detail.contains("os = \"windows\""));
}

#[test]
fn a_host_that_could_not_be_looked_at_is_left_out() {
    let sample = Sample::healthy();
    let findings = sample.findings_of(&[("lin01", Facts::Linux(sample.linux.clone()))]);
    assert!(bad(&findings).is_empty());
    assert!(findings.iter().all(|finding| finding.host != "win01"));
}

#[test]
fn kubernetes_1_20_asks_for_newer_docker_on_linux_and_not_for_english() {
    let mut sample = Sample::with("1.5.8", "1.20.15");
    sample.windows.ui_language = "de-DE".into();
    sample.windows.docker.as_mut().unwrap().version = "23.0.1".into();
    sample.linux.docker.as_mut().unwrap().version = "28.5.1".into();
    assert!(bad(&sample.findings()).is_empty());
    for (version, severity) in [("1.12.6", Error), ("29.0.0", Warning)] {
        sample.linux.docker.as_mut().unwrap().version = version.into();
        let findings = sample.findings();
        let finding = only_bad(&findings);
        assert_eq!((finding.check.name(), finding.severity), ("docker", severity), "{version}");
    }
}

#[test]
fn forwarding_on_each_adapter_needs_no_role() {
    let mut sample = Sample::with("pod_adapter", "forwarding = \"per-adapter\"\npod_adapter");
    sample.windows.rras_running = false;
    sample.windows.features = vec![FeatureName::Containers];
    assert!(bad(&sample.findings()).is_empty());

    let mut sample = Sample::healthy();
    sample.windows.rras_running = false;
    let findings = sample.findings();
    assert!(bad(&findings).is_empty(), "a role that is installed is started by `up`");
    assert!(
        findings.iter().any(|finding| finding.check.name() == "routing" && finding.detail.contains("`up` starts it"))
    );
}

#[test]
fn adapters_of_one_host_may_share_a_mac_address_and_those_of_docker_may_be_alike_everywhere() {
    let mut sample = Sample::healthy();
    sample.linux.common.adapters.push(adapter("bond0", "00-15-5d-00-00-11", "10.8.0.1/24"));
    for common in [&mut sample.linux.common, &mut sample.windows.common] {
        let mut bridge = adapter("docker0", "02-42-00-00-00-01", "172.17.0.1/16");
        bridge.physical = false;
        common.adapters.push(bridge);
    }
    assert!(bad(&sample.findings()).is_empty());
}

#[test]
fn machines_without_an_identity_are_not_taken_for_clones() {
    let mut sample = Sample::healthy();
    sample.linux.common.machine_id.clear();
    sample.windows.common.machine_id.clear();
    assert!(bad(&sample.findings()).is_empty());
}

#[test]
fn a_range_of_pods_is_fine_for_our_own_network_and_for_no_other() {
    let mut sample = Sample::healthy();
    let network = DockerNetwork { driver: "transparent".into(), subnet: Some("192.168.1.0/24".parse().unwrap()) };
    sample.windows.docker.as_mut().unwrap().networks.insert("k8swin".into(), network);
    let names = |findings: &[Finding]| bad(findings).iter().map(|finding| finding.check.name()).collect::<Vec<_>>();
    assert_eq!(names(&sample.findings()), ["leftovers", "docker-ranges"]);
    sample.windows.common.owned.insert(resource("transparent-network:others"));
    assert_eq!(names(&sample.findings()), ["leftovers", "docker-ranges"]);
    sample.windows.common.owned.insert(resource("transparent-network:k8swin"));
    assert!(bad(&sample.findings()).is_empty());
}

#[test]
fn what_is_ignored_is_shown_and_does_not_count() {
    let mut sample = Sample::with(
        "[[host]]\nname = \"lin01\"",
        "ignore = [\"swap\"]\n[[host]]\nignore = [\"memory\"]\nname = \"lin01\"",
    );
    sample.linux.swap_bytes = 1 << 30;
    sample.linux.systemd = false;
    for common in [&mut sample.linux.common, &mut sample.windows.common] {
        common.memory_bytes = 1 << 28;
        common.disk_free_bytes = 0;
    }
    let mut findings = sample.findings();
    let options: Vec<Ignored> = ["win01:disk-space", "systemd"].map(|text| text.parse().unwrap()).into();
    super::ignore(&sample.cluster, &options, &mut findings);
    let ignored: Vec<_> = bad(&findings)
        .iter()
        .filter(|finding| finding.ignored)
        .map(|finding| (finding.host.as_str(), finding.check.name(), finding.severity))
        .collect();
    assert_eq!(
        ignored,
        [
            ("lin01", "memory", Warning),
            ("lin01", "systemd", Warning),
            ("lin01", "swap", Warning),
            ("win01", "disk-space", Warning),
        ]
    );
    let counted: Vec<_> = bad(&findings)
        .iter()
        .filter(|finding| !finding.ignored)
        .map(|finding| (finding.host.as_str(), finding.check.name(), finding.severity))
        .collect();
    assert_eq!(counted, [("lin01", "disk-space", Error), ("win01", "memory", Warning)]);
}

#[test]
fn what_our_own_programs_hold_is_connected_to_and_what_others_hold_is_not() {
    let sample = Sample::finished();
    let (host, common) = (sample.cluster.host("win01").unwrap(), sample.linux.common.clone());
    let open = |common, by_agent| {
        let open = super::links::Open::new(by_agent, common, &sample.cluster);
        std::collections::BTreeMap::from([("lin01".into(), open)])
    };
    let targets = super::links::targets(&sample.cluster, host, &open(&common, Vec::new()), "token");
    let ports: Vec<_> = targets.iter().map(|(.., target)| (target.port, target.ask.clone())).collect();
    assert_eq!(ports, [(6443, Ask::Connection), (10250, Ask::Connection)]);

    let mut common = Sample::healthy().linux.common;
    common.listeners.push(listener(6443, "nginx"));
    let targets = super::links::targets(&sample.cluster, host, &open(&common, vec![10250]), "token");
    let ports: Vec<_> = targets.iter().map(|(.., target)| (target.port, matches!(target.ask, Ask::Token(_)))).collect();
    assert_eq!(ports, [(10250, true)]);
}

#[test]
fn windows_own_firewall_is_no_error_before_up_has_opened_it_as_long_as_the_way_back_works() {
    let mut sample = Sample::healthy();
    sample.link("lin01", "win01").outcome = Outcome::Silent;
    let findings = sample.findings();
    let finding = only_bad(&findings);
    assert_eq!((finding.check.name(), finding.severity), ("host-to-host", Warning));
    sample.windows.common.owned.insert(resource("firewall-rule:k8swin kubelet"));
    assert_eq!(only_bad(&sample.findings()).severity, Error);

    let mut sample = Sample::healthy();
    sample.links.iter_mut().for_each(|link| link.outcome = Outcome::Silent);
    assert!(bad(&sample.findings()).iter().all(|finding| finding.severity == Error));
}
