//! What holds for every blueprint.

use std::collections::{BTreeMap, BTreeSet};

use crate::common::{INVENTORIES, VERSIONS, cluster, exact_release, facts, files, inputs, now, planned, seed};
use k8swin_blueprint::{BlueprintError, Pki, Program, blueprint, programs_for};
use k8swin_inventory::cluster::System;
use k8swin_protocol::resource::{Content, Protection, ServiceProgram, WindowsResource};
use k8swin_protocol::{Facts, HostResources, Os, Phase, Sha256, wire};

#[test]
fn the_same_input_gives_the_same_bytes() {
    for inventory in INVENTORIES {
        let cluster = cluster(inventory, VERSIONS[0]);
        let (first, pki) = planned(&cluster);
        let pki = Pki::from_files(pki.files().clone()).unwrap();
        assert_eq!(blueprint(&cluster, &facts(&cluster), &exact_release(&cluster), &pki).unwrap(), first);
    }
}

#[test]
fn every_resource_comes_back_from_the_wire() {
    for version in VERSIONS {
        let (blueprint, _) = planned(&cluster("ha", version));
        for (host, resources) in &blueprint.hosts {
            let line = wire::encode(resources);
            let read: HostResources = wire::decode(line.as_bytes()).unwrap_or_else(|error| panic!("{host}: {error}"));
            assert_eq!(read, *resources);
        }
    }
}

#[test]
fn access_rules_of_1_5_are_policies_that_its_reader_knows() {
    let (blueprint, _) = planned(&seed());
    let policy = files(&blueprint.hosts["lin01"]).into_iter().find(|file| file.path.file_name() == "abac-policy.jsonl");
    let Content::Text(text) = &policy.unwrap().content else { panic!("a text") };
    let keys = ["user", "group", "namespace", "resource", "apiGroup", "nonResourcePath", "readonly"];
    let mut all_powerful = BTreeSet::new();
    for line in text.lines() {
        let rule: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(rule["apiVersion"], "abac.authorization.kubernetes.io/v1beta1");
        assert_eq!(rule["kind"], "Policy");
        let spec = rule["spec"].as_object().unwrap();
        assert!(spec.keys().all(|key| keys.contains(&key.as_str())), "{line}");
        let subject = spec.get("user").or(spec.get("group")).unwrap().as_str().unwrap();
        if spec.get("resource").is_some_and(|resource| resource == "*") {
            all_powerful.insert(subject.to_owned());
        }
    }
    assert_eq!(all_powerful, ["system:kube-controller-manager", "system:masters"].map(str::to_owned).into());
}

#[test]
fn private_keys_travel_apart_and_are_protected() {
    for inventory in INVENTORIES {
        for version in VERSIONS {
            let (blueprint, pki) = planned(&cluster(inventory, version));
            let keys = pki.files().iter().filter(|(name, _)| name.ends_with(".key")).count();
            assert!(keys > 10);
            assert!(!format!("{blueprint:?}").contains("PRIVATE"));
            let mut named = BTreeSet::new();
            for resources in blueprint.hosts.values() {
                assert!(!serde_json::to_string(resources).unwrap().contains("PRIVATE"));
                for file in files(resources) {
                    if let Content::Blob(blob) = file.content
                        && file.protection == Protection::Secret
                    {
                        let secret = blueprint.secrets.get(&blob.sha256).expect("the bytes of a secret file");
                        assert_eq!(secret.expose().len() as u64, blob.size);
                        named.insert(blob.sha256);
                    }
                    let secret =
                        [".key", "admin.conf", "pki/hosts.json"].iter().any(|end| file.path.as_str().ends_with(end));
                    assert_eq!(secret, file.protection == Protection::Secret, "{}", file.path);
                }
            }
            assert_eq!(named, blueprint.secrets.keys().copied().collect::<BTreeSet<Sha256>>());
        }
    }
}

#[test]
fn keys_are_only_where_they_are_needed() {
    let cluster = cluster("ha", VERSIONS[0]);
    let (blueprint, _) = planned(&cluster);
    for host in &cluster.hosts {
        let keys: BTreeSet<_> = files(&blueprint.hosts[&host.name])
            .iter()
            .filter(|file| file.protection == Protection::Secret)
            .map(|file| file.path.file_name().to_owned())
            .collect();
        let node: BTreeSet<_> = ["kubelet.key", "kubelet-client.key", "kube-proxy.key"].map(str::to_owned).into();
        assert_eq!(keys == node, !host.is_control_plane(), "{}: {keys:?}", host.name);
        assert_eq!(keys.contains("ca.key"), host.is_control_plane());
        assert_eq!(keys.contains("hosts.json"), host.name == cluster.first_control_plane().name);
    }
}

#[test]
fn phases_follow_each_other_on_every_host() {
    let (blueprint, _) = planned(&cluster("ha", VERSIONS[1]));
    for resources in blueprint.hosts.values() {
        let phases: Vec<Phase> = resources.ids().map(|(phase, _)| phase).collect();
        assert!(phases.is_sorted());
        let ids: BTreeSet<_> = resources.ids().map(|(_, id)| id).collect();
        assert_eq!(ids.len(), resources.len(), "an identity is there twice");
    }
}

#[test]
fn node_objects_are_made_by_the_first_control_plane_only() {
    let cluster = cluster("ha", VERSIONS[0]);
    let (blueprint, _) = planned(&cluster);
    for (name, resources) in &blueprint.hosts {
        let nodes = resources.ids().filter(|(_, id)| id.as_str().starts_with("node:")).count();
        let expected = if *name == cluster.first_control_plane().name { cluster.hosts.len() } else { 0 };
        assert_eq!(nodes, expected, "{name}");
    }
}

#[test]
fn an_empty_value_stays_in_its_word_on_windows() {
    for version in VERSIONS {
        let (blueprint, _) = planned(&cluster("seed", version));
        let HostResources::Windows(planned) = &blueprint.hosts["win01"] else { panic!("a Windows host") };
        let kubelet = planned.iter().find_map(|planned| match &planned.resource {
            WindowsResource::Service(service) if service.name == "kubelet" => Some(&service.run),
            _ => None,
        });
        let Some(ServiceProgram::Supervised(run)) = kubelet else { panic!("a kubelet") };
        assert!(run.arguments.contains(&"--resolv-conf=".to_owned()));
        assert!(run.arguments.iter().all(|word| word.starts_with("--") && word.contains('=')), "{:?}", run.arguments);
        assert!(run.working_directory.as_str().starts_with("C:"));
    }
}

#[test]
fn a_service_restarts_when_something_that_it_reads_changes_and_only_then() {
    let cluster = seed();
    let (before, pki) = planned(&cluster);
    let changed = |file: &str| {
        // Another cluster's file in the place of this one's: as after a renewal.
        let other = Pki::generate(&cluster, now()).unwrap();
        let mut files = pki.files().clone();
        files.insert(file.to_owned(), other.files()[file].clone());
        let pki = Pki::from_files(files).unwrap();
        let after = blueprint(&cluster, &facts(&cluster), &exact_release(&cluster), &pki).unwrap();
        let mut restarted = BTreeSet::new();
        for (host, resources) in &after.hosts {
            let old = inputs(&before.hosts[host]);
            let services = inputs(resources).into_iter().filter(|(name, digest)| old[name] != *digest);
            restarted.extend(services.map(|(name, _)| format!("{host} {name}")));
        }
        restarted.into_iter().collect::<Vec<_>>()
    };
    assert_eq!(changed("hosts/win01/kubelet.key"), ["win01 kubelet"]);
    assert_eq!(changed("hosts/lin01/kubelet-client.crt"), ["lin01 kubelet"]);
    assert_eq!(changed("kube-proxy.key"), ["lin01 kube-proxy", "win01 kube-proxy", "win02 kube-proxy"]);
    assert_eq!(changed("scheduler.crt"), ["lin01 kube-scheduler"]);
    assert_eq!(changed("apiserver-etcd-client.key"), ["lin01 kube-apiserver"]);
    assert_eq!(changed("hosts/lin01/etcd/peer.crt"), ["lin01 etcd"]);
    assert!(changed("admin.key").is_empty());
}

#[test]
fn another_program_restarts_its_service_and_another_agent_what_it_hosts() {
    let cluster = seed();
    let (before, pki) = planned(&cluster);
    let restarted = |release| {
        let after = blueprint(&cluster, &facts(&cluster), &release, &pki).unwrap();
        let differs = |host: &str| {
            let old = inputs(&before.hosts[host]);
            let new = inputs(&after.hosts[host]).into_iter().filter(|(name, digest)| old[name] != *digest);
            new.map(|(name, _)| format!("{host} {name}")).collect::<Vec<_>>()
        };
        [differs("lin01"), differs("win01")].concat()
    };
    let mut release = exact_release(&cluster);
    release.programs.insert((Os::Linux, Program::KubeProxy), crate::common::blob("newer"));
    assert_eq!(restarted(release), ["lin01 kube-proxy"]);
    let mut release = exact_release(&cluster);
    release.agents.insert(Os::Windows, crate::common::blob("newer"));
    assert_eq!(restarted(release), ["win01 k8swin-network", "win01 kube-proxy", "win01 kubelet"]);
}

#[test]
fn a_cluster_without_windows_works() {
    for version in VERSIONS {
        let mut cluster = cluster("seed", version);
        cluster.hosts.retain(|host| matches!(host.system, System::Linux(_)));
        let (blueprint, _) = planned(&cluster);
        assert_eq!(blueprint.hosts.len(), 1);
        assert!(programs_for(&cluster).iter().all(|(os, _)| *os == Os::Linux));
        assert!(!format!("{:?}", blueprint.hosts).contains("route:"), "there is nothing to route to");
    }
}

#[test]
fn a_host_without_facts_is_left_out_and_its_routes_are_kept() {
    let cluster = seed();
    let pki = Pki::generate(&cluster, now()).unwrap();
    let mut facts = facts(&cluster);
    facts.remove("win02");
    let blueprint = blueprint(&cluster, &facts, &exact_release(&cluster), &pki).unwrap();
    assert_eq!(blueprint.hosts.keys().collect::<Vec<_>>(), ["lin01", "win01"]);
    assert!(blueprint.hosts["lin01"].ids().any(|(_, id)| id.as_str() == "route:192.168.2.0/24"));
}

#[test]
fn what_is_missing_or_other_than_it_should_be_is_named() {
    let cluster = seed();
    let pki = Pki::generate(&cluster, now()).unwrap();
    let plan = |facts: &BTreeMap<_, _>, release: &_| blueprint(&cluster, facts, release, &pki).unwrap_err();

    let mut swapped = facts(&cluster);
    swapped.insert("lin01".into(), swapped["win01"].clone());
    let error = plan(&swapped, &exact_release(&cluster));
    assert!(matches!(&error, BlueprintError::OtherSystem { host, .. } if host == "lin01"), "{error}");

    let mut release = exact_release(&cluster);
    release.programs.remove(&(Os::Windows, Program::Kubelet));
    let error = plan(&facts(&cluster), &release);
    assert!(error.to_string().contains("`kubelet.exe` for windows"), "{error}");

    let mut release = exact_release(&cluster);
    release.agents.clear();
    assert!(matches!(plan(&facts(&cluster), &release), BlueprintError::NoAgent { os: Os::Linux }));
}

#[test]
fn without_hyper_v_the_plan_says_what_stands_in() {
    let cluster = seed();
    let (blueprint, pki) = planned(&cluster);
    let hosts: Vec<_> = blueprint.notes.iter().map(|(host, _)| host.as_str()).collect();
    assert_eq!(hosts, ["win01", "win02"]);
    assert!(blueprint.notes[0].1.contains("vEthernet (HNS Internal NIC)"), "{}", blueprint.notes[0].1);

    let mut facts = facts(&cluster);
    for facts in facts.values_mut() {
        if let Facts::Windows(facts) = facts {
            facts.hyper_v = true;
        }
    }
    let blueprint = k8swin_blueprint::blueprint(&cluster, &facts, &exact_release(&cluster), &pki).unwrap();
    assert!(blueprint.notes.is_empty());
    assert!(blueprint.hosts["win01"].ids().any(|(_, id)| id.as_str() == "service-adapter:KubeProxySwitch"));
}

#[test]
fn nodes_spread_over_the_control_planes() {
    let cluster = cluster("ha", VERSIONS[0]);
    let (blueprint, _) = planned(&cluster);
    let server = |host: &str| {
        let file =
            files(&blueprint.hosts[host]).into_iter().find(|file| file.path.file_name() == "kubelet.conf").unwrap();
        let Content::Text(text) = &file.content else { panic!("a kubeconfig that holds no key") };
        text.lines().find_map(|line| line.trim().strip_prefix("server: ")).unwrap().to_owned()
    };
    assert_eq!(server("control02"), r#""https://127.0.0.1:8443""#);
    let nodes = ["worker01", "win01", "win02", "win03"].map(server);
    assert_eq!(nodes, ["11", "12", "13", "11"].map(|last| format!("\"https://10.20.0.{last}:8443\"")));
}
