//! Resources: how each kind is checked, applied and taken back, written against the platform traits.
//!
//! Taking back goes by a resource's key (path, name, destination) and by what was there before, never by the details of
//! the plan: those may have changed since, and a killed run may have left either.

mod directory;
mod feature;
pub(crate) mod file;
mod firewall;
mod forward;
mod forwarding;
mod image;
mod kernel;
mod linux;
mod network;
mod node;
mod route;
mod search_path;
mod service;
mod service_adapter;
mod unit;
mod windows;

pub(crate) use self::route::Table;

use std::collections::BTreeMap;
use std::rc::Rc;

use ipnet::Ipv4Net;
use k8swin_protocol::resource::{CheckOutcome, Effect, File, FirewallRule, HostResources, Planned, ResourceId};
use k8swin_protocol::wire::{KubeAnswer, KubeCall};
use k8swin_protocol::{HostPath, Sha256};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::engine::Watcher;
use crate::platform::{
    Addressing, DockerNetworkState, Permissions, Platform, PlatformError, Result, ServiceDefinition, StartMode,
    SystemRoute,
};

/// A resource of one operating system.
pub(crate) trait Resource: Clone + PartialEq + Serialize + DeserializeOwned {
    /// The platform it lives on.
    type Platform: Platform + ?Sized;

    /// Its identity.
    fn id(&self) -> ResourceId;

    /// Whether `k8swin-network` keeps it in place.
    fn is_network(&self) -> bool;

    /// Whether it is a route: no route stands in the way of another.
    fn is_route(&self) -> bool;

    /// The file, if it is one.
    fn file(&self) -> Option<&File>;

    /// The resources for this operating system, if the plan is one for it.
    fn unpack(resources: HostResources) -> Result<Vec<Planned<Self>>>;

    /// For services: the digest of all inputs.
    fn inputs(&self) -> Option<Sha256>;

    /// The name of the service, if it is one.
    fn service(&self) -> Option<&str>;

    /// The files and folders that it writes: missing folders above them are made and remembered.
    fn paths(&self) -> Vec<HostPath>;

    /// Whether the recorded resource of the same identity must be taken back before this one is applied.
    fn replaces(&self, recorded: &Self) -> bool;

    /// Compares it with the host. Changes nothing.
    fn check(&self, host: &mut Self::Platform, context: &Context) -> Result<CheckOutcome>;

    /// What is there before k8swin's first change. Writes nothing but backups.
    fn capture(&self, host: &mut Self::Platform, context: &Context) -> Result<Prior>;

    /// Whether it can be applied while others wait for a restart of the host: several then share one.
    fn shares_restart(&self) -> bool;

    /// Makes it so.
    fn apply(
        &self,
        host: &mut Self::Platform,
        context: &Context,
        watcher: &mut dyn Watcher<Self::Platform>,
    ) -> Result<Applied>;

    /// Restores what was there before. Doing it twice is the same as doing it once.
    fn take_back(&self, host: &mut Self::Platform, prior: &Prior, removal: Removal) -> Result<()>;

    /// Asks the cluster's API.
    fn kube(host: &mut Self::Platform, call: KubeCall) -> Result<KubeAnswer>;

    /// Lets the API server reach kubelets; see [`k8swin_protocol::wire::Response::Kubelets`].
    ///
    /// # Errors
    /// As of [`Self::kube`].
    fn reach_kubelets(host: &mut Self::Platform, nodes: &[String]) -> Result<Vec<Option<String>>>;
}

/// What a resource needs to know beyond its host.
#[derive(Clone, Debug, Default)]
pub(crate) struct Context {
    /// The ledger has it: what was there before is known.
    pub(crate) recorded: bool,
    /// For services: the digest of the inputs with which it was last started.
    pub(crate) started_with: Option<Sha256>,
    /// Files on the host that should have the same bytes as this one.
    pub(crate) copies: Vec<HostPath>,
    /// The host's routes, where they were read for many checks.
    pub(crate) table: Option<Rc<Table>>,
}

impl Context {
    /// The host's routes.
    fn table(&self, host: &mut (impl Platform + ?Sized)) -> Result<Rc<Table>> {
        match &self.table {
            Some(table) => Ok(Rc::clone(table)),
            None => Table::read(host).map(Rc::new),
        }
    }
}

/// When an applied resource takes effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Applied {
    /// Now.
    Now,
    /// With the next boot, for the reason given.
    AfterReboot(String),
}

/// Why a resource is taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Removal {
    /// The plan no longer has it, the cluster goes on.
    Prune,
    /// The host leaves the cluster, which may be gone already.
    Reset,
}

/// What was there before k8swin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Prior {
    /// Nothing that could be restored: the resource stays, or was made by k8swin alone.
    Nothing,
    Directory(Option<Permissions>),
    /// A folder that programs of the cluster write into, which was there, with nothing in it.
    EmptyDirectory(Permissions),
    File(FilePrior),
    KernelModule {
        file: FilePrior,
        loaded: bool,
    },
    Sysctl {
        file: FilePrior,
        value: Option<String>,
    },
    Unit {
        file: FilePrior,
        enabled: bool,
        active: bool,
    },
    Routes(Vec<SystemRoute>),
    ForwardRules {
        from: bool,
        to: bool,
    },
    Node(Option<NodePrior>),
    Network(NetworkPrior),
    Addressing(Addressing),
    Forwarding(ForwardingPrior),
    FirewallRule(Option<FirewallRule>),
    Image(Option<String>),
    /// Whether the folder was on the search path.
    SearchPath(bool),
    Service(Option<ServicePrior>),
}

/// What was at a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum FilePrior {
    Absent,
    /// A file, whose bytes are in the backup folder under their digest.
    Present {
        sha256: Sha256,
        permissions: Permissions,
    },
}

/// What a Node object had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NodePrior {
    pub(crate) pod_cidr: Option<Ipv4Net>,
    /// The values of the labels that k8swin sets.
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) schedulable: bool,
}

/// What was there before a transparent network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NetworkPrior {
    /// A network of the same name.
    pub(crate) network: Option<DockerNetworkState>,
    /// The adapter that the network takes over.
    pub(crate) adapter: String,
    /// How that adapter got its addresses, which it loses to the network with its gateway.
    pub(crate) addressing: Addressing,
}

/// How a host forwarded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ForwardingPrior {
    /// The adapters on which forwarding was on.
    pub(crate) adapters: Vec<String>,
    /// Routing and Remote Access, where the role is there.
    pub(crate) remote_access: Option<RemoteAccess>,
}

/// How Routing and Remote Access stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RemoteAccess {
    pub(crate) lan_router: bool,
    pub(crate) start: StartMode,
    pub(crate) running: bool,
}

/// A Windows service that was there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ServicePrior {
    pub(crate) definition: ServiceDefinition,
    pub(crate) running: bool,
    /// The running services that depended on it, in the order of stopping.
    pub(crate) dependents: Vec<String>,
}

/// What differs, and that applying creates it.
fn absent(difference: impl Into<String>) -> CheckOutcome {
    CheckOutcome::Drifted { difference: difference.into(), effect: Effect::Create }
}

/// What differs, and that applying changes it.
fn changed(difference: impl Into<String>) -> CheckOutcome {
    CheckOutcome::Drifted { difference: difference.into(), effect: Effect::Change }
}

/// What differs, and that applying restarts it.
fn restart(difference: impl Into<String>) -> CheckOutcome {
    CheckOutcome::Drifted { difference: difference.into(), effect: Effect::Restart }
}

/// A ledger entry whose prior state belongs to another kind of resource.
fn misfit(id: &ResourceId) -> PlatformError {
    PlatformError::new(format!("take back {id}"), "the ledger has the prior state of another kind of resource")
        .with_hint("the ledger was changed by hand; restore it, or remove the resource by hand and its entry too")
}

/// A plan for the other operating system.
fn wrong_system(plan: &str, host: &str) -> PlatformError {
    PlatformError::new("read the plan", format!("it is for a {plan} host, and this host runs {host}"))
        .with_hint(format!("set os = \"{}\" for this host in the inventory", host.to_lowercase()))
}
