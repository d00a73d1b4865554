//! The adapter on which kube-proxy puts service addresses (facts B.6, D.4).

use k8swin_protocol::resource::{CheckOutcome, ServiceAdapter, ServiceAdapterKind};

use super::absent;
use crate::platform::{PlatformError, Result, WindowsPlatform};

type Host<'a> = &'a mut (dyn WindowsPlatform + Send);

pub(super) fn check(adapter: &ServiceAdapter, host: Host<'_>) -> Result<CheckOutcome> {
    let there = match adapter.kind {
        ServiceAdapterKind::InternalSwitch => host.internal_switch(&adapter.switch)?,
        ServiceAdapterKind::DockerNat => {
            let name = adapter.adapter();
            host.adapters()?.iter().any(|found| found.name == name)
        }
    };
    Ok(if there { CheckOutcome::InSync } else { absent("absent") })
}

pub(super) fn apply(adapter: &ServiceAdapter, host: Host<'_>) -> Result<()> {
    match adapter.kind {
        ServiceAdapterKind::InternalSwitch => host.create_internal_switch(&adapter.switch),
        ServiceAdapterKind::DockerNat => {
            Err(PlatformError::new(format!("find the adapter {}", adapter.adapter()), "there is none").with_hint(
                "Docker's nat network brings it: remove \"bridge\": \"none\" from daemon.json and restart docker",
            ))
        }
    }
}

pub(super) fn take_back(adapter: &ServiceAdapter, host: Host<'_>) -> Result<()> {
    if adapter.kind == ServiceAdapterKind::InternalSwitch && host.internal_switch(&adapter.switch)? {
        host.remove_internal_switch(&adapter.switch)?;
    }
    Ok(())
}
