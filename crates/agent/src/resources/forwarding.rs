//! IPv4 forwarding of a Windows host between its routable adapter and its pod adapter (facts E).

use k8swin_protocol::resource::{CheckOutcome, Forwarding, ForwardingMode};

use super::{ForwardingPrior, Prior, RemoteAccess, changed, network};
use crate::platform::{self, PlatformError, Result, StartMode, WindowsPlatform};

type Host<'a> = &'a mut (dyn WindowsPlatform + Send);

/// The Windows service of Routing and Remote Access.
const SERVICE: &str = "RemoteAccess";

const READY: RemoteAccess = RemoteAccess { lan_router: true, start: StartMode::Automatic, running: true };

pub(super) fn check(forwarding: &Forwarding, host: Host<'_>) -> Result<CheckOutcome> {
    let mut differences = Vec::new();
    if forwarding.mode == ForwardingMode::Rras {
        match remote_access(host)? {
            None => differences.push("the Routing role is not installed".to_owned()),
            Some(found) => {
                if !found.lan_router {
                    differences.push("Routing and Remote Access is not set up as a LAN router".into());
                }
                if found.start != READY.start {
                    differences.push("Routing and Remote Access does not start at boot".into());
                }
                if !found.running {
                    differences.push("Routing and Remote Access does not run".into());
                }
            }
        }
    }
    match platform::adapter_with(host, forwarding.routable)? {
        None => differences.push(no_adapter(forwarding)),
        Some(adapter) if !host.forwarding(&adapter)? => differences.push(format!("off on {adapter}")),
        Some(_) => {}
    }
    match host.network_adapter(&forwarding.network)? {
        None => differences.push(format!("the network {} has no adapter yet", forwarding.network)),
        Some(adapter) if !host.forwarding(&adapter)? => differences.push(format!("off on {adapter}")),
        Some(_) => {}
    }
    Ok(if differences.is_empty() { CheckOutcome::InSync } else { changed(differences.join("; ")) })
}

pub(super) fn capture(host: Host<'_>) -> Result<Prior> {
    Ok(Prior::Forwarding(ForwardingPrior { adapters: forwarding_adapters(host)?, remote_access: remote_access(host)? }))
}

pub(super) fn apply(forwarding: &Forwarding, host: Host<'_>) -> Result<()> {
    if forwarding.mode == ForwardingMode::Rras {
        set_remote_access(READY, host)?;
    }
    let routable = platform::adapter_with(host, forwarding.routable)?.ok_or_else(|| {
        PlatformError::new("switch forwarding on", no_adapter(forwarding))
            .with_hint("give the host that address, or correct node_address in the inventory")
    })?;
    for adapter in [routable, network::host_adapter(&forwarding.network, host)?] {
        if !host.forwarding(&adapter)? {
            host.set_forwarding(&adapter, true)?;
        }
    }
    Ok(())
}

pub(super) fn take_back(host: Host<'_>, prior: &ForwardingPrior) -> Result<()> {
    // Routing and Remote Access first: while it runs, all adapters forward.
    if let Some(before) = prior.remote_access {
        set_remote_access(before, host)?;
    }
    for adapter in forwarding_adapters(host)?.iter().filter(|adapter| !prior.adapters.contains(adapter)) {
        host.set_forwarding(adapter, false)?;
    }
    let present: Vec<_> = host.adapters()?.into_iter().map(|adapter| adapter.name).collect();
    for adapter in prior.adapters.iter().filter(|adapter| present.contains(adapter)) {
        if !host.forwarding(adapter)? {
            host.set_forwarding(adapter, true)?;
        }
    }
    Ok(())
}

fn forwarding_adapters(host: Host<'_>) -> Result<Vec<String>> {
    let mut forwarding = Vec::new();
    for adapter in host.adapters()? {
        if host.forwarding(&adapter.name)? {
            forwarding.push(adapter.name);
        }
    }
    Ok(forwarding)
}

fn remote_access(host: Host<'_>) -> Result<Option<RemoteAccess>> {
    let Some(service) = host.service(SERVICE)? else { return Ok(None) };
    let lan_router = host.lan_router()?;
    Ok(Some(RemoteAccess { lan_router, start: service.definition.start, running: service.running }))
}

fn set_remote_access(wanted: RemoteAccess, host: Host<'_>) -> Result<()> {
    let found = remote_access(host)?.ok_or_else(|| {
        PlatformError::new("set up Routing and Remote Access", "the Routing role is not installed")
            .with_hint("install the feature Routing and restart the host, or use forwarding = \"per-adapter\"")
    })?;
    // A stopped service can be set up either way; a running one only reads its settings at the start.
    if found.running && (!wanted.running || found.lan_router != wanted.lan_router) {
        host.stop_service(SERVICE)?;
    }
    if found.lan_router != wanted.lan_router {
        host.set_lan_router(wanted.lan_router)?;
    }
    if found.start != wanted.start {
        host.set_start_mode(SERVICE, wanted.start)?;
    }
    let running = host.service(SERVICE)?.is_some_and(|service| service.running);
    if wanted.running && !running { host.start_service(SERVICE) } else { Ok(()) }
}

fn no_adapter(forwarding: &Forwarding) -> String {
    format!("no adapter carries {}", forwarding.routable)
}
