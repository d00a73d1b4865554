//! Every check: the fault of the lab that makes it fire, and nothing but it.

use std::collections::BTreeSet;

use camino::Utf8PathBuf;
use jiff::{SignedDuration, Timestamp};
use k8swin_blueprint::Pki;
use k8swin_inventory::Check;
use k8swin_inventory::cluster::{ArtifactSource, DockerZip, System, ZipSource};
use k8swin_protocol::Sha256;

use super::{Here, bad};

/// Two control planes and two Windows hosts, in a service range that is smaller than its classful network.
const INVENTORY: &str = r#"
[cluster]
name = "demo"
kubernetes = "1.5.8"
pod_cidr = "192.168.0.0/16"
service_cidr = "172.30.0.0/20"
[defaults.windows]
password = { env = "NOT_NEEDED" }
pod_adapter = "Ethernet 2"
[[host]]
name = "lin01"
os = "linux"
roles = ["control-plane", "worker"]
address = "10.0.0.11"
[[host]]
name = "lin02"
os = "linux"
roles = ["control-plane", "worker"]
address = "10.0.0.12"
[[host]]
name = "win01"
os = "windows"
address = "10.0.0.21"
[[host]]
name = "win02"
os = "windows"
address = "10.0.0.22"
"#;

/// What the Windows hosts have before anything is wrong.
const FIT: [(&str, &str); 4] = [
    ("win01", "routing_installed = true"),
    ("win01", "hyper_v = true"),
    ("win02", "routing_installed = true"),
    ("win02", "hyper_v = true"),
];

/// A check, the host that the finding is about, the fault (on that host, unless it is about the cluster), and the other
/// checks that the same fault makes fire.
type Case = (&'static str, &'static str, &'static [(&'static str, &'static str)], &'static [&'static str]);

#[rustfmt::skip]
const CASES: &[Case] = &[
    ("reachable", "win02", &[("win02", "unreachable = true")], &[]),
    ("operating-system", "lin01", &[("lin01", "distribution = \"alpine\"")], &[]),
    ("privileges", "win01", &[("win01", "unprivileged = true")], &[]),
    ("node-address", "lin02", &[("lin02", "address = \"10.0.0.99\"")], &["host-to-host"]),
    ("hostname", "lin01", &[("lin01", "hostname = \"debian\"")], &[]),
    ("name-resolution", "lin01", &[("lin01", "unresolved_name = true")], &[]),
    ("clock", "win01", &[("win01", "clock_skew_seconds = 600")], &[]),
    ("clock-synchronisation", "lin01", &[("lin01", "clock_unsynchronised = true")], &[]),
    ("clock-synchronisation", "win01", &[("win01", "clock_unsynchronised = true")], &[]),
    ("disk-space", "lin01", &[("lin01", "disk_full = true")], &[]),
    ("memory", "win01", &[("win01", "memory_mb = 512")], &[]),
    ("other-cluster", "lin01", &[("lin01", "other_cluster = \"production\"")], &[]),
    ("leftovers", "win01", &[("win01", "leftovers = [{ kind = \"port-proxy\", name = \"172.30.0.10/53\", says = \"10.0.0.21/50123\" }]")], &[]),
    ("leftovers", "lin01", &[("lin01", "leftovers = [{ kind = \"unit\", name = \"k3s\", says = \"/etc/systemd/system/k3s.service\" }]")], &[]),
    ("ports", "lin01", &[("lin01", "port_taken = [{ port = 6443, program = \"nginx\" }]")], &[]),
    ("kernel", "lin01", &[("lin01", "kernel = \"2.6.32\"")], &[]),
    ("systemd", "lin01", &[("lin01", "no_systemd = true")], &[]),
    ("cgroups", "lin01", &[("lin01", "cgroup_v2 = true")], &[]),
    ("kernel-modules", "lin01", &[("lin01", "missing_modules = [\"br_netfilter\"]")], &[]),
    ("sysctls", "lin01", &[("lin01", "sysctls = { \"net.ipv4.conf.all.rp_filter\" = \"1\" }")], &[]),
    ("programs", "lin01", &[("lin01", "missing_programs = [\"conntrack\"]")], &[]),
    ("docker", "lin01", &[("lin01", "no_docker = true")], &[]),
    ("docker", "lin02", &[("lin02", "docker_stopped = true")], &[]),
    ("cgroup-driver", "lin01", &[("lin01", "cgroup_driver = \"none\"")], &[]),
    ("cni-configuration", "lin01", &[("lin01", "cni_configurations = [\"05-flannel.conflist\"]")], &[]),
    ("etcd-data", "lin01", &[("lin01", "leftovers = [{ kind = \"folder\", name = \"/var/lib/etcd\", says = \"member is in it\" }]")], &[]),
    ("firewall", "lin01", &[("lin01", "firewalls = [\"ufw\"]")], &[]),
    ("swap", "lin01", &[("lin01", "swap = true")], &[]),
    ("windows-build", "win01", &[("win01", "windows_build = 10586")], &["versions"]),
    ("windows-edition", "win01", &[("win01", "installation_type = \"Client\"")], &[]),
    ("windows-revision", "win01", &[("win01", "image_version = \"10.0.14393.321\"")], &[]),
    ("display-language", "win01", &[("win01", "ui_language = \"de-DE\"")], &[]),
    ("pending-reboot", "win01", &[("win01", "pending_reboot = true")], &[]),
    ("docker-version", "win01", &[("win01", "docker_version = \"1.12.1\"")], &[]),
    ("docker-service", "win01", &[("win01", "docker_stopped = true")], &[]),
    ("docker-nat", "win01", &[("win01", "no_nat = true")], &[]),
    ("hns", "win01", &[("win01", "stopped_services = [\"hns\"]")], &[]),
    ("hns", "win02", &[("win02", "ipv6_disabled = true")], &[]),
    ("feature-containers", "win01", &[("win01", "no_containers = true")], &[]),
    ("second-adapter", "win01", &[("win01", "one_adapter = true")], &["pod-adapter"]),
    ("pod-adapter", "win01", &[("win01", "pod_adapter = \"Ethernet 3\"")], &[]),
    ("ip-helper", "win01", &[("win01", "stopped_services = [\"iphlpsvc\"]")], &[]),
    ("windows-firewall", "win01", &[("win01", "firewall_policy = true")], &[]),
    ("winrm-envelope", "win01", &[("win01", "max_envelope_size_kb = 100")], &[]),
    ("winrm-quotas", "win01", &[("win01", "max_shells_per_user = 2")], &[]),
    ("machine-identity", "demo", &[("win01", "machine_id = \"one\""), ("win02", "machine_id = \"one\"")], &["known-identity"]),
    ("mac-addresses", "demo", &[("lin01", "mac = \"00-15-5d-00-00-01\""), ("win02", "mac = \"00-15-5d-00-00-01\"")], &[]),
    ("addresses", "demo", &[("win01", "second_address = \"10.0.0.12\"")], &[]),
    ("hostnames", "demo", &[("win01", "hostname = \"win02\"")], &["hostname"]),
    ("known-identity", "win02", &[("win02", "machine_id = \"another\"")], &[]),
    ("next-hops", "demo", &[("lin01", "prefix = 30")], &[]),
    ("host-to-host", "lin01", &[("lin01", "blocked_ports = [6443]")], &[]),
    ("host-to-host", "win01", &[("win01", "blocked_hosts = [\"lin02\"]")], &[]),
    ("mtu", "lin02", &[("lin02", "large_packets_lost = true")], &["mtu"]),
    ("mtu", "demo", &[("lin02", "mtu = 1400")], &[]),
    ("latency", "demo", &[("lin02", "network_delay_ms = 20")], &[]),
    ("docker-ranges", "demo", &[("win01", "docker_range = \"192.168.16.0/20\"")], &[]),
    ("route-overlap", "demo", &[("lin01", "routes = [{ destination = \"192.168.128.0/17\", via = \"10.8.0.1\", adapter = \"tun0\" }]")], &[]),
    ("classful-network", "demo", &[("win01", "routes = [{ destination = \"172.30.200.0/24\", via = \"10.0.0.1\", adapter = \"Ethernet\" }]")], &[]),
    ("versions", "demo", &[("win01", "ubr = 1000")], &[]),
];

/// Checks of Windows hosts that lack what makes them silent: no fault, but something that is not there.
const ABSENT: [(&str, &str); 2] = [("routing", "routing_installed"), ("hyper-v", "hyper_v")];

/// What no simulated host can have: the inventory itself, and the machine that the tests run on. Here stands what is wrong
/// with them, and the other checks that it makes fire.
type OwnCase = (&'static str, fn(&mut Here), &'static [&'static str]);

const OF_NO_HOST: &[OwnCase] = &[
    ("pod-capacity", |here| here.cluster.pod_cidr = "192.168.0.0/22".parse().unwrap(), &[]),
    ("artifacts", |here| here.cluster.artifacts.source = ArtifactSource::Local { path: here.path("nothing") }, &[]),
    ("artifact-digests", another_kubelet, &[]),
    ("go-toolchain", |here| here.cluster.artifacts.source = unbuilt(here.path("kubernetes")), &["artifacts"]),
    ("docker-install", another_docker, &["artifacts"]),
    ("certificates", old_certificates, &[]),
];

/// Only what an `up` made can be no longer as it made it: their cases are in `a_finished_cluster_is_green_…` beside this.
const OF_BUILT_HOSTS: [&str; 2] = ["services", "routes"];

/// The tests cannot fill this machine's disk: its case is beside the check, in the orchestrator.
const OF_NO_TEST: &str = "local-disk";

fn another_kubelet(here: &mut Here) {
    let ArtifactSource::Local { path } = &here.cluster.artifacts.source else { panic!("the lab has a folder") };
    std::fs::write(path.join("linux/kubelet"), "another").unwrap();
}

fn unbuilt(repository: Utf8PathBuf) -> ArtifactSource {
    ArtifactSource::Build { go: Some(repository.join("go")), repository: repository.into_string(), tag: None }
}

fn another_docker(here: &mut Here) {
    let wanted = DockerZip {
        source: ZipSource::File(here.path("docker.zip")),
        sha256: Sha256::of(b"docker"),
        version: "18.09.1".into(),
    };
    for host in &mut here.cluster.hosts {
        if let System::Windows(windows) = &mut host.system {
            windows.docker = Some(wanted.clone());
        }
    }
}

fn old_certificates(here: &mut Here) {
    let two_years_ago = Timestamp::now() - SignedDuration::from_hours(2 * 365 * 24);
    for (name, bytes) in Pki::generate(&here.cluster, two_years_ago).unwrap().files() {
        let path = here.path("state/pki").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes.expose()).unwrap();
    }
}

#[test]
fn every_check_has_a_fault() {
    let cases = CASES.iter().map(|(check, ..)| *check).chain(ABSENT.map(|(check, _)| check));
    let cases = cases.chain(OF_NO_HOST.iter().map(|(check, ..)| *check)).chain([OF_NO_TEST]).chain(OF_BUILT_HOSTS);
    let all = Check::ALL.iter().filter(|check| !check.is_of_verify()).map(|check| check.name());
    assert_eq!(cases.collect::<BTreeSet<_>>(), all.collect());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_is_found_on_its_host_and_nothing_else_is() {
    let here = Here::start(INVENTORY).await;
    here.faults(&FIT);
    let healthy = here.preflight().await;
    assert_eq!(bad(&healthy.findings), BTreeSet::new());
    let heard: BTreeSet<_> = healthy.findings.iter().map(|finding| finding.check.name()).collect();
    let all = Check::ALL.iter().filter(|check| !check.is_of_verify()).map(|check| check.name());
    assert_eq!(heard, all.collect(), "every check says that all is well");
    // As an `up` from here writes them down.
    let identities: Vec<_> = here
        .lab
        .hosts()
        .map(|(name, host)| {
            format!("\"{name}\": {{\"machine_id\": \"{}\"}}", host.simulated().facts().common().machine_id)
        })
        .collect();
    std::fs::create_dir_all(here.path("state")).unwrap();
    std::fs::write(here.path("state/hosts.json"), format!("{{{}}}", identities.join(","))).unwrap();

    for (check, host, faults, others) in CASES {
        here.faults(&[&FIT, *faults].concat());
        let found = bad(&here.preflight().await.findings);
        assert!(found.iter().any(|(of, name)| of == host && name.name() == *check), "{check} on {host}: {found:?}");
        let unexpected: Vec<_> =
            found.iter().filter(|(_, name)| name.name() != *check && !others.contains(&name.name())).collect();
        assert!(unexpected.is_empty(), "besides {check}: {unexpected:?}");
    }
    for (check, absent) in ABSENT {
        let rest: Vec<_> =
            FIT.into_iter().filter(|(host, line)| *host != "win01" || !line.starts_with(absent)).collect();
        here.faults(&rest);
        let found: Vec<_> = bad(&here.preflight().await.findings).into_iter().collect();
        assert_eq!(found, [("win01".to_owned(), check.parse().unwrap())]);
    }
    here.faults(&FIT);
    assert_eq!(bad(&here.preflight().await.findings), BTreeSet::new());
    here.lab.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_the_inventory_or_this_machine_is_found_too_and_nothing_else_is() {
    for (check, spoil, others) in OF_NO_HOST {
        let mut here = Here::start(INVENTORY).await;
        here.faults(&FIT);
        assert_eq!(bad(&here.preflight().await.findings), BTreeSet::new());
        spoil(&mut here);
        let found = bad(&here.preflight().await.findings);
        assert!(found.iter().any(|(_, name)| name.name() == *check), "{check}: {found:?}");
        let unexpected: Vec<_> =
            found.iter().filter(|(_, name)| name.name() != *check && !others.contains(&name.name())).collect();
        assert!(unexpected.is_empty(), "besides {check}: {unexpected:?}");
        here.lab.shutdown().await.unwrap();
    }
}
