//! The network plan: one pod subnet a node, and on every node a route to every other node's subnet.
//!
//! Routes go by way of the *routable address of the node that owns the subnet*, not by way of its pod gateway as the
//! walkthrough's Windows lines have it: a pod gateway is no neighbour on the routable link (facts A.2 #25). Each route
//! carries its prefix length, since Windows would otherwise take the classful mask, and names its adapter by the host's
//! own routable address, since indexes change (facts E).

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use k8swin_inventory::Cluster;
use k8swin_protocol::resource::Route;

/// Who owns which pod subnet, and how every node reaches it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkPlan {
    /// The nodes, in the order of the inventory.
    pub nodes: Vec<NodeNetwork>,
}

/// One node's part of the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeNetwork {
    /// The node's name.
    pub name: String,
    /// Its routable address.
    pub address: Ipv4Addr,
    /// Its pod subnet, without host bits.
    pub pods: Ipv4Net,
    /// The first address of the subnet, which is the pods' gateway.
    pub gateway: Ipv4Addr,
    /// Routes to all other nodes' subnets, in the order of the inventory.
    pub routes: Vec<Route>,
}

impl NetworkPlan {
    /// Plans the network of all nodes. The inventory has made sure that names, addresses and subnets do not collide.
    #[must_use]
    pub fn of(cluster: &Cluster) -> Self {
        let nodes = cluster.nodes().map(|node| NodeNetwork {
            name: node.name.clone(),
            address: node.node_address,
            pods: node.pod_cidr.trunc(),
            gateway: node.pod_gateway(),
            routes: cluster
                .nodes()
                .filter(|other| other.name != node.name)
                .map(|other| Route {
                    destination: other.pod_cidr.trunc(),
                    via: other.node_address,
                    from: node.node_address,
                })
                .collect(),
        });
        Self { nodes: nodes.collect() }
    }

    /// The part of the node with that name.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<&NodeNetwork> {
        self.nodes.iter().find(|node| node.name == name)
    }

    /// Every node's routable address as a range of one.
    #[must_use]
    pub fn node_ranges(&self) -> Vec<Ipv4Net> {
        self.nodes.iter().map(|node| Ipv4Net::from(node.address)).collect()
    }
}
