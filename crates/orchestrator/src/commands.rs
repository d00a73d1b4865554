//! The commands: which stages each one goes through, in which order.

use std::collections::BTreeMap;
use std::time::Instant;

use k8swin_blueprint::{Blueprint, Pki, Release};
use k8swin_inventory::{Cluster, Host};
use k8swin_protocol::resource::{CheckOutcome, Effect, Phase};
use k8swin_protocol::wire::Checked;
use k8swin_protocol::{Facts, SecretBytes};

use crate::event::{Difference, Event, Stage};
use crate::fleet::{Closing, Fleet, Member};
use crate::journal::Teller;
use crate::report::{Finding, HostPlan, HostStatus, NodeStatus, PlanReport, Severity, Summary};
use crate::session::{SessionError, interrupted};
use crate::stages::{apply_phase, check, prune, remove_phase};
use crate::state::StateDir;
use crate::supplies::{Supplies, agents, complete_pki, read_pki};
use crate::{Options, RunError, api, preflight as checks, verify as proof};

/// Builds the cluster, or brings it back to what the inventory says: changes what drifted, nothing else.
///
/// # Errors
/// When the run as a whole cannot be done. A failure of one host is in the summary instead.
pub async fn up(cluster: &Cluster, options: &Options) -> Result<Summary, RunError> {
    let state = StateDir::new(&options.state_dir);
    let teller = Teller::with_journal(options, &state, "up")?;
    let result = async {
        let artifacts = Supplies::find(cluster, options, &teller).await?;
        let mut fleet = Fleet::new(cluster, options, teller.clone(), artifacts.agents.clone(), |_| true);
        let result = up_with(&mut fleet, &artifacts, &state).await;
        // Refused before anything was changed: the hosts are left as they were found.
        let refused = matches!(result, Err(RunError::Preflight(_) | RunError::Locked { .. }));
        let summary = summarise(&mut fleet, result);
        fleet.close(if refused { Closing::AsFound } else { Closing::Keep }).await;
        summary
    }
    .await;
    teller.ended(&how_it_ended(&result));
    result
}

/// What `up` would do. Changes nothing: an agent that had to be put on a host is taken away again.
///
/// # Errors
/// When the plan cannot be made. A host that cannot be looked at is in the report instead.
pub async fn plan(cluster: &Cluster, options: &Options) -> Result<PlanReport, RunError> {
    let started = Instant::now();
    let mut fleet = look(cluster, options, |_| true).await?;
    let result = plan_with(&mut fleet).await;
    let hosts = fleet.members.iter().map(|member| (member.host.name.clone(), host_plan(member))).collect();
    let interrupted = fleet.interrupted();
    fleet.close(Closing::AsFound).await;
    result?;
    if interrupted { Err(RunError::Interrupted) } else { Ok(PlanReport { hosts, duration: started.elapsed() }) }
}

/// Whether the hosts are fit for `up`. Changes nothing.
///
/// # Errors
/// When no host could be asked at all. A host that cannot be reached is a finding.
pub async fn preflight(cluster: &Cluster, options: &Options) -> Result<Vec<Finding>, RunError> {
    let mut fleet = look(cluster, options, |_| true).await?;
    fleet.teller.tell(Event::StageStarted(Stage::Preflight));
    let mut findings = judge(&mut fleet);
    ignore(&mut findings, &options.ignore);
    let interrupted = fleet.interrupted();
    fleet.close(Closing::AsFound).await;
    if interrupted { Err(RunError::Interrupted) } else { Ok(findings) }
}

/// One line for each host: how much of it is as desired, and its node.
///
/// # Errors
/// When the desired state cannot be told.
pub async fn status(cluster: &Cluster, options: &Options) -> Result<Vec<HostStatus>, RunError> {
    let mut fleet = look(cluster, options, |_| true).await?;
    let planned = plan_with(&mut fleet).await;
    let nodes = match fleet.first_control_plane() {
        // No API is an answer too: a cluster that does not run yet.
        Ok((member, _)) => match member.session() {
            Ok(session) => proof::nodes(session).await.unwrap_or_default(),
            Err(_) => Vec::new(),
        },
        Err(_) => Vec::new(),
    };
    let statuses = fleet
        .members
        .iter()
        .map(|member| {
            let plan = host_plan(member);
            HostStatus {
                host: member.host.name.clone(),
                in_sync: plan.unchanged,
                drifted: plan.differences.len(),
                node: nodes.iter().find(|node| node.name == member.host.name).cloned(),
                error: plan.error.map(|failure| failure.to_string()),
            }
        })
        .collect();
    let interrupted = fleet.interrupted();
    fleet.close(Closing::AsFound).await;
    planned?;
    if interrupted { Err(RunError::Interrupted) } else { Ok(statuses) }
}

/// Proves that the cluster works. Leaves nothing behind.
///
/// # Errors
/// When no control-plane host could be asked.
pub async fn verify(cluster: &Cluster, options: &Options) -> Result<Vec<Finding>, RunError> {
    let state = StateDir::new(&options.state_dir);
    let mut fleet = look(cluster, options, Host::is_control_plane).await?;
    let expected: Vec<_> = cluster.hosts.iter().collect();
    let result = verify_with(&mut fleet, &state, &expected).await;
    let interrupted = fleet.interrupted();
    fleet.close(Closing::AsFound).await;
    if interrupted { Err(RunError::Interrupted) } else { result.map(|(_, findings)| findings) }
}

/// Takes the cluster apart: removes what k8swin made, newest first, and restores what was there before.
///
/// # Errors
/// When the run as a whole cannot be done. A failure of one host is in the summary instead.
pub async fn reset(cluster: &Cluster, options: &Options) -> Result<Summary, RunError> {
    let state = StateDir::new(&options.state_dir);
    let teller = Teller::with_journal(options, &state, "reset")?;
    let result = async {
        let agents = agents(cluster, options, &teller).await?;
        let mut fleet = Fleet::new(cluster, options, teller.clone(), agents, |_| true);
        let result = reset_with(&mut fleet).await;
        let summary = summarise(&mut fleet, result.map(|()| Proof::default()));
        let complete = summary.as_ref().is_ok_and(|summary| {
            !summary.interrupted && !summary.stopped && summary.hosts.values().all(|host| host.error.is_none())
        });
        fleet.close(if complete { Closing::Remove } else { Closing::Keep }).await;
        if complete {
            state.remove_pki()?;
        }
        summary
    }
    .await;
    teller.ended(&how_it_ended(&result));
    result
}

/// The administrator's kubeconfig.
///
/// # Errors
/// When the cluster has no PKI: neither on this machine nor on the first control-plane host.
pub async fn kubeconfig(cluster: &Cluster, options: &Options) -> Result<SecretBytes, RunError> {
    let state = StateDir::new(&options.state_dir);
    let mut files = state.read_pki()?;
    if files.is_empty() {
        let first = cluster.first_control_plane();
        let mut fleet = look(cluster, options, |host| host.name == first.name).await?;
        let read = read_pki(&mut fleet).await;
        fleet.close(Closing::AsFound).await;
        files = read?;
        if files.is_empty() {
            return Err(RunError::NoCluster { state_dir: options.state_dir.clone(), host: first.name.clone() });
        }
    }
    Ok(k8swin_blueprint::admin_kubeconfig(cluster, &Pki::from_files(files)?)?)
}

/// Opens connections for a command that changes nothing.
async fn look<'a>(
    cluster: &'a Cluster,
    options: &'a Options,
    wanted: impl Fn(&Host) -> bool,
) -> Result<Fleet<'a>, RunError> {
    let teller = Teller::silent(options);
    let agents = agents(cluster, options, &teller).await?;
    let mut fleet = Fleet::new(cluster, options, teller, agents, wanted);
    fleet.connect().await;
    Ok(fleet)
}

/// What the closing verification found.
#[derive(Default)]
struct Proof {
    nodes: Vec<NodeStatus>,
    findings: Vec<Finding>,
}

async fn up_with(fleet: &mut Fleet<'_>, supplies: &Supplies, state: &StateDir) -> Result<Proof, RunError> {
    fleet.connect().await;
    fleet.first_control_plane()?;
    fleet.teller.tell(Event::StageStarted(Stage::Preflight));
    let mut findings = judge(fleet);
    // An unreachable host is reported as such; it does not keep the others from being built.
    findings.retain(|finding| finding.check != REACHABLE);
    ignore(&mut findings, &fleet.options.ignore);
    if findings.iter().any(|finding| finding.severity == Severity::Error) {
        return Err(RunError::Preflight(findings));
    }
    fleet.lock().await?;

    let pki = complete_pki(fleet, state).await?;
    state.write_pki(pki.files())?;
    let blueprint = blueprint(fleet, &supplies.release, &pki)?;
    tell_notes(fleet, &blueprint);
    check(fleet, &blueprint).await;
    for phase in Phase::ALL {
        if fleet.interrupted() {
            return Err(RunError::Interrupted);
        }
        apply_phase(fleet, phase, &blueprint.secrets, &supplies.files).await;
        fleet.first_control_plane()?;
    }
    prune(fleet).await;
    fleet.first_control_plane()?;

    let expected: Vec<_> =
        fleet.members.iter().filter(|member| member.takes_part()).map(|member| member.host).collect();
    let (nodes, findings) = verify_with(fleet, state, &expected).await?;
    Ok(Proof { nodes, findings })
}

async fn plan_with(fleet: &mut Fleet<'_>) -> Result<(), RunError> {
    let supplies = Supplies::find(fleet.cluster, fleet.options, &fleet.teller).await?;
    let pki = complete_pki(fleet, &StateDir::new(&fleet.options.state_dir)).await?;
    let blueprint = blueprint(fleet, &supplies.release, &pki)?;
    tell_notes(fleet, &blueprint);
    check(fleet, &blueprint).await;
    Ok(())
}

async fn reset_with(fleet: &mut Fleet<'_>) -> Result<(), RunError> {
    fleet.connect().await;
    fleet.first_control_plane()?;
    fleet.lock().await?;
    for phase in Phase::ALL.into_iter().rev() {
        if fleet.interrupted() {
            return Err(RunError::Interrupted);
        }
        remove_phase(fleet, phase).await;
    }
    Ok(())
}

/// The name of the finding for a host that could not be asked.
const REACHABLE: &str = "reachable";

fn judge(fleet: &mut Fleet<'_>) -> Vec<Finding> {
    let mut findings: Vec<_> = fleet
        .members
        .iter()
        .map(|member| match &member.summary.error {
            None => proof::finding(&member.host.name, REACHABLE, Severity::Ok, "the agent answers".to_owned(), None),
            Some(failure) => {
                proof::finding(&member.host.name, REACHABLE, Severity::Error, failure.to_string(), failure.hint.clone())
            }
        })
        .collect();
    findings.extend(checks::findings(fleet.cluster, &fleet.seen()));
    findings
}

/// An ignored error stays in sight, as a warning.
fn ignore(findings: &mut [Finding], names: &[String]) {
    for finding in findings.iter_mut().filter(|finding| finding.severity == Severity::Error) {
        if names.iter().any(|name| name == finding.check) {
            finding.severity = Severity::Warning;
            finding.detail.push_str(" (ignored)");
        }
    }
}

fn blueprint(fleet: &mut Fleet<'_>, release: &Release, pki: &Pki) -> Result<Blueprint, RunError> {
    let facts: BTreeMap<String, Facts> =
        fleet.members.iter().filter_map(|member| Some((member.host.name.clone(), member.facts.clone()?))).collect();
    let blueprint = k8swin_blueprint::blueprint(fleet.cluster, &facts, release, pki)?;
    for member in &mut fleet.members {
        member.resources = blueprint.hosts.get(&member.host.name).cloned();
    }
    Ok(blueprint)
}

fn tell_notes(fleet: &Fleet<'_>, blueprint: &Blueprint) {
    for (host, text) in &blueprint.notes {
        fleet.teller.tell(Event::Note { host: Some(host.clone()), text: text.clone() });
    }
}

async fn verify_with(
    fleet: &mut Fleet<'_>,
    state: &StateDir,
    expected: &[&Host],
) -> Result<(Vec<NodeStatus>, Vec<Finding>), RunError> {
    fleet.teller.tell(Event::StageStarted(Stage::Verify));
    let pki = state.read_pki()?;
    let cluster = fleet.cluster;
    let unreachable: Vec<_> = fleet
        .members
        .iter()
        .filter_map(|member| {
            let failure = member.summary.error.as_ref()?;
            Some(proof::finding(
                &member.host.name,
                REACHABLE,
                Severity::Error,
                failure.to_string(),
                failure.hint.clone(),
            ))
        })
        .collect();
    let options = fleet.options;
    let Some(member) = fleet.members.iter_mut().find(|member| member.takes_part() && member.host.is_control_plane())
    else {
        fleet.first_control_plane()?;
        return Err(RunError::Interrupted);
    };
    let host = member.host.name.clone();
    let proven = async {
        let session = member.session()?;
        let (nodes, mut findings) = proof::ready_nodes(session, expected).await?;
        findings.extend(proof::pods(session, cluster, &nodes).await?);
        Ok::<_, SessionError>((nodes, findings))
    };
    let from_here = api_from_here(cluster, &pki);
    let (proven, from_here) = tokio::join!(proven, from_here);
    match proven {
        Ok((nodes, mut findings)) => {
            findings.extend(from_here);
            findings.extend(unreachable);
            Ok((nodes, findings))
        }
        Err(SessionError::Cancelled) => Err(RunError::Interrupted),
        Err(_) if options.cancel.is_cancelled() => Err(RunError::Interrupted),
        Err(error) => Err(RunError::ControlPlane { host, failure: error.failure() }),
    }
}

/// Whether the administrator's certificate opens each API server from this machine.
async fn api_from_here(cluster: &Cluster, pki: &BTreeMap<String, SecretBytes>) -> Vec<Finding> {
    let [Some(ca), Some(certificate), Some(key)] =
        ["ca.crt", "admin.crt", "admin.key"].map(|name| pki.get(name).map(SecretBytes::expose))
    else {
        return Vec::new();
    };
    let asked = cluster.control_planes().map(async |host| {
        let endpoint = api::endpoint(cluster, host);
        match api::version(&endpoint, ca, certificate, key).await {
            Ok(version) => {
                let detail = format!("https://{endpoint} answers this machine: {version}");
                proof::finding(&host.name, "api-from-here", Severity::Ok, detail, None)
            }
            Err(cause) => proof::finding(
                &host.name,
                "api-from-here",
                Severity::Warning,
                format!("https://{endpoint} does not answer this machine: {cause}"),
                Some(format!(
                    "open TCP {} from here, or give the address that leads there as `api_endpoint`",
                    cluster.api_port
                )),
            ),
        }
    });
    futures_util::future::join_all(asked).await
}

fn host_plan(member: &Member<'_>) -> HostPlan {
    let mut plan = HostPlan { error: member.summary.error.clone(), ..HostPlan::default() };
    let (Some(resources), Some(checked)) = (&member.resources, &member.checked) else { return plan };
    let explained: BTreeMap<_, _> = k8swin_blueprint::explain(resources).into_iter().collect();
    let phases: BTreeMap<_, _> = resources.ids().map(|(phase, id)| (id, phase)).collect();
    let Checked { outcomes, orphans, .. } = checked;
    for (resource, outcome) in outcomes {
        let (difference, effect) = match outcome {
            CheckOutcome::InSync => {
                plan.unchanged += 1;
                continue;
            }
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
fn summarise(fleet: &mut Fleet<'_>, result: Result<Proof, RunError>) -> Result<Summary, RunError> {
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

fn how_it_ended(result: &Result<Summary, RunError>) -> String {
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
