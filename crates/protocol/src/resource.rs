//! Resources: pieces of desired state that the agent checks, applies and removes.
//!
//! A resource says *what* must be true on one host; how to find out and how to make it true is the agent's business.
//! Contents of files are named by digest where they are secret or large, so that a resource can be logged and printed.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::{HostPath, Sha256, routes};

/// The identity of a resource on its host: its kind and key, such as `file:/etc/kubernetes/pki/ca.crt`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ResourceId(String);

/// The kind of routes.
const ROUTE: &str = "route";

impl ResourceId {
    fn new(kind: &str, key: impl fmt::Display) -> Self {
        Self(format!("{kind}:{key}"))
    }

    /// Where a route with this identity goes; none for anything else.
    pub(crate) fn destination(id: &str) -> Option<Ipv4Net> {
        id.strip_prefix(ROUTE)?.strip_prefix(':')?.parse().ok()
    }

    /// The identity as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for ResourceId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The phases of a run that change hosts, in their order on each host. Which other hosts a phase waits for is the orchestrator's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Folders and programs.
    Binaries,
    /// Certificates, keys, kubeconfigs and other configuration files.
    Files,
    /// etcd, API server, controller-manager, scheduler, and the Node objects with their fixed podCIDR.
    ControlPlane,
    /// The network of Linux nodes, their kubelet and kube-proxy.
    LinuxNodes,
    /// The network of Windows nodes, their kubelet and kube-proxy.
    WindowsNodes,
    /// What runs in the cluster itself.
    AddOns,
}

impl Phase {
    /// All phases, in the order of `up`; `reset` takes them from the end.
    pub const ALL: [Self; 6] =
        [Self::Binaries, Self::Files, Self::ControlPlane, Self::LinuxNodes, Self::WindowsNodes, Self::AddOns];

    /// The phase in words for people.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Binaries => "binaries",
            Self::Files => "files and keys",
            Self::ControlPlane => "control plane",
            Self::LinuxNodes => "Linux nodes",
            Self::WindowsNodes => "Windows nodes",
            Self::AddOns => "add-ons",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.title())
    }
}

/// All resources of one host, in the order in which they are applied. The operating system is part of the type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "os", content = "resources", rename_all = "kebab-case")]
pub enum HostResources {
    /// Resources of a Linux host.
    Linux(#[serde(with = "routes::planned")] Vec<Planned<LinuxResource>>),
    /// Resources of a Windows host.
    Windows(#[serde(with = "routes::planned")] Vec<Planned<WindowsResource>>),
}

impl HostResources {
    /// How many resources there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Linux(resources) => resources.len(),
            Self::Windows(resources) => resources.len(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Phase and identity of each resource, in order.
    pub fn ids(&self) -> Box<dyn Iterator<Item = (Phase, ResourceId)> + '_> {
        match self {
            Self::Linux(resources) => Box::new(resources.iter().map(|planned| (planned.phase, planned.resource.id()))),
            Self::Windows(resources) => {
                Box::new(resources.iter().map(|planned| (planned.phase, planned.resource.id())))
            }
        }
    }

    /// The phase of each.
    pub fn phases(&self) -> Box<dyn Iterator<Item = Phase> + '_> {
        match self {
            Self::Linux(resources) => Box::new(resources.iter().map(|planned| planned.phase)),
            Self::Windows(resources) => Box::new(resources.iter().map(|planned| planned.phase)),
        }
    }

    /// Those of one phase, in the same order.
    #[must_use]
    pub fn of_phase(&self, phase: Phase) -> Self {
        match self {
            Self::Linux(resources) => Self::Linux(in_phase(resources, phase)),
            Self::Windows(resources) => Self::Windows(in_phase(resources, phase)),
        }
    }

    /// The network resources, in order.
    #[must_use]
    pub fn network(&self) -> Vec<ResourceId> {
        match self {
            Self::Linux(resources) => {
                let resources = resources.iter().map(|planned| &planned.resource);
                resources.filter(|resource| resource.is_network()).map(LinuxResource::id).collect()
            }
            Self::Windows(resources) => {
                let resources = resources.iter().map(|planned| &planned.resource);
                resources.filter(|resource| resource.is_network()).map(WindowsResource::id).collect()
            }
        }
    }

    /// The files whose bytes are shipped as blobs, with the digest and size of each.
    pub fn blobs(&self) -> Box<dyn Iterator<Item = (ResourceId, Blob)> + '_> {
        fn of(file: &File, id: ResourceId) -> Option<(ResourceId, Blob)> {
            match file.content {
                Content::Text(_) => None,
                Content::Blob(blob) => Some((id, blob)),
            }
        }
        match self {
            Self::Linux(resources) => Box::new(resources.iter().filter_map(|planned| match &planned.resource {
                LinuxResource::File(file) => of(file, planned.resource.id()),
                _ => None,
            })),
            Self::Windows(resources) => Box::new(resources.iter().filter_map(|planned| match &planned.resource {
                WindowsResource::File(file) => of(file, planned.resource.id()),
                _ => None,
            })),
        }
    }
}

fn in_phase<R: Clone>(resources: &[Planned<R>], phase: Phase) -> Vec<Planned<R>> {
    resources.iter().filter(|planned| planned.phase == phase).cloned().collect()
}

/// A resource and the phase in which it is applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planned<R> {
    /// When.
    pub phase: Phase,
    /// What.
    pub resource: R,
}

/// Desired state of a Linux host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum LinuxResource {
    /// A folder.
    Directory(Directory),
    /// A file.
    File(File),
    /// A kernel module, loaded now and at boot (`/etc/modules-load.d`).
    KernelModule(KernelModule),
    /// A kernel setting, now and at boot (`/etc/sysctl.d`).
    Sysctl(Sysctl),
    /// A systemd service.
    SystemdUnit(SystemdUnit),
    /// A route to another node's pod subnet; `k8swin-network` keeps it in place.
    Route(Route),
    /// Forwarded pod traffic is let through (Docker ≥ 1.13 sets the FORWARD policy to DROP; facts B.3).
    ForwardAccept(ForwardAccept),
    /// A Node object with a fixed `spec.podCIDR`, created before its kubelet starts (facts B.3).
    Node(NodeObject),
}

/// Desired state of a Windows host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum WindowsResource {
    /// A folder.
    Directory(Directory),
    /// A file.
    File(File),
    /// A Windows feature; installing one may need a reboot.
    Feature(WindowsFeature),
    /// Docker's transparent network on the pod adapter.
    TransparentNetwork(TransparentNetwork),
    /// The pod gateway's address, with its mask, on the host adapter of the transparent network.
    AdapterAddress(AdapterAddress),
    /// IPv4 forwarding between the adapters.
    Forwarding(Forwarding),
    /// The adapter on which kube-proxy puts service addresses.
    ServiceAdapter(ServiceAdapter),
    /// A persistent route to another node's pod subnet.
    Route(Route),
    /// An inbound firewall rule.
    FirewallRule(FirewallRule),
    /// The pause image, built on the node so that it fits the host's revision (facts D.5).
    PauseImage(PauseImage),
    /// A folder on the machine's search path for programs.
    SearchPath(SearchPath),
    /// A program run as a Windows service. There are few of them among as many routes as there are hosts.
    Service(Box<WindowsService>),
}

/// Who may read a file or folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protection {
    /// Everybody may read: 0644 (folders 0755); inherited permissions on Windows.
    Public,
    /// Everybody may read and run: 0755; inherited permissions on Windows.
    Executable,
    /// Secret: 0600 root (folders 0700); SYSTEM and Administrators only, inheritance off, on Windows.
    Secret,
}

/// A folder. Removed only if k8swin made it and it is empty, or if it is `purged`; one that was there before is left as
/// empty as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Directory {
    /// Where.
    pub path: HostPath,
    /// Who may read.
    pub protection: Protection,
    /// Whether removal takes what programs of the cluster wrote into it (etcd's data, kubelet's state) along.
    pub purge: bool,
}

/// A file with exactly these bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// Where.
    pub path: HostPath,
    /// What.
    pub content: Content,
    /// Who may read.
    pub protection: Protection,
}

/// What a file holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Content {
    /// Small and public: shown in plans and logs.
    Text(String),
    /// Large or secret: only its digest is named, the bytes travel apart.
    Blob(Blob),
}

impl Content {
    /// The digest of the bytes.
    #[must_use]
    pub fn digest(&self) -> Sha256 {
        match self {
            Self::Text(text) => Sha256::of(text.as_bytes()),
            Self::Blob(blob) => blob.sha256,
        }
    }

    /// The number of bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        match self {
            Self::Text(text) => text.len() as u64,
            Self::Blob(blob) => blob.size,
        }
    }
}

/// Bytes named by their digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Blob {
    /// The digest.
    pub sha256: Sha256,
    /// The size in bytes.
    pub size: u64,
}

/// A kernel module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelModule {
    /// Its name, such as `br_netfilter`.
    pub name: String,
}

/// A kernel setting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sysctl {
    /// Dotted name, such as `net.ipv4.ip_forward`.
    pub key: String,
    /// The value as the kernel shows it.
    pub value: String,
}

/// A systemd service, enabled and running.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SystemdUnit {
    /// Name without `.service`.
    pub name: String,
    /// The text of the unit file.
    pub unit: String,
    /// The digest of everything the service reads at its start. The agent records the digest with which it last started
    /// the service: another one means restart, also when the run that changed the files was killed before the restart.
    pub inputs: Sha256,
}

/// A route to another node's pod subnet, by way of the routable address of the node that owns it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The other node's pod subnet.
    pub destination: Ipv4Net,
    /// The other node's routable address.
    pub via: Ipv4Addr,
    /// This host's own routable address: it finds the adapter. Indexes change when HNS recreates adapters (facts E).
    pub from: Ipv4Addr,
}

/// Packets from and to this range are forwarded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForwardAccept {
    /// The pods' range.
    pub pods: Ipv4Net,
}

/// A Node object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeObject {
    /// The node's name, which is the kubelet's `--hostname-override`.
    pub name: String,
    /// Its pod subnet: immutable once set.
    pub pod_cidr: Ipv4Net,
    /// Labels that must be there; others are left alone.
    pub labels: BTreeMap<String, String>,
    /// Whether ordinary pods may be scheduled there.
    pub schedulable: bool,
}

/// A Windows feature, by the name that `Install-WindowsFeature` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum FeatureName {
    /// Containers.
    Containers,
    /// The Remote Access role service that routes (RRAS).
    Routing,
}

impl fmt::Display for FeatureName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Containers => "Containers",
            Self::Routing => "Routing",
        })
    }
}

/// A Windows feature is installed. `reset` leaves it: other software may have come to use it, and removal reboots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowsFeature {
    /// Which.
    pub name: FeatureName,
}

/// How a network adapter of a Windows host is named in the inventory. Never by index: indexes change (facts E).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AdapterSelector {
    /// By its name, such as `Ethernet 2`.
    Name(String),
    /// By MAC address, written `00-15-5d-01-02-03`.
    Mac(String),
    /// By an IPv4 address that it carries before the first run.
    Address(Ipv4Addr),
}

impl fmt::Display for AdapterSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Mac(mac) => f.write_str(mac),
            Self::Address(address) => fmt::Display::fmt(address, f),
        }
    }
}

/// Docker's transparent network. Creating it cuts connections through the adapter that it binds (facts D.3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransparentNetwork {
    /// Docker's name for it: the kubelet's `CONTAINER_NETWORK`.
    pub name: String,
    /// This node's pod subnet.
    pub subnet: Ipv4Net,
    /// The first address of the subnet.
    pub gateway: Ipv4Addr,
    /// The second adapter, by its Windows name (`-o com.docker.network.windowsshim.interface=…`).
    pub adapter: String,
}

/// An address on the host adapter of a transparent network. The adapter is found by the network's name, since Windows
/// may number it (`vEthernet (HNSTransparent) 2`; facts D.3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdapterAddress {
    /// The transparent network.
    pub network: String,
    /// The address.
    pub address: Ipv4Addr,
    /// The prefix length: always given, since Windows would take the classful mask (facts A.2 #22).
    pub prefix: u8,
}

/// How a Windows host forwards packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ForwardingMode {
    /// The Routing and Remote Access service, as the walkthrough has it.
    Rras,
    /// Forwarding switched on for each adapter: no role, no reboot (facts E).
    PerAdapter,
}

/// IPv4 forwarding on the routable adapter and the pod adapter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forwarding {
    /// How.
    pub mode: ForwardingMode,
    /// This host's routable address, which finds the routable adapter.
    pub routable: Ipv4Addr,
    /// The transparent network, whose host adapter is the other one.
    pub network: String,
}

/// How the adapter for service addresses comes to be (facts D.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ServiceAdapterKind {
    /// An internal Hyper-V switch of our own: needs the Hyper-V role.
    InternalSwitch,
    /// The host adapter of Docker's nat network, which is there without Hyper-V.
    DockerNat,
}

/// The adapter on which kube-proxy puts service addresses: `INTERFACE_TO_ADD_SERVICE_IP`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceAdapter {
    /// How it comes to be. On the wire it has another name, since `kind` is the tag of the resource that holds it.
    #[serde(rename = "origin")]
    pub kind: ServiceAdapterKind,
    /// The name of the switch, such as `KubeProxySwitch`; the adapter is `vEthernet (NAME)`.
    pub switch: String,
}

impl ServiceAdapter {
    /// The adapter's name.
    #[must_use]
    pub fn adapter(&self) -> String {
        format!("vEthernet ({})", self.switch)
    }
}

/// An inbound firewall rule, for all profiles: networks without gateway count as public (facts E).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirewallRule {
    /// Its unique name, such as `k8swin kubelet`.
    pub name: String,
    /// What it lets in.
    pub allow: FirewallMatch,
    /// From where; empty means from anywhere.
    pub remote: Vec<Ipv4Net>,
}

/// What a firewall rule lets in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FirewallMatch {
    /// Connections to one TCP port.
    TcpPort(u16),
    /// All that reaches one program.
    Program(HostPath),
    /// ICMPv4 echo requests.
    IcmpEcho,
    /// All protocols (service addresses are local input; facts E).
    Any,
}

/// A pause image built on the node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PauseImage {
    /// Its tag, such as `k8swin/pause:1`.
    pub tag: String,
    /// The image it is built from, which must fit the host's revision.
    pub base: String,
}

/// A folder on the machine's search path, which sessions and services that start later look for programs in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SearchPath {
    /// The folder.
    pub folder: HostPath,
}

/// A program run as a Windows service: by the agent's service host where it is no service itself, as kubelet.exe 1.5 is
/// not (facts B.4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowsService {
    /// The service's name.
    pub name: String,
    /// Its name for people.
    pub display_name: String,
    /// What runs.
    pub run: ServiceProgram,
    /// Services that must run before.
    pub depends_on: Vec<String>,
    /// The digest of everything the service reads at its start; see [`SystemdUnit::inputs`].
    pub inputs: Sha256,
}

/// What a Windows service runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ServiceProgram {
    /// A console program, supervised: restarted with back-off, its tree ended on stop, its output logged and rotated.
    Supervised(ProgramInvocation),
    /// The agent itself, which keeps the network resources in place.
    NetworkReconciler,
    /// A program that is a Windows service itself: nothing of ours stands between it and Windows.
    Native {
        /// The program.
        program: HostPath,
        /// Its arguments.
        arguments: Vec<String>,
    },
}

/// A program with its arguments and environment. Never a command line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramInvocation {
    /// The program.
    pub program: HostPath,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Variables added to its environment.
    pub environment: BTreeMap<String, String>,
    /// Its working folder: on C:, since kubelet's default paths are relative to the drive (facts B.4).
    pub working_directory: HostPath,
    /// The folder for its logs.
    pub log_directory: HostPath,
}

impl LinuxResource {
    /// The identity on its host.
    #[must_use]
    pub fn id(&self) -> ResourceId {
        match self {
            Self::Directory(directory) => ResourceId::new("directory", &directory.path),
            Self::File(file) => ResourceId::new("file", &file.path),
            Self::KernelModule(module) => ResourceId::new("kernel-module", &module.name),
            Self::Sysctl(sysctl) => ResourceId::new("sysctl", &sysctl.key),
            Self::SystemdUnit(unit) => ResourceId::new("unit", &unit.name),
            Self::Route(route) => ResourceId::new(ROUTE, route.destination),
            Self::ForwardAccept(accept) => ResourceId::new("forward-accept", accept.pods),
            Self::Node(node) => ResourceId::new("node", &node.name),
        }
    }

    /// Whether the boot-time service `k8swin-network` keeps it in place.
    #[must_use]
    pub fn is_network(&self) -> bool {
        matches!(self, Self::Route(_) | Self::ForwardAccept(_))
    }
}

impl WindowsResource {
    /// The identity on its host.
    #[must_use]
    pub fn id(&self) -> ResourceId {
        match self {
            Self::Directory(directory) => ResourceId::new("directory", &directory.path),
            Self::File(file) => ResourceId::new("file", &file.path),
            Self::Feature(feature) => ResourceId::new("feature", feature.name),
            Self::TransparentNetwork(network) => ResourceId::new("transparent-network", &network.name),
            Self::AdapterAddress(address) => ResourceId::new("adapter-address", &address.network),
            Self::Forwarding(forwarding) => ResourceId::new("forwarding", &forwarding.network),
            Self::ServiceAdapter(adapter) => ResourceId::new("service-adapter", &adapter.switch),
            Self::Route(route) => ResourceId::new(ROUTE, route.destination),
            Self::FirewallRule(rule) => ResourceId::new("firewall-rule", &rule.name),
            Self::PauseImage(image) => ResourceId::new("pause-image", &image.tag),
            Self::SearchPath(search) => ResourceId::new("search-path", &search.folder),
            Self::Service(service) => ResourceId::new("service", &service.name),
        }
    }

    /// Whether the boot-time service `k8swin-network` keeps it in place.
    #[must_use]
    pub fn is_network(&self) -> bool {
        matches!(
            self,
            Self::TransparentNetwork(_)
                | Self::AdapterAddress(_)
                | Self::Forwarding(_)
                | Self::ServiceAdapter(_)
                | Self::Route(_)
        )
    }
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum CheckOutcome {
    /// As desired.
    InSync,
    /// Otherwise than desired.
    Drifted {
        /// What differs, for people: `absent`, `mode 0644, expected 0600`.
        difference: String,
        /// What applying it would do to what runs.
        effect: Effect,
    },
    /// It cannot be told yet, because something before it is not there (a node without an API server).
    Unknown {
        /// What is missing.
        waits_for: String,
    },
}

/// What applying a drifted resource would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// Something new.
    Create,
    /// Something changed in place.
    Change,
    /// A service is started or restarted.
    Restart,
    /// Something we own that is no longer planned goes.
    Remove,
}
