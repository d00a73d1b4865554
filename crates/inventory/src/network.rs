//! Arithmetic of IPv4 networks: overlaps, pod subnets of nodes, and the classful networks of Windows service addresses.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

/// Whether two networks share an address. Networks nest: one contains the other, or they are apart.
#[must_use]
pub fn overlap(left: Ipv4Net, right: Ipv4Net) -> bool {
    left.contains(&right.network()) || right.contains(&left.network())
}

/// The network that an address lies in by its class: A is /8, B is /16, C is /24, multicast and reserved are /4.
///
/// Windows takes this network when an address is added without a mask, and the Windows kube-proxy adds service
/// addresses without a mask (facts B.6).
#[must_use]
pub fn classful_network(address: Ipv4Addr) -> Ipv4Net {
    network(address, classful_prefix(address))
}

/// The smallest network that contains the classful networks of all addresses of a service range: what a Windows node
/// takes to be on its own link once services exist (facts B.6). 10.96.0.0/12 becomes 10.0.0.0/8, 172.30.0.0/20 becomes
/// 172.30.0.0/16, 172.16.0.0/12 stays, 192.168.7.0/26 becomes 192.168.7.0/24.
#[must_use]
pub fn service_networks(service_cidr: Ipv4Net) -> Ipv4Net {
    // A network longer than its class's prefix lies in one classful network. A shorter one is a union of them, also
    // when it spans classes: the classes begin at multiples of their own size.
    network(service_cidr.network(), classful_prefix(service_cidr.network()).min(service_cidr.prefix_len()))
}

fn classful_prefix(address: Ipv4Addr) -> u8 {
    match address.octets() {
        [0..=127, ..] => 8,
        [128..=191, ..] => 16,
        [192..=223, ..] => 24,
        [224..=255, ..] => 4,
    }
}

fn network(address: Ipv4Addr, prefix: u8) -> Ipv4Net {
    #[expect(clippy::expect_used, reason = "a class's prefix, or one of an Ipv4Net, is at most 32")]
    Ipv4Net::new(address, prefix).expect("a prefix length of at most 32").trunc()
}

/// How many subnets of a prefix length a network has: zero if the network is smaller than one.
#[must_use]
pub fn subnet_count(network: Ipv4Net, prefix: u8) -> u64 {
    match prefix.checked_sub(network.prefix_len()) {
        Some(bits) if prefix <= 32 => 1 << bits,
        _ => 0,
    }
}

/// The pod subnets of all nodes, in order: the ones that are given, and for each node without one the first subnet of
/// `pod_cidr` that is free. A node added at the end without a subnet never moves those before it.
/// None if `pod_cidr` has too few subnets.
#[must_use]
pub fn allot_pod_subnets(pod_cidr: Ipv4Net, node_pod_prefix: u8, given: &[Option<Ipv4Net>]) -> Option<Vec<Ipv4Net>> {
    let mut taken: Vec<Ipv4Net> = given.iter().flatten().copied().collect();
    taken.sort_by_key(|subnet| (subnet.network(), subnet.prefix_len()));
    let mut taken = taken.into_iter().peekable();
    let mut free = pod_cidr.trunc().subnets(node_pod_prefix).ok()?.filter(move |candidate| {
        while taken.next_if(|subnet| subnet.broadcast() < candidate.network()).is_some() {}
        taken.peek().is_none_or(|subnet| !overlap(*subnet, *candidate))
    });
    given.iter().map(|subnet| subnet.or_else(|| free.next())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn net(text: &str) -> Ipv4Net {
        text.parse().unwrap()
    }

    #[test]
    fn service_addresses_drag_in_their_classful_network() {
        for (service_cidr, networks) in [
            ("10.96.0.0/12", "10.0.0.0/8"),
            ("172.30.0.0/16", "172.30.0.0/16"),
            ("172.30.4.0/22", "172.30.0.0/16"),
            ("172.16.0.0/12", "172.16.0.0/12"),
            ("192.168.7.0/26", "192.168.7.0/24"),
            ("192.168.0.0/16", "192.168.0.0/16"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("255.255.255.255/32", "240.0.0.0/4"),
        ] {
            assert_eq!(service_networks(net(service_cidr)), net(networks), "{service_cidr}");
        }
    }

    #[test]
    fn subnets_are_allotted_in_order_around_those_that_are_given() {
        let given = [None, Some(net("10.0.0.0/24")), None, Some(net("10.0.2.0/24")), None];
        let subnets = allot_pod_subnets(net("10.0.0.0/16"), 24, &given).unwrap();
        let expected = ["10.0.1.0/24", "10.0.0.0/24", "10.0.3.0/24", "10.0.2.0/24", "10.0.4.0/24"];
        assert_eq!(subnets, expected.map(net));
    }

    #[test]
    fn too_few_subnets_are_none() {
        assert_eq!(allot_pod_subnets(net("10.0.0.0/24"), 25, &[None, None, None]), None);
        assert_eq!(allot_pod_subnets(net("10.0.0.0/24"), 16, &[None]), None);
        assert_eq!(subnet_count(net("10.0.0.0/24"), 26), 4);
        assert_eq!(subnet_count(net("10.0.0.0/24"), 16), 0);
        assert_eq!(subnet_count(net("0.0.0.0/0"), 32), 1 << 32);
    }

    prop_compose! {
        fn networks()(address: u32, prefix in 0u8..=32) -> Ipv4Net {
            Ipv4Net::new(address.into(), prefix).unwrap().trunc()
        }
    }

    proptest! {
        #[test]
        fn every_service_address_has_its_classful_network_inside(service_cidr in networks(), pick: u32) {
            let dragged_in = service_networks(service_cidr);
            prop_assert!(dragged_in.contains(&service_cidr));
            let offset = u64::from(pick) % (1 << (32 - service_cidr.prefix_len()));
            let address = Ipv4Addr::from(u32::from(service_cidr.network()) + u32::try_from(offset).unwrap());
            prop_assert!(classful_network(address).contains(&address));
            // Multicast and reserved addresses are no service addresses.
            if address.octets()[0] < 224 {
                prop_assert!(dragged_in.contains(&classful_network(address)));
            }
            // Smallest: its first and last address lie in classful networks of the range's first and last address.
            let first = classful_network(service_cidr.network());
            prop_assert!(dragged_in == service_cidr || dragged_in == first);
        }

        #[test]
        fn overlap_is_a_shared_address(left in networks(), right in networks()) {
            let first = u32::from(left.network()).max(u32::from(right.network()));
            let last = u32::from(left.broadcast()).min(u32::from(right.broadcast()));
            prop_assert_eq!(overlap(left, right), first <= last);
        }

        #[test]
        fn allotted_subnets_never_overlap_and_never_move(
            prefix in 16u8..24,
            picks in prop::collection::vec(prop::option::of(0usize..64), 1..24),
        ) {
            let pod_cidr = net("10.64.0.0/10");
            let all: Vec<Ipv4Net> = pod_cidr.subnets(prefix).unwrap().take(64).collect();
            let mut used = std::collections::BTreeSet::new();
            let given: Vec<Option<Ipv4Net>> =
                picks.iter().map(|pick| pick.filter(|pick| used.insert(*pick)).map(|pick| all[pick])).collect();
            let subnets = allot_pod_subnets(pod_cidr, prefix, &given).unwrap();
            for (index, subnet) in subnets.iter().enumerate() {
                prop_assert!(pod_cidr.contains(subnet) && subnet.prefix_len() == prefix);
                prop_assert!(subnets.iter().skip(index + 1).all(|other| !overlap(*subnet, *other)));
                prop_assert!(given[index].is_none_or(|given| given == *subnet));
            }
            let mut longer = given.clone();
            longer.push(None);
            let grown = allot_pod_subnets(pod_cidr, prefix, &longer).unwrap();
            prop_assert_eq!(&grown[..subnets.len()], &subnets[..]);
        }
    }
}
