//! Forwarded pod traffic is let through (facts B.3: Docker sets the FORWARD policy to DROP).

use k8swin_protocol::resource::{CheckOutcome, ForwardAccept};

use super::{Prior, absent};
use crate::platform::{ForwardDirection, ForwardRule, LinuxPlatform, Result};

type Host<'a> = &'a mut (dyn LinuxPlatform + Send);

pub(super) fn check(accept: &ForwardAccept, host: Host<'_>) -> Result<CheckOutcome> {
    let [from, to] = rules(accept);
    Ok(match (host.has_forward_rule(&from)?, host.has_forward_rule(&to)?) {
        (true, true) => CheckOutcome::InSync,
        (false, false) => absent("absent"),
        (true, false) => absent("packets to pods are not let through"),
        (false, true) => absent("packets from pods are not let through"),
    })
}

pub(super) fn capture(accept: &ForwardAccept, host: Host<'_>) -> Result<Prior> {
    let [from, to] = rules(accept);
    Ok(Prior::ForwardRules { from: host.has_forward_rule(&from)?, to: host.has_forward_rule(&to)? })
}

pub(super) fn apply(accept: &ForwardAccept, host: Host<'_>) -> Result<()> {
    take_back(accept, host, true, true)
}

/// Puts each rule there or takes it away.
pub(super) fn take_back(accept: &ForwardAccept, host: Host<'_>, from: bool, to: bool) -> Result<()> {
    for (rule, wanted) in rules(accept).into_iter().zip([from, to]) {
        match (host.has_forward_rule(&rule)?, wanted) {
            (false, true) => host.add_forward_rule(&rule)?,
            (true, false) => host.remove_forward_rule(&rule)?,
            _ => {}
        }
    }
    Ok(())
}

fn rules(accept: &ForwardAccept) -> [ForwardRule; 2] {
    [ForwardDirection::From, ForwardDirection::To].map(|direction| ForwardRule { pods: accept.pods, direction })
}
