//! The catalogue: what each check looks at, why it matters, what is expected, and what to do where it is not so.
//!
//! A finding names its entry by the type [`Check`], and every check has an entry, so that neither can be without the other.
//! `docs/preflight.md` and `k8swin preflight --list` are made from it.

mod between;
mod cluster;
mod host;
mod linux;
mod local;
mod page;
mod plan;
mod windows;

use std::fmt;

use k8swin_inventory::Check;
use serde::Serialize;

pub(super) use self::between::*;
pub(crate) use self::cluster::*;
pub(super) use self::host::*;
pub(super) use self::linux::*;
pub(super) use self::local::*;
pub use self::page::page;
pub(super) use self::plan::*;
pub(super) use self::windows::*;
use crate::report::Severity;

/// What a check is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Group {
    /// Every host.
    EveryHost,
    /// Linux hosts.
    Linux,
    /// Windows hosts.
    Windows,
    /// What lies between hosts.
    BetweenHosts,
    /// What the inventory plans, compared with what the hosts have.
    Plan,
    /// The machine that k8swin runs on.
    ThisMachine,
    /// The running cluster: what `verify` looks at.
    Cluster,
}

impl Group {
    /// All groups, in order.
    pub const ALL: [Self; 7] =
        [Self::EveryHost, Self::Linux, Self::Windows, Self::BetweenHosts, Self::Plan, Self::ThisMachine, Self::Cluster];

    /// The group in words for people.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::EveryHost => "Every host",
            Self::Linux => "Linux hosts",
            Self::Windows => "Windows hosts",
            Self::BetweenHosts => "Between hosts",
            Self::Plan => "The plan and what the hosts have",
            Self::ThisMachine => "The machine that k8swin runs on",
            Self::Cluster => "The running cluster (`verify`)",
        }
    }
}

/// What is known of a check without looking at any host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// The check.
    pub check: Check,
    /// What it is about.
    pub group: Group,
    /// The worst that it can find.
    pub worst: Severity,
    /// What is looked at.
    pub looks_at: &'static str,
    /// What is expected.
    pub expected: &'static str,
    /// Why it matters, in one sentence.
    pub why: &'static str,
    /// Where that is known from.
    pub source: &'static str,
    /// What to do, one for each thing that can be wrong.
    pub remedies: &'static [Remedy],
}

/// What to do about a finding. Words in braces stand for what the finding fills in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Remedy {
    /// In words.
    pub text: &'static str,
    /// As commands, to be typed on the host: in a root shell on Linux, in an administrator's PowerShell on Windows.
    #[serde(skip_serializing_if = "<[&str]>::is_empty")]
    pub commands: &'static [&'static str],
}

impl Remedy {
    /// The remedy for one finding: `values` are what stands for the words in braces.
    pub(crate) fn with(self, values: &[(&str, &str)]) -> Fix {
        let fill = |text: &str| {
            values.iter().fold(text.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value))
        };
        Fix {
            remedy: Some(self),
            text: fill(self.text),
            commands: self.commands.iter().map(|text| fill(text)).collect(),
        }
    }
}

/// The remedy of one finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fix {
    /// The one of the catalogue; none for what another crate says of its own failures.
    pub(super) remedy: Option<Remedy>,
    /// In words.
    pub(crate) text: String,
    /// As commands.
    pub(crate) commands: Vec<String>,
}

impl From<Remedy> for Fix {
    fn from(remedy: Remedy) -> Self {
        remedy.with(&[])
    }
}

impl From<String> for Fix {
    fn from(text: String) -> Self {
        Self { remedy: None, text, commands: Vec::new() }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.title())
    }
}

/// All entries, in order.
pub fn entries() -> impl Iterator<Item = &'static Entry> {
    Check::ALL.iter().map(|check| entry(*check))
}

/// The entry of a check.
#[must_use]
pub fn entry(check: Check) -> &'static Entry {
    match check {
        Check::Reachable => &host::REACHABLE,
        Check::OperatingSystem => &host::OPERATING_SYSTEM,
        Check::Privileges => &host::PRIVILEGES,
        Check::NodeAddress => &host::NODE_ADDRESS,
        Check::HostName => &host::HOST_NAME,
        Check::NameResolution => &host::NAME_RESOLUTION,
        Check::Clock => &host::CLOCK,
        Check::ClockSynchronisation => &host::CLOCK_SYNCHRONISATION,
        Check::DiskSpace => &host::DISK_SPACE,
        Check::Memory => &host::MEMORY,
        Check::OtherCluster => &host::OTHER_CLUSTER,
        Check::Leftovers => &host::LEFTOVERS,
        Check::Ports => &host::PORTS,
        Check::Services => &host::SERVICES,
        Check::Routes => &host::ROUTES,
        Check::Kernel => &linux::KERNEL,
        Check::Systemd => &linux::SYSTEMD,
        Check::ControlGroups => &linux::CONTROL_GROUPS,
        Check::KernelModules => &linux::KERNEL_MODULES,
        Check::KernelSettings => &linux::KERNEL_SETTINGS,
        Check::Programs => &linux::PROGRAMS,
        Check::Docker => &linux::DOCKER,
        Check::CgroupDriver => &linux::CGROUP_DRIVER,
        Check::CniConfiguration => &linux::CNI_CONFIGURATION,
        Check::EtcdData => &linux::ETCD_DATA,
        Check::Firewall => &linux::FIREWALL,
        Check::Swap => &linux::SWAP,
        Check::WindowsBuild => &windows::WINDOWS_BUILD,
        Check::WindowsEdition => &windows::WINDOWS_EDITION,
        Check::WindowsRevision => &windows::WINDOWS_REVISION,
        Check::DisplayLanguage => &windows::DISPLAY_LANGUAGE,
        Check::PendingReboot => &windows::PENDING_REBOOT,
        Check::DockerVersion => &windows::DOCKER_VERSION,
        Check::DockerInstall => &windows::DOCKER_INSTALL,
        Check::DockerService => &windows::DOCKER_SERVICE,
        Check::DockerNat => &windows::DOCKER_NAT,
        Check::HostNetworkService => &windows::HOST_NETWORK_SERVICE,
        Check::FeatureContainers => &windows::FEATURE_CONTAINERS,
        Check::SecondAdapter => &windows::SECOND_ADAPTER,
        Check::PodAdapter => &windows::POD_ADAPTER,
        Check::Routing => &windows::ROUTING,
        Check::HyperV => &windows::HYPER_V,
        Check::IpHelper => &windows::IP_HELPER,
        Check::WindowsFirewall => &windows::WINDOWS_FIREWALL,
        Check::WinRmEnvelope => &windows::WINRM_ENVELOPE,
        Check::WinRmQuotas => &windows::WINRM_QUOTAS,
        Check::MachineIdentity => &between::MACHINE_IDENTITY,
        Check::MacAddresses => &between::MAC_ADDRESSES,
        Check::Addresses => &between::ADDRESSES,
        Check::HostNames => &between::HOST_NAMES,
        Check::KnownIdentity => &between::KNOWN_IDENTITY,
        Check::NextHops => &between::NEXT_HOPS,
        Check::HostToHost => &between::HOST_TO_HOST,
        Check::PacketSize => &between::PACKET_SIZE,
        Check::Latency => &between::LATENCY,
        Check::DockerRanges => &plan::DOCKER_RANGES,
        Check::RouteOverlap => &plan::ROUTE_OVERLAP,
        Check::ClassfulNetwork => &plan::CLASSFUL_NETWORK,
        Check::PodCapacity => &plan::POD_CAPACITY,
        Check::Versions => &plan::VERSIONS,
        Check::Certificates => &plan::CERTIFICATES,
        Check::Artifacts => &local::ARTIFACTS,
        Check::ArtifactDigests => &local::ARTIFACT_DIGESTS,
        Check::LocalDisk => &local::LOCAL_DISK,
        Check::GoToolchain => &local::GO_TOOLCHAIN,
        Check::Node => &cluster::NODE,
        Check::PodLinux => &cluster::POD_LINUX,
        Check::PodWindows => &cluster::POD_WINDOWS,
        Check::PodImage => &cluster::POD_IMAGE,
        Check::PodRemoved => &cluster::POD_REMOVED,
        Check::PodNetwork => &cluster::POD_NETWORK,
        Check::ServiceAddress => &cluster::SERVICE_ADDRESS,
        Check::Kubelet => &cluster::KUBELET,
        Check::ApiFromHere => &cluster::API_FROM_HERE,
    }
}

/// A remedy.
const fn remedy(text: &'static str, commands: &'static [&'static str]) -> Remedy {
    Remedy { text, commands }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_check_has_its_own_entry_with_everything_said() {
        for (check, entry) in Check::ALL.iter().zip(entries()) {
            assert_eq!(*check, entry.check);
            assert_eq!(entry.group == Group::Cluster, check.is_of_verify(), "{check}");
            assert!(entry.worst > Severity::Ok && !entry.remedies.is_empty(), "{check}");
            for text in [entry.looks_at, entry.expected, entry.source, entry.why] {
                assert!(!text.is_empty() && !text.ends_with(['.', ' ']) && !text.contains("  "), "{check}: {text}");
            }
            for remedy in entry.remedies {
                assert!(!remedy.text.is_empty() && !remedy.text.ends_with('.'), "{check}: {}", remedy.text);
            }
        }
    }

    #[test]
    fn entries_stand_in_the_order_of_their_groups() {
        let groups: Vec<_> = entries().map(|entry| entry.group).collect();
        assert!(groups.is_sorted(), "{groups:?}");
    }

    #[test]
    fn words_in_braces_are_filled_in() {
        let fix = remedy("give {host} another", &["rename {host}"]).with(&[("host", "lin01")]);
        assert_eq!((fix.text.as_str(), fix.commands), ("give lin01 another", vec!["rename lin01".to_owned()]));
    }
}
