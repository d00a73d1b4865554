//! A cluster and facts of healthy hosts, for tests to spoil.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8swin_inventory::Cluster;
use k8swin_inventory::cluster::{DockerZip, System, ZipSource};
use k8swin_protocol::details::{CommonDetails, FirewallProfile, LinuxDetails, WinRmQuotas, WindowsDetails};
use k8swin_protocol::facts::{
    Adapter, CommonFacts, Docker, DockerNetwork, LinuxFacts, Listener, ServiceState, WindowsFacts,
};
use k8swin_protocol::owned::Owned;
use k8swin_protocol::probe::Outcome;
use k8swin_protocol::resource::{FeatureName, ResourceId};
use k8swin_protocol::{Facts, Sha256};

use super::identity::Identity;
use super::links::{Link, Purpose};
use super::local::ThisMachine;
use super::{Evidence, Seen};
use crate::report::Finding;

/// A control plane that is a worker too, and a Windows host.
pub(crate) const INVENTORY: &str = r#"
[cluster]
name = "demo"
kubernetes = "1.5.8"
pod_cidr = "192.168.0.0/16"
service_cidr = "172.30.0.0/16"
[[host]]
name = "lin01"
os = "linux"
roles = ["control-plane", "worker"]
address = "10.0.0.11"
[[host]]
name = "win01"
os = "windows"
address = "10.0.0.21"
password = { env = "K8SWIN_WINDOWS_PASSWORD" }
pod_adapter = "Ethernet 2"
"#;

/// A Linux host (control plane and worker) and a Windows host, as preflight sees them.
pub(super) struct Sample {
    pub(super) cluster: Cluster,
    pub(super) linux: LinuxFacts,
    pub(super) windows: WindowsFacts,
    /// How far each host's clock is ahead, in milliseconds.
    pub(super) ahead_ms: BTreeMap<&'static str, i64>,
    /// The connections that were tried.
    pub(super) links: Vec<Link>,
    /// The machines that an earlier run built.
    pub(super) known: BTreeMap<String, Identity>,
    /// The ends of the certificates' lives, in days from now.
    pub(super) certificate_days: BTreeMap<&'static str, i64>,
    /// This machine.
    pub(super) local: ThisMachine,
    /// Further hosts, which the cluster has too.
    pub(super) others: Vec<(&'static str, Facts)>,
}

impl Sample {
    /// Nothing is wrong with either host, and nothing was done to them yet.
    pub(super) fn healthy() -> Self {
        Self::of(INVENTORY)
    }

    /// The same with a text of the inventory replaced.
    pub(super) fn with(from: &str, to: &str) -> Self {
        assert!(INVENTORY.contains(from), "{from}");
        Self::of(&INVENTORY.replace(from, to))
    }

    fn of(inventory: &str) -> Self {
        Self {
            cluster: k8swin_inventory::parse(inventory, "inventory.toml".into()).unwrap(),
            linux: linux(),
            windows: windows(),
            ahead_ms: BTreeMap::from([("lin01", 40), ("win01", -900)]),
            links: vec![
                link("lin01", "win01", 10250, Purpose::Kubelet),
                link("win01", "lin01", 6443, Purpose::ApiServer),
                link("win01", "lin01", 10250, Purpose::Pods),
            ],
            known: BTreeMap::from([("lin01".to_owned(), Identity { machine_id: "machine-lin01".into() })]),
            certificate_days: BTreeMap::from([("ca.crt", 3600), ("etcd/ca.crt", 3600), ("admin.crt", 360)]),
            local: ThisMachine::healthy(),
            others: Vec::new(),
        }
    }

    /// Has the inventory name a zip of Docker for the Windows host.
    pub(super) fn name_docker(&mut self, version: &str) {
        let zip = DockerZip {
            source: ZipSource::File("docker.zip".into()),
            sha256: Sha256::of(b"docker"),
            version: version.into(),
        };
        for host in &mut self.cluster.hosts {
            if let System::Windows(windows) = &mut host.system {
                windows.docker = Some(zip.clone());
            }
        }
    }

    /// The hosts as an `up` leaves them: ports are taken and adapters are gone, by what is ours.
    pub(super) fn finished() -> Self {
        let mut sample = Self::healthy();
        sample.linux.common.cluster = Some("demo".into());
        sample.windows.common.cluster = Some("demo".into());
        let units = [
            ("etcd", &[2379, 2380][..]),
            ("kube-apiserver", &[6443]),
            ("kube-scheduler", &[10251]),
            ("kube-controller-manager", &[10252]),
            ("kubelet", &[10250]),
            ("kube-proxy", &[10249]),
        ];
        for (unit, ports) in units {
            sample.linux.common.owned.insert(resource(&format!("unit:{unit}")));
            sample.linux.common.listeners.extend(ports.iter().map(|port| listener(*port, unit)));
        }
        let windows = &mut sample.windows;
        for (service, port) in [("kubelet", 10250), ("kube-proxy", 10249)] {
            windows.common.owned.insert(resource(&format!("service:{service}")));
            windows.common.listeners.push(listener(port, &format!("{service}.exe")));
        }
        windows.common.owned.insert(resource("transparent-network:k8swin"));
        // The transparent network has the second adapter's addresses, and a range of the pods.
        windows.common.adapters[1].addresses.clear();
        let network = DockerNetwork { driver: "transparent".into(), subnet: Some("192.168.1.0/24".parse().unwrap()) };
        windows.docker.as_mut().unwrap().networks.insert("k8swin".into(), network);
        windows.features = vec![FeatureName::Containers, FeatureName::Routing];
        windows.rras_running = true;
        sample
    }

    /// What preflight finds.
    pub(super) fn findings(&self) -> Vec<Finding> {
        let facts = [("lin01", Facts::Linux(self.linux.clone())), ("win01", Facts::Windows(self.windows.clone()))];
        self.findings_of(&facts.into_iter().chain(self.others.iter().cloned()).collect::<Vec<_>>())
    }

    /// What preflight finds on hosts with these facts.
    pub(super) fn findings_of(&self, facts: &[(&str, Facts)]) -> Vec<Finding> {
        let seen = facts
            .iter()
            .map(|(name, facts)| {
                let host = self.cluster.host(name).unwrap();
                (
                    (*name).to_owned(),
                    Seen { host, facts, clock_ahead_ms: self.ahead_ms.get(name).copied().unwrap_or(0) },
                )
            })
            .collect();
        let now: Timestamp = "2016-12-24T00:00:00Z".parse().unwrap();
        let end = |days: i64| now.saturating_add(SignedDuration::from_hours(24 * days)).unwrap();
        let certificates = self.certificate_days.iter().map(|(name, days)| ((*name).to_owned(), end(*days)));
        let evidence = Evidence {
            seen,
            links: self.links.clone(),
            links_tried: true,
            known: self.known.clone(),
            certificates: certificates.collect(),
            now,
            local: Some(self.local.clone()),
        };
        super::findings(&self.cluster, &evidence)
    }

    /// A connection that was tried.
    pub(super) fn link(&mut self, from: &str, to: &str) -> &mut Link {
        self.links.iter_mut().find(|link| *link.from == *from && *link.to == *to).unwrap()
    }
}

/// A connection that works.
pub(super) fn link(from: &str, to: &str, port: u16, purpose: Purpose) -> Link {
    let outcome = Outcome::Answered { microseconds: 400 };
    Link { from: from.into(), to: to.into(), port, purpose, outcome }
}

/// A resource of an earlier run.
pub(super) fn resource(id: &str) -> ResourceId {
    serde_json::from_value(id.into()).unwrap()
}

/// A port that something holds.
pub(super) fn listener(port: u16, program: &str) -> Listener {
    Listener { port, program: program.into() }
}

/// An adapter.
pub(super) fn adapter(name: &str, mac: &str, address: &str) -> Adapter {
    Adapter { name: name.into(), mac: mac.into(), addresses: vec![address.parse().unwrap()], up: true, physical: true }
}

fn common(hostname: &str, adapters: Vec<Adapter>) -> CommonFacts {
    CommonFacts {
        hostname: hostname.into(),
        machine_id: format!("machine-{hostname}"),
        boot_id: "boot-1".into(),
        clock_ms: 1_479_895_200_000,
        user: "administrator".into(),
        privileged: true,
        memory_bytes: 8 << 30,
        disk_free_bytes: 80 << 30,
        adapters,
        routes: Vec::new(),
        listeners: vec![listener(22, "sshd")],
        owned: Owned::default(),
        cluster: None,
        services: Vec::new(),
        details: CommonDetails {
            hardware_id: format!("hardware-{hostname}"),
            own_name: vec![[127, 0, 1, 1].into()],
            mtus: ["eth0", "Ethernet", "Ethernet 2"].map(|name| (name.to_owned(), 1500)).into(),
            traces: Vec::new(),
        },
    }
}

fn docker(version: &str, network: (&str, &str, &str)) -> Docker {
    let (name, driver, subnet) = network;
    let network = DockerNetwork { driver: driver.into(), subnet: Some(subnet.parse().unwrap()) };
    Docker {
        version: version.into(),
        running: true,
        cgroup_driver: "cgroupfs".into(),
        networks: BTreeMap::from([(name.to_owned(), network)]),
    }
}

fn linux() -> LinuxFacts {
    LinuxFacts {
        common: common("lin01", vec![adapter("eth0", "00-15-5d-00-00-11", "10.0.0.11/24")]),
        distribution: "debian".into(),
        distribution_version: "12".into(),
        kernel: "6.1.0-13-amd64".into(),
        systemd: true,
        docker: Some(docker("20.10.24+dfsg1", ("bridge", "bridge", "172.17.0.0/16"))),
        containerd: None,
        cni_plugins: ["bridge", "host-local", "loopback"].map(str::to_owned).into(),
        cni_configurations: Vec::new(),
        clock_synchronised: Some(true),
        swap_bytes: 0,
        sysctls: BTreeMap::new(),
        programs: ["iptables", "conntrack", "mount", "ip"].map(str::to_owned).into(),
        details: LinuxDetails {
            cgroup_version: 1,
            cgroup_controllers: ["cpu", "cpuacct", "cpuset", "devices", "freezer", "memory", "pids"]
                .map(str::to_owned)
                .into(),
            missing_modules: Vec::new(),
            firewalls: Vec::new(),
        },
    }
}

fn windows() -> WindowsFacts {
    let adapters = vec![
        adapter("Ethernet", "00-15-5d-00-00-21", "10.0.0.21/24"),
        adapter("Ethernet 2", "00-15-5d-00-00-22", "169.254.77.21/16"),
    ];
    WindowsFacts {
        common: common("win01", adapters),
        build: 14393,
        ubr: 693,
        product: "Windows Server 2016 Datacenter".into(),
        installation_type: "Server Core".into(),
        ui_language: "en-US".into(),
        pending_reboot: Vec::new(),
        docker: Some(docker("17.06.2-ee-16", ("nat", "nat", "172.20.0.0/16"))),
        features: vec![FeatureName::Containers, FeatureName::Routing],
        hyper_v: true,
        rras_running: true,
        forwarding: Vec::new(),
        max_envelope_size_kb: 500,
        details: WindowsDetails {
            services: ["docker", "hns", "iphlpsvc", "mpssvc", "vmcompute", "w32time"]
                .map(|name| (name.to_owned(), ServiceState::Running))
                .into(),
            image_versions: BTreeMap::from([("base:1".to_owned(), "10.0.14393.693".to_owned())]),
            firewall: vec![FirewallProfile { name: "domain".into(), enabled: true, local_rules: true }],
            winrm_quotas: WinRmQuotas::default(),
            ipv6_disabled: false,
        },
    }
}
