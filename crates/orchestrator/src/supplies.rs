//! What hosts are supplied with: programs, agents and keys, found or made on this machine.

use std::collections::{BTreeMap, BTreeSet};

use camino::Utf8PathBuf;
use jiff::Timestamp;
use k8swin_artifacts::{Artifact, Resolved};
use k8swin_blueprint::{Pki, Program, Release};
use k8swin_inventory::Cluster;
use k8swin_protocol::resource::Blob;
use k8swin_protocol::wire::{Request, Response};
use k8swin_protocol::{Os, SecretBytes, Sha256};
use k8swin_transport::AgentBinary;

use crate::event::{Event, Stage};
use crate::fleet::Fleet;
use crate::journal::Teller;
use crate::session::SessionError;
use crate::state::StateDir;
use crate::{Options, RunError};

/// What hosts are supplied with: programs and agents, found and verified on this machine.
pub(crate) struct Supplies {
    /// Digests and sizes, for the blueprint.
    pub(crate) release: Release,
    /// The agents.
    pub(crate) agents: BTreeMap<Os, AgentBinary>,
    /// Where the bytes are.
    pub(crate) files: BTreeMap<Sha256, Utf8PathBuf>,
}

impl Supplies {
    /// Finds and verifies all that this cluster needs.
    pub(crate) async fn find(cluster: &Cluster, options: &Options, teller: &Teller) -> Result<Self, RunError> {
        let programs: BTreeSet<(Os, Program)> = k8swin_blueprint::programs_for(cluster);
        let names = programs.iter().map(|(os, program)| (*os, program.file_name(*os).to_owned())).collect();
        let resolved = resolve(cluster, &names, options, teller).await?;
        let agents = read_agents(&resolved)?;
        let blob = |artifact: &Artifact| Blob { sha256: artifact.sha256, size: artifact.size };
        let release = Release {
            programs: programs
                .into_iter()
                .filter_map(|(os, program)| {
                    let artifact = resolved.programs.get(&(os, program.file_name(os).to_owned()))?;
                    Some(((os, program), blob(artifact)))
                })
                .collect(),
            agents: resolved.agents.iter().map(|(os, artifact)| (*os, blob(artifact))).collect(),
            docker: resolved
                .docker
                .iter()
                .map(|(zip, files)| (*zip, files.iter().map(|(path, file)| (path.clone(), blob(file))).collect()))
                .collect(),
        };
        let docker = resolved.docker.values().flat_map(BTreeMap::values);
        let artifacts = resolved.programs.values().chain(resolved.agents.values()).chain(docker);
        let files = artifacts.map(|artifact| (artifact.sha256, artifact.path.clone())).collect();
        Ok(Self { release, agents, files })
    }
}

async fn resolve(
    cluster: &Cluster,
    programs: &BTreeSet<(Os, String)>,
    options: &Options,
    teller: &Teller,
) -> Result<Resolved, RunError> {
    teller.tell(Event::StageStarted(Stage::Artifacts));
    let progress = |progress: k8swin_artifacts::Progress| {
        teller.tell(Event::Note { host: None, text: progress.to_string() });
    };
    let resolved = k8swin_artifacts::resolve(cluster, programs, &options.cache_dir, progress);
    tokio::select! {
        biased;
        () = options.cancel.cancelled() => Err(RunError::Interrupted),
        resolved = resolved => Ok(resolved?),
    }
}

/// The agents alone, for commands that ship nothing else.
pub(crate) async fn agents(
    cluster: &Cluster,
    options: &Options,
    teller: &Teller,
) -> Result<BTreeMap<Os, AgentBinary>, RunError> {
    read_agents(&resolve(cluster, &BTreeSet::new(), options, teller).await?)
}

fn read_agents(resolved: &Resolved) -> Result<BTreeMap<Os, AgentBinary>, RunError> {
    let read = |(os, artifact): (&Os, &Artifact)| {
        let bytes = std::fs::read(&artifact.path).map_err(|source| RunError::State {
            action: "read",
            path: artifact.path.clone(),
            source,
        })?;
        Ok((*os, AgentBinary { sha256: artifact.sha256, bytes: bytes.into() }))
    };
    resolved.agents.iter().map(read).collect()
}

/// The PKI from the state folder, else from the first control-plane host, else a new one; completed for this inventory.
pub(crate) async fn complete_pki(fleet: &mut Fleet<'_>, state: &StateDir) -> Result<Pki, RunError> {
    let mut files = state.read_pki()?;
    if files.is_empty() {
        files = read_pki(fleet).await?;
    }
    let now = Timestamp::now();
    if files.is_empty() {
        return Ok(Pki::generate(fleet.cluster, now)?);
    }
    let mut pki = Pki::from_files(files)?;
    pki.complete(fleet.cluster, now)?;
    Ok(pki)
}

/// The PKI's files as the first control-plane host has them; empty when it has none.
pub(crate) async fn read_pki(fleet: &mut Fleet<'_>) -> Result<BTreeMap<String, SecretBytes>, RunError> {
    let (member, context) = fleet.first_control_plane()?;
    let host = member.host.name.clone();
    match member.persist(context, async |member| member.session()?.ask(Request::ReadPki).await).await {
        Ok(Response::Pki { files }) => Ok(files.into_iter().map(|(name, bytes)| (name, bytes.0)).collect()),
        Ok(_) => {
            let failure = SessionError::Nonsense { request: "read the PKI" }.failure();
            Err(RunError::ControlPlane { host, failure })
        }
        Err(SessionError::Cancelled) => Err(RunError::Interrupted),
        Err(error) => Err(RunError::ControlPlane { host, failure: error.failure() }),
    }
}
