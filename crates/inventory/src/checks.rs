//! The names of all checks, which `ignore` and `--ignore` take. What each one means is in the orchestrator's catalogue.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use crate::schema::nearest;

macro_rules! checks {
    ($($variant:ident = $name:literal,)+) => {
        /// A check of `preflight` or `verify`, by its stable name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[expect(missing_docs, reason = "each stands for its name; the orchestrator's catalogue explains it")]
        pub enum Check {
            $($variant,)+
        }

        impl Check {
            /// All checks, in the order of the catalogue.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// Its stable name: `windows-build`.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }
    };
}

checks! {
    // Every host.
    Reachable = "reachable",
    OperatingSystem = "operating-system",
    Privileges = "privileges",
    NodeAddress = "node-address",
    HostName = "hostname",
    NameResolution = "name-resolution",
    Clock = "clock",
    ClockSynchronisation = "clock-synchronisation",
    DiskSpace = "disk-space",
    Memory = "memory",
    OtherCluster = "other-cluster",
    Leftovers = "leftovers",
    Ports = "ports",
    Services = "services",
    Routes = "routes",
    // Linux.
    Kernel = "kernel",
    Systemd = "systemd",
    ControlGroups = "cgroups",
    KernelModules = "kernel-modules",
    KernelSettings = "sysctls",
    Programs = "programs",
    Docker = "docker",
    CgroupDriver = "cgroup-driver",
    CniConfiguration = "cni-configuration",
    EtcdData = "etcd-data",
    Firewall = "firewall",
    Swap = "swap",
    // Windows.
    WindowsBuild = "windows-build",
    WindowsEdition = "windows-edition",
    WindowsRevision = "windows-revision",
    DisplayLanguage = "display-language",
    PendingReboot = "pending-reboot",
    DockerVersion = "docker-version",
    DockerInstall = "docker-install",
    DockerService = "docker-service",
    DockerNat = "docker-nat",
    HostNetworkService = "hns",
    FeatureContainers = "feature-containers",
    SecondAdapter = "second-adapter",
    PodAdapter = "pod-adapter",
    Routing = "routing",
    HyperV = "hyper-v",
    IpHelper = "ip-helper",
    WindowsFirewall = "windows-firewall",
    WinRmEnvelope = "winrm-envelope",
    WinRmQuotas = "winrm-quotas",
    // Between hosts.
    MachineIdentity = "machine-identity",
    MacAddresses = "mac-addresses",
    Addresses = "addresses",
    HostNames = "hostnames",
    KnownIdentity = "known-identity",
    NextHops = "next-hops",
    HostToHost = "host-to-host",
    PacketSize = "mtu",
    Latency = "latency",
    // The plan.
    DockerRanges = "docker-ranges",
    RouteOverlap = "route-overlap",
    ClassfulNetwork = "classful-network",
    PodCapacity = "pod-capacity",
    Versions = "versions",
    Certificates = "certificates",
    // This machine.
    Artifacts = "artifacts",
    ArtifactDigests = "artifact-digests",
    LocalDisk = "local-disk",
    GoToolchain = "go-toolchain",
    // The running cluster, looked at by `verify`.
    Node = "node",
    PodLinux = "pod-linux",
    PodWindows = "pod-windows",
    PodImage = "pod-image",
    PodRemoved = "pod-removed",
    PodNetwork = "pod-network",
    ServiceAddress = "service-address",
    Kubelet = "kubelet",
    ApiFromHere = "api-from-here",
}

impl Check {
    /// Whether only `verify` looks at it: what is wrong with a running cluster cannot be ignored.
    #[must_use]
    pub fn is_of_verify(self) -> bool {
        matches!(
            self,
            Self::Node
                | Self::PodLinux
                | Self::PodWindows
                | Self::PodImage
                | Self::PodRemoved
                | Self::PodNetwork
                | Self::ServiceAddress
                | Self::Kubelet
                | Self::ApiFromHere
        )
    }

    fn of_preflight() -> impl Iterator<Item = Self> {
        Self::ALL.iter().copied().filter(|check| !check.is_of_verify())
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Serialize for Check {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// A name that no check of `preflight` has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no check `{name}`{}", near.map_or_else(String::new, |near| format!("; did you mean `{near}`?")))]
pub struct UnknownCheck {
    /// The name, shortened.
    pub name: String,
    /// The nearest one, if one is near.
    pub near: Option<Check>,
}

impl FromStr for Check {
    type Err = UnknownCheck;

    /// A check of `preflight`, as `ignore` takes it.
    fn from_str(name: &str) -> Result<Self, UnknownCheck> {
        let of = |name: &str| Self::of_preflight().find(|check| check.name() == name);
        of(name).ok_or_else(|| UnknownCheck {
            name: crate::section::shortened(name),
            near: nearest(name, Self::of_preflight().map(Self::name)).and_then(of),
        })
    }
}

/// A check that does not count: on one host, or everywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ignored {
    /// The host; none for all of them and for what lies between them.
    pub host: Option<String>,
    /// The check.
    pub check: Check,
}

impl Ignored {
    /// Whether a finding of this check about `host` is meant.
    #[must_use]
    pub fn covers(&self, host: &str, check: Check) -> bool {
        self.check == check && self.host.as_deref().is_none_or(|of| of == host)
    }
}

impl FromStr for Ignored {
    type Err = UnknownCheck;

    /// `NAME` or `HOST:NAME`.
    fn from_str(text: &str) -> Result<Self, UnknownCheck> {
        match text.rsplit_once(':') {
            Some((host, name)) => Ok(Self { host: Some(host.to_owned()), check: name.parse()? }),
            None => Ok(Self { host: None, check: text.parse()? }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_come_back() {
        let names: BTreeSet<_> = Check::ALL.iter().map(|check| check.name()).collect();
        assert_eq!(names.len(), Check::ALL.len());
        for check in Check::ALL {
            assert_eq!(check.name().parse::<Check>().is_ok_and(|parsed| parsed == *check), !check.is_of_verify());
            assert!(check.name().bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'), "{check}");
        }
    }

    #[test]
    fn a_slip_finds_the_nearest_name() {
        let error = "windws-build".parse::<Check>().unwrap_err();
        assert_eq!(error.to_string(), "there is no check `windws-build`; did you mean `windows-build`?");
        assert_eq!("colour".parse::<Check>().unwrap_err().to_string(), "there is no check `colour`");
    }

    #[test]
    fn a_check_is_ignored_on_one_host_or_everywhere() {
        let everywhere: Ignored = "swap".parse().unwrap();
        assert!(everywhere.covers("lin01", Check::Swap) && !everywhere.covers("lin01", Check::Memory));
        let there: Ignored = "lin01:swap".parse().unwrap();
        assert!(there.covers("lin01", Check::Swap) && !there.covers("lin02", Check::Swap));
        assert!("lin01:swop".parse::<Ignored>().unwrap_err().to_string().contains("`swap`"));
    }
}
