//! Which code carries out each Windows resource.

use k8swin_protocol::resource::{CheckOutcome, File, HostResources, Planned, ResourceId, WindowsResource as Kind};
use k8swin_protocol::wire::{KubeAnswer, KubeCall};
use k8swin_protocol::{HostPath, Sha256};

use super::{Applied, Context, Prior, Removal, Resource};
use super::{
    directory, feature, file, firewall, forwarding, image, network, route, search_path, service, service_adapter,
};
use crate::engine::Watcher;
use crate::platform::{PlatformError, Result, WindowsPlatform};

impl Resource for Kind {
    type Platform = dyn WindowsPlatform + Send;

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
            HostResources::Windows(resources) => Ok(resources),
            HostResources::Linux(_) => Err(super::wrong_system("Linux", "Windows")),
        }
    }

    fn inputs(&self) -> Option<Sha256> {
        match self {
            Kind::Service(service) => Some(service.inputs),
            _ => None,
        }
    }

    fn service(&self) -> Option<&str> {
        match self {
            Kind::Service(service) => Some(&service.name),
            _ => None,
        }
    }

    fn paths(&self) -> Vec<HostPath> {
        match self {
            Kind::Directory(directory) => vec![directory.path.clone()],
            Kind::File(file) => vec![file.path.clone()],
            _ => Vec::new(),
        }
    }

    fn replaces(&self, recorded: &Self) -> bool {
        match (self, recorded) {
            (Kind::TransparentNetwork(new), Kind::TransparentNetwork(old)) => new.adapter != old.adapter,
            (Kind::Forwarding(new), Kind::Forwarding(old)) => new.mode != old.mode,
            (Kind::ServiceAdapter(new), Kind::ServiceAdapter(old)) => new.kind != old.kind,
            _ => false,
        }
    }

    fn check(&self, host: &mut Self::Platform, context: &Context) -> Result<CheckOutcome> {
        if asks_docker(self) && !docker_runs(host)? {
            return Ok(CheckOutcome::Unknown { waits_for: "Docker".to_owned() });
        }
        match self {
            Kind::Directory(directory) => directory::check(directory, host, context),
            Kind::File(file) => file::check(file, host),
            Kind::Feature(feature) => feature::check(feature, host),
            Kind::TransparentNetwork(network) => network::check(network, host),
            Kind::AdapterAddress(address) => network::check_address(address, host),
            Kind::Forwarding(forwarding) => forwarding::check(forwarding, host),
            Kind::ServiceAdapter(adapter) => service_adapter::check(adapter, host),
            Kind::Route(route) => context.table(host).map(|table| route::check(route, &table)),
            Kind::FirewallRule(rule) => firewall::check(rule, host),
            Kind::PauseImage(image) => image::check(image, host),
            Kind::SearchPath(search) => search_path::check(search, host),
            Kind::Service(service) => service::check(service, host, context),
        }
    }

    fn capture(&self, host: &mut Self::Platform, context: &Context) -> Result<Prior> {
        match self {
            Kind::Directory(directory) => directory::capture(directory, host),
            Kind::File(file) => file::capture(&file.path, host).map(Prior::File),
            // A feature stays on removal, and a service adapter that is there is in sync: neither has a prior state.
            Kind::Feature(_) | Kind::ServiceAdapter(_) => Ok(Prior::Nothing),
            Kind::TransparentNetwork(network) => network::capture(network, host),
            Kind::AdapterAddress(address) => network::capture_address(address, host),
            Kind::Forwarding(_) => forwarding::capture(host),
            Kind::Route(route) => context.table(host).map(|table| route::capture(route, &table)),
            Kind::FirewallRule(rule) => firewall::capture(rule, host),
            Kind::PauseImage(image) => Ok(Prior::Image(host.image(&image.tag)?.map(|image| image.id))),
            Kind::SearchPath(search) => search_path::capture(search, host),
            Kind::Service(service) => service::capture(service, host),
        }
    }

    fn shares_restart(&self) -> bool {
        matches!(self, Kind::Feature(_))
    }

    fn apply(
        &self,
        host: &mut Self::Platform,
        context: &Context,
        _watcher: &mut dyn Watcher<Self::Platform>,
    ) -> Result<Applied> {
        match self {
            Kind::Feature(feature) => return feature::apply(feature, host),
            Kind::Directory(directory) => directory::apply(directory, host),
            Kind::File(file) => file::apply(file, host, &context.copies),
            Kind::TransparentNetwork(network) => network::apply(network, host),
            Kind::AdapterAddress(address) => network::apply_address(address, host),
            Kind::Forwarding(forwarding) => forwarding::apply(forwarding, host),
            Kind::ServiceAdapter(adapter) => service_adapter::apply(adapter, host),
            Kind::Route(route) => {
                let table = context.table(host)?;
                route::apply(route, host, &table)
            }
            Kind::FirewallRule(rule) => host.put_firewall_rule(rule),
            Kind::PauseImage(image) => host.build_pause_image(image),
            Kind::SearchPath(search) => search_path::apply(search, host),
            Kind::Service(service) => service::apply(service, host),
        }?;
        Ok(Applied::Now)
    }

    fn take_back(&self, host: &mut Self::Platform, prior: &Prior, _removal: Removal) -> Result<()> {
        match (self, prior) {
            (Kind::Directory(directory), Prior::Directory(prior)) => {
                directory::take_back(directory, host, prior.as_ref())
            }
            (Kind::Directory(directory), Prior::EmptyDirectory(prior)) => directory::empty(directory, host, prior),
            (Kind::File(file), Prior::File(prior)) => file::restore(&file.path, host, prior),
            (Kind::Feature(_), Prior::Nothing) => Ok(()),
            (Kind::TransparentNetwork(network), Prior::Network(prior)) => network::take_back(network, host, prior),
            (Kind::AdapterAddress(address), Prior::Addressing(prior)) => {
                network::take_back_address(address, host, prior)
            }
            (Kind::Forwarding(_), Prior::Forwarding(prior)) => forwarding::take_back(host, prior),
            (Kind::ServiceAdapter(adapter), Prior::Nothing) => service_adapter::take_back(adapter, host),
            (Kind::Route(route), Prior::Routes(routes)) => route::take_back(route, host, routes),
            (Kind::FirewallRule(rule), Prior::FirewallRule(prior)) => firewall::take_back(rule, host, prior.as_ref()),
            (Kind::PauseImage(image), Prior::Image(prior)) => image::take_back(image, host, prior.as_deref()),
            (Kind::SearchPath(search), Prior::SearchPath(was_there)) => {
                search_path::take_back(search, host, *was_there)
            }
            (Kind::Service(service), Prior::Service(prior)) => service::take_back(service, host, prior.as_ref()),
            _ => Err(super::misfit(&self.id())),
        }
    }

    fn kube(_host: &mut Self::Platform, _call: KubeCall) -> Result<KubeAnswer> {
        Err(PlatformError::new("ask the Kubernetes API", "a Windows host has no administrator's kubeconfig")
            .with_hint("ask a control-plane host"))
    }

    fn reach_kubelets(_host: &mut Self::Platform, _nodes: &[String]) -> Result<Vec<Option<String>>> {
        Err(PlatformError::new("let the API server reach kubelets", "a Windows host has no API server")
            .with_hint("ask a control-plane host"))
    }
}

/// Whether a check asks Docker, and so can only tell once it runs.
fn asks_docker(kind: &Kind) -> bool {
    matches!(kind, Kind::TransparentNetwork(_) | Kind::AdapterAddress(_) | Kind::Forwarding(_) | Kind::PauseImage(_))
}

fn docker_runs(host: &mut (dyn WindowsPlatform + Send)) -> Result<bool> {
    Ok(host.service("docker")?.is_some_and(|service| service.running))
}
