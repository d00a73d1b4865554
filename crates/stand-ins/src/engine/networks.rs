//! The engine's networks, on Linux: a transparent one is a bridge that takes over its adapter, as the switch of Windows does
//! (facts D.3). The bridge itself is the host's adapter on it.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::Deserialize;

use super::state::{Network, State};
use super::{Refused, Texts, World};
use crate::linux::{self, Link};
use crate::netsh::{self, Desk};
use crate::{ADAPTER_NAMES, TAKEN_ADAPTERS};

/// The option that names the adapter (facts D.3).
const INTERFACE: &str = "com.docker.network.windowsshim.interface";

/// What the registry calls the host's adapter of a transparent network, and that of the network `nat`.
const TRANSPARENT: &str = "vEthernet (HNSTransparent)";
const NAT: &str = "vEthernet (HNS Internal NIC)";

/// The range of the network `nat`, within Docker's own (facts D.3).
const NAT_RANGE: &str = "172.25.0.1/20";

/// The body of a request for a network.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Wanted {
    name: String,
    #[serde(default)]
    driver: String,
    #[serde(default, rename = "IPAM")]
    ipam: Option<Ipam>,
    #[serde(default)]
    options: Option<Texts>,
    #[serde(default)]
    labels: Option<Texts>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Ipam {
    #[serde(default)]
    config: Option<Vec<IpamConfig>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct IpamConfig {
    subnet: Option<String>,
    gateway: Option<String>,
}

fn links(desk: &mut dyn Desk) -> Result<Vec<Link>, Refused> {
    desk.ip(&["-json", "address"]).and_then(|json| linux::links(&json)).map_err(Refused::host)
}

fn ip(desk: &mut dyn Desk, arguments: &[&str]) -> Result<(), Refused> {
    desk.ip(arguments).map(drop).map_err(Refused::host)
}

/// Creates a network; returns its identity.
pub(super) fn create(wanted: Wanted, state: &mut State, world: &mut dyn World) -> Result<String, Refused> {
    if state.networks.iter().any(|network| network.name == wanted.name) {
        return Err(Refused::new(409, format!("network with name {} already exists", wanted.name)));
    }
    if wanted.driver != "transparent" {
        return Err(Refused::new(404, format!("legacy plugin: plugin {:?} not found", wanted.driver)));
    }
    let config = wanted.ipam.and_then(|ipam| ipam.config).unwrap_or_default().into_iter().next();
    let (subnet, gateway) = config.map_or((None, None), |config| (config.subnet, config.gateway));
    let read = |text: &str| Refused::bad(format!("invalid CIDR address: {text}"));
    let subnet: Ipv4Net = match subnet {
        Some(text) => text.parse().map_err(|_| read(&text))?,
        None => return Err(Refused::bad("the stand-in for Docker wants --subnet and --gateway")),
    };
    let gateway: Ipv4Addr = match gateway {
        Some(text) => text.parse().map_err(|_| read(&text))?,
        None => return Err(Refused::bad("the stand-in for Docker wants --subnet and --gateway")),
    };
    let options = wanted.options.unwrap_or_default();
    let Some(adapter) = options.get(INTERFACE) else {
        return Err(Refused::bad(format!("the stand-in for Docker wants the option {INTERFACE}")));
    };
    let id = state.identity("network");
    let mut network = Network {
        id: id.clone(),
        name: wanted.name,
        driver: wanted.driver,
        subnet: Some(subnet),
        gateway: Some(gateway),
        options: options.clone(),
        labels: wanted.labels.unwrap_or_default(),
        created_ms: world.now_ms(),
        switch: None,
        uplink: None,
    };
    let desk = world.desk();
    let names = desk.texts(ADAPTER_NAMES).map_err(Refused::host)?;
    let known = names.iter().find(|(_, name)| *name == adapter).map_or(adapter, |(linux, _)| linux);
    let found = links(desk)?;
    let uplink = found.iter().find(|link| link.name == *known).ok_or_else(|| Refused::host("Element not found."))?;
    if state.networks.iter().any(|other| other.uplink.as_ref() == Some(&uplink.name)) {
        return Err(Refused::host("The parameter is incorrect."));
    }
    // A name of its own each time: Wine takes a new adapter for an old one of its name.
    state.switches += 1;
    let switch = format!("switch{}", state.switches);
    attach(&switch, uplink, desk)?;
    let taken = names.values().filter(|name| name.starts_with(TRANSPARENT)).count();
    let name = if taken == 0 { TRANSPARENT.to_owned() } else { format!("{TRANSPARENT} {}", taken + 1) };
    desk.put_text(ADAPTER_NAMES, &switch, &name).map_err(Refused::host)?;
    (network.switch, network.uplink) = (Some(switch), Some(uplink.name.clone()));
    state.networks.push(network);
    Ok(id)
}

/// Puts a bridge in front of an adapter: its addresses move there, as on Windows.
fn attach(switch: &str, uplink: &Link, desk: &mut dyn Desk) -> Result<(), Refused> {
    ip(desk, &["link", "add", switch, "address", &uplink.mac, "type", "bridge"])?;
    ip(desk, &["link", "set", &uplink.name, "master", switch])?;
    ip(desk, &["-4", "address", "flush", "dev", &uplink.name])?;
    desk.put_text(TAKEN_ADAPTERS, &uplink.name, switch).map_err(Refused::host)?;
    ip(desk, &["link", "set", &uplink.name, "up"])?;
    ip(desk, &["link", "set", switch, "up"])?;
    for address in &uplink.addresses {
        ip(desk, &["address", "add", &address.to_string(), "dev", switch])?;
    }
    let moved = |kept: &mut netsh::Persistent| {
        if let Some(addresses) = kept.addresses.remove(&uplink.name) {
            kept.addresses.insert(switch.to_owned(), addresses);
        }
    };
    netsh::change(desk, moved).map_err(Refused::host)
}

/// Removes a network that no container uses.
pub(super) fn remove(name: &str, state: &mut State, world: &mut dyn World) -> Result<(), Refused> {
    let network = state.network(name)?.clone();
    if network.name == "nat" {
        return Err(Refused::new(403, "nat is a pre-defined network and cannot be removed"));
    }
    let running = |container: &&super::Container| {
        container.address.is_some() && container.network.as_ref() == Some(&network.name)
    };
    if let Some(container) = state.containers.iter().find(running) {
        return Err(Refused::new(
            403,
            format!(
                "error while removing network: network {} id {} has active endpoints: {}",
                name, network.id, container.name
            ),
        ));
    }
    if let Some(switch) = &network.switch {
        let desk = world.desk();
        if links(desk)?.iter().any(|link| link.name == *switch) {
            ip(desk, &["link", "del", switch])?;
        }
        desk.remove(ADAPTER_NAMES, switch).map_err(Refused::host)?;
        if let Some(uplink) = &network.uplink {
            desk.remove(TAKEN_ADAPTERS, uplink).map_err(Refused::host)?;
        }
        let gone = |kept: &mut netsh::Persistent| {
            kept.addresses.remove(switch);
            kept.forwarding.remove(switch);
            kept.routes.retain(|route| route.adapter != *switch);
        };
        netsh::change(desk, gone).map_err(Refused::host)?;
    }
    state.networks.retain(|found| found.id != network.id);
    Ok(())
}

/// What the engine does when it starts: adapters of its networks that are not there (any more) come, and `nat` is made.
///
/// # Errors
/// When Linux refuses it.
pub fn boot(state: &mut State, world: &mut dyn World) -> Result<(), Refused> {
    if state.networks.iter().all(|network| network.name != "nat") {
        let net: Ipv4Net = NAT_RANGE.parse().map_err(|_| Refused::host("the range of nat"))?;
        let network = Network {
            id: state.identity("network"),
            name: "nat".into(),
            driver: "nat".into(),
            subnet: Some(net.trunc()),
            gateway: Some(net.addr()),
            options: Texts::new(),
            labels: Texts::new(),
            created_ms: world.now_ms(),
            switch: Some("nat".into()),
            uplink: None,
        };
        state.networks.push(network);
    }
    let desk = world.desk();
    let found = links(desk)?;
    for network in &state.networks {
        let Some(switch) = network.switch.as_ref().filter(|switch| found.iter().all(|link| link.name != **switch))
        else {
            continue;
        };
        match network.uplink.as_ref().and_then(|uplink| found.iter().find(|link| link.name == *uplink)) {
            Some(uplink) => attach(switch, uplink, desk)?,
            None => {
                ip(desk, &["link", "add", switch, "type", "bridge"])?;
                ip(desk, &["link", "set", switch, "up"])?;
            }
        }
        if network.name == "nat" {
            ip(desk, &["address", "add", NAT_RANGE, "dev", switch])?;
            desk.put_text(ADAPTER_NAMES, switch, NAT).map_err(Refused::host)?;
        }
    }
    netsh::boot(desk).map_err(Refused::host)
}

/// The first address of a network that is free.
pub(super) fn free_address(network: &Network, state: &State) -> Option<Ipv4Addr> {
    let taken = |address: &Ipv4Addr| {
        network.gateway == Some(*address) || state.containers.iter().any(|other| other.address == Some(*address))
    };
    network.subnet?.hosts().skip(1).find(|address| !taken(address))
}
