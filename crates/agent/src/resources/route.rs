//! Routes to other nodes' pod subnets.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use k8swin_protocol::facts::RouteEntry;
use k8swin_protocol::resource::{CheckOutcome, Route};

use super::{Prior, absent, changed};
use crate::platform::{Platform, PlatformError, Result, SystemRoute};

/// The routes of a host, and which adapter has which address. A host has a route to every other node, so that it is read once
/// for many checks.
#[derive(Debug)]
pub(crate) struct Table {
    adapters: BTreeMap<Ipv4Addr, String>,
    routes: BTreeMap<Ipv4Net, Vec<RouteEntry>>,
}

impl Table {
    /// Reads them.
    pub(crate) fn read(host: &mut (impl Platform + ?Sized)) -> Result<Self> {
        let mut adapters = BTreeMap::new();
        for adapter in host.adapters()? {
            for net in &adapter.addresses {
                adapters.entry(net.addr()).or_insert_with(|| adapter.name.clone());
            }
        }
        let mut routes: BTreeMap<Ipv4Net, Vec<RouteEntry>> = BTreeMap::new();
        for route in host.routes()? {
            routes.entry(route.destination.trunc()).or_default().push(route);
        }
        Ok(Self { adapters, routes })
    }

    fn resolve(&self, route: &Route) -> Option<SystemRoute> {
        let adapter = self.adapters.get(&route.from)?.clone();
        Some(SystemRoute { destination: route.destination, via: route.via, adapter })
    }

    fn existing(&self, route: &Route) -> &[RouteEntry] {
        self.routes.get(&route.destination.trunc()).map_or(&[], Vec::as_slice)
    }
}

pub(super) fn check(route: &Route, table: &Table) -> CheckOutcome {
    let Some(wanted) = table.resolve(route) else {
        return changed(no_adapter(route));
    };
    let routes = table.existing(route);
    if routes.is_empty() {
        return absent("absent");
    }
    match routes.iter().find(|found| !is(found, &wanted)) {
        None => CheckOutcome::InSync,
        Some(other) if other.via == Some(wanted.via) => {
            changed(format!("on {}, expected {}", other.adapter, wanted.adapter))
        }
        Some(RouteEntry { via: Some(via), .. }) => changed(format!("via {via}, expected {}", wanted.via)),
        Some(other) => changed(format!("on the link of {}, expected via {}", other.adapter, wanted.via)),
    }
}

pub(super) fn capture(route: &Route, table: &Table) -> Prior {
    Prior::Routes(table.existing(route).iter().filter_map(routed).collect())
}

pub(super) fn apply(route: &Route, host: &mut (impl Platform + ?Sized), table: &Table) -> Result<()> {
    let wanted = table.resolve(route).ok_or_else(|| {
        PlatformError::new(format!("add the route to {}", route.destination), no_adapter(route))
            .with_hint("give the host that address, or correct node_address in the inventory")
    })?;
    let found = table.existing(route);
    for other in found.iter().filter(|found| !is(found, &wanted)).filter_map(routed) {
        host.remove_route(&other)?;
    }
    if found.iter().any(|found| is(found, &wanted)) { Ok(()) } else { host.add_route(&wanted) }
}

pub(super) fn take_back(route: &Route, host: &mut (impl Platform + ?Sized), prior: &[SystemRoute]) -> Result<()> {
    let found: Vec<_> = Table::read(host)?.existing(route).iter().filter_map(routed).collect();
    for other in found.iter().filter(|found| !prior.contains(found)) {
        host.remove_route(other)?;
    }
    for missing in prior.iter().filter(|route| !found.contains(route)) {
        host.add_route(missing)?;
    }
    Ok(())
}

/// Routes on the link belong to an adapter's address and are not ours to remove.
fn routed(entry: &RouteEntry) -> Option<SystemRoute> {
    let RouteEntry { destination, via, adapter } = entry;
    via.map(|via| SystemRoute { destination: *destination, via, adapter: adapter.to_string() })
}

fn is(found: &RouteEntry, wanted: &SystemRoute) -> bool {
    found.via == Some(wanted.via) && *found.adapter == *wanted.adapter
}

fn no_adapter(route: &Route) -> String {
    format!("no adapter carries {}, by which it leaves", route.from)
}
