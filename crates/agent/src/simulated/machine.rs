//! The state of a simulated host, and what its two operating systems have in common.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::{SystemTime, UNIX_EPOCH};

use ipnet::Ipv4Net;
use k8swin_protocol::details::CommonDetails;
use k8swin_protocol::facts::{
    Adapter, CommonFacts, Docker, DockerNetwork, LastExit, Listener, RouteEntry, ServiceState, ServiceStatus,
};
use k8swin_protocol::owned::Owned;
use k8swin_protocol::resource::{AdapterSelector, FirewallRule, Protection};
use k8swin_protocol::{Facts, HostPath, Os, Sha256};

use super::cluster::HostReport;
use super::files::Files;
use super::process::Process;
use super::spec::{Faults, HostSpec};
use super::{linux, windows};
use crate::platform::{
    Activity, DockerNetworkState, FileKind, ForwardRule, Image, Permissions, PlatformError, Result, ServiceDefinition,
    SystemRoute,
};

/// A simulated host's state.
pub(super) struct Machine {
    pub(super) spec: HostSpec,
    pub(super) faults: Faults,
    pub(super) files: Files,
    pub(super) nics: Vec<Nic>,
    pub(super) routes: Vec<StoredRoute>,
    pub(super) networks: BTreeMap<String, DockerNetworkState>,
    pub(super) boots: u32,
    /// Mutations by the agent.
    pub(super) steps: u64,
    /// Starts of services, to tell one run of a program from the next.
    pub(super) starts: u64,
    /// The agent that was put on the host last.
    pub(super) agent: Option<HostPath>,
    /// Where etcd on this host keeps its data, once it has run.
    pub(super) etcd_data: Option<HostPath>,
    pub(super) linux: LinuxState,
    pub(super) windows: WindowsState,
}

/// A network adapter.
pub(super) struct Nic {
    pub(super) name: String,
    pub(super) mac: String,
    pub(super) addresses: Vec<Ipv4Net>,
    pub(super) physical: bool,
    /// Windows: forwarding was switched on for this adapter.
    pub(super) forwarding: bool,
    /// The Docker network or the switch whose host adapter this is.
    pub(super) of_network: Option<String>,
}

/// A route of the table.
pub(super) struct StoredRoute {
    pub(super) destination: Ipv4Net,
    pub(super) via: Ipv4Addr,
    pub(super) adapter: String,
    /// Whether it is there again after a boot.
    pub(super) persistent: bool,
}

/// What only Linux hosts have.
#[derive(Default)]
pub(super) struct LinuxState {
    pub(super) modules: BTreeSet<String>,
    pub(super) sysctls: BTreeMap<String, String>,
    pub(super) forward_rules: BTreeSet<ForwardRule>,
    pub(super) units: BTreeMap<String, Unit>,
}

/// A systemd service.
pub(super) struct Unit {
    /// The unit file as systemd read it; none for services of the distribution.
    pub(super) loaded: Option<String>,
    pub(super) enabled: bool,
    pub(super) activity: Activity,
    pub(super) start: u64,
    pub(super) journal: Vec<String>,
}

/// What only Windows hosts have.
#[derive(Default)]
pub(super) struct WindowsState {
    pub(super) containers_installed: bool,
    pub(super) containers_after_reboot: bool,
    pub(super) routing_installed: bool,
    pub(super) routing_after_reboot: bool,
    pub(super) lan_router: bool,
    pub(super) services: BTreeMap<String, Service>,
    pub(super) firewall: BTreeMap<String, FirewallRule>,
    pub(super) images: BTreeMap<String, Image>,
    pub(super) switches: BTreeSet<String>,
    /// The machine's search path as it is stored.
    pub(super) search_path: String,
}

/// A Windows service.
pub(super) struct Service {
    pub(super) definition: ServiceDefinition,
    pub(super) running: bool,
    pub(super) start: u64,
}

impl Machine {
    pub(super) fn new(spec: HostSpec) -> Self {
        let folders: &[&str] = match spec.os {
            Os::Linux => &[
                "/etc/modules-load.d",
                "/etc/sysctl.d",
                "/etc/systemd/system",
                "/opt",
                "/usr/local/bin",
                "/var/lib/docker",
                "/var/log",
            ],
            Os::Windows if spec.docker => {
                &[r"C:\Program Files\Docker", r"C:\ProgramData\docker", r"C:\Windows\System32"]
            }
            Os::Windows => &[r"C:\Program Files", r"C:\ProgramData", r"C:\Windows\System32"],
        };
        let files = Files::new(spec.os, folders);
        let mut machine = Self {
            files,
            faults: Faults::default(),
            nics: Vec::new(),
            routes: Vec::new(),
            networks: BTreeMap::new(),
            boots: 1,
            steps: 0,
            starts: 0,
            agent: None,
            etcd_data: None,
            linux: LinuxState::default(),
            windows: WindowsState::default(),
            spec,
        };
        match machine.spec.os {
            Os::Linux => linux::install(&mut machine),
            Os::Windows => windows::install(&mut machine),
        }
        machine
    }

    pub(super) fn os(&self) -> Os {
        self.spec.os
    }

    /// Windows: whether the Hyper-V role is there.
    pub(super) fn hyper_v(&self) -> bool {
        self.spec.hyper_v || self.faults.hyper_v
    }

    /// The router of the routable network: its first address, or the second where that is the host itself.
    pub(super) fn router(&self) -> Ipv4Addr {
        let network = net(self.spec.node_address, self.spec.prefix).network().to_bits();
        let first = Ipv4Addr::from_bits(network | 1);
        if first == self.spec.node_address { Ipv4Addr::from_bits(network | 2) } else { first }
    }

    /// A MAC address that is another one for each host and adapter.
    pub(super) fn mac(&self, adapter: &str) -> String {
        let digest = Sha256::of(format!("{} {adapter}", self.spec.name).as_bytes()).to_string();
        let digits: Vec<_> = digest.as_bytes().chunks(2).take(3).map(String::from_utf8_lossy).collect();
        format!("00-15-5d-{}", digits.join("-"))
    }

    /// The address that the second physical adapter makes up when no DHCP server answers.
    pub(super) fn pod_nic_unanswered(&self) -> Ipv4Net {
        net(Ipv4Addr::new(169, 254, 77, self.spec.node_address.octets()[3]), 16)
    }

    /// The second physical adapter, as the inventory selects it.
    pub(super) fn pod_nic(&self) -> Nic {
        let unconfigured = self.pod_nic_unanswered();
        let (name, mac, address) = match &self.spec.pod_adapter {
            AdapterSelector::Name(name) => (name.clone(), self.mac(name), unconfigured),
            AdapterSelector::Mac(mac) => ("Ethernet 2".into(), mac.to_lowercase(), unconfigured),
            AdapterSelector::Address(address) => ("Ethernet 2".into(), self.mac("Ethernet 2"), net(*address, 24)),
        };
        Nic { name, mac, addresses: vec![address], physical: true, forwarding: false, of_network: None }
    }

    pub(super) fn now_ms(&self) -> i64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        i64::try_from(now).unwrap_or(i64::MAX) + self.faults.clock_skew_seconds * 1000
    }

    /// The adapters that are there: a fault takes the second physical one away.
    pub(super) fn present_nics(&self) -> impl Iterator<Item = &Nic> {
        let routable = self.spec.node_address;
        let keeps = move |nic: &Nic| nic.addresses.iter().any(|net| net.addr() == routable);
        self.nics.iter().filter(move |nic| !self.faults.one_adapter || !nic.physical || keeps(nic))
    }

    pub(super) fn adapters(&self) -> Vec<Adapter> {
        let adapter = |nic: &Nic| Adapter {
            name: nic.name.clone(),
            mac: nic.mac.clone(),
            addresses: nic.addresses.clone(),
            up: true,
            physical: nic.physical,
        };
        super::faulty::adapters(self, self.present_nics().map(adapter).collect())
    }

    pub(super) fn nic_mut(&mut self, name: &str) -> Option<&mut Nic> {
        self.nics.iter_mut().find(|nic| nic.name == name)
    }

    /// The routes by way of routers that are there: a fault takes some away.
    pub(super) fn present_routes(&self) -> impl Iterator<Item = &StoredRoute> {
        self.routes.iter().filter(|route| !self.faults.lost_routes.contains(&route.destination))
    }

    pub(super) fn all_routes(&self) -> Vec<RouteEntry> {
        let stored = self.present_routes().map(|route| RouteEntry {
            destination: route.destination,
            via: Some(route.via),
            adapter: route.adapter.as_str().into(),
        });
        let on_link = self.present_nics().flat_map(|nic| {
            nic.addresses.iter().map(|address| RouteEntry {
                destination: address.trunc(),
                via: None,
                adapter: nic.name.as_str().into(),
            })
        });
        stored.chain(on_link).collect()
    }

    pub(super) fn add_route(&mut self, route: &SystemRoute) -> Result<()> {
        let attempted = || format!("add the route {route}");
        let Some(nic) = self.present_nics().find(|nic| nic.name == route.adapter) else {
            return Err(PlatformError::new(attempted(), format!("Cannot find device \"{}\"", route.adapter)));
        };
        if !nic.addresses.iter().any(|address| address.contains(&route.via)) {
            return Err(PlatformError::new(attempted(), "Nexthop has invalid gateway: it is not on the link"));
        }
        let same = |stored: &&StoredRoute| stored.destination == route.destination && stored.via == route.via;
        if self.routes.iter().any(|stored| same(&stored)) {
            return Err(PlatformError::new(attempted(), "File exists"));
        }
        let SystemRoute { destination, via, adapter } = route.clone();
        self.routes.push(StoredRoute { destination, via, adapter, persistent: self.os() == Os::Windows });
        self.routes.sort_by_key(|route| (route.destination, route.via));
        Ok(())
    }

    pub(super) fn remove_route(&mut self, route: &SystemRoute) -> Result<()> {
        let before = self.routes.len();
        self.routes.retain(|stored| {
            stored.destination != route.destination || stored.via != route.via || stored.adapter != route.adapter
        });
        if self.routes.len() == before {
            return Err(PlatformError::new(format!("remove the route {route}"), "No such process"));
        }
        Ok(())
    }

    /// Fails as a full disk does.
    pub(super) fn disk(&self, attempted: &str) -> Result<()> {
        if !self.faults.disk_full {
            return Ok(());
        }
        let answer = match self.os() {
            Os::Linux => "No space left on device",
            Os::Windows => "There is not enough space on the disk.",
        };
        Err(PlatformError::new(attempted, answer).with_hint("free some space on the host, then run this again"))
    }

    pub(super) fn facts(&self) -> Facts {
        match self.os() {
            Os::Linux => Facts::Linux(linux::facts(self)),
            Os::Windows => Facts::Windows(windows::facts(self)),
        }
    }

    /// Writes a file with the folders above it, as the bootstrap does.
    pub(super) fn place(&mut self, path: &HostPath, bytes: &[u8], protection: Protection) -> Result<()> {
        self.disk(&format!("write {path}"))?;
        let top = self.os().bin().parent().filter(|top| self.os() == Os::Windows && !self.files.exists(top));
        if let Some(parent) = path.parent() {
            self.files.ensure_folder(&parent);
        }
        // What lies below C:\ can otherwise be written to by every user, so the script closes the topmost folder.
        if let Some(top) = top.filter(|top| self.files.exists(top)) {
            self.files.set_permissions(&top, Permissions::secret_directory(self.os()))?;
        }
        self.files.write(path, bytes.to_vec(), Permissions::of(self.os(), protection, FileKind::File))?;
        if path.parent() == Some(self.os().bin()) && path.file_name().starts_with("k8swin-agent-") {
            self.agent = Some(path.clone());
        }
        Ok(())
    }

    /// The programs that services run.
    pub(super) fn processes(&self) -> Vec<Process> {
        match self.os() {
            Os::Linux => linux::processes(self),
            Os::Windows => windows::processes(self),
        }
    }

    /// What a program leaves behind when it starts.
    pub(super) fn started(&mut self, process: &Process) {
        for folder in process.folders(self.os()) {
            self.files.ensure_folder(&folder);
        }
        if process.name() == "etcd" {
            self.etcd_data = HostPath::new(process.etcd_data()).ok();
        }
    }

    /// What the cluster sees of this host.
    pub(super) fn report(&self) -> HostReport {
        let healthy = self.healthy_processes();
        let has_data = self.etcd_data.as_ref().is_some_and(|data| self.files.exists(&data.join("member")));
        HostReport::new(&self.spec, &self.faults, has_data, &healthy)
    }

    /// The programs that services run and that do not end right away.
    pub(super) fn healthy_processes(&self) -> Vec<Process> {
        let runs = |process: &Process| process.missing_file(&self.files).is_none() && !self.crashes(process.name());
        self.processes().into_iter().filter(runs).collect()
    }

    /// Whether a program ends right after each start.
    pub(super) fn crashes(&self, program: &str) -> bool {
        self.faults.crashing.iter().any(|name| name == program)
    }

    /// How a service stands whose program crashes: a while ago, again.
    pub(super) fn crashed(&self, name: &str, state: ServiceState) -> ServiceStatus {
        let last_exit = LastExit { code: Some(1), signal: None, at_ms: Some(self.now_ms() - 5000) };
        ServiceStatus { name: name.to_owned(), state, restarts: Some(7), last_exit: Some(last_exit) }
    }

    pub(super) fn docker(&self, version: &str, cgroup_driver: &str) -> Option<Docker> {
        let network = |network: &DockerNetworkState| {
            let own = ["nat", "bridge"].contains(&network.driver.as_str());
            let subnet = self.faults.docker_range.filter(|_| own).or(network.subnet);
            DockerNetwork { driver: network.driver.clone(), subnet }
        };
        (!self.faults.no_docker).then(|| Docker {
            version: self.faults.docker_version.clone().unwrap_or_else(|| version.to_owned()),
            running: !self.faults.docker_stopped,
            cgroup_driver: self.faults.cgroup_driver.clone().unwrap_or_else(|| cgroup_driver.to_owned()),
            networks: self.networks.iter().map(|(name, state)| (name.clone(), network(state))).collect(),
        })
    }

    pub(super) fn common_facts(&self, user: &str, ports: &[(u16, &str)]) -> CommonFacts {
        let processes = self.processes();
        let extension = if self.os() == Os::Windows { ".exe" } else { "" };
        let ours = processes.iter().flat_map(|process| {
            let program = format!("{}{extension}", process.name());
            process.ports().into_iter().map(move |port| Listener { port, program: program.clone() })
        });
        let system = ports.iter().map(|(port, program)| Listener { port: *port, program: (*program).to_owned() });
        let taken = &self.faults.port_taken;
        let taken = taken.iter().map(|taken| Listener { port: taken.port, program: taken.program.clone() });
        let digest = |what: &str| Sha256::of(format!("{what} {}", self.spec.name).as_bytes()).to_string();
        let mut facts = CommonFacts {
            hostname: self.spec.name.to_lowercase(),
            machine_id: digest("machine").chars().take(32).collect(),
            boot_id: digest(&format!("boot {}", self.boots)).chars().take(32).collect(),
            clock_ms: self.now_ms(),
            user: user.to_owned(),
            privileged: true,
            memory_bytes: 8 << 30,
            disk_free_bytes: if self.faults.disk_full { 0 } else { 80 << 30 },
            adapters: self.adapters(),
            routes: self.all_routes(),
            listeners: system.chain(ours).chain(taken).collect(),
            owned: Owned::default(),
            cluster: None,
            services: Vec::new(),
            details: CommonDetails::default(),
        };
        super::faulty::common(self, &mut facts);
        facts
    }

    /// The number of the next start of a service.
    pub(super) fn next_start(&mut self) -> u64 {
        self.starts += 1;
        self.starts
    }
}

/// A network of an address. Prefix lengths here are constants below 33.
pub(super) fn net(address: Ipv4Addr, prefix: u8) -> Ipv4Net {
    Ipv4Net::new(address, prefix).unwrap_or_else(|_| Ipv4Net::from(address))
}

/// Units and services in the order of a boot: each after those that it names, otherwise by name.
pub(super) fn boot_order(after: &BTreeMap<String, Vec<String>>) -> Vec<String> {
    fn visit<'a>(
        name: &'a str,
        after: &'a BTreeMap<String, Vec<String>>,
        seen: &mut BTreeSet<&'a str>,
        order: &mut Vec<String>,
    ) {
        let Some((name, before)) = after.get_key_value(name) else { return };
        if !seen.insert(name) {
            return;
        }
        for other in before {
            visit(other, after, seen, order);
        }
        order.push(name.clone());
    }
    let (mut seen, mut order) = (BTreeSet::new(), Vec::new());
    for name in after.keys() {
        visit(name, after, &mut seen, &mut order);
    }
    order
}
