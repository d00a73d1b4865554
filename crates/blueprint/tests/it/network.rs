//! The network plan reaches every pod from every node.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use crate::common::seed;
use ipnet::Ipv4Net;
use k8swin_blueprint::network::NetworkPlan;
use k8swin_inventory::Cluster;
use proptest::prelude::*;

/// A cluster of hosts with distinct addresses and distinct subnets of any size.
fn clusters() -> impl Strategy<Value = Cluster> {
    let subnets = proptest::collection::btree_set(0_u32..1 << 8, 1..24);
    (subnets, 20_u8..=28).prop_map(|(subnets, prefix)| {
        let mut cluster = seed();
        let template = cluster.hosts.clone();
        cluster.hosts = subnets
            .into_iter()
            .enumerate()
            .map(|(number, subnet)| {
                let mut host = template[number.min(1)].clone();
                let start = u32::from(Ipv4Addr::new(192, 168, 0, 0)) + (subnet << (32 - prefix)) % (1 << 16);
                host.name = format!("host{number}");
                host.node_address = Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 5, 0, 0)) + number as u32 + 1);
                host.pod_cidr = Ipv4Net::new(Ipv4Addr::from(start), prefix).unwrap();
                host
            })
            .collect();
        let mut seen = BTreeSet::new();
        cluster.hosts.retain(|host| seen.insert(host.pod_cidr));
        cluster
    })
}

proptest! {
    #[test]
    fn every_node_reaches_every_other_subnet_by_its_owner(cluster in clusters()) {
        let plan = NetworkPlan::of(&cluster);
        prop_assert_eq!(plan.nodes.len(), cluster.hosts.len());
        for node in &plan.nodes {
            let destinations: BTreeSet<_> = node.routes.iter().map(|route| route.destination).collect();
            let others: BTreeSet<_> = plan.nodes.iter().filter(|other| other.name != node.name).map(|other| other.pods).collect();
            prop_assert_eq!(destinations.len(), node.routes.len(), "a destination is there twice");
            prop_assert_eq!(destinations, others);
            for route in &node.routes {
                let owner = plan.nodes.iter().find(|other| other.pods == route.destination).unwrap();
                prop_assert_eq!(route.via, owner.address);
                prop_assert_ne!(route.via, node.address, "a route to itself");
                prop_assert_eq!(route.from, node.address);
                prop_assert_eq!(route.destination, route.destination.trunc());
                prop_assert!(route.destination.prefix_len() > 0);
            }
            prop_assert!(node.pods.contains(&node.gateway) && node.gateway != node.pods.network());
        }
    }
}

#[test]
fn the_walkthrough_comes_out_as_it_was_meant() {
    let plan = NetworkPlan::of(&seed());
    let routes = |name: &str| -> Vec<String> {
        let routes = &plan.node(name).unwrap().routes;
        routes.iter().map(|route| format!("{} via {}", route.destination, route.via)).collect()
    };
    assert_eq!(routes("lin01"), ["192.168.1.0/24 via 10.5.6.216", "192.168.2.0/24 via 10.5.6.218"]);
    assert_eq!(routes("win01"), ["192.168.0.0/24 via 10.5.6.215", "192.168.2.0/24 via 10.5.6.218"]);
    assert_eq!(routes("win02"), ["192.168.0.0/24 via 10.5.6.215", "192.168.1.0/24 via 10.5.6.216"]);
}
