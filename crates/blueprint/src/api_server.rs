//! Which API server a host talks to.
//!
//! A control plane talks to its own, on loopback. Every other host is given one control plane by its position in the
//! inventory, so that the load spreads. The limit: a kubelet of 1.5 takes one address, so that the nodes of a control plane
//! that is down turn NotReady until it is back (their pods and routes keep working). A load balancer on each host can
//! replace this later: it would change this file only.

use std::net::Ipv4Addr;

use k8swin_inventory::{Cluster, Host};

/// The URL of the API server that this host talks to.
pub(crate) fn url(cluster: &Cluster, host: &Host) -> String {
    let address = if host.is_control_plane() { Ipv4Addr::LOCALHOST } else { assigned(cluster, host) };
    format!("https://{address}:{}", cluster.api_port)
}

/// The address of the control plane that a host without one is given.
fn assigned(cluster: &Cluster, host: &Host) -> Ipv4Addr {
    let position =
        cluster.hosts.iter().filter(|other| !other.is_control_plane()).position(|other| other.name == host.name);
    let turn = position.unwrap_or_default() % cluster.control_planes().count().max(1);
    cluster.control_planes().nth(turn).unwrap_or_else(|| cluster.first_control_plane()).node_address
}
