//! What all tests of this crate share: the clusters of `inventories/`, made-up facts that fit them, a made-up release.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use camino::Utf8Path;
use ipnet::Ipv4Net;
use jiff::Timestamp;
use k8swin_blueprint::{Blueprint, Pki, Program, Release, blueprint, programs_for};
use k8swin_inventory::cluster::{AdapterSelector, KubernetesMinor, KubernetesVersion, System};
use k8swin_inventory::{Cluster, Host};
use k8swin_protocol::details::{CommonDetails, LinuxDetails, WindowsDetails};
use k8swin_protocol::facts::{Adapter, CommonFacts, Docker, LinuxFacts, WindowsFacts};
use k8swin_protocol::owned::Owned;
use k8swin_protocol::resource::{Blob, File, LinuxResource, WindowsResource};
use k8swin_protocol::{Facts, HostResources, Os, Sha256};

/// The inventories that are delivered.
pub(crate) const INVENTORIES: [&str; 3] = ["minimal", "seed", "ha"];

/// The releases that have a profile.
pub(crate) const VERSIONS: [KubernetesVersion; 2] = [
    KubernetesVersion { minor: KubernetesMinor::V1_5, patch: 8 },
    KubernetesVersion { minor: KubernetesMinor::V1_20, patch: 2 },
];

/// A moment.
pub(crate) fn now() -> Timestamp {
    "2026-11-23T10:00:00Z".parse().unwrap()
}

/// A delivered inventory, with this Kubernetes version.
pub(crate) fn cluster(name: &str, kubernetes: KubernetesVersion) -> Cluster {
    let path = Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join("../../inventories").join(format!("{name}.toml"));
    let text = std::fs::read_to_string(&path).unwrap();
    let cluster = k8swin_inventory::parse(&text, &path).unwrap_or_else(|errors| panic!("{path}: {errors}"));
    Cluster { kubernetes, ..cluster }
}

/// The walkthrough's cluster with 1.5.
pub(crate) fn seed() -> Cluster {
    cluster("seed", VERSIONS[0])
}

pub(crate) fn blob(text: &str) -> Blob {
    Blob { sha256: Sha256::of(text.as_bytes()), size: text.len() as u64 }
}

/// Every program, each with a digest of its own.
pub(crate) fn release() -> Release {
    let systems = [Os::Linux, Os::Windows];
    let programs = systems.iter().flat_map(|os| Program::ALL.map(|program| (*os, program)));
    Release {
        programs: programs
            .map(|(os, program)| ((os, program), blob(&format!("{os} {}", program.file_name(os)))))
            .collect(),
        agents: systems.map(|os| (os, blob(&format!("{os} agent")))).into(),
        docker: BTreeMap::new(),
    }
}

/// A release with nothing but what the cluster says it needs.
pub(crate) fn exact_release(cluster: &Cluster) -> Release {
    let needed = programs_for(cluster);
    let mut release = release();
    release.programs.retain(|key, _| needed.contains(key));
    release
}

/// Facts of all hosts: as before the first run.
pub(crate) fn facts(cluster: &Cluster) -> BTreeMap<String, Facts> {
    cluster.hosts.iter().map(|host| (host.name.clone(), facts_of(host))).collect()
}

fn facts_of(host: &Host) -> Facts {
    let docker = |cgroup_driver: &str| {
        Some(Docker {
            version: "20.10.24".into(),
            running: true,
            cgroup_driver: cgroup_driver.into(),
            networks: BTreeMap::new(),
        })
    };
    match &host.system {
        System::Linux(_) => Facts::Linux(LinuxFacts {
            common: common(host, vec![adapter("eth0", "52-54-00-00-00-01", &[host.node_address], true)]),
            distribution: "debian".into(),
            distribution_version: "12".into(),
            kernel: "6.1.0".into(),
            systemd: true,
            docker: docker("systemd"),
            containerd: None,
            cni_plugins: ["bridge", "host-local", "loopback"].map(str::to_owned).into(),
            cni_configurations: Vec::new(),
            clock_synchronised: Some(true),
            swap_bytes: 0,
            sysctls: BTreeMap::new(),
            programs: Vec::new(),
            details: LinuxDetails::default(),
        }),
        System::Windows(windows) => {
            let (name, mac, addresses) = match &windows.pod_adapter {
                AdapterSelector::Name(name) => (name.as_str(), "00-15-5d-00-00-02", vec![]),
                AdapterSelector::Mac(mac) => ("Ethernet 2", mac.as_str(), vec![]),
                AdapterSelector::Address(address) => ("Ethernet 2", "00-15-5d-00-00-02", vec![*address]),
            };
            let routable = adapter("Ethernet", "00-15-5d-00-00-01", &[host.node_address], true);
            let pods = adapter(name, mac, &addresses, true);
            Facts::Windows(windows_facts(common(host, vec![routable, pods]), docker("")))
        }
    }
}

pub(crate) fn windows_facts(common: CommonFacts, docker: Option<Docker>) -> WindowsFacts {
    WindowsFacts {
        common,
        build: 14393,
        ubr: 693,
        product: "Windows Server 2016 Datacenter".into(),
        installation_type: "Server".into(),
        ui_language: "en-US".into(),
        pending_reboot: Vec::new(),
        docker,
        features: Vec::new(),
        hyper_v: false,
        rras_running: false,
        forwarding: Vec::new(),
        max_envelope_size_kb: 500,
        details: WindowsDetails::default(),
    }
}

pub(crate) fn adapter(name: &str, mac: &str, addresses: &[Ipv4Addr], physical: bool) -> Adapter {
    let addresses = addresses.iter().map(|address| Ipv4Net::new(*address, 24).unwrap()).collect();
    Adapter { name: name.into(), mac: mac.into(), addresses, up: true, physical }
}

fn common(host: &Host, adapters: Vec<Adapter>) -> CommonFacts {
    CommonFacts {
        hostname: host.name.clone(),
        machine_id: host.name.clone(),
        boot_id: "1".into(),
        clock_ms: 0,
        user: "root".into(),
        privileged: true,
        memory_bytes: 4 << 30,
        disk_free_bytes: 50 << 30,
        adapters,
        routes: Vec::new(),
        listeners: Vec::new(),
        owned: Owned::default(),
        cluster: None,
        services: Vec::new(),
        details: CommonDetails::default(),
    }
}

/// The blueprint of a cluster whose keys have just been made.
pub(crate) fn planned(cluster: &Cluster) -> (Blueprint, Pki) {
    let pki = Pki::generate(cluster, now()).unwrap();
    (blueprint(cluster, &facts(cluster), &exact_release(cluster), &pki).unwrap(), pki)
}

/// The planned files of a host.
pub(crate) fn files(resources: &HostResources) -> Vec<&File> {
    match resources {
        HostResources::Linux(planned) => planned
            .iter()
            .filter_map(|planned| match &planned.resource {
                LinuxResource::File(file) => Some(file),
                _ => None,
            })
            .collect(),
        HostResources::Windows(planned) => planned
            .iter()
            .filter_map(|planned| match &planned.resource {
                WindowsResource::File(file) => Some(file),
                _ => None,
            })
            .collect(),
    }
}

/// The digests of what each service of a host reads at its start.
pub(crate) fn inputs(resources: &HostResources) -> BTreeMap<String, Sha256> {
    match resources {
        HostResources::Linux(planned) => planned
            .iter()
            .filter_map(|planned| match &planned.resource {
                LinuxResource::SystemdUnit(unit) => Some((unit.name.clone(), unit.inputs)),
                _ => None,
            })
            .collect(),
        HostResources::Windows(planned) => planned
            .iter()
            .filter_map(|planned| match &planned.resource {
                WindowsResource::Service(service) => Some((service.name.clone(), service.inputs)),
                _ => None,
            })
            .collect(),
    }
}
