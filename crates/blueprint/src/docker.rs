//! Docker on a Windows host: whether it is installed from the inventory's zip, and as what (facts D.2).

use k8swin_inventory::cluster::{DockerZip, WindowsHost};
use k8swin_protocol::facts::{Docker, WindowsFacts};
use k8swin_protocol::resource::{
    Content, File, Protection, SearchPath, ServiceProgram, WindowsResource, WindowsService,
};
use k8swin_protocol::{HostPath, Phase};

use crate::plan::HostPlan;
use crate::release::Release;
use crate::{BlueprintError, paths};

/// Docker's service.
pub(crate) const SERVICE: &str = "docker";

/// What becomes of Docker on a Windows host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DockerDecision<'a> {
    /// There is none, or one that an earlier run installed: it is to be the one of this zip.
    Install(&'a DockerZip),
    /// Somebody else installed one: it is kept as it is, whatever zip is named.
    Keep {
        /// The one that is there.
        found: &'a Docker,
        /// The zip that is not installed.
        unused: Option<&'a DockerZip>,
    },
    /// An earlier run installed one, and the inventory no longer names its zip: it would be removed.
    NoLongerNamed,
    /// There is none, and no zip is named.
    Missing,
}

/// Decides what becomes of Docker on a host. k8swin's own is told from others by what the host's ledger owns.
#[must_use]
pub fn docker_decision<'a>(windows: &'a WindowsHost, facts: &'a WindowsFacts) -> DockerDecision<'a> {
    let service = format!("service:{SERVICE}");
    let ours = facts.common.owned.contains(service.as_str());
    match (&windows.docker, &facts.docker) {
        (Some(zip), _) if ours => DockerDecision::Install(zip),
        (None, _) if ours => DockerDecision::NoLongerNamed,
        (unused, Some(found)) => DockerDecision::Keep { found, unused: unused.as_ref() },
        (Some(zip), None) => DockerDecision::Install(zip),
        (None, None) => DockerDecision::Missing,
    }
}

/// Plans Docker's files, its place on the search path and its service, where it is to be installed. Returns what `plan`
/// has to tell about it.
pub(crate) fn plan(
    plan: &mut HostPlan<'_, WindowsResource>,
    windows: &WindowsHost,
    facts: &WindowsFacts,
    release: &Release,
) -> Result<Option<String>, BlueprintError> {
    let zip = match docker_decision(windows, facts) {
        DockerDecision::Install(zip) => zip,
        DockerDecision::Keep { found, unused: Some(zip) } => {
            return Ok(Some(format!(
                "Docker {} is kept, since k8swin did not install it; the inventory's Docker {} is not installed",
                found.version, zip.version
            )));
        }
        DockerDecision::Keep { unused: None, .. } | DockerDecision::NoLongerNamed | DockerDecision::Missing => {
            return Ok(None);
        }
    };
    let lacking = || BlueprintError::NoDocker { version: zip.version.clone() };
    let files = release.docker.get(&zip.sha256).ok_or_else(lacking)?;
    let mut programs = Vec::new();
    for (name, blob) in files {
        let path = name.split('/').fold(paths::docker_programs(), |folder, part| folder.join(part));
        programs.push(path.to_string());
        let content = Content::Blob(*blob);
        plan.file(Phase::WindowsNodes, File { path, content, protection: Protection::Executable });
    }
    let folder = paths::docker_programs();
    plan.push(Phase::WindowsNodes, WindowsResource::SearchPath(SearchPath { folder: folder.clone() }));
    plan.push(Phase::WindowsNodes, WindowsResource::Service(Box::new(service(&folder, &programs, plan))));
    Ok(None)
}

/// As `dockerd --register-service` makes it: dockerd.exe is a Windows service itself.
fn service(folder: &HostPath, programs: &[String], plan: &HostPlan<'_, WindowsResource>) -> WindowsService {
    let (program, arguments) = (folder.join("dockerd.exe"), vec!["--run-service".to_owned()]);
    WindowsService {
        name: SERVICE.to_owned(),
        display_name: "Docker Engine".to_owned(),
        inputs: plan.inputs(&format!("{program} {} {}", arguments.join(" "), programs.join(" "))),
        run: ServiceProgram::Native { program, arguments },
        depends_on: Vec::new(),
    }
}
