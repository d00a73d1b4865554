//! What commands return, put together from what is known of the hosts.

use std::collections::BTreeMap;

use k8swin_protocol::resource::{CheckOutcome, Effect, Phase};
use k8swin_protocol::wire::Checked;

use crate::RunError;
use crate::event::Difference;
use crate::fleet::Fleet;
use crate::member::Member;
use crate::report::{HostPlan, Summary};
use crate::session::interrupted;
use crate::verify::Proof;

/// What `up` would do on a host that has been checked, or why it cannot be told.
pub(crate) fn host_plan(member: &Member<'_>) -> HostPlan {
    let mut plan = HostPlan { error: member.summary.error.clone(), ..HostPlan::default() };
    let (Some(resources), Some(checked)) = (&member.resources, &member.checked) else { return plan };
    let explained: BTreeMap<_, _> = k8swin_blueprint::explain(resources).into_iter().collect();
    let phases: BTreeMap<_, _> = resources.ids().map(|(phase, id)| (id, phase)).collect();
    let Checked { in_sync, differing, orphans, .. } = checked;
    plan.unchanged = *in_sync;
    for (resource, outcome) in differing {
        let (difference, effect) = match outcome {
            CheckOutcome::InSync => continue,
            CheckOutcome::Drifted { difference, effect } => (difference.clone(), *effect),
            CheckOutcome::Unknown { waits_for } => (format!("after {waits_for}"), Effect::Create),
        };
        let Some(phase) = phases.get(resource).copied() else { continue };
        plan.explained.push(explained.get(resource).cloned().unwrap_or_default());
        plan.differences.push(Difference { phase, resource: resource.clone(), difference, effect });
    }
    for resource in orphans {
        plan.explained.push(Vec::new());
        plan.differences.push(Difference {
            phase: Phase::AddOns,
            resource: resource.clone(),
            difference: "no longer planned".to_owned(),
            effect: Effect::Remove,
        });
    }
    plan
}

/// What a run that changes hosts came to. A failed first control plane is a result like others: the summary names it.
pub(crate) fn summarise(fleet: &mut Fleet<'_>, result: Result<Proof, RunError>) -> Result<Summary, RunError> {
    let mut summary = Summary { duration: fleet.elapsed(), ..Summary::default() };
    match result {
        Ok(proof) => {
            summary.nodes = proof.nodes;
            summary.verification = proof.findings;
        }
        Err(_) if fleet.interrupted() => summary.interrupted = true,
        Err(RunError::Interrupted) => summary.interrupted = true,
        Err(RunError::ControlPlane { host, failure }) => {
            summary.stopped = true;
            for member in fleet.members.iter_mut().filter(|member| member.host.name == host) {
                member.summary.error.get_or_insert_with(|| failure.clone());
            }
        }
        Err(error) => return Err(error),
    }
    for member in &mut fleet.members {
        if summary.interrupted && member.summary.error.is_none() {
            member.summary.error = Some(interrupted());
        }
        summary.hosts.insert(member.host.name.clone(), member.summary.clone());
    }
    Ok(summary)
}

/// How a run ended, for the journal.
pub(crate) fn how_it_ended(result: &Result<Summary, RunError>) -> String {
    match result {
        Ok(summary) if summary.interrupted => "interrupted".to_owned(),
        Ok(summary) => {
            let changed: usize = summary.hosts.values().map(|host| host.changed).sum();
            let failed = summary.hosts.values().filter(|host| host.error.is_some()).count();
            format!("{changed} changed, {failed} hosts failed")
        }
        Err(error) => error.to_string(),
    }
}
