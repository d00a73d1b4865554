//! Inbound firewall rules: written by `netsh`, read from the registry, where Windows keeps them.

use k8swin_protocol::resource::FirewallRule;
use windows_registry::LOCAL_MACHINE;

use super::super::{InstalledRule, PlatformError, Result};
use super::{firewall_rule, netsh, netsh_arguments};

/// The rules of the host's own; those of a group policy lie elsewhere, and nobody but the policy changes them.
const RULES: &str = r"SYSTEM\CurrentControlSet\Services\SharedAccess\Parameters\FirewallPolicy\FirewallRules";

/// The inbound rule of a name.
pub(super) fn find(name: &str) -> Result<Option<InstalledRule>> {
    // A host without the key has no rules.
    let Ok(key) = LOCAL_MACHINE.open(RULES) else { return Ok(None) };
    let values = key.values().map_err(|error| {
        PlatformError::new(format!("look for the firewall rule {name}"), format!("the registry: {}", error.message()))
    })?;
    let texts = values.filter_map(|(_, value)| String::try_from(value).ok());
    Ok(firewall_rule::find(name, texts, |variable| std::env::var(variable).ok()))
}

/// Puts a rule in the place of all inbound ones of its name.
pub(super) fn put(rule: &FirewallRule) -> Result<()> {
    let attempted = format!("put the firewall rule {}", rule.name);
    if find(&rule.name)?.is_some() {
        netsh::run(&attempted, &netsh_arguments::delete_firewall_rule(&rule.name))?;
    }
    netsh::run(&attempted, &netsh_arguments::add_firewall_rule(rule))?;
    netsh::confirm(&attempted, || {
        Ok(match find(&rule.name)? {
            Some(found) => found.difference(rule),
            None => Some("absent".to_owned()),
        })
    })
}

/// Removes all inbound rules of a name.
pub(super) fn remove(name: &str) -> Result<()> {
    if find(name)?.is_none() {
        return Ok(());
    }
    let attempted = format!("remove the firewall rule {name}");
    netsh::run(&attempted, &netsh_arguments::delete_firewall_rule(name))?;
    netsh::confirm(&attempted, || Ok(find(name)?.map(|_| "it is still there".to_owned())))
}
