//! Docker's transparent network on the pod adapter, and the gateway's address on its host adapter (facts D.3).

use ipnet::Ipv4Net;
use k8swin_protocol::resource::{AdapterAddress, CheckOutcome, TransparentNetwork};

use super::{NetworkPrior, Prior, absent, changed};
use crate::platform::{Addressing, DockerNetworkState, PlatformError, Result, WindowsPlatform};

type Host<'a> = &'a mut (dyn WindowsPlatform + Send);

const DRIVER: &str = "transparent";

pub(super) fn check(network: &TransparentNetwork, host: Host<'_>) -> Result<CheckOutcome> {
    let Some(found) = host.docker_network(&network.name)? else { return Ok(absent("absent")) };
    let mut differences = Vec::new();
    if found.driver != DRIVER {
        differences.push(format!("driver {}, expected {DRIVER}", found.driver));
    }
    if found.subnet != Some(network.subnet) {
        differences.push(format!("subnet {}, expected {}", or_none(found.subnet), network.subnet));
    }
    if found.gateway != Some(network.gateway) {
        differences.push(format!("gateway {}, expected {}", or_none(found.gateway), network.gateway));
    }
    // Docker does not name the adapter of a network that was made without the option.
    if found.adapter.as_ref() != Some(&network.adapter) {
        differences.push(format!("on {}, expected {}", or_none(found.adapter), network.adapter));
    }
    Ok(if differences.is_empty() { CheckOutcome::InSync } else { changed(differences.join("; ")) })
}

pub(super) fn capture(network: &TransparentNetwork, host: Host<'_>) -> Result<Prior> {
    let existing = host.docker_network(&network.name)?;
    let addressing = host.addressing(&network.adapter)?.ok_or_else(|| no_adapter(network))?;
    Ok(Prior::Network(NetworkPrior { network: existing, adapter: network.adapter.clone(), addressing }))
}

pub(super) fn apply(network: &TransparentNetwork, host: Host<'_>) -> Result<()> {
    if host.addressing(&network.adapter)?.is_none() {
        return Err(no_adapter(network));
    }
    if host.docker_network(&network.name)?.is_some() {
        host.remove_docker_network(&network.name)?;
    }
    host.create_transparent_network(network)
}

pub(super) fn take_back(network: &TransparentNetwork, host: Host<'_>, prior: &NetworkPrior) -> Result<()> {
    let found = host.docker_network(&network.name)?;
    if found != prior.network {
        if found.is_some() {
            host.remove_docker_network(&network.name)?;
        }
        if let Some(before) = &prior.network {
            host.create_transparent_network(&restorable(&network.name, before)?)?;
        }
    }
    restore(&prior.adapter, &prior.addressing, host)
}

/// An adapter that is gone has nothing to restore.
fn restore(adapter: &str, before: &Addressing, host: Host<'_>) -> Result<()> {
    match host.addressing(adapter)? {
        Some(now) if !now.is_same(before) => host.set_addressing(adapter, before),
        _ => Ok(()),
    }
}

pub(super) fn check_address(address: &AdapterAddress, host: Host<'_>) -> Result<CheckOutcome> {
    let Some(adapter) = host.network_adapter(&address.network)? else {
        return Ok(absent(format!("absent: the network {} has no adapter yet", address.network)));
    };
    let adapters = host.adapters()?;
    let found = adapters.into_iter().find(|found| found.name == adapter).map_or_else(Vec::new, |found| found.addresses);
    let wanted = wanted(address)?;
    if found.contains(&wanted) {
        return Ok(CheckOutcome::InSync);
    }
    if found.is_empty() {
        return Ok(absent(format!("{adapter} has no address, expected {wanted}")));
    }
    let found: Vec<_> = found.iter().map(Ipv4Net::to_string).collect();
    Ok(changed(format!("{adapter} has {}, expected {wanted}", found.join(", "))))
}

pub(super) fn capture_address(address: &AdapterAddress, host: Host<'_>) -> Result<Prior> {
    let adapter = adapter_of(address, host)?;
    Ok(Prior::Addressing(host.addressing(&adapter)?.unwrap_or(Addressing::Dhcp)))
}

pub(super) fn apply_address(address: &AdapterAddress, host: Host<'_>) -> Result<()> {
    let adapter = adapter_of(address, host)?;
    // Pods leave by way of the routable adapter: this one has no gateway of its own.
    host.set_addressing(&adapter, &Addressing::Static { address: wanted(address)?, further: Vec::new(), gateway: None })
}

/// The adapter goes with its network; where it is gone, so is the address.
pub(super) fn take_back_address(address: &AdapterAddress, host: Host<'_>, prior: &Addressing) -> Result<()> {
    match host.network_adapter(&address.network)? {
        Some(adapter) => restore(&adapter, prior, host),
        None => Ok(()),
    }
}

/// The host adapter of a network that must be there by now.
pub(super) fn host_adapter(network: &str, host: Host<'_>) -> Result<String> {
    host.network_adapter(network)?.ok_or_else(|| {
        PlatformError::new(format!("find the host's adapter on the network {network}"), "there is none").with_hint(
            "Docker made the network without an adapter for the host: restart the services hns and docker, \
             then run this again",
        )
    })
}

fn adapter_of(address: &AdapterAddress, host: Host<'_>) -> Result<String> {
    host_adapter(&address.network, host)
}

fn wanted(address: &AdapterAddress) -> Result<Ipv4Net> {
    Ipv4Net::new(address.address, address.prefix)
        .map_err(|error| PlatformError::new(format!("read {}/{}", address.address, address.prefix), error.to_string()))
}

fn restorable(name: &str, before: &DockerNetworkState) -> Result<TransparentNetwork> {
    match before {
        DockerNetworkState { driver, subnet: Some(subnet), gateway: Some(gateway), adapter: Some(adapter) }
            if driver == DRIVER =>
        {
            Ok(TransparentNetwork { name: name.into(), subnet: *subnet, gateway: *gateway, adapter: adapter.clone() })
        }
        other => Err(PlatformError::new(
            format!("restore the Docker network {name}"),
            format!("k8swin cannot make a network with the driver {} again", other.driver),
        )
        .with_hint("create it by hand as it was before, then run this again")),
    }
}

fn no_adapter(network: &TransparentNetwork) -> PlatformError {
    PlatformError::new(
        format!("create the transparent network {}", network.name),
        format!("there is no adapter {}", network.adapter),
    )
    .with_hint("name the host's second adapter as pod_adapter in the inventory")
}

fn or_none(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "none".to_owned(), |value| value.to_string())
}
