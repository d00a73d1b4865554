//! Checks of every host.

use k8swin_inventory::Check;

use super::{Entry, Group, Remedy, remedy};
use crate::report::Severity;

const EVERY: Group = Group::EveryHost;

const CONNECT: Remedy =
    remedy("do what the failure's own hint says: address, port, account, host key or certificate", &[]);

pub(super) static REACHABLE: Entry = Entry {
    check: Check::Reachable,
    group: EVERY,
    worst: Severity::Error,
    looks_at: "whether this machine reaches the host by SSH or WinRM, and an agent runs there",
    expected: "the agent answers",
    why: "nothing is known of a host that cannot be asked, and nothing can be done on it",
    source: "design §2",
    remedies: &[CONNECT],
};

pub(in crate::preflight) const CORRECT_OS: Remedy = remedy("correct `os` of this host in the inventory", &[]);
pub(in crate::preflight) const KNOWN_DISTRIBUTION: Remedy =
    remedy("use Debian, Ubuntu, or a distribution of the Red Hat or SUSE family; or go on, and tell how it went", &[]);

pub(super) static OPERATING_SYSTEM: Entry = Entry {
    check: Check::OperatingSystem,
    group: EVERY,
    worst: Severity::Error,
    looks_at: "the operating system, and on Linux its distribution",
    expected: "the system of the inventory; on Linux a distribution of the Debian, Red Hat or SUSE family",
    why: "packages, paths and defaults are known for these families only",
    source: "facts B.3",
    remedies: &[CORRECT_OS, KNOWN_DISTRIBUTION],
};

pub(in crate::preflight) const SUDO: Remedy = remedy(
    "log in as root, or allow the account `sudo -n`",
    &["echo '{user} ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/k8swin"],
);
pub(in crate::preflight) const FULL_TOKEN: Remedy = remedy(
    "use the built-in Administrator or a domain administrator, or let local administrators log in with their full token: \
     LocalAccountTokenFilterPolicy",
    &[
        r"Set-ItemProperty HKLM:\SOFTWARE\Microsoft\Windows\CurrentVersion\Policies\System LocalAccountTokenFilterPolicy 1",
    ],
);

pub(super) static PRIVILEGES: Entry = Entry {
    check: Check::Privileges,
    group: EVERY,
    worst: Severity::Error,
    looks_at: "whether the account that logs in may change the system: root or `sudo -n`, an administrator's full token",
    expected: "it may",
    why: "services, routes and keys can be changed by an administrator only, and Windows filters the token of local accounts \
          that log in over the network",
    source: "facts F.2",
    remedies: &[SUDO, FULL_TOKEN],
};

pub(in crate::preflight) const CONNECT_ADAPTER: Remedy =
    remedy("connect the adapter, or give the address of another as `node_address` in the inventory", &[]);
pub(in crate::preflight) const NODE_ADDRESS_KEY: Remedy =
    remedy("give the address by which the other nodes reach this host as `node_address` in the inventory", &[]);

pub(super) static NODE_ADDRESS: Entry = Entry {
    check: Check::NodeAddress,
    group: EVERY,
    worst: Severity::Error,
    looks_at: "the adapter with the node's routable address",
    expected: "an adapter that is connected has the inventory's `node_address`",
    why: "kubelet, certificates and all routes name this address, and with two adapters any guess is often wrong",
    source: "microsoft/SDN#315, facts B.4",
    remedies: &[CONNECT_ADAPTER, NODE_ADDRESS_KEY],
};

pub(in crate::preflight) const RENAME: Remedy =
    remedy("give the host the inventory's name, or the inventory the host's", &["hostnamectl set-hostname {name}"]);
pub(in crate::preflight) const RENAME_WINDOWS: Remedy =
    remedy("give the host the inventory's name, or the inventory the host's", &["Rename-Computer {name} -Restart"]);

pub(super) static HOST_NAME: Entry = Entry {
    check: Check::HostName,
    group: EVERY,
    worst: Severity::Warning,
    looks_at: "the name that the host has for itself",
    expected: "the name of the inventory, which becomes the node's",
    why: "logs, certificates of others and monitoring show the host's own name, and a name that belongs to another node sends \
          people to the wrong machine",
    source: "facts B.4",
    remedies: &[RENAME, RENAME_WINDOWS],
};

pub(in crate::preflight) const OWN_NAME: Remedy =
    remedy("let the host's own name resolve to its own address", &["echo '{address} {name}' >> /etc/hosts"]);
pub(in crate::preflight) const OWN_NAME_WINDOWS: Remedy = remedy(
    "let the host's own name resolve to its own address",
    &[r"Add-Content C:\Windows\System32\drivers\etc\hosts '{address} {name}'"],
);

pub(super) static NAME_RESOLUTION: Entry = Entry {
    check: Check::NameResolution,
    group: EVERY,
    worst: Severity::Warning,
    looks_at: "what the host's own name resolves to on the host",
    expected: "an address, within three seconds",
    why: "sudo, Docker and the kubelet look their own name up, and wait for minutes where no resolver answers",
    source: "facts B.4, real-hosts §4",
    remedies: &[OWN_NAME, OWN_NAME_WINDOWS],
};

pub(in crate::preflight) const SET_CLOCK: Remedy =
    remedy("set the clock, for example with chrony", &["chronyc makestep"]);
pub(in crate::preflight) const SET_CLOCK_WINDOWS: Remedy =
    remedy("set the clock; on a virtual machine look at the hypervisor's time service too", &["w32tm /resync /force"]);

pub(super) static CLOCK: Entry = Entry {
    check: Check::Clock,
    group: EVERY,
    worst: Severity::Error,
    looks_at: "how far the host's clock is from this machine's",
    expected: "less than 5 s apart; more than 30 s is an error",
    why: "certificates and tokens have a first and a last second, and leader election of the control plane counts in seconds",
    source: "k0sctl:phase/validate_hosts.go (30 s), facts B.2",
    remedies: &[SET_CLOCK, SET_CLOCK_WINDOWS],
};

pub(in crate::preflight) const TIME_SERVICE: Remedy =
    remedy("let a time service keep the clock", &["timedatectl set-ntp true"]);
pub(in crate::preflight) const TIME_SERVICE_WINDOWS: Remedy = remedy(
    "let the Windows Time service keep the clock",
    &["Set-Service w32time -StartupType Automatic", "Start-Service w32time"],
);

pub(super) static CLOCK_SYNCHRONISATION: Entry = Entry {
    check: Check::ClockSynchronisation,
    group: EVERY,
    worst: Severity::Warning,
    looks_at: "whether a time service keeps the clock right",
    expected: "systemd-timesyncd, chrony or ntpd; on Windows the service W32Time",
    why: "a clock that is right today and kept by nobody is wrong in a few weeks",
    source: "general practice",
    remedies: &[TIME_SERVICE, TIME_SERVICE_WINDOWS],
};

pub(in crate::preflight) const FREE_SPACE: Remedy =
    remedy("free some space, or enlarge the disk", &["docker system prune --all --force"]);

pub(super) static DISK_SPACE: Entry = Entry {
    check: Check::DiskSpace,
    group: EVERY,
    worst: Severity::Error,
    looks_at: "free space where programs and images go: /var/lib, or C:",
    expected: "Linux 10 GiB (2 at least), Windows 30 GiB (5 at least)",
    why: "windowsservercore alone is 5 GB, and a Windows kubelet 1.5 neither notices a full disk nor cleans up images",
    source: "facts B.4, D.2; acs-engine windows-details.md",
    remedies: &[FREE_SPACE],
};

pub(in crate::preflight) const MORE_MEMORY: Remedy =
    remedy("give the host more: 2 GiB for a control plane, 1 GiB for a node", &[]);

pub(super) static MEMORY: Entry = Entry {
    check: Check::Memory,
    group: EVERY,
    worst: Severity::Warning,
    looks_at: "physical memory",
    expected: "2 GiB for a control plane, 1 GiB for a node",
    why: "etcd and the API server of a small cluster take half a gigabyte, Docker and the pods come on top",
    source: "real-hosts §4, kubeadm's preflight (1700 MB)",
    remedies: &[MORE_MEMORY],
};

pub(in crate::preflight) const RESET_OTHER: Remedy =
    remedy("take the host out of that cluster first: `k8swin reset` with that cluster's inventory", &[]);

pub(super) static OTHER_CLUSTER: Entry = Entry {
    check: Check::OtherCluster,
    group: EVERY,
    worst: Severity::Error,
    looks_at: "the cluster that k8swin's record on the host names",
    expected: "none, or this one",
    why: "two clusters on one host take each other's services, keys and routes away",
    source: "design §5",
    remedies: &[RESET_OTHER],
};

pub(in crate::preflight) const REMOVE_KUBEADM: Remedy =
    remedy("take the host out of that cluster with the tool that put it there", &["{command}"]);
pub(in crate::preflight) const REMOVE_LEFTOVERS: Remedy =
    remedy("remove what is left of it, once nothing there is needed any more", &["{command}"]);

pub(super) static LEFTOVERS: Entry = Entry {
    check: Check::Leftovers,
    group: EVERY,
    worst: Severity::Error,
    looks_at: "folders, services, port forwardings and persistent routes of a Kubernetes cluster that k8swin did not make",
    expected: "none; what an earlier `up` made is ours and fine",
    why: "a second kubelet or kube-proxy fights ours for ports, containers and routes, and rules of a former kube-proxy stay in \
          the registry for good",
    source: "apprenda/kismatic#928, facts B.6",
    remedies: &[REMOVE_KUBEADM, REMOVE_LEFTOVERS],
};

pub(in crate::preflight) const FREE_PORT: Remedy =
    remedy("stop what holds them, or move it to other ports", &["{command}"]);

pub(super) static PORTS: Entry = Entry {
    check: Check::Ports,
    group: EVERY,
    worst: Severity::Error,
    looks_at: "the ports that the host's part of the cluster listens on",
    expected: "free, or held by our own programs",
    why: "a component whose port is taken ends at its start, again and again",
    source: "facts B.2",
    remedies: &[FREE_PORT],
};

pub(in crate::preflight) const UP_MENDS: Remedy =
    remedy("run `up` again, which mends it; if it comes back, look at who does it", &["k8swin up inventory.toml"]);

pub(super) static SERVICES: Entry = Entry {
    check: Check::Services,
    group: EVERY,
    worst: Severity::Error,
    looks_at: "the services that an earlier `up` made",
    expected: "they run",
    why: "a node whose kubelet or kube-proxy does not run loses its pods, or the services' addresses",
    source: "facts B.2",
    remedies: &[UP_MENDS],
};

pub(super) static ROUTES: Entry = Entry {
    check: Check::Routes,
    group: EVERY,
    worst: Severity::Error,
    looks_at: "the routes that an earlier `up` made",
    expected: "they are there",
    why: "without the route to a node's pod subnet, its pods cannot be reached from this host",
    source: "facts E",
    remedies: &[UP_MENDS],
};
