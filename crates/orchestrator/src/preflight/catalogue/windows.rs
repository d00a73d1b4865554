//! Checks of Windows hosts.

use k8swin_inventory::Check;

use super::{Entry, Group, Remedy, remedy};
use crate::report::Severity;

const WINDOWS: Group = Group::Windows;

pub(in crate::preflight) const SERVER_2016: Remedy = remedy("install Windows Server 2016 or later", &[]);

pub(super) static WINDOWS_BUILD: Entry = Entry {
    check: Check::WindowsBuild,
    group: WINDOWS,
    worst: Severity::Error,
    looks_at: "the build of Windows",
    expected: "10.0.14393 or later, which is Windows Server 2016",
    why: "earlier builds have no containers",
    source: "the walkthrough; kubernetes/website guide of December 2016, facts A.2 #3",
    remedies: &[SERVER_2016],
};

pub(super) static WINDOWS_EDITION: Entry = Entry {
    check: Check::WindowsEdition,
    group: WINDOWS,
    worst: Severity::Error,
    looks_at: "the kind of installation",
    expected: "a server: Server, Server Core or Nano Server",
    why: "client editions run Hyper-V containers only, which a kubelet 1.5 does not start",
    source: "MicrosoftDocs version-compatibility, facts D.5",
    remedies: &[SERVER_2016],
};

pub(in crate::preflight) const UPDATE_WINDOWS: Remedy =
    remedy("install the current cumulative update, and restart", &["sconfig"]);
pub(in crate::preflight) const MATCHING_IMAGE: Remedy =
    remedy("pull an image of the host's own revision, or update the host to the image's", &["docker pull {image}"]);

pub(super) static WINDOWS_REVISION: Entry = Entry {
    check: Check::WindowsRevision,
    group: WINDOWS,
    worst: Severity::Warning,
    looks_at: "the revision of the build, and that of the base images on the host",
    expected: "later than 206 (KB3176936); images of the same revision as the host",
    why: "on Server 2016 a container whose revision is not the host's may not start, the pause container included",
    source: "MicrosoftDocs version-compatibility, kubernetes#74066, #80032, facts D.5",
    remedies: &[UPDATE_WINDOWS, MATCHING_IMAGE],
};

pub(in crate::preflight) const ENGLISH: Remedy = remedy(
    "install the English language pack, make English the display language of the system and its services, and restart",
    &["Set-WinSystemLocale en-US", "Set-WinUILanguageOverride en-US", "Restart-Computer"],
);

pub(super) static DISPLAY_LANGUAGE: Entry = Entry {
    check: Check::DisplayLanguage,
    group: WINDOWS,
    worst: Severity::Error,
    looks_at: "the display language of the system and its services",
    expected: "English, for Kubernetes 1.5",
    why: "kube-proxy 1.5 waits for the English words `IP Address:` of netsh, and on other languages hangs for ever at its first \
          service",
    source: "kubernetes PR #52976, facts B.6",
    remedies: &[ENGLISH],
};

pub(in crate::preflight) const RESTART: Remedy = remedy("restart the host, then run this again", &["Restart-Computer"]);
pub(in crate::preflight) const UP_RESTARTS: Remedy = remedy("`up` restarts the host: it installed what needs it", &[]);

pub(super) static PENDING_REBOOT: Entry = Entry {
    check: Check::PendingReboot,
    group: WINDOWS,
    worst: Severity::Error,
    looks_at: "what waits for a restart: servicing, Windows Update, files to be replaced, a new name",
    expected: "nothing",
    why: "features cannot be installed while one is pending, and Windows may restart by itself in the middle of a run",
    source: "launchpad:pkg/configurer/windows.go (exit 3010), facts D.2",
    remedies: &[RESTART, UP_RESTARTS],
};

pub(in crate::preflight) const NAME_DOCKER_ZIP: Remedy = remedy(
    "let `up` install it: name a zip of Docker for Windows in the inventory, for this host or in [defaults.windows]: \
     `docker = { zip = \"…\", sha256 = \"…\", version = \"…\" }` (Microsoft's DockerMsftProvider was shut down in 2023); to do it \
     yourself",
    &[
        r"Expand-Archive docker.zip 'C:\Program Files'",
        r"& 'C:\Program Files\Docker\dockerd.exe' --register-service",
        "Start-Service docker",
    ],
);
pub(in crate::preflight) const OTHER_DOCKER_ZIP: Remedy =
    remedy("name a zip of another version as `docker` in the inventory", &[]);
pub(in crate::preflight) const REPLACE_DOCKER: Remedy = remedy(
    "install another one; or remove it and let `up` install the zip that `docker` names in the inventory",
    &["Stop-Service docker", "dockerd --unregister-service"],
);
pub(in crate::preflight) const KNOWN_DOCKER: Remedy =
    remedy("install one of Docker 1.12.2-cs2 to 20.10, or set DOCKER_API_VERSION for the kubelet", &[]);

pub(super) static DOCKER_VERSION: Entry = Entry {
    check: Check::DockerVersion,
    group: WINDOWS,
    worst: Severity::Error,
    looks_at: "Docker's version, in Docker's own order of versions",
    expected: "1.12.2-cs2-ws-beta or later, 1.13 and later with kubelet 1.5.3 or later, for Kubernetes 1.5 at most 20.10",
    why: "earlier ones are no Windows engines, kubelets before 1.5.3 start no container on 1.13, and very new ones refuse the API \
          version of an old kubelet",
    source: "the walkthrough; kubernetes#39003, facts B.4, D.1",
    remedies: &[NAME_DOCKER_ZIP, OTHER_DOCKER_ZIP, REPLACE_DOCKER, KNOWN_DOCKER],
};

pub(in crate::preflight) const DOCKER_KEPT: Remedy = remedy(
    "fine if it fits; to have `up` install the zip, remove that Docker first; else remove `docker` for this host from the \
     inventory",
    &["Stop-Service docker", "dockerd --unregister-service"],
);
pub(in crate::preflight) const NAME_ZIP_AGAIN: Remedy =
    remedy("name the zip again as `docker` of this host, or install Docker by another way after a `reset`", &[]);

pub(super) static DOCKER_INSTALL: Entry = Entry {
    check: Check::DockerInstall,
    group: WINDOWS,
    worst: Severity::Error,
    looks_at: "whose the host's Docker is, and which one the inventory names",
    expected: "one that is there already, or the inventory's zip, installed by `up`",
    why: "what somebody else installed is kept, whatever the inventory names; what k8swin installed is removed when the inventory \
          names it no longer",
    source: "facts D.2",
    remedies: &[DOCKER_KEPT, NAME_ZIP_AGAIN],
};

pub(in crate::preflight) const START_DOCKER_SERVICE: Remedy =
    remedy("start it; its log is in the event log of applications", &["Start-Service docker"]);

pub(in crate::preflight) const UP_STARTS_DOCKER: Remedy = remedy("`up` starts it", &[]);

pub(super) static DOCKER_SERVICE: Entry = Entry {
    check: Check::DockerService,
    group: WINDOWS,
    worst: Severity::Error,
    looks_at: "the service `docker`",
    expected: "it runs and answers",
    why: "networks and the pause image are made through it before the kubelet starts",
    source: "facts D.2",
    remedies: &[START_DOCKER_SERVICE, UP_STARTS_DOCKER],
};

pub(in crate::preflight) const NAT_NETWORK: Remedy = remedy(
    "let Docker make its nat network: take `\"bridge\": \"none\"` out of C:\\ProgramData\\docker\\config\\daemon.json",
    &["Restart-Service docker"],
);

pub(super) static DOCKER_NAT: Entry = Entry {
    check: Check::DockerNat,
    group: WINDOWS,
    worst: Severity::Error,
    looks_at: "Docker's nat network",
    expected: "there is one",
    why: "the pause container of every pod is on it, and without Hyper-V service addresses go on its adapter",
    source: "acs-engine#286, facts B.4, D.3",
    remedies: &[NAT_NETWORK],
};

pub(in crate::preflight) const START_HNS: Remedy = remedy(
    "start the Host Network Service, then Docker; when it does not start, Microsoft's \
     WindowsContainerNetworking-LoggingAndCleanupAide.ps1 -Cleanup resets its data",
    &["Start-Service hns", "Restart-Service docker"],
);
pub(in crate::preflight) const ENABLE_IPV6: Remedy = remedy(
    "switch IPv6 on again, and restart",
    &[
        r"Remove-ItemProperty HKLM:\SYSTEM\CurrentControlSet\Services\Tcpip6\Parameters DisabledComponents",
        "Restart-Computer",
    ],
);

pub(super) static HOST_NETWORK_SERVICE: Entry = Entry {
    check: Check::HostNetworkService,
    group: WINDOWS,
    worst: Severity::Error,
    looks_at: "the Host Network Service (HNS), and IPv6, without which it fails",
    expected: "it runs where containers are installed; IPv6 is not switched off",
    why: "it makes every container network; with IPv6 switched off by DisabledComponents it fails (KB4015217)",
    source: "moby#34696, docker/for-win#1797, facts D.3, G",
    remedies: &[START_HNS, ENABLE_IPV6],
};

pub(in crate::preflight) const UP_INSTALLS_CONTAINERS: Remedy = remedy(
    "`up` installs it and restarts the host; to do it yourself at a time of your choice",
    &["Install-WindowsFeature Containers -Restart"],
);

pub(super) static FEATURE_CONTAINERS: Entry = Entry {
    check: Check::FeatureContainers,
    group: WINDOWS,
    worst: Severity::Warning,
    looks_at: "the feature Containers",
    expected: "installed",
    why: "Docker needs it, and its installation takes a restart",
    source: "facts D.2",
    remedies: &[UP_INSTALLS_CONTAINERS],
};

pub(in crate::preflight) const ADD_ADAPTER: Remedy = remedy(
    "add a second adapter to the machine; on Hyper-V, at its host",
    &[
        "Add-VMNetworkAdapter -VMName {host}",
        "Get-VMNetworkAdapter {host} | Set-VMNetworkAdapter -MacAddressSpoofing On",
    ],
);

pub(super) static SECOND_ADAPTER: Entry = Entry {
    check: Check::SecondAdapter,
    group: WINDOWS,
    worst: Severity::Error,
    looks_at: "network adapters that are connected",
    expected: "two at least",
    why: "a transparent network takes an adapter whole, and the other one stays the node's own",
    source: "the walkthrough; MicrosoftDocs container-networking, facts A.2 #8",
    remedies: &[ADD_ADAPTER],
};

pub(in crate::preflight) const OTHER_POD_ADAPTER: Remedy =
    remedy("name the other adapter as `pod_adapter` in the inventory; there are: {adapters}", &[]);
pub(in crate::preflight) const ENABLE_ADAPTER: Remedy =
    remedy("connect it, here or in the virtual machine's settings", &["Enable-NetAdapter '{adapter}'"]);

pub(super) static POD_ADAPTER: Entry = Entry {
    check: Check::PodAdapter,
    group: WINDOWS,
    worst: Severity::Error,
    looks_at: "the adapter that the inventory gives to the pods, by name, MAC or address",
    expected: "it is there, connected, and not the one with the node's address",
    why: "Docker's transparent network cuts off whatever used the adapter before, also the session that makes it",
    source: "microsoft/SDN#198, facts D.3",
    remedies: &[OTHER_POD_ADAPTER, ENABLE_ADAPTER],
};

pub(in crate::preflight) const UP_INSTALLS_ROUTING: Remedy = remedy(
    "`up` installs it and restarts the host; `forwarding = \"per-adapter\"` in the inventory needs neither; to do it yourself",
    &["Install-WindowsFeature RemoteAccess, Routing -IncludeManagementTools -Restart"],
);

pub(super) static ROUTING: Entry = Entry {
    check: Check::Routing,
    group: WINDOWS,
    worst: Severity::Warning,
    looks_at: "Routing and Remote Access, where the inventory wants it to forward between the adapters",
    expected: "installed, or `forwarding = \"per-adapter\"`",
    why: "its installation takes a restart, which may come at a bad time",
    source: "the walkthrough; facts E",
    remedies: &[UP_INSTALLS_ROUTING],
};

pub(in crate::preflight) const INSTALL_HYPER_V: Remedy = remedy(
    "fine for most; for a switch of their own, install the role where nested virtualisation allows it",
    &["Install-WindowsFeature Hyper-V -IncludeManagementTools -Restart"],
);

pub(super) static HYPER_V: Entry = Entry {
    check: Check::HyperV,
    group: WINDOWS,
    worst: Severity::Warning,
    looks_at: "the Hyper-V role, for an internal switch that carries the service addresses",
    expected: "installed; without it service addresses go on Docker's adapter `vEthernet (HNS Internal NIC)`",
    why: "on Docker's own adapter service addresses may cost containers of the nat network their way out",
    source: "kubernetes/website PR #2016, facts A.1, D.4",
    remedies: &[INSTALL_HYPER_V],
};

pub(in crate::preflight) const START_IP_HELPER: Remedy =
    remedy("start it, also at boot", &["Set-Service iphlpsvc -StartupType Automatic", "Start-Service iphlpsvc"]);

pub(super) static IP_HELPER: Entry = Entry {
    check: Check::IpHelper,
    group: WINDOWS,
    worst: Severity::Error,
    looks_at: "the service IP Helper (iphlpsvc), for Kubernetes 1.5",
    expected: "it runs",
    why: "kube-proxy 1.5 forwards by `netsh interface portproxy`, which this service carries out; without it rules are taken and \
          nothing answers",
    source: "facts B.6",
    remedies: &[START_IP_HELPER],
};

pub(in crate::preflight) const FIREWALL_POLICY: Remedy = remedy(
    "let rules of the host count: `Apply local firewall rules: Yes` in the group policy, and no `Block all incoming connections`; \
     then fetch the policy",
    &["gpupdate /force"],
);
pub(in crate::preflight) const FIREWALL_SERVICE: Remedy =
    remedy("start the firewall's service: without it rules cannot be made", &["Start-Service mpssvc"]);

pub(super) static WINDOWS_FIREWALL: Entry = Entry {
    check: Check::WindowsFirewall,
    group: WINDOWS,
    worst: Severity::Error,
    looks_at: "the firewall's service, its profiles, and whether rules of the host count",
    expected: "the service runs, and no policy makes the host's own rules ineffective",
    why: "`up` opens the kubelet's port and lets pods reach service addresses by rules of the host, which a policy can disregard",
    source: "facts E; AllowLocalPolicyMerge of MS-GPFAS",
    remedies: &[FIREWALL_POLICY, FIREWALL_SERVICE],
};

pub(in crate::preflight) const RAISE_ENVELOPE: Remedy =
    remedy("raise it", &["winrm set winrm/config '@{MaxEnvelopeSizekb=\"500\"}'"]);

pub(super) static WINRM_ENVELOPE: Entry = Entry {
    check: Check::WinRmEnvelope,
    group: WINDOWS,
    worst: Severity::Warning,
    looks_at: "WinRM's limit for one message, MaxEnvelopeSizekb",
    expected: "150 at least; 500 is the default",
    why: "common clients send 150 KB, and with less an upload takes many times longer",
    source: "ansible.windows#391, facts F.1",
    remedies: &[RAISE_ENVELOPE],
};

pub(in crate::preflight) const RAISE_QUOTAS: Remedy = remedy(
    "raise it in the group policy (Windows Remote Shell), or here",
    &[
        "winrm set winrm/config/winrs '@{MaxShellsPerUser=\"30\";MaxProcessesPerShell=\"25\";MaxMemoryPerShellMB=\"1024\"}'",
    ],
);

pub(super) static WINRM_QUOTAS: Entry = Entry {
    check: Check::WinRmQuotas,
    group: WINDOWS,
    worst: Severity::Warning,
    looks_at: "WinRM's quotas for shells, their processes and their memory",
    expected: "5 shells a user, 5 processes and 256 MB a shell, or Windows' larger defaults",
    why: "a run has one shell a host, but shells that others have lost count until they time out, and an upload needs memory",
    source: "MS-WSMV, facts F.1",
    remedies: &[RAISE_QUOTAS],
};
