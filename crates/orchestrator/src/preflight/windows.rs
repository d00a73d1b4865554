//! Prerequisites of a Windows host.

use k8swin_inventory::cluster::{ForwardingMode, Host, KubernetesMinor, WindowsHost};
use k8swin_inventory::{Check, Cluster};
use k8swin_protocol::Os;
use k8swin_protocol::details::WinRmQuotas;
use k8swin_protocol::facts::{ServiceState, WindowsFacts};
use k8swin_protocol::resource::FeatureName;

use super::catalogue::{
    ENABLE_IPV6, ENGLISH, FIREWALL_POLICY, FIREWALL_SERVICE, INSTALL_HYPER_V, MATCHING_IMAGE, RAISE_ENVELOPE,
    RAISE_QUOTAS, RESTART, SERVER_2016, START_HNS, START_IP_HELPER, TIME_SERVICE_WINDOWS, UP_INSTALLS_CONTAINERS,
    UP_INSTALLS_ROUTING, UP_RESTARTS, UPDATE_WINDOWS,
};
use super::{Report, adapters, common, leftovers, windows_docker};

/// Windows Server 2016 RTM, the first with containers (facts A.2 #3).
const MINIMUM_BUILD: u32 = 14393;
/// KB3176936, which Docker's own installer demanded (facts D.2). It says something of this build only.
const FIRST_GOOD_REVISION: u32 = 207;
/// What a run needs of WinRM's quotas: its own shell, those that others have lost, and an upload.
const LEAST_SHELLS: u32 = 5;
const LEAST_PROCESSES: u32 = 5;
const LEAST_MEMORY_MB: u32 = 256;

pub(super) fn check(
    cluster: &Cluster,
    host: &Host,
    windows: &WindowsHost,
    facts: &WindowsFacts,
    report: &mut Report<'_>,
) {
    version(facts, report);
    language(cluster, facts, report);
    pending_reboot(facts, report);
    windows_docker::check(cluster, windows, facts, report);
    network_service(facts, report);
    if facts.features.contains(&FeatureName::Containers) {
        report.ok(Check::FeatureContainers, "installed");
    } else {
        report.warning(Check::FeatureContainers, "not installed", UP_INSTALLS_CONTAINERS);
    }
    adapters::check(host, windows, facts, report);
    routing(windows, facts, report);
    hyper_v(facts, report);
    services(cluster, facts, report);
    firewall(facts, report);
    winrm(facts, report);
    leftovers::check(cluster, Os::Windows, &facts.common, facts.docker.as_ref(), report);
    let needed = [(10250, "service:kubelet"), (10249, "service:kube-proxy")];
    common::ports(Os::Windows, &facts.common, &needed, report);
}

fn version(facts: &WindowsFacts, report: &mut Report<'_>) {
    let build = format!("10.0.{}.{}", facts.build, facts.ubr);
    if facts.build < MINIMUM_BUILD {
        let detail = format!("{build}; needed: 10.0.{MINIMUM_BUILD} (Windows Server 2016) or later");
        report.error(Check::WindowsBuild, detail, SERVER_2016);
    } else {
        report.ok(Check::WindowsBuild, build.clone());
    }
    if facts.installation_type.starts_with("Server") || facts.installation_type.starts_with("Nano Server") {
        report.ok(Check::WindowsEdition, facts.product.clone());
    } else {
        let detail = format!("{} is of the type `{}`", facts.product, facts.installation_type);
        report.error(Check::WindowsEdition, detail, SERVER_2016);
    }
    let same_build = format!("10.0.{}.", facts.build);
    let other =
        facts.details.image_versions.iter().find(|(_, version)| version.starts_with(&same_build) && **version != build);
    if facts.build == MINIMUM_BUILD && facts.ubr < FIRST_GOOD_REVISION {
        let detail = format!("{build}; containers need a revision after 206 (KB3176936)");
        report.warning(Check::WindowsRevision, detail, UPDATE_WINDOWS);
    } else if let Some((image, version)) = other {
        let detail = format!("the image {image} is for {version}, the host is {build}");
        report.warning(Check::WindowsRevision, detail, MATCHING_IMAGE.with(&[("image", image)]));
    } else {
        report.ok(Check::WindowsRevision, format!("{build}; no image of another revision"));
    }
}

fn language(cluster: &Cluster, facts: &WindowsFacts, report: &mut Report<'_>) {
    let language = &facts.ui_language;
    if language.starts_with("en") || cluster.kubernetes.minor != KubernetesMinor::V1_5 {
        report.ok(Check::DisplayLanguage, language.clone());
    } else {
        let detail = format!("{language}; kube-proxy 1.5 reads netsh's English output and hangs for ever on others");
        report.error(Check::DisplayLanguage, detail, ENGLISH);
    }
}

fn pending_reboot(facts: &WindowsFacts, report: &mut Report<'_>) {
    let detail = format!("a restart is pending: {}", facts.pending_reboot.join(", "));
    // An earlier run that was interrupted between the installation of a feature and the restart for it.
    if facts.pending_reboot.is_empty() {
        report.ok(Check::PendingReboot, "none");
    } else if facts.common.owned.has_kind("feature:") {
        report.warning(Check::PendingReboot, detail, UP_RESTARTS);
    } else {
        report.error(Check::PendingReboot, detail, RESTART);
    }
}

/// Before the feature Containers there is no HNS.
fn network_service(facts: &WindowsFacts, report: &mut Report<'_>) {
    let installed = facts.features.contains(&FeatureName::Containers);
    match facts.details.services.get("hns") {
        _ if facts.details.ipv6_disabled => {
            let detail = "IPv6 is switched off (DisabledComponents), with which HNS fails";
            report.error(Check::HostNetworkService, detail, ENABLE_IPV6);
        }
        Some(ServiceState::Running) => report.ok(Check::HostNetworkService, "runs"),
        Some(_) if installed => {
            report.error(Check::HostNetworkService, "the Host Network Service does not run", START_HNS);
        }
        None if installed => {
            report.error(Check::HostNetworkService, "there is no Host Network Service", START_HNS);
        }
        _ => report.ok(Check::HostNetworkService, "comes with the feature Containers"),
    }
}

fn routing(windows: &WindowsHost, facts: &WindowsFacts, report: &mut Report<'_>) {
    match windows.forwarding {
        ForwardingMode::PerAdapter => report.ok(Check::Routing, "by forwarding on each adapter"),
        ForwardingMode::Rras if facts.rras_running => report.ok(Check::Routing, "Routing and Remote Access runs"),
        ForwardingMode::Rras if facts.features.contains(&FeatureName::Routing) => {
            report.ok(Check::Routing, "Routing and Remote Access is installed; `up` starts it");
        }
        ForwardingMode::Rras => {
            report.warning(Check::Routing, "Routing and Remote Access is not installed", UP_INSTALLS_ROUTING);
        }
    }
}

fn hyper_v(facts: &WindowsFacts, report: &mut Report<'_>) {
    if facts.hyper_v {
        report.ok(Check::HyperV, "there: service addresses get an internal switch of their own");
    } else if common::is_owned(&facts.common, "service:kube-proxy") {
        report.ok(Check::HyperV, "not there; service addresses are on Docker's adapter since an earlier run");
    } else {
        let detail = "the Hyper-V role is not there, so service addresses go on Docker's nat adapter `vEthernet (HNS Internal NIC)`";
        report.warning(Check::HyperV, detail, INSTALL_HYPER_V);
    }
}

fn services(cluster: &Cluster, facts: &WindowsFacts, report: &mut Report<'_>) {
    let state = |name: &str| facts.details.services.get(name);
    if cluster.kubernetes.minor == KubernetesMinor::V1_5 {
        match state("iphlpsvc") {
            Some(ServiceState::Running) => report.ok(Check::IpHelper, "runs"),
            _ => report.error(Check::IpHelper, "IP Helper does not run", START_IP_HELPER),
        }
    }
    // Windows starts it only where it has something to do (in a domain): stopped is as good as none.
    match state("w32time") {
        Some(ServiceState::Running) => report.ok(Check::ClockSynchronisation, "Windows Time runs"),
        _ => report.warning(Check::ClockSynchronisation, "Windows Time does not run", TIME_SERVICE_WINDOWS),
    }
}

fn firewall(facts: &WindowsFacts, report: &mut Report<'_>) {
    let deaf: Vec<_> = facts
        .details
        .firewall
        .iter()
        .filter(|profile| profile.enabled && !profile.local_rules)
        .map(|profile| profile.name.as_str())
        .collect();
    if facts.details.services.get("mpssvc").is_some_and(|state| *state != ServiceState::Running) {
        report.error(Check::WindowsFirewall, "the firewall's service does not run", FIREWALL_SERVICE);
    } else if deaf.is_empty() {
        report.ok(Check::WindowsFirewall, "rules of the host count");
    } else {
        let detail = format!("rules of the host do not count in the profiles {}", deaf.join(", "));
        report.error(Check::WindowsFirewall, detail, FIREWALL_POLICY);
    }
}

fn winrm(facts: &WindowsFacts, report: &mut Report<'_>) {
    let envelope = format!("MaxEnvelopeSizekb is {}", facts.max_envelope_size_kb);
    // 150 KB is what common clients send; smaller than that, and streams crawl (facts F.1).
    if facts.max_envelope_size_kb < 150 {
        report.warning(Check::WinRmEnvelope, envelope, RAISE_ENVELOPE);
    } else {
        report.ok(Check::WinRmEnvelope, envelope);
    }
    let WinRmQuotas { shells_per_user, processes_per_shell, memory_per_shell_mb } = facts.details.winrm_quotas;
    let small: Vec<_> = [
        ("MaxShellsPerUser", shells_per_user, LEAST_SHELLS),
        ("MaxProcessesPerShell", processes_per_shell, LEAST_PROCESSES),
        ("MaxMemoryPerShellMB", memory_per_shell_mb, LEAST_MEMORY_MB),
    ]
    .into_iter()
    // Zero means without a limit.
    .filter_map(|(name, value, least)| Some((name, value.filter(|value| *value > 0 && *value < least)?, least)))
    .map(|(name, value, least)| format!("{name} is {value}, advised: {least}"))
    .collect();
    if small.is_empty() {
        report.ok(Check::WinRmQuotas, "enough shells, processes and memory");
    } else {
        report.warning(Check::WinRmQuotas, small.join("; "), RAISE_QUOTAS);
    }
}
