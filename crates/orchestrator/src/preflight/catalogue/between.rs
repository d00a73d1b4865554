//! Checks of what lies between hosts.

use k8swin_inventory::Check;

use super::{Entry, Group, Remedy, remedy};
use crate::report::Severity;

const BETWEEN: Group = Group::BetweenHosts;

pub(in crate::preflight) const NEW_IDENTITY: Remedy = remedy(
    "clones of one machine: give each an identity of its own (a Linux host)",
    &["rm /etc/machine-id", "systemd-machine-id-setup", "reboot"],
);
pub(in crate::preflight) const SYSPREP: Remedy = remedy(
    "clones of one machine: generalise them (a Windows host), and let the hypervisor give each a UUID of its own",
    &[r"C:\Windows\System32\Sysprep\sysprep.exe /generalize /oobe /reboot"],
);

pub(super) static MACHINE_IDENTITY: Entry = Entry {
    check: Check::MachineIdentity,
    group: BETWEEN,
    worst: Severity::Error,
    looks_at: "machine ids (Linux) and SMBIOS UUIDs of all hosts",
    expected: "each is there once",
    why: "clones share keys and leases, DHCP gives them one address, and Kubernetes takes them for one machine",
    source: "k0sctl:phase/validate_hosts.go, facts G",
    remedies: &[NEW_IDENTITY, SYSPREP],
};

pub(in crate::preflight) const OWN_MAC: Remedy = remedy(
    "give each virtual machine adapters with MAC addresses of their own; on Hyper-V, at its host",
    &["Set-VMNetworkAdapter -VMName {host} -DynamicMacAddress"],
);

pub(super) static MAC_ADDRESSES: Entry = Entry {
    check: Check::MacAddresses,
    group: BETWEEN,
    worst: Severity::Error,
    looks_at: "the MAC addresses of all hosts' adapters",
    expected: "each belongs to one host",
    why: "switches send packets of one MAC address to one port, so cloned machines take turns at losing theirs",
    source: "moby#33070, facts G",
    remedies: &[OWN_MAC],
};

pub(in crate::preflight) const OWN_ADDRESS: Remedy =
    remedy("give one of them another address: its own in the inventory, or one that is free", &[]);

pub(super) static ADDRESSES: Entry = Entry {
    check: Check::Addresses,
    group: BETWEEN,
    worst: Severity::Error,
    looks_at: "the IPv4 addresses of all hosts' hardware adapters",
    expected: "each belongs to one host",
    why: "two hosts with one address answer for each other, now one and now the other",
    source: "general practice; k0sctl:phase/validate_hosts.go",
    remedies: &[OWN_ADDRESS],
};

pub(in crate::preflight) const OWN_HOST_NAME: Remedy =
    remedy("give each host a name of its own; best the one that it has in the inventory", &[]);

pub(super) static HOST_NAMES: Entry = Entry {
    check: Check::HostNames,
    group: BETWEEN,
    worst: Severity::Warning,
    looks_at: "the names that the hosts have for themselves",
    expected: "each is there once",
    why: "clones that were never renamed are confused by people and by everything that goes by names",
    source: "k0sctl:phase/validate_hosts.go",
    remedies: &[OWN_HOST_NAME],
};

pub(in crate::preflight) const ACCEPT_IDENTITY: Remedy = remedy(
    "if the machine was replaced on purpose, build it once in spite of this: `k8swin up --ignore {host}:known-identity`; if not, \
     its address leads to another machine now",
    &[],
);

pub(super) static KNOWN_IDENTITY: Entry = Entry {
    check: Check::KnownIdentity,
    group: BETWEEN,
    worst: Severity::Error,
    looks_at: "whether each host is the machine that the last `up` from here built",
    expected: "the same machine id, or none known yet",
    why: "an address that leads to another machine would have this cluster's keys and services put on it",
    source: "design §5",
    remedies: &[ACCEPT_IDENTITY],
};

pub(in crate::preflight) const ONE_SUBNET: Remedy =
    remedy("put the nodes into one subnet, or give as `node_address` the address of an adapter in the common one", &[]);

pub(super) static NEXT_HOPS: Entry = Entry {
    check: Check::NextHops,
    group: BETWEEN,
    worst: Severity::Error,
    looks_at: "whether each node has all others on its own link",
    expected: "one subnet for all node addresses",
    why: "each node routes another's pods by way of that node's address, which a host takes as a next hop on its own link only",
    source: "facts A.2 #25, E",
    remedies: &[ONE_SUBNET],
};

pub(in crate::preflight) const OPEN_PATH: Remedy = remedy(
    "open TCP {ports} from {hosts} to this host: in its own firewall, and in whatever lies between (switch, router, the \
     cloud's security groups)",
    &[],
);
pub(in crate::preflight) const OPEN_WINDOWS: Remedy =
    remedy("nothing yet: `up` opens the kubelet's port in Windows' firewall, and this tells more after it", &[]);

pub(super) static HOST_TO_HOST: Entry = Entry {
    check: Check::HostToHost,
    group: BETWEEN,
    worst: Severity::Error,
    looks_at: "every pair of hosts that must talk: agents listen on the needed ports and connect to each other, both ways, all at \
               once",
    expected: "nodes reach the API server, control planes each other's etcd and every kubelet, nodes each other",
    why: "one blocked port shows up hours later as a node that is never Ready, or logs that cannot be read",
    source: "kismatic pkg/inspector, facts B.2",
    remedies: &[OPEN_PATH, OPEN_WINDOWS],
};

pub(in crate::preflight) const ONE_MTU: Remedy = remedy(
    "give all adapters of the nodes' network the same MTU, one that the whole path takes",
    &["ip link set {adapter} mtu {mtu}"],
);
pub(in crate::preflight) const SMALLER_MTU: Remedy = remedy(
    "make the MTU of the adapters as small as the path needs (tunnels and VPNs take 50 to 100 bytes), and let ICMP \
     `fragmentation needed` through",
    &[],
);

pub(super) static PACKET_SIZE: Entry = Entry {
    check: Check::PacketSize,
    group: BETWEEN,
    worst: Severity::Error,
    looks_at: "the MTU of the node adapters, and whether 64 KiB pass each way after a connection is open",
    expected: "one MTU, and large packets arrive",
    why: "where large packets are lost, small answers work and every real transfer hangs",
    source: "facts G (ICMP blocked)",
    remedies: &[ONE_MTU, SMALLER_MTU],
};

pub(in crate::preflight) const NEARER: Remedy =
    remedy("put the control planes nearer to each other: one site, one network", &[]);

pub(super) static LATENCY: Entry = Entry {
    check: Check::Latency,
    group: BETWEEN,
    worst: Severity::Warning,
    looks_at: "how long control planes take to connect to each other",
    expected: "10 ms at most",
    why: "etcd's members send a heartbeat every 100 ms and elect a new leader after a second, and every write waits for a majority",
    source: "etcd tuning guide; facts B.2",
    remedies: &[NEARER],
};
