//! Cluster + facts + release + keys → the resources of each host, in phases. Pure: no I/O, no clock, the same bytes on
//! every run.
//!
//! The way of the data: [`network`] plans subnets and routes → [`release`] knows flags by Kubernetes minor → `pki` makes
//! certificates → `linux` and `windows` put them together for one host. [`explain`] turns resources back into the commands
//! that an admin would type.

mod adapter;
mod api_server;
mod docker;
mod explain;
mod kubeconfig;
mod linux;
pub mod network;
mod paths;
mod pki;
mod plan;
pub mod release;
mod render;
mod systemd;
mod windows;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use k8swin_inventory::Cluster;
use k8swin_inventory::cluster::System;
use k8swin_protocol::{Facts, HostResources, Os, SecretBytes, Sha256};

pub use docker::{DockerDecision, docker_decision};
pub use explain::explain;
pub use kubeconfig::admin_kubeconfig;
pub use network::{NetworkPlan, NodeNetwork};
pub use pki::{Pki, PkiError, certificate_ends};
pub use release::{LINUX_PAUSE_IMAGE, Program, Release, WINDOWS_PAUSE_IMAGE, programs_for};
pub use render::RenderError;

use plan::HostPlan;

/// What all hosts of a cluster are to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blueprint {
    /// The resources of each host, by its name, in the order in which they are applied.
    pub hosts: BTreeMap<String, HostResources>,
    /// The bytes of the secret files that the resources name by digest.
    pub secrets: BTreeMap<Sha256, SecretBytes>,
    /// What `plan` states beyond the resources: host and text.
    pub notes: Vec<(String, String)>,
}

/// A blueprint cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum BlueprintError {
    /// The facts of a host are those of another operating system.
    #[error("host `{host}`: the inventory says {expected}, but the host runs {found}: correct `os` in the inventory")]
    OtherSystem {
        /// The host.
        host: String,
        /// What the inventory says.
        expected: Os,
        /// What runs there.
        found: Os,
    },
    /// A program is missing in the release.
    #[error("the release has no program `{program}` for {os}: check `[cluster.artifacts]` in the inventory")]
    NoProgram {
        /// For which operating system.
        os: Os,
        /// Its file name.
        program: String,
    },
    /// The agent is missing.
    #[error("there is no k8swin agent for {os}: name the folder that has it as `agents` in `[cluster.artifacts]`")]
    NoAgent {
        /// For which operating system.
        os: Os,
    },
    /// The files of Docker's zip are missing in the release.
    #[error("the release has no files of Docker {version}: check `docker` of the Windows hosts in the inventory")]
    NoDocker {
        /// The version.
        version: String,
    },
    /// The pod adapter is not there.
    #[error(
        "host `{host}`: no network adapter {sought} for the pods; {adapters}. Correct `pod_adapter` in the inventory"
    )]
    NoAdapter {
        /// The host.
        host: String,
        /// What was sought.
        sought: String,
        /// Which adapters there are.
        adapters: String,
    },
    /// The pod adapter is the one that the host is reached by.
    #[error(
        "host `{host}`: the adapter `{adapter}` carries the host's routable address {routable}, and binding it to the pods' \
         network would cut the host off. Name the second adapter as `pod_adapter` in the inventory"
    )]
    RoutableAdapter {
        /// The host.
        host: String,
        /// The adapter.
        adapter: String,
        /// The routable address.
        routable: Ipv4Addr,
    },
    /// A key or certificate is missing or unusable.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// A template is wrong.
    #[error(transparent)]
    Render(#[from] RenderError),
}

/// Plans every host that has facts: a host that could not be reached has none, and the others go on without it. The
/// network plan always spans all hosts of the inventory.
///
/// # Errors
/// When a host is not what the inventory says, or the release or the keys lack something.
pub fn blueprint(
    cluster: &Cluster,
    facts: &BTreeMap<String, Facts>,
    release: &Release,
    pki: &Pki,
) -> Result<Blueprint, BlueprintError> {
    let network = NetworkPlan::of(cluster);
    let mut blueprint = Blueprint { hosts: BTreeMap::new(), secrets: BTreeMap::new(), notes: Vec::new() };
    for (host, own) in cluster.hosts.iter().zip(&network.nodes) {
        let Some(facts) = facts.get(&host.name) else { continue };
        let (resources, secrets) = match (&host.system, facts) {
            (System::Linux(_), Facts::Linux(facts)) => {
                let mut plan = HostPlan::new(cluster, host, pki);
                linux::plan(&mut plan, own, facts, release)?;
                (HostResources::Linux(plan.planned), plan.secrets)
            }
            (System::Windows(windows), Facts::Windows(facts)) => {
                let mut plan = HostPlan::new(cluster, host, pki);
                let notes = windows::plan(&mut plan, windows, &network, own, facts, release)?;
                blueprint.notes.extend(notes.into_iter().map(|note| (host.name.clone(), note)));
                (HostResources::Windows(plan.planned), plan.secrets)
            }
            (System::Linux(_), Facts::Windows(_)) | (System::Windows(_), Facts::Linux(_)) => {
                let found = if host.os() == Os::Linux { Os::Windows } else { Os::Linux };
                return Err(BlueprintError::OtherSystem { host: host.name.clone(), expected: host.os(), found });
            }
        };
        blueprint.hosts.insert(host.name.clone(), resources);
        blueprint.secrets.extend(secrets);
    }
    Ok(blueprint)
}
