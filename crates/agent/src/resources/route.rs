//! Routes to other nodes' pod subnets.

use k8swin_protocol::facts::RouteEntry;
use k8swin_protocol::resource::{CheckOutcome, Route};

use super::{Prior, absent, changed};
use crate::platform::{self, Platform, PlatformError, Result, SystemRoute};

pub(super) fn check(route: &Route, host: &mut (impl Platform + ?Sized)) -> Result<CheckOutcome> {
    let Some(wanted) = resolve(route, host)? else {
        return Ok(changed(no_adapter(route)));
    };
    let routes = existing(route, host)?;
    if routes.is_empty() {
        return Ok(absent("absent"));
    }
    Ok(match routes.iter().find(|found| !is(found, &wanted)) {
        None => CheckOutcome::InSync,
        Some(other) if other.via == Some(wanted.via) => {
            changed(format!("on {}, expected {}", other.adapter, wanted.adapter))
        }
        Some(RouteEntry { via: Some(via), .. }) => changed(format!("via {via}, expected {}", wanted.via)),
        Some(other) => changed(format!("on the link of {}, expected via {}", other.adapter, wanted.via)),
    })
}

pub(super) fn capture(route: &Route, host: &mut (impl Platform + ?Sized)) -> Result<Prior> {
    Ok(Prior::Routes(existing(route, host)?.iter().filter_map(routed).collect()))
}

pub(super) fn apply(route: &Route, host: &mut (impl Platform + ?Sized)) -> Result<()> {
    let wanted = resolve(route, host)?.ok_or_else(|| {
        PlatformError::new(format!("add the route to {}", route.destination), no_adapter(route))
            .with_hint("give the host that address, or correct node_address in the inventory")
    })?;
    let found = existing(route, host)?;
    for other in found.iter().filter(|found| !is(found, &wanted)).filter_map(routed) {
        host.remove_route(&other)?;
    }
    if found.iter().any(|found| is(found, &wanted)) { Ok(()) } else { host.add_route(&wanted) }
}

pub(super) fn take_back(route: &Route, host: &mut (impl Platform + ?Sized), prior: &[SystemRoute]) -> Result<()> {
    let found: Vec<_> = existing(route, host)?.iter().filter_map(routed).collect();
    for other in found.iter().filter(|found| !prior.contains(found)) {
        host.remove_route(other)?;
    }
    for missing in prior.iter().filter(|route| !found.contains(route)) {
        host.add_route(missing)?;
    }
    Ok(())
}

fn resolve(route: &Route, host: &mut (impl Platform + ?Sized)) -> Result<Option<SystemRoute>> {
    let adapter = platform::adapter_with(host, route.from)?;
    Ok(adapter.map(|adapter| SystemRoute { destination: route.destination, via: route.via, adapter }))
}

fn existing(route: &Route, host: &mut (impl Platform + ?Sized)) -> Result<Vec<RouteEntry>> {
    let routes = host.routes()?;
    Ok(routes.into_iter().filter(|found| found.destination.trunc() == route.destination.trunc()).collect())
}

/// Routes on the link belong to an adapter's address and are not ours to remove.
fn routed(entry: &RouteEntry) -> Option<SystemRoute> {
    let RouteEntry { destination, via, adapter } = entry;
    via.map(|via| SystemRoute { destination: *destination, via, adapter: adapter.clone() })
}

fn is(found: &RouteEntry, wanted: &SystemRoute) -> bool {
    found.via == Some(wanted.via) && found.adapter == wanted.adapter
}

fn no_adapter(route: &Route) -> String {
    format!("no adapter carries {}, by which it leaves", route.from)
}
