//! Prerequisites of a Windows host.

use k8swin_blueprint::{DockerDecision, docker_decision};
use k8swin_inventory::Cluster;
use k8swin_inventory::cluster::{AdapterSelector, ForwardingMode, Host, KubernetesMinor, WindowsHost};
use k8swin_protocol::facts::{Adapter, WindowsFacts};
use k8swin_protocol::resource::FeatureName;

use super::{Report, common};
use crate::docker_version::DockerVersion;

/// Windows Server 2016 RTM, the first with containers (facts A.2 #3).
const MINIMUM_BUILD: u32 = 14393;
/// The first Docker that Kubernetes 1.5's Windows nodes work with (facts A.2 #4).
const MINIMUM_DOCKER: &str = "1.12.2-cs2-ws-beta";
/// What to do about a Docker that does not fit and that `up` does not touch, since somebody else installed it.
const REPLACE: &str = "install another one; or remove it (`dockerd --unregister-service`) and let `up` install the zip that \
                       `docker` names in the inventory";
/// How Docker comes to a host (facts D.2).
const INSTALL: &str = "let `up` install it: name a zip of Docker for Windows in the inventory, for this host or in \
                       [defaults.windows]: `docker = { zip = \"…\", sha256 = \"…\", version = \"…\" }` (Microsoft's \
                       DockerMsftProvider was shut down in 2023)";

pub(super) fn check(
    cluster: &Cluster,
    host: &Host,
    windows: &WindowsHost,
    facts: &WindowsFacts,
    report: &mut Report<'_>,
) {
    let build = format!("10.0.{}.{}", facts.build, facts.ubr);
    if facts.build < MINIMUM_BUILD {
        report.error(
            "windows-build",
            format!("{build}; needed: 10.0.{MINIMUM_BUILD} (Windows Server 2016) or later"),
            "install Windows Server 2016 or later",
        );
    } else {
        report.ok("windows-build", build);
    }
    if facts.installation_type.starts_with("Server") {
        report.ok("windows-edition", facts.product.clone());
    } else {
        report.error(
            "windows-edition",
            format!("{} is of the type `{}`", facts.product, facts.installation_type),
            "use Windows Server (Core or with Desktop Experience): clients run no process-isolated containers of 2016",
        );
    }
    language(cluster, facts, report);

    // An earlier run that was interrupted between the installation of a feature and the restart for it.
    let ours = facts.common.owned.iter().any(|resource| resource.as_str().starts_with("feature:"));
    if facts.pending_reboot.is_empty() {
        report.ok("pending-reboot", "none");
    } else if ours {
        report.warning(
            "pending-reboot",
            format!("a restart is pending: {}", facts.pending_reboot.join(", ")),
            "`up` restarts the host: it installed a feature that needs it",
        );
    } else {
        report.error(
            "pending-reboot",
            format!("a restart is pending: {}", facts.pending_reboot.join(", ")),
            "restart the host (`Restart-Computer`), then run this again",
        );
    }

    docker(cluster, windows, facts, report);
    if facts.features.contains(&FeatureName::Containers) {
        report.ok("feature-containers", "installed");
    } else {
        report.warning("feature-containers", "not installed", "`up` installs it and restarts the host");
    }

    adapters(host, windows, facts, report);
    routing(windows, facts, report);
    if facts.hyper_v {
        report.ok("hyper-v", "there: service addresses get an internal switch of their own");
    } else {
        report.warning(
            "hyper-v",
            "the Hyper-V role is not there, so service addresses go on Docker's nat adapter `vEthernet (HNS Internal NIC)`",
            "fine for most; for a switch of their own, install the role where nested virtualisation allows it",
        );
    }

    // 150 KB is what common clients send; smaller than that, and streams crawl (facts F.1).
    if facts.max_envelope_size_kb < 150 {
        report.warning(
            "winrm-envelope",
            format!("MaxEnvelopeSizekb is {}", facts.max_envelope_size_kb),
            "raise it: `winrm set winrm/config @{MaxEnvelopeSizekb=\"500\"}`",
        );
    } else {
        report.ok("winrm-envelope", format!("MaxEnvelopeSizekb is {}", facts.max_envelope_size_kb));
    }
    common::ports(&facts.common, &[(10250, "service:kubelet"), (10249, "service:kube-proxy")], report);
}

fn language(cluster: &Cluster, facts: &WindowsFacts, report: &mut Report<'_>) {
    let language = &facts.ui_language;
    if language.starts_with("en") || cluster.kubernetes.minor != KubernetesMinor::V1_5 {
        report.ok("display-language", language.clone());
    } else {
        report.error(
            "display-language",
            format!("{language}; kube-proxy 1.5 reads netsh's English output and hangs for ever on others"),
            "install the English language pack and set the system's display language to en-US \
             (`Set-WinSystemLocale en-US`, `Set-WinUILanguageOverride en-US`), then restart",
        );
    }
}

fn docker(cluster: &Cluster, windows: &WindowsHost, facts: &WindowsFacts, report: &mut Report<'_>) {
    match docker_decision(windows, facts) {
        DockerDecision::Install(zip) => {
            docker_version(cluster, &zip.version, "name a zip of another version as `docker` in the inventory", report);
            match &facts.docker {
                None => report
                    .ok("docker-install", format!("`up` installs Docker {} from the inventory's zip", zip.version)),
                Some(_) => report.ok("docker-install", "installed by k8swin"),
            }
            match &facts.docker {
                Some(docker) if !docker.running => {
                    report.warning("docker-service", "the service `docker` does not run", "`up` starts it");
                }
                Some(_) => report.ok("docker-service", "runs"),
                None => report.ok("docker-service", "`up` makes and starts it"),
            }
        }
        DockerDecision::Keep { found, unused } => {
            docker_version(cluster, &found.version, REPLACE, report);
            match unused {
                None => report.ok("docker-install", "there already"),
                Some(zip) => report.warning(
                    "docker-install",
                    format!(
                        "Docker {} is there and k8swin did not install it: it is kept, and the inventory's Docker {} is \
                         not installed",
                        found.version, zip.version
                    ),
                    "fine if it fits; to have `up` install the zip, remove that Docker first (`dockerd \
                     --unregister-service`); else remove `docker` for this host from the inventory",
                ),
            }
            if found.running {
                report.ok("docker-service", "runs");
            } else {
                report.error("docker-service", "the service `docker` does not run", "`Start-Service docker`");
            }
        }
        DockerDecision::NoLongerNamed => report.error(
            "docker-install",
            "k8swin installed the Docker of this host, and the inventory no longer names its zip: `up` would remove it",
            "name the zip again as `docker` of this host, or install Docker by another way after a `reset`",
        ),
        DockerDecision::Missing => report.error("docker-version", "Docker is not installed", INSTALL),
    }
}

fn docker_version(cluster: &Cluster, found: &str, remedy: &str, report: &mut Report<'_>) {
    let (Some(version), Some(minimum)) = (DockerVersion::parse(found), DockerVersion::parse(MINIMUM_DOCKER)) else {
        report.warning("docker-version", format!("`{found}` is not a version we know to read"), remedy);
        return;
    };
    let too_new = cluster.kubernetes.minor == KubernetesMinor::V1_5 && version.major_minor() > (20, 10);
    if version < minimum {
        report.error("docker-version", format!("Docker {version}; needed: {MINIMUM_DOCKER} or later"), remedy);
    } else if too_new {
        report.warning(
            "docker-version",
            format!("Docker {version} may refuse the API version of a kubelet {}", cluster.kubernetes),
            "Docker 1.12.2-cs2 to 20.10 are known to work; or set DOCKER_API_VERSION for the kubelet",
        );
    } else {
        report.ok("docker-version", format!("Docker {version}"));
    }
}

fn adapters(host: &Host, windows: &WindowsHost, facts: &WindowsFacts, report: &mut Report<'_>) {
    // The transparent network took the adapter whole, with its address: it was judged before it was made.
    let network_is_ours =
        facts.common.owned.iter().any(|resource| resource.as_str().starts_with("transparent-network:"));
    let physical: Vec<_> = facts.common.adapters.iter().filter(|adapter| adapter.physical).collect();
    let connected = physical.iter().filter(|adapter| adapter.up).count();
    if connected >= 2 {
        report.ok("second-adapter", format!("{connected} network adapters are connected"));
    } else {
        report.error(
            "second-adapter",
            format!("{connected} network adapter is connected; a transparent network takes one whole, so two are needed"),
            "add a second adapter to the machine (on Hyper-V: `Add-VMNetworkAdapter`, and switch MAC address spoofing on \
             for it: `Set-VMNetworkAdapter -MacAddressSpoofing On`)",
        );
    }
    let selected = |adapter: &&&Adapter| match &windows.pod_adapter {
        AdapterSelector::Name(name) => adapter.name.eq_ignore_ascii_case(name),
        AdapterSelector::Mac(mac) => adapter.mac.eq_ignore_ascii_case(mac),
        AdapterSelector::Address(address) => adapter.addresses.iter().any(|net| net.addr() == *address),
    };
    let names: Vec<_> = physical.iter().map(|adapter| format!("`{}`", adapter.name)).collect();
    match physical.iter().find(selected) {
        Some(adapter) if adapter.addresses.iter().any(|net| net.addr() == host.node_address) => report.error(
            "pod-adapter",
            format!(
                "`{}` carries the node's address {}: binding it would cut this connection",
                adapter.name, host.node_address
            ),
            format!("name the other adapter as `pod_adapter`; there are: {}", names.join(", ")),
        ),
        Some(adapter) if !adapter.up => report.error(
            "pod-adapter",
            format!("`{}` is not connected", adapter.name),
            "connect it (`Enable-NetAdapter`, or the virtual machine's settings)",
        ),
        Some(adapter) => report.ok("pod-adapter", format!("`{}` ({})", adapter.name, adapter.mac)),
        None if network_is_ours => report.ok("pod-adapter", "bound by the transparent network of an earlier run"),
        None => report.error(
            "pod-adapter",
            format!("there is no adapter `{}`; there are: {}", windows.pod_adapter, names.join(", ")),
            "correct `pod_adapter` in the inventory",
        ),
    }
}

fn routing(windows: &WindowsHost, facts: &WindowsFacts, report: &mut Report<'_>) {
    match windows.forwarding {
        ForwardingMode::PerAdapter => report.ok("routing", "by forwarding on each adapter"),
        ForwardingMode::Rras if facts.rras_running => report.ok("routing", "Routing and Remote Access runs"),
        ForwardingMode::Rras if facts.features.contains(&FeatureName::Routing) => {
            report.ok("routing", "Routing and Remote Access is installed; `up` starts it");
        }
        ForwardingMode::Rras => report.warning(
            "routing",
            "Routing and Remote Access is not installed",
            "`up` installs it and restarts the host; `forwarding = \"per-adapter\"` needs neither",
        ),
    }
}
