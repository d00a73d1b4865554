//! Inbound firewall rules.

use k8swin_protocol::resource::{CheckOutcome, FirewallRule};

use super::{absent, changed};
use crate::platform::{Result, WindowsPlatform};

type Host<'a> = &'a mut (dyn WindowsPlatform + Send);

pub(super) fn check(rule: &FirewallRule, host: Host<'_>) -> Result<CheckOutcome> {
    let Some(found) = host.firewall_rule(&rule.name)? else { return Ok(absent("absent")) };
    Ok(if found.allow != rule.allow {
        changed("lets something else in")
    } else if found.remote != rule.remote {
        changed("lets others in")
    } else {
        CheckOutcome::InSync
    })
}

pub(super) fn take_back(rule: &FirewallRule, host: Host<'_>, prior: Option<&FirewallRule>) -> Result<()> {
    let found = host.firewall_rule(&rule.name)?;
    match prior {
        _ if found.as_ref() == prior => Ok(()),
        Some(before) => host.put_firewall_rule(before),
        None => host.remove_firewall_rule(&rule.name),
    }
}
