//! From a host of the user's inventory to its simulated twin: what it is, and how the twin's inventory reaches it. Pure.

use std::net::Ipv4Addr;

use k8swin_agent::simulated::HostSpec;
use k8swin_inventory::Host;
use k8swin_inventory::cluster::System;
use k8swin_inventory::twin::{TwinDocker, TwinHost};

/// The account of a simulated Linux host whose inventory leaves it to `~/.ssh/config`.
const LINUX_USER: &str = "root";

/// Files of a lab's folder, by the names that the inventory beside them uses.
pub(crate) const INVENTORY: &str = "inventory.toml";
pub(crate) const IDENTITY: &str = "id_ed25519";
pub(crate) const KNOWN_HOSTS: &str = "known_hosts";
pub(crate) const CA: &str = "ca.pem";
pub(crate) const ARTIFACTS: &str = "artifacts";
pub(crate) const AGENTS: &str = "agents";

/// Where the password of a host is.
pub(crate) fn password_file(host: &str) -> String {
    format!("passwords/{host}")
}

/// The prefix length of the hosts' routable network: a /24, or the smallest larger one that holds them all, up to a /16.
/// Hosts that lie farther apart are in networks of their own.
pub(crate) fn prefix(addresses: impl Iterator<Item = Ipv4Addr>) -> u8 {
    let (least, most) = addresses
        .fold((u32::MAX, 0), |(least, most), address| (least.min(address.to_bits()), most.max(address.to_bits())));
    let common = u8::try_from((least ^ most).leading_zeros()).ok();
    common.filter(|common| (16..24).contains(common)).unwrap_or(24)
}

/// What the twin of a host is, in a routable network of that prefix length.
pub(crate) fn spec(host: &Host, prefix: u8) -> HostSpec {
    match &host.system {
        System::Linux(_) => HostSpec { prefix, ..HostSpec::linux(&host.name, host.node_address) },
        // An inventory that names a Docker to install is one whose host has none.
        System::Windows(windows) => HostSpec {
            prefix,
            docker: windows.docker.is_none(),
            ..HostSpec::windows(&host.name, host.node_address, windows.pod_adapter.clone())
        },
    }
}

/// The account that logs in on the twin of a host: the same as on the original.
pub(crate) fn user(host: &Host) -> String {
    match &host.system {
        System::Linux(linux) => linux.ssh.user.clone().unwrap_or_else(|| LINUX_USER.to_owned()),
        System::Windows(windows) => windows.winrm.user.clone(),
    }
}

/// The name of an account without its domain, which a simulated host does not check.
pub(crate) fn without_domain(user: &str) -> &str {
    user.rsplit('\\').next().unwrap_or(user)
}

/// How the twin of a host is reached: by loopback ports and the files of the lab.
pub(crate) fn reached(host: &Host, port: u16, api_port: Option<u16>, docker: Option<TwinDocker>) -> TwinHost {
    let windows = matches!(host.system, System::Windows(_));
    let file = |name: &str| Some(name.into());
    TwinHost {
        address: Ipv4Addr::LOCALHOST,
        port,
        user: user(host),
        identity: if windows { None } else { file(IDENTITY) },
        known_hosts: if windows { None } else { file(KNOWN_HOSTS) },
        ca: if windows { file(CA) } else { None },
        password_file: if windows { file(&password_file(&host.name)) } else { None },
        docker,
        api_endpoint: api_port.map(|port| format!("{}:{port}", Ipv4Addr::LOCALHOST)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_routable_network_holds_all_hosts_that_are_near_each_other() {
        let of = |addresses: &[&str]| prefix(addresses.iter().map(|address| address.parse().unwrap()));
        assert_eq!(of(&["10.5.6.215"]), 24);
        assert_eq!(of(&["10.5.6.1", "10.5.6.2"]), 24);
        assert_eq!(of(&["10.1.0.2", "10.1.1.7", "10.1.3.231"]), 22);
        assert_eq!(of(&["10.5.6.1", "192.168.1.1"]), 24, "no network holds both");
    }
}
