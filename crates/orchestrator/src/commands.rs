//! The commands: which stages each one goes through, in which order.

use std::collections::BTreeMap;
use std::time::Instant;

use jiff::Timestamp;
use k8swin_blueprint::{Blueprint, Pki, Release};
use k8swin_inventory::{Check, Cluster, Host};
use k8swin_protocol::resource::Phase;
use k8swin_protocol::wire::Request;
use k8swin_protocol::{Facts, SecretBytes};

use crate::build::build;
use crate::event::{Event, Stage};
use crate::fleet::Fleet;
use crate::journal::Teller;
use crate::member::{Closing, Member};
use crate::outcome::{host_plan, how_it_ended, summarise};
use crate::preflight::links::Link;
use crate::preflight::local::ThisMachine;
use crate::preflight::{Evidence, identity};
use crate::probe::Token;
use crate::report::{Finding, HostNetwork, HostStatus, PlanReport, Preflight, Severity, Summary};
use crate::stages::{check, prune, remove_phase};
use crate::state::StateDir;
use crate::supplies::{Supplies, agents, complete_pki, read_pki};
use crate::verify::{self as proof, Proof};
use crate::{Options, RunError, preflight as checks, probe};

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
        let closing = closing(&fleet, &result, Closing::Keep);
        let summary = summarise(&mut fleet, result);
        fleet.close(closing).await;
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
    let (mut fleet, supplies) = look_with_supplies(cluster, options).await?;
    let result = plan_with(&mut fleet, &supplies).await;
    let hosts = fleet.members.iter().map(|member| (member.host.name.clone(), host_plan(member))).collect();
    as_found(fleet).await?;
    result?;
    Ok(PlanReport { hosts, duration: started.elapsed() })
}

/// Whether the hosts are fit for `up`. Changes nothing.
///
/// # Errors
/// When there are no agents to ask them with. A host that cannot be reached is a finding.
pub async fn preflight(cluster: &Cluster, options: &Options) -> Result<Preflight, RunError> {
    let started = Instant::now();
    let teller = Teller::silent(options);
    // The agents first: digests of both are kept in one file.
    let agents = agents(cluster, options, &teller).await?;
    let mut fleet = Fleet::new(cluster, options, teller, agents, |_| true);
    let (local, token) = tokio::join!(probe::this_machine(cluster, options), probe::connect(&mut fleet));
    let (findings, links) = judge(&mut fleet, &StateDir::new(&options.state_dir), &token, Some(local)).await;
    let hosts = fleet.members.iter().map(network_of).collect();
    as_found(fleet).await?;
    Ok(Preflight { cluster: cluster.name.clone(), findings, hosts, links, duration: started.elapsed() })
}

fn network_of(member: &Member<'_>) -> HostNetwork {
    let common = member.facts.as_ref().map(Facts::common);
    HostNetwork {
        name: member.host.name.clone(),
        os: member.host.os(),
        control_plane: member.host.is_control_plane(),
        node_address: member.host.node_address,
        pod_cidr: member.host.pod_cidr,
        adapters: common.map(|common| common.adapters.clone()).unwrap_or_default(),
        routes: common.map(|common| common.routes.clone()).unwrap_or_default(),
    }
}

/// For each host: how much of it is as desired, its node, and how its services stand.
///
/// # Errors
/// When the desired state cannot be told.
pub async fn status(cluster: &Cluster, options: &Options) -> Result<Vec<HostStatus>, RunError> {
    let (mut fleet, supplies) = look_with_supplies(cluster, options).await?;
    let planned = plan_with(&mut fleet, &supplies).await;
    let nodes = proof::nodes_now(&mut fleet).await;
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
                services: member.facts.as_ref().map(|facts| facts.common().services.clone()).unwrap_or_default(),
                error: plan.error,
            }
        })
        .collect();
    as_found(fleet).await?;
    planned?;
    Ok(statuses)
}

/// Proves that the cluster works. Leaves nothing behind.
///
/// # Errors
/// When no control-plane host could be asked.
pub async fn verify(cluster: &Cluster, options: &Options) -> Result<Vec<Finding>, RunError> {
    let state = StateDir::new(&options.state_dir);
    let mut fleet = look(cluster, options, |_| true).await?;
    let expected: Vec<_> = cluster.hosts.iter().collect();
    let result = proof::prove(&mut fleet, &state, &expected).await.map(|mut proof| {
        proof.findings.extend(fleet.members.iter().filter(|member| !member.takes_part()).map(reachable));
        proof
    });
    as_found(fleet).await?;
    Ok(result?.findings)
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
        let result = reset_with(&mut fleet).await.map(|()| Proof::default());
        let closing = closing(&fleet, &result, Closing::Remove);
        let summary = summarise(&mut fleet, result);
        let complete = summary.as_ref().is_ok_and(|summary| {
            !summary.interrupted && !summary.stopped && summary.hosts.values().all(|host| host.error.is_none())
        });
        fleet.close(closing).await;
        // The keys stay as long as one of their hosts does.
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
        as_found(fleet).await?;
        files = read?;
        if files.is_empty() {
            return Err(RunError::NoCluster { state_dir: options.state_dir.clone(), host: first.name.clone() });
        }
    }
    Ok(k8swin_blueprint::admin_kubeconfig(cluster, &Pki::from_files(files)?)?)
}

/// Ends a command that changes nothing.
///
/// # Errors
/// When it was interrupted: what it has found is not all.
async fn as_found(fleet: Fleet<'_>) -> Result<(), RunError> {
    let interrupted = fleet.interrupted();
    fleet.close(Closing::AsFound).await;
    if interrupted { Err(RunError::Interrupted) } else { Ok(()) }
}

/// What becomes of the agents: `changed` once the run could change hosts. Before that the hosts are left as they were
/// found, but agents that a run of somebody else may be using stay.
fn closing<T>(fleet: &Fleet<'_>, result: &Result<T, RunError>, changed: Closing) -> Closing {
    match result {
        _ if fleet.changing() => changed,
        Err(RunError::Locked { .. }) => Closing::Keep,
        _ => Closing::AsFound,
    }
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

/// As [`look`] at all hosts, for commands that need the programs' digests as well: both are looked up once.
async fn look_with_supplies<'a>(cluster: &'a Cluster, options: &'a Options) -> Result<(Fleet<'a>, Supplies), RunError> {
    let teller = Teller::silent(options);
    let supplies = Supplies::find(cluster, options, &teller).await?;
    let mut fleet = Fleet::new(cluster, options, teller, supplies.agents.clone(), |_| true);
    fleet.connect().await;
    Ok((fleet, supplies))
}

async fn up_with(fleet: &mut Fleet<'_>, supplies: &Supplies, state: &StateDir) -> Result<Proof, RunError> {
    let token = probe::connect(fleet).await;
    if !state.read_pki()?.is_empty() {
        // With the keys at hand, a cluster can be looked after without the host that keeps them.
        fleet.elect();
    }
    fleet.led()?;
    // Whether the programs can be had is known already: they are here.
    let (mut findings, _) = judge(fleet, state, &token, None).await;
    fleet.led()?;
    // An unreachable host is reported as such; it does not keep the others from being built. What an earlier run made and
    // is no longer so is what this one is for.
    findings.retain(|finding| !matches!(finding.check, Check::Reachable | Check::Services | Check::Routes));
    if findings.iter().any(|finding| finding.severity == Severity::Error) {
        return Err(RunError::Preflight(findings));
    }
    // The ports are the cluster's from now on.
    probe::end(fleet).await;
    fleet.led()?;
    fleet.lock().await?;

    let pki = complete_pki(fleet, state).await?;
    state.write_pki(pki.files())?;
    let blueprint = blueprint(fleet, &supplies.release, &pki)?;
    tell_notes(fleet, &blueprint);
    build(fleet, &blueprint.secrets, &supplies.files).await;
    if fleet.interrupted() {
        return Err(RunError::Interrupted);
    }
    fleet.led()?;
    prune(fleet).await;
    fleet.led()?;
    remember_machines(fleet, state)?;

    let expected: Vec<_> =
        fleet.members.iter().filter(|member| member.takes_part()).map(|member| member.host).collect();
    let proof = proof::prove(fleet, state, &expected).await?;
    remove_old_agents(fleet).await;
    Ok(proof)
}

/// After an upgrade, agents of the version before lie beside the new ones. One that cannot be removed is no failure.
async fn remove_old_agents(fleet: &mut Fleet<'_>) {
    let members = fleet.members.iter_mut().filter(|member| member.takes_part());
    let removing = members.map(async |member| {
        let removed = match member.session() {
            Ok(session) => session.ask(Request::RemoveOldAgents).await.map(drop),
            Err(error) => Err(error),
        };
        if let Err(error) = removed {
            tracing::debug!(host = %member.host.name, error = %error.failure(), "old agents stay");
        }
    });
    futures_util::future::join_all(removing).await;
}

async fn plan_with(fleet: &mut Fleet<'_>, supplies: &Supplies) -> Result<(), RunError> {
    let pki = complete_pki(fleet, &StateDir::new(&fleet.options.state_dir)).await?;
    let blueprint = blueprint(fleet, &supplies.release, &pki)?;
    tell_notes(fleet, &blueprint);
    check(fleet).await;
    Ok(())
}

async fn reset_with(fleet: &mut Fleet<'_>) -> Result<(), RunError> {
    fleet.connect().await;
    fleet.elect();
    fleet.led()?;
    fleet.lock().await?;
    for phase in Phase::ALL.into_iter().rev() {
        if fleet.interrupted() {
            return Err(RunError::Interrupted);
        }
        remove_phase(fleet, phase).await;
    }
    Ok(())
}

/// Writes down which machines the hosts are that were built.
fn remember_machines(fleet: &Fleet<'_>, state: &StateDir) -> Result<(), RunError> {
    let built = fleet
        .members
        .iter()
        .filter(|member| member.takes_part())
        .filter_map(|member| Some((member.host.name.as_str(), member.facts.as_ref()?.common())));
    state.write_identities(&identity::updated(&state.identities(), built))
}

fn reachable(member: &Member<'_>) -> Finding {
    let (severity, detail, remedy) = match &member.summary.error {
        None => (Severity::Ok, "the agent answers".to_owned(), None),
        Some(failure) => (Severity::Error, failure.to_string(), failure.hint.clone()),
    };
    proof::finding(&member.host.name, Check::Reachable, severity, detail, remedy)
}

/// Gathers what is left of the evidence, and judges all of it.
async fn judge(
    fleet: &mut Fleet<'_>,
    state: &StateDir,
    token: &Token,
    local: Option<ThisMachine>,
) -> (Vec<Finding>, Vec<Link>) {
    fleet.teller.tell(Event::StageStarted(Stage::Preflight));
    let links = probe::links(fleet, token).await;
    let mut findings: Vec<_> = fleet.members.iter().map(reachable).collect();
    let evidence = Evidence {
        seen: fleet.seen(),
        links,
        links_tried: true,
        known: state.identities(),
        certificates: state.read_pki().map(|files| k8swin_blueprint::certificate_ends(&files)).unwrap_or_default(),
        now: Timestamp::now(),
        local,
    };
    findings.extend(checks::findings(fleet.cluster, &evidence));
    checks::ignore(fleet.cluster, &fleet.options.ignore, &mut findings);
    (findings, evidence.links)
}

/// The plan, of which each host's part is given to the host.
fn blueprint(fleet: &mut Fleet<'_>, release: &Release, pki: &Pki) -> Result<Blueprint, RunError> {
    // Lent, and not copied: each host of a large cluster has a route to every other one, in what it has and what it gets.
    let lent = fleet.members.iter_mut().filter_map(|member| Some((member.host.name.clone(), member.facts.take()?)));
    let mut facts: BTreeMap<String, Facts> = lent.collect();
    let planned = k8swin_blueprint::blueprint(fleet.cluster, &facts, release, pki);
    for member in &mut fleet.members {
        member.facts = facts.remove(&member.host.name);
    }
    let mut blueprint = planned?;
    for member in &mut fleet.members {
        member.resources = blueprint.hosts.remove(&member.host.name);
    }
    Ok(blueprint)
}

fn tell_notes(fleet: &Fleet<'_>, blueprint: &Blueprint) {
    for (host, text) in &blueprint.notes {
        fleet.teller.tell(Event::Note { host: Some(host.clone()), text: text.clone() });
    }
}
