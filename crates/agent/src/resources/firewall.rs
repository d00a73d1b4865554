//! Inbound firewall rules.

use k8swin_protocol::resource::{CheckOutcome, FirewallRule};

use super::{Prior, absent, changed};
use crate::platform::{InstalledRule, PlatformError, Result, WindowsPlatform};

type Host<'a> = &'a mut (dyn WindowsPlatform + Send);

pub(super) fn check(rule: &FirewallRule, host: Host<'_>) -> Result<CheckOutcome> {
    Ok(match host.firewall_rule(&rule.name)? {
        None => absent("absent"),
        Some(found) => found.difference(rule).map_or(CheckOutcome::InSync, changed),
    })
}

pub(super) fn capture(rule: &FirewallRule, host: Host<'_>) -> Result<Prior> {
    prior(&rule.name, host.firewall_rule(&rule.name)?)
}

/// A rule of the admin's own that k8swin could not make again is not touched.
fn prior(name: &str, found: Option<InstalledRule>) -> Result<Prior> {
    match found {
        None => Ok(Prior::FirewallRule(None)),
        Some(InstalledRule::Allows(before)) => Ok(Prior::FirewallRule(Some(before))),
        Some(InstalledRule::Other(what)) => Err(PlatformError::new(
            format!("put the firewall rule {name}"),
            format!("there is one of that name that k8swin did not make: it {what}"),
        )
        .with_hint("give it another name, or remove it")),
    }
}

pub(super) fn take_back(rule: &FirewallRule, host: Host<'_>, prior: Option<&FirewallRule>) -> Result<()> {
    match (host.firewall_rule(&rule.name)?, prior) {
        (Some(found), Some(before)) if found.difference(before).is_none() => Ok(()),
        (_, Some(before)) => host.put_firewall_rule(before),
        (Some(_), None) => host.remove_firewall_rule(&rule.name),
        (None, None) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use k8swin_protocol::resource::FirewallMatch;

    use super::*;

    #[test]
    fn a_rule_that_could_not_be_restored_is_not_touched() {
        let rule = FirewallRule { name: "k8swin ping".into(), allow: FirewallMatch::IcmpEcho, remote: Vec::new() };
        let found = InstalledRule::Allows(rule.clone());
        assert_eq!(prior(&rule.name, Some(found)).unwrap(), Prior::FirewallRule(Some(rule)));
        let error = prior("k8swin ping", Some(InstalledRule::Other("is disabled".into()))).unwrap_err();
        assert_eq!(error.answer, "there is one of that name that k8swin did not make: it is disabled");
    }
}
