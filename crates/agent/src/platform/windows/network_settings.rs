//! Addresses, routes and forwarding, written by `netsh` and looked up by the IP helper interface.

use k8swin_protocol::facts::RouteEntry;
use windows_registry::LOCAL_MACHINE;

use super::super::{Addressing, PlatformError, Result, SystemRoute};
use super::{netsh, netsh_arguments, network};

/// Where Windows keeps the routes that `route -p` adds: one value each, `destination,mask,router,metric`. It has no
/// adapter (facts E), so nothing of ours is ever put there.
pub(super) const PERSISTENT_ROUTES: &str = r"SYSTEM\CurrentControlSet\Services\Tcpip\Parameters\PersistentRoutes";

/// How an adapter gets its addresses.
pub(super) fn addressing(adapter: &str) -> Result<Option<Addressing>> {
    let Some(found) = network::found()?.into_iter().find(|found| found.adapter.name == adapter) else {
        return Ok(None);
    };
    Ok(Some(Addressing::of(adapter, found.dhcp, &found.adapter.addresses, &network::routes()?)))
}

/// Sets how an adapter gets its addresses, now and at boot.
pub(super) fn set_addressing(adapter: &str, wanted: &Addressing) -> Result<()> {
    let attempted = format!("set the addresses of {adapter}");
    // A switch that is gone has given the adapter back a moment ago.
    let unbound = netsh::settle(|| {
        let bound = network::by_name(&attempted, adapter)?.bound;
        Ok((!bound).then(|| "IPv4 is not bound to it".to_owned()))
    })?;
    if let Some(unbound) = unbound {
        return Err(PlatformError::new(attempted, unbound)
            .with_hint("a virtual switch may still have the adapter: look at the host's switches"));
    }
    let current =
        || addressing(adapter)?.ok_or_else(|| PlatformError::new(&attempted, format!("there is no adapter {adapter}")));
    // netsh refuses what is so already.
    if current()?.is_same(wanted) {
        return Ok(());
    }
    match wanted {
        Addressing::Dhcp => netsh::run(&attempted, &netsh_arguments::set_dhcp(adapter))?,
        Addressing::Static { address, further, gateway } => {
            netsh::run(&attempted, &netsh_arguments::set_address(adapter, *address, *gateway))?;
            for address in further {
                netsh::run(&attempted, &netsh_arguments::add_address(adapter, *address))?;
            }
        }
    }
    netsh::confirm(&attempted, || {
        let found = current()?;
        Ok((!found.is_same(wanted)).then(|| format!("{adapter} has {found}, expected {wanted}")))
    })
}

/// Adds a route now and at boot.
pub(super) fn add_route(route: &SystemRoute) -> Result<()> {
    let attempted = format!("add the route {route}");
    let index = network::by_name(&attempted, &route.adapter)?.index;
    let arguments = netsh_arguments::add_route(route.destination, index, route.via);
    if let Err(refused) = netsh::run(&attempted, &arguments) {
        // The store may have the route of an adapter that was away, which is then neither there nor can be added.
        let deleted = netsh::run(&attempted, &netsh_arguments::delete_route(route.destination, index, route.via));
        deleted.map_err(|_| refused)?;
        netsh::run(&attempted, &arguments)?;
    }
    netsh::confirm(&attempted, || Ok((!is_there(route)?).then(|| "absent".to_owned())))
}

/// Removes a route now and at boot.
pub(super) fn remove_route(route: &SystemRoute) -> Result<()> {
    let attempted = format!("remove the route {route}");
    let index = network::by_name(&attempted, &route.adapter)?.index;
    netsh::run(&attempted, &netsh_arguments::delete_route(route.destination, index, route.via))?;
    remove_persistent_twin(&attempted, route)?;
    netsh::confirm(&attempted, || Ok(is_there(route)?.then(|| "it is still there".to_owned())))
}

fn is_there(route: &SystemRoute) -> Result<bool> {
    let is = |found: &RouteEntry| {
        found.destination.trunc() == route.destination.trunc()
            && found.via == Some(route.via)
            && *found.adapter == *route.adapter
    };
    Ok(network::routes()?.iter().any(is))
}

/// A route that somebody added with `route -p` as well would be back with the next boot, on whichever adapter.
fn remove_persistent_twin(attempted: &str, route: &SystemRoute) -> Result<()> {
    let Ok(stored) = LOCAL_MACHINE.open(PERSISTENT_ROUTES) else { return Ok(()) };
    let failed = |answer: String| PlatformError::new(attempted, format!("the persistent routes: {answer}"));
    // Whoever added it may have given it any metric.
    let twin = format!("{},{},{},", route.destination.network(), route.destination.netmask(), route.via);
    let names: Vec<String> = stored.values().map_err(|error| failed(error.message()))?.map(|(name, _)| name).collect();
    for name in names.into_iter().filter(|name| name.starts_with(&twin)) {
        LOCAL_MACHINE
            .create(PERSISTENT_ROUTES)
            .and_then(|key| key.remove_value(&name))
            .map_err(|error| failed(error.message()))?;
    }
    Ok(())
}

/// Switches forwarding of an adapter, now and at boot.
pub(super) fn set_forwarding(adapter: &str, on: bool) -> Result<()> {
    let attempted = format!("switch forwarding of {adapter} {}", if on { "on" } else { "off" });
    let found = network::by_name(&attempted, adapter)?;
    netsh::run(&attempted, &netsh_arguments::set_forwarding(found.index, on))?;
    netsh::confirm(&attempted, || {
        let is_on = network::forwarding(&found)?;
        Ok((is_on != on).then(|| format!("it is {}", if is_on { "on" } else { "off" })))
    })
}
