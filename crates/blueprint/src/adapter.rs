//! Finds the adapter that the inventory means, among those that a Windows host has now.

use std::net::Ipv4Addr;

use k8swin_inventory::cluster::AdapterSelector;
use k8swin_protocol::facts::{Adapter, WindowsFacts};

use crate::{BlueprintError, paths};

/// The Windows name of the pod adapter of `host`, whose routable address is `routable`. The same on every run: also after
/// the transparent network has taken the adapter, when its address has moved to the network's host adapter (facts D.3).
///
/// # Errors
/// When there is no such adapter, or it is the one that carries the host's routable address.
pub(crate) fn pod_adapter(
    host: &str,
    selector: &AdapterSelector,
    routable: Ipv4Addr,
    facts: &WindowsFacts,
) -> Result<String, BlueprintError> {
    let adapters = &facts.common.adapters;
    let physical = || adapters.iter().filter(|adapter| adapter.physical);
    let found = match selector {
        AdapterSelector::Name(name) => adapters.iter().find(|adapter| adapter.name.eq_ignore_ascii_case(name)),
        // The host adapter of a switch takes over the MAC address of the adapter below it: only hardware counts.
        AdapterSelector::Mac(mac) => physical().find(|adapter| adapter.mac.eq_ignore_ascii_case(mac)),
        AdapterSelector::Address(address) => physical().find(|adapter| carries(adapter, *address)).or_else(|| {
            network_exists(facts).then(|| only(physical().filter(|one| one.up && !carries(one, routable))))?
        }),
    };
    let Some(adapter) = found else {
        return Err(BlueprintError::NoAdapter {
            host: host.to_owned(),
            sought: describe_selector(selector),
            adapters: describe(adapters),
        });
    };
    if carries(adapter, routable) {
        return Err(BlueprintError::RoutableAdapter { host: host.to_owned(), adapter: adapter.name.clone(), routable });
    }
    Ok(adapter.name.clone())
}

fn carries(adapter: &Adapter, address: Ipv4Addr) -> bool {
    adapter.addresses.iter().any(|net| net.addr() == address)
}

/// Whether an earlier run has made the transparent network, so that the adapter's own address is gone.
fn network_exists(facts: &WindowsFacts) -> bool {
    let docker = facts.docker.as_ref().and_then(|docker| docker.networks.get(paths::POD_NETWORK));
    docker.is_some_and(|network| network.driver == "transparent")
        || facts.common.owned.contains(format!("transparent-network:{}", paths::POD_NETWORK).as_str())
}

fn only<'a>(mut candidates: impl Iterator<Item = &'a Adapter>) -> Option<&'a Adapter> {
    let first = candidates.next()?;
    candidates.next().is_none().then_some(first)
}

fn describe_selector(selector: &AdapterSelector) -> String {
    match selector {
        AdapterSelector::Name(name) => format!("with the name `{name}`"),
        AdapterSelector::Mac(mac) => format!("with the MAC address {mac}"),
        AdapterSelector::Address(address) => format!("with the address {address}"),
    }
}

fn describe(adapters: &[Adapter]) -> String {
    if adapters.is_empty() {
        return "it has none".to_owned();
    }
    let all = adapters.iter().map(|adapter| {
        let addresses: Vec<_> = adapter.addresses.iter().map(ToString::to_string).collect();
        let addresses = if addresses.is_empty() { "no address".to_owned() } else { addresses.join(", ") };
        format!("`{}` ({}, {addresses}{})", adapter.name, adapter.mac, if adapter.up { "" } else { ", not connected" })
    });
    format!("it has {}", all.collect::<Vec<_>>().join("; "))
}
