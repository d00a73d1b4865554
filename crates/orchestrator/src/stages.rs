//! The stages that check and change hosts: each does its work on all hosts at once, and a host that fails takes no further
//! part.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use camino::Utf8PathBuf;
use k8swin_protocol::depot::Store;
use k8swin_protocol::resource::{Blob, CheckOutcome, HostResources, Phase, ResourceId};
use k8swin_protocol::wire::{AgentEvent, Checked, Failure, Request, ResourceResult, Response};
use k8swin_protocol::{SecretBytes, Sha256};
use tokio::sync::SemaphorePermit;

use crate::blob::BlobSource;
use crate::depot::Wanted;
use crate::event::{Event, Stage};
use crate::fleet::Fleet;
use crate::journal::Teller;
use crate::member::{Context, Member};
use crate::session::{Applied, SessionError};
use crate::ship::{nowhere, send};

/// Compares everything planned with every host, in one request each.
pub(crate) async fn check(fleet: &mut Fleet<'_>) {
    fleet.teller.tell(Event::StageStarted(Stage::Check));
    fleet
        .unlimited(Stage::Check, async |member, context| {
            check_one(member, context).await?;
            context.teller.tell(Event::HostDone { host: member.host.name.clone(), stage: Stage::Check });
            Ok(())
        })
        .await;
}

/// The same for one host.
pub(crate) async fn check_one<'a>(member: &mut Member<'a>, context: Context<'_, 'a>) -> Result<(), SessionError> {
    let Some(count) = member.resources.as_ref().map(HostResources::len) else { return Ok(()) };
    let _permit = member.wait(context, context.limits.hosts.acquire()).await?;
    context.tell_stage(member, Stage::Check, count);
    let check = async |member: &mut Member<'a>| match member.resources.clone() {
        Some(resources) => member.session()?.ask(Request::Check { resources }).await,
        None => Err(SessionError::Nonsense { request: "check" }),
    };
    let answer = member.persist(context, check).await?;
    match answer {
        Response::Checked(checked) if checked.in_sync + checked.differing.len() == count => {
            let owned = member.facts.as_ref().map(|facts| &facts.common().owned);
            let unknown =
                checked.differing.iter().filter(|(_, outcome)| matches!(outcome, CheckOutcome::Unknown { .. }));
            let new = unknown.map(|(id, _)| id).filter(|id| owned.is_none_or(|owned| !owned.contains(id.as_str())));
            member.new = new.cloned().collect();
            member.checked = Some(checked);
            Ok(())
        }
        _ => Err(SessionError::Nonsense { request: "check" }),
    }
}

/// Whether a host has anything to do in a phase. What is in sync is left alone, without a request, unless something before it on
/// the same host changed.
pub(crate) fn needs(member: &Member<'_>, phase: Phase) -> bool {
    let (in_sync, drifted) = tally(member, phase);
    drifted > 0 || (in_sync > 0 && member.summary.changed > 0)
}

/// Takes note of a phase in which a host has nothing to do.
pub(crate) fn pass(member: &mut Member<'_>, phase: Phase) {
    member.summary.unchanged += tally(member, phase).0;
}

/// Applies one phase on a host.
pub(crate) async fn apply_phase<'a>(
    member: &mut Member<'a>,
    context: Context<'_, 'a>,
    phase: Phase,
    secrets: &BTreeMap<Sha256, SecretBytes>,
    files: &BTreeMap<Sha256, Utf8PathBuf>,
) -> Result<(), SessionError> {
    let stage = Stage::Phase(phase);
    let Some(resources) = member.resources.as_ref().map(|resources| resources.of_phase(phase)) else { return Ok(()) };
    let _permit = member.wait(context, context.limits.hosts.acquire()).await?;
    context.tell_stage(member, stage, resources.len());
    member.persist(context, async |member| send_blobs(member, context, &resources, secrets, files).await).await?;
    apply(member, context, stage, &resources).await
}

/// Applies resources, confirming changes of the host's network and restarting it where that is asked for.
async fn apply<'a>(
    member: &mut Member<'a>,
    context: Context<'_, 'a>,
    stage: Stage,
    resources: &HostResources,
) -> Result<(), SessionError> {
    let mut changed_before: BTreeSet<ResourceId> = BTreeSet::new();
    let mut asked_before: BTreeSet<ResourceId> = BTreeSet::new();
    let losses_before = member.losses();
    // A node in service that is worked on may be out of service until this is over.
    let mut out_of_service = None;
    if disrupts(stage) {
        out_of_service = leave_service(member, context).await?;
    }
    loop {
        let request = Request::Apply { cluster: context.cluster.name.clone(), resources: resources.clone() };
        let Applied { mut results, confirm } = change(member, context, &request).await?;
        let changed_now = changed(&results);
        // After a restart everything is looked at again: what was changed before it counts once, as changed.
        let reached: BTreeSet<_> = results.iter().map(|(resource, _)| resource.clone()).collect();
        add_told(&mut results, changed_before.intersection(&reached).cloned().collect());
        if let Some(change) = confirm {
            member.confirm(context, &change).await?;
            if changed_now.iter().any(|resource| !asked_before.insert(resource.clone())) {
                return Err(again("change the network", "it was changed and confirmed, and differs again"));
            }
            changed_before.extend(changed_now);
            continue;
        }
        let failed = results.iter().any(|(_, result)| matches!(result, ResourceResult::Failed(_)));
        let asking: Vec<_> =
            results.iter().filter_map(|(resource, result)| Some((resource, restart(result)?))).collect();
        if failed || asking.is_empty() {
            // Also what a connection had no time to tell before a confirmation or a restart, which is looked at again only now.
            if member.losses() > losses_before {
                add_untold(&mut results, member.checked.as_ref(), &member.new);
            }
            count(member, stage, &results, context.teller);
            return Ok(());
        }
        let mut reasons: Vec<_> = asking.iter().map(|(_, reason)| (*reason).to_owned()).collect();
        reasons.extend(
            member.pending_restart().iter().filter(|reason| !reasons.contains(*reason)).cloned().collect::<Vec<_>>(),
        );
        let reason = reasons.join("; ");
        if asking.iter().any(|(resource, _)| !asked_before.insert((*resource).clone())) {
            return Err(again(&format!("restart the host ({reason})"), "it has restarted, and asks for it again"));
        }
        // Those that asked are looked at again: how they end is counted then, as a change.
        changed_before.extend(asking.iter().map(|(resource, _)| (*resource).clone()).collect::<Vec<_>>());
        changed_before.extend(changed(&results));
        if out_of_service.is_none() {
            out_of_service = leave_service(member, context).await?;
        }
        member.reboot(context, &reason).await?;
    }
}

/// Whether what is done in a stage stops what runs on a node: the phases in which its services are.
fn disrupts(stage: Stage) -> bool {
    matches!(stage, Stage::Phase(Phase::LinuxNodes | Phase::WindowsNodes))
}

/// Waits until one more node may be out of service, if this one is in service. Those that never were may be all at once.
async fn leave_service<'f, 'a>(
    member: &mut Member<'a>,
    context: Context<'f, 'a>,
) -> Result<Option<SemaphorePermit<'f>>, SessionError> {
    if !member.in_service() {
        return Ok(None);
    }
    let permit = member.wait(context, context.limits.unavailable.acquire()).await?;
    Ok(permit.ok())
}

fn changed(results: &[(ResourceId, ResourceResult)]) -> Vec<ResourceId> {
    let changed = results.iter().filter(|(_, result)| *result == ResourceResult::Changed);
    changed.map(|(resource, _)| resource.clone()).collect()
}

fn restart(result: &ResourceResult) -> Option<&str> {
    match result {
        ResourceResult::NeedsReboot { reason } => Some(reason),
        _ => None,
    }
}

fn again(attempted: &str, answer: &str) -> SessionError {
    SessionError::Refused(Failure {
        attempted: attempted.to_owned(),
        answer: answer.to_owned(),
        hint: Some("look at the host's event log: something on it undoes or holds up what this does".to_owned()),
    })
}

/// Removes what an earlier run made and the plan no longer has.
pub(crate) async fn prune(fleet: &mut Fleet<'_>) {
    let has_orphans = |member: &Member<'_>| member.checked.as_ref().is_some_and(|checked| !checked.orphans.is_empty());
    fleet
        .some(Stage::Prune, has_orphans, async |member, context| {
            context.tell_stage(member, Stage::Prune, 0);
            let keep: Vec<_> =
                member.resources.iter().flat_map(|resources| resources.ids().map(|(_, id)| id)).collect();
            let Applied { results, .. } = change(member, context, &Request::Prune { keep }).await?;
            count(member, Stage::Prune, &results, context.teller);
            Ok(())
        })
        .await;
}

/// Puts the blobs on the host that files of this phase need and the host does not have.
async fn send_blobs<'a>(
    member: &mut Member<'a>,
    context: Context<'_, 'a>,
    resources: &HostResources,
    secrets: &BTreeMap<Sha256, SecretBytes>,
    files: &BTreeMap<Sha256, Utf8PathBuf>,
) -> Result<(), SessionError> {
    let missing = member.checked.as_ref().map(|checked| checked.missing_blobs.clone()).unwrap_or_default();
    let mut wanted = BTreeMap::new();
    for (resource, blob) in resources.blobs() {
        if missing.contains(&blob.sha256) {
            wanted.entry(blob.sha256).or_insert((resource, blob.size));
        }
    }
    if wanted.is_empty() {
        return Ok(());
    }
    let _permit = member.wait(context, context.limits.uploads.acquire()).await?;
    for (sha256, (resource, size)) in wanted {
        let source = match (secrets.get(&sha256), files.get(&sha256)) {
            (Some(secret), _) => BlobSource::Memory(secret.clone()),
            (None, Some(path)) => BlobSource::File(path.clone()),
            (None, None) => return Err(nowhere(&resource, sha256)),
        };
        let wanted = Wanted { blob: Blob { sha256, size }, what: resource.to_string() };
        send(member, context, &wanted, &wanted.what, &source, Store::Staging).await?;
        if let Some(checked) = &mut member.checked {
            checked.missing_blobs.retain(|missing| *missing != sha256);
        }
    }
    Ok(())
}

fn tell_agent(host: &str, event: AgentEvent, teller: &Teller) {
    let host = host.to_owned();
    match event {
        AgentEvent::Detached { confirm_within_seconds } => {
            let text = format!(
                "changes its network in a process of its own, to be confirmed over a new connection within \
                 {confirm_within_seconds} s, or else taken back"
            );
            teller.tell(Event::Note { host: Some(host), text });
        }
        AgentEvent::Started { resource, difference } => teller.tell(Event::Started { host, resource, difference }),
        // Told by who asked for it.
        AgentEvent::Pulled { .. } => {}
        AgentEvent::Ended { resource, result } => match result {
            ResourceResult::Unchanged => teller.tell(Event::Ended { host, resource, changed: false }),
            ResourceResult::Changed | ResourceResult::NeedsReboot { .. } => {
                teller.tell(Event::Ended { host, resource, changed: true });
            }
            // Told with the end of the host's part.
            ResourceResult::Failed(_) => {}
        },
    }
}

/// Adds the results to the host's summary; a failed resource ends the host's part.
fn count(member: &mut Member<'_>, stage: Stage, results: &[(ResourceId, ResourceResult)], teller: &Teller) {
    for (resource, result) in results {
        match result {
            ResourceResult::Unchanged => member.summary.unchanged += 1,
            ResourceResult::Changed | ResourceResult::NeedsReboot { .. } => member.summary.changed += 1,
            ResourceResult::Failed(failure) => {
                member.summary.failed += 1;
                let failure = Failure { attempted: format!("{resource}: {}", failure.attempted), ..failure.clone() };
                member.fail(stage, failure, teller);
            }
        }
    }
}

/// How many resources of a phase are in sync, and how many are not (or cannot be told yet).
pub(crate) fn tally(member: &Member<'_>, phase: Phase) -> (usize, usize) {
    let (Some(resources), Some(checked)) = (&member.resources, &member.checked) else { return (0, 0) };
    let all = resources.phases().filter(|of| *of == phase).count();
    if checked.differing.is_empty() {
        return (all, 0);
    }
    let of_phase: BTreeSet<_> = resources.ids().filter(|(of, _)| *of == phase).map(|(_, id)| id).collect();
    let differing = checked.differing.iter().filter(|(id, _)| of_phase.contains(id)).count();
    (all - differing, differing)
}

/// Removes what is ours of one phase, on all hosts.
pub(crate) async fn remove_phase(fleet: &mut Fleet<'_>, phase: Phase) {
    let stage = Stage::Phase(phase);
    fleet
        .each(stage, async |member, context| {
            context.tell_stage(member, stage, 0);
            let Applied { results, .. } = change(member, context, &Request::Remove { phase }).await?;
            count(member, stage, &results, context.teller);
            Ok(())
        })
        .await;
}

/// Sends a request that changes resources, again after a lost connection, and tells its events.
async fn change<'a>(
    member: &mut Member<'a>,
    context: Context<'_, 'a>,
    request: &Request,
) -> Result<Applied, SessionError> {
    // What was told before the connection was lost is not in the answer to the repeated request.
    let changed = Mutex::new(Vec::new());
    let detached = member.detached();
    // The connection may be cut before the host has told that it changes its network.
    if let Request::Apply { resources, .. } = request
        && let Some(Request::Detach { confirm_within_seconds, .. }) = member.detach(context.options)
        && differs(member.checked.as_ref(), &resources.network())
    {
        detached.begin(confirm_within_seconds);
    }
    let mut applied = member
        .persist(context, async |member| {
            let host = member.host.name.clone();
            if let (Request::Apply { .. }, Some(detach)) = (request, member.detach(context.options)) {
                member.session()?.ask(detach).await?;
            }
            let on_event = &mut |event| {
                match &event {
                    AgentEvent::Ended { resource, result: ResourceResult::Changed } => {
                        changed.lock().unwrap_or_else(PoisonError::into_inner).push(resource.clone());
                    }
                    AgentEvent::Detached { confirm_within_seconds } => detached.begin(*confirm_within_seconds),
                    _ => {}
                }
                tell_agent(&host, event, context.teller);
            };
            member.session()?.apply(request.clone(), on_event).await
        })
        .await?;
    if applied.confirm.is_none() {
        detached.end();
    }
    add_told(&mut applied.results, changed.into_inner().unwrap_or_else(PoisonError::into_inner));
    Ok(applied)
}

/// Whether one of these was not as desired when the host was checked.
fn differs(checked: Option<&Checked>, resources: &[ResourceId]) -> bool {
    let mut differing = checked.into_iter().flat_map(|checked| &checked.differing);
    differing.any(|(id, _)| resources.contains(id))
}

/// Adds what was changed and could not be told any more: it differed when the hosts were checked, and does not now. What could not
/// be looked at then is changed if no run had made it before: `new` has these.
fn add_untold(results: &mut [(ResourceId, ResourceResult)], checked: Option<&Checked>, new: &BTreeSet<ResourceId>) {
    for (resource, outcome) in checked.into_iter().flat_map(|checked| &checked.differing) {
        let differed = matches!(outcome, CheckOutcome::Drifted { .. }) || new.contains(resource);
        let result = results.iter_mut().find(|(id, result)| id == resource && *result == ResourceResult::Unchanged);
        if let (true, Some((_, result))) = (differed, result) {
            *result = ResourceResult::Changed;
        }
    }
}

/// Adds what is known to have been changed to the results of a request that was repeated, and found it done.
fn add_told(results: &mut Vec<(ResourceId, ResourceResult)>, changed: Vec<ResourceId>) {
    for resource in changed {
        match results.iter_mut().find(|(id, _)| *id == resource) {
            Some((_, result @ ResourceResult::Unchanged)) => *result = ResourceResult::Changed,
            Some(_) => {}
            // What was removed is no longer there to be found.
            None => results.insert(0, (resource, ResourceResult::Changed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use k8swin_protocol::HostPath;
    use k8swin_protocol::resource::{Directory, Effect, LinuxResource, Planned, Protection};

    use super::*;

    fn planned(phase: Phase, path: &str) -> Planned<LinuxResource> {
        let path = HostPath::new(path).unwrap();
        let directory = Directory { path, protection: Protection::Public, purge: false };
        Planned { phase, resource: LinuxResource::Directory(directory) }
    }

    fn drifted() -> CheckOutcome {
        CheckOutcome::Drifted { difference: "missing".into(), effect: Effect::Create }
    }

    #[test]
    fn a_phase_is_tallied_from_what_the_check_found_of_it() {
        let inventory = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../inventories/seed.toml"));
        let cluster = k8swin_inventory::parse(&inventory.unwrap(), "seed.toml".into()).unwrap();
        let mut member = Member::new(cluster.first_control_plane());
        assert_eq!(tally(&member, Phase::Files), (0, 0), "nothing is planned");

        let resources = HostResources::Linux(vec![
            planned(Phase::Binaries, "/opt/one"),
            planned(Phase::Files, "/etc/two"),
            planned(Phase::Files, "/etc/three"),
            planned(Phase::Files, "/etc/four"),
        ]);
        let outcomes = [drifted(), CheckOutcome::Unknown { waits_for: "the API server".into() }];
        let ids = resources.ids().skip(2).map(|(_, id)| id);
        let differing = ids.zip(outcomes).collect();
        let checked = Checked { in_sync: 2, differing, missing_blobs: Vec::new(), orphans: Vec::new() };
        member.resources = Some(resources);
        assert_eq!(tally(&member, Phase::Files), (0, 0), "nothing is known of the host");
        member.checked = Some(checked);
        assert_eq!(tally(&member, Phase::Binaries), (1, 0));
        // What cannot be told yet is not in sync.
        assert_eq!(tally(&member, Phase::Files), (1, 2));
        assert_eq!(tally(&member, Phase::AddOns), (0, 0));
    }

    #[test]
    fn what_was_changed_before_a_connection_was_lost_counts_as_changed_once() {
        let [one, two, three, gone] = ["/1", "/2", "/3", "/4"].map(|path| planned(Phase::Files, path).resource.id());
        let failure = Failure { attempted: "write".into(), answer: "full".into(), hint: None };
        let mut results = vec![
            (one.clone(), ResourceResult::Unchanged),
            (two.clone(), ResourceResult::Changed),
            (three.clone(), ResourceResult::Failed(failure.clone())),
        ];
        add_told(&mut results, vec![one.clone(), two.clone(), three.clone(), gone.clone()]);
        assert_eq!(
            results,
            [
                (gone, ResourceResult::Changed),
                (one, ResourceResult::Changed),
                (two, ResourceResult::Changed),
                (three, ResourceResult::Failed(failure)),
            ]
        );
    }

    #[test]
    fn what_differed_before_a_loss_and_is_as_desired_after_it_was_changed_by_us() {
        let [one, two, three, four, five] =
            ["/1", "/2", "/3", "/4", "/5"].map(|path| planned(Phase::Files, path).resource.id());
        let unknown = || CheckOutcome::Unknown { waits_for: "the API server".into() };
        let differing = vec![
            (one.clone(), drifted()),
            (three.clone(), drifted()),
            (four.clone(), unknown()),
            (five.clone(), unknown()),
        ];
        let checked = Checked { in_sync: 1, differing, missing_blobs: Vec::new(), orphans: Vec::new() };
        let unchanged = |id: &ResourceId| (id.clone(), ResourceResult::Unchanged);
        let mut results = vec![unchanged(&one), unchanged(&two), unchanged(&four), unchanged(&five)];
        add_untold(&mut results, Some(&checked), &[four.clone()].into());
        // The third was not reached, so nothing is said of it.
        let changed = |id: &ResourceId| (id.clone(), ResourceResult::Changed);
        assert_eq!(results, [changed(&one), unchanged(&two), changed(&four), unchanged(&five)]);
    }
}
