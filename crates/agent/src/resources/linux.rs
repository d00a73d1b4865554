//! Which code carries out each Linux resource.

use k8swin_protocol::resource::{CheckOutcome, File, HostResources, LinuxResource as Kind, Planned, ResourceId};
use k8swin_protocol::wire::{KubeAnswer, KubeCall};
use k8swin_protocol::{HostPath, Sha256};

use super::{Applied, Context, Prior, Removal, Resource};
use super::{directory, file, forward, kernel, node, route, unit};
use crate::engine::Watcher;
use crate::platform::{LinuxPlatform, Result};

impl Resource for Kind {
    type Platform = dyn LinuxPlatform + Send;

    fn id(&self) -> ResourceId {
        Kind::id(self)
    }

    fn is_network(&self) -> bool {
        Kind::is_network(self)
    }

    fn is_route(&self) -> bool {
        matches!(self, Kind::Route(_))
    }

    fn file(&self) -> Option<&File> {
        match self {
            Kind::File(file) => Some(file),
            _ => None,
        }
    }

    fn unpack(resources: HostResources) -> Result<Vec<Planned<Self>>> {
        match resources {
            HostResources::Linux(resources) => Ok(resources),
            HostResources::Windows(_) => Err(super::wrong_system("Windows", "Linux")),
        }
    }

    fn inputs(&self) -> Option<Sha256> {
        match self {
            Kind::SystemdUnit(unit) => Some(unit.inputs),
            _ => None,
        }
    }

    fn service(&self) -> Option<&str> {
        match self {
            Kind::SystemdUnit(unit) => Some(&unit.name),
            _ => None,
        }
    }

    fn paths(&self) -> Vec<HostPath> {
        match self {
            Kind::Directory(directory) => vec![directory.path.clone()],
            Kind::File(file) => vec![file.path.clone()],
            Kind::KernelModule(module) => vec![kernel::module_file(module)],
            Kind::Sysctl(sysctl) => vec![kernel::sysctl_file(sysctl)],
            Kind::SystemdUnit(unit) => vec![unit::unit_file(unit)],
            Kind::Route(_) | Kind::ForwardAccept(_) | Kind::Node(_) => Vec::new(),
        }
    }

    fn replaces(&self, _recorded: &Self) -> bool {
        false
    }

    fn check(&self, host: &mut Self::Platform, context: &Context) -> Result<CheckOutcome> {
        match self {
            Kind::Directory(directory) => directory::check(directory, host, context),
            Kind::File(file) => file::check(file, host),
            Kind::KernelModule(module) => kernel::check_module(module, host),
            Kind::Sysctl(sysctl) => kernel::check_sysctl(sysctl, host),
            Kind::SystemdUnit(unit) => unit::check(unit, host, context),
            Kind::Route(route) => context.table(host).map(|table| route::check(route, &table)),
            Kind::ForwardAccept(accept) => forward::check(accept, host),
            Kind::Node(node) => node::check(node, host),
        }
    }

    fn capture(&self, host: &mut Self::Platform, context: &Context) -> Result<Prior> {
        match self {
            Kind::Directory(directory) => directory::capture(directory, host),
            Kind::File(file) => file::capture(&file.path, host).map(Prior::File),
            Kind::KernelModule(module) => kernel::capture_module(module, host),
            Kind::Sysctl(sysctl) => kernel::capture_sysctl(sysctl, host),
            Kind::SystemdUnit(unit) => unit::capture(unit, host),
            Kind::Route(route) => context.table(host).map(|table| route::capture(route, &table)),
            Kind::ForwardAccept(accept) => forward::capture(accept, host),
            Kind::Node(node) => node::capture(node, host),
        }
    }

    fn shares_restart(&self) -> bool {
        false
    }

    fn apply(
        &self,
        host: &mut Self::Platform,
        context: &Context,
        watcher: &mut dyn Watcher<Self::Platform>,
    ) -> Result<Applied> {
        match self {
            Kind::Directory(directory) => directory::apply(directory, host),
            Kind::File(file) => file::apply(file, host, &context.copies),
            Kind::KernelModule(module) => kernel::apply_module(module, host),
            Kind::Sysctl(sysctl) => kernel::apply_sysctl(sysctl, host),
            Kind::SystemdUnit(unit) => unit::apply(unit, host, watcher),
            Kind::Route(route) => {
                let table = context.table(host)?;
                route::apply(route, host, &table)
            }
            Kind::ForwardAccept(accept) => forward::apply(accept, host),
            Kind::Node(node) => node::apply(node, host),
        }?;
        Ok(Applied::Now)
    }

    fn take_back(&self, host: &mut Self::Platform, prior: &Prior, removal: Removal) -> Result<()> {
        match (self, prior) {
            (Kind::Directory(directory), Prior::Directory(prior)) => {
                directory::take_back(directory, host, prior.as_ref())
            }
            (Kind::Directory(directory), Prior::EmptyDirectory(prior)) => directory::empty(directory, host, prior),
            (Kind::File(file), Prior::File(prior)) => file::restore(&file.path, host, prior),
            (Kind::KernelModule(module), Prior::KernelModule { file, loaded }) => {
                kernel::take_back_module(module, host, file, *loaded)
            }
            (Kind::Sysctl(sysctl), Prior::Sysctl { file, value }) => {
                kernel::take_back_sysctl(sysctl, host, file, value.as_deref())
            }
            (Kind::SystemdUnit(unit), Prior::Unit { file, enabled, active }) => {
                unit::take_back(unit, host, file, *enabled, *active)
            }
            (Kind::Route(route), Prior::Routes(routes)) => route::take_back(route, host, routes),
            (Kind::ForwardAccept(accept), Prior::ForwardRules { from, to }) => {
                forward::take_back(accept, host, *from, *to)
            }
            (Kind::Node(node), Prior::Node(prior)) => node::take_back(node, host, prior.as_ref(), removal),
            _ => Err(super::misfit(&self.id())),
        }
    }

    fn kube(host: &mut Self::Platform, call: KubeCall) -> Result<KubeAnswer> {
        node::kube(host, call)
    }

    fn reach_kubelets(host: &mut Self::Platform, nodes: &[String]) -> Result<Vec<Option<String>>> {
        node::reach_kubelets(host, nodes)
    }
}
