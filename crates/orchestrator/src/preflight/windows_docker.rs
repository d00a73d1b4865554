//! Docker on a Windows host: which one is there or comes there, and whether it fits.

use k8swin_blueprint::{DockerDecision, docker_decision};
use k8swin_inventory::cluster::{KubernetesMinor, WindowsHost};
use k8swin_inventory::{Check, Cluster};
use k8swin_protocol::facts::{Docker, WindowsFacts};

use super::Report;
use super::catalogue::{
    DOCKER_KEPT, KNOWN_DOCKER, NAME_DOCKER_ZIP, NAME_ZIP_AGAIN, NAT_NETWORK, OTHER_DOCKER_ZIP, REPLACE_DOCKER, Remedy,
    START_DOCKER_SERVICE, UP_STARTS_DOCKER,
};
use crate::docker_version::DockerVersion;

/// The first Docker that Kubernetes 1.5's Windows nodes work with (facts A.2 #4).
const MINIMUM: &str = "1.12.2-cs2-ws-beta";

pub(super) fn check(cluster: &Cluster, windows: &WindowsHost, facts: &WindowsFacts, report: &mut Report<'_>) {
    match docker_decision(windows, facts) {
        DockerDecision::Install(zip) => {
            version(cluster, &zip.version, OTHER_DOCKER_ZIP, report);
            match &facts.docker {
                None => {
                    let detail = format!("`up` installs Docker {} from the inventory's zip", zip.version);
                    report.ok(Check::DockerInstall, detail);
                    report.ok(Check::DockerService, "`up` makes and starts it");
                    report.ok(Check::DockerNat, "Docker makes it when it starts first");
                }
                Some(docker) => {
                    report.ok(Check::DockerInstall, "installed by k8swin");
                    if docker.running {
                        running(docker, report);
                    } else {
                        report.warning(Check::DockerService, "the service `docker` does not run", UP_STARTS_DOCKER);
                    }
                }
            }
        }
        DockerDecision::Keep { found, unused } => {
            match unused {
                None => report.ok(Check::DockerInstall, "there already"),
                Some(zip) => {
                    let detail = format!(
                        "Docker {} is there and k8swin did not install it: it is kept, and the inventory's Docker {} is \
                         not installed",
                        found.version, zip.version
                    );
                    report.warning(Check::DockerInstall, detail, DOCKER_KEPT);
                }
            }
            if found.running {
                running(found, report);
            } else {
                report.error(Check::DockerService, "the service `docker` does not run", START_DOCKER_SERVICE);
            }
            // One that does not run or answer tells no version.
            if !found.version.is_empty() {
                version(cluster, &found.version, REPLACE_DOCKER, report);
            }
        }
        DockerDecision::NoLongerNamed => {
            let detail = "k8swin installed the Docker of this host, and the inventory no longer names its zip: `up` would remove it";
            report.error(Check::DockerInstall, detail, NAME_ZIP_AGAIN);
        }
        DockerDecision::Missing => report.error(Check::DockerVersion, "Docker is not installed", NAME_DOCKER_ZIP),
    }
}

/// A service that runs.
fn running(docker: &Docker, report: &mut Report<'_>) {
    if docker.version.is_empty() {
        let detail = "the service `docker` runs and does not answer";
        return report.error(Check::DockerService, detail, START_DOCKER_SERVICE);
    }
    report.ok(Check::DockerService, "runs");
    if docker.networks.values().any(|network| network.driver == "nat") {
        report.ok(Check::DockerNat, "there is one");
    } else {
        report.error(Check::DockerNat, "Docker has no nat network", NAT_NETWORK);
    }
}

fn version(cluster: &Cluster, found: &str, remedy: Remedy, report: &mut Report<'_>) {
    let (Some(version), Some(minimum)) = (DockerVersion::parse(found), DockerVersion::parse(MINIMUM)) else {
        let detail = format!("`{found}` is not a version we know to read");
        return report.warning(Check::DockerVersion, detail, remedy);
    };
    let too_new = cluster.kubernetes.minor == KubernetesMinor::V1_5 && version.major_minor() > (20, 10);
    if version < minimum {
        report.error(Check::DockerVersion, format!("Docker {version}; needed: {MINIMUM} or later"), remedy);
    } else if too_new {
        let detail = format!("Docker {version} may refuse the API version of a kubelet {}", cluster.kubernetes);
        report.warning(Check::DockerVersion, detail, KNOWN_DOCKER);
    } else {
        report.ok(Check::DockerVersion, format!("Docker {version}"));
    }
}
