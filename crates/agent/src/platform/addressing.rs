//! How an adapter of a Windows host gets its IPv4 addresses, exactly enough to restore it.

use std::collections::BTreeSet;
use std::fmt;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use k8swin_protocol::facts::RouteEntry;
use serde::{Deserialize, Serialize};

/// How an adapter gets its IPv4 addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Addressing {
    /// It asks DHCP.
    Dhcp,
    /// They are set.
    Static {
        /// The main address.
        address: Ipv4Net,
        /// Addresses beside it.
        further: Vec<Ipv4Net>,
        /// The default gateway, which Windows keeps with the adapter and drops with its addresses.
        gateway: Option<Ipv4Addr>,
    },
}

impl Addressing {
    /// How an adapter with these addresses has them. One that has none, or only such as Windows makes up when DHCP does
    /// not answer (169.254.0.0/16), has nothing that could be set.
    #[must_use]
    pub fn of(adapter: &str, dhcp: bool, addresses: &[Ipv4Net], routes: &[RouteEntry]) -> Self {
        match addresses {
            [address, further @ ..] if !dhcp && !addresses.iter().all(|net| net.addr().is_link_local()) => {
                let mut default =
                    routes.iter().filter(|route| *route.adapter == *adapter && route.destination.prefix_len() == 0);
                Self::Static {
                    address: *address,
                    further: further.to_vec(),
                    gateway: default.find_map(|route| route.via),
                }
            }
            _ => Self::Dhcp,
        }
    }

    /// Whether both come to the same: Windows does not keep the order of addresses.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        let parts = |addressing: &Self| match addressing {
            Self::Dhcp => None,
            Self::Static { address, further, gateway } => {
                Some((BTreeSet::from_iter([&[*address], further.as_slice()].concat()), *gateway))
            }
        };
        parts(self) == parts(other)
    }
}

impl fmt::Display for Addressing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dhcp => f.write_str("addresses from DHCP"),
            Self::Static { address, further, gateway } => {
                write!(f, "{address}")?;
                further.iter().try_for_each(|address| write!(f, ", {address}"))?;
                gateway.map_or(Ok(()), |gateway| write!(f, " with the gateway {gateway}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> Ipv4Net {
        text.parse().unwrap()
    }

    #[test]
    fn the_gateway_of_an_adapter_is_the_next_hop_of_its_default_route() {
        let route = |destination: &str, via: [u8; 4], adapter: &str| RouteEntry {
            destination: net(destination),
            via: Some(via.into()),
            adapter: adapter.into(),
        };
        let routes = [
            route("0.0.0.0/0", [10, 5, 6, 1], "Ethernet"),
            route("192.168.0.0/24", [10, 7, 0, 9], "Ethernet 2"),
            route("0.0.0.0/0", [10, 7, 0, 1], "Ethernet 2"),
        ];
        let addresses = [net("10.7.0.4/24"), net("10.7.0.5/24")];
        let found = Addressing::of("Ethernet 2", false, &addresses, &routes);
        assert_eq!(found.to_string(), "10.7.0.4/24, 10.7.0.5/24 with the gateway 10.7.0.1");
        let turned = Addressing::of("Ethernet 2", false, &[addresses[1], addresses[0]], &routes);
        assert!(found.is_same(&turned));
        assert!(!found.is_same(&Addressing::of("Ethernet 3", false, &addresses, &routes)));
        assert_eq!(Addressing::of("Ethernet 2", true, &addresses, &routes), Addressing::Dhcp);
    }

    #[test]
    fn addresses_that_windows_made_up_are_not_set() {
        assert_eq!(Addressing::of("Ethernet 2", false, &[net("169.254.7.1/16")], &[]), Addressing::Dhcp);
        assert_eq!(Addressing::of("Ethernet 2", false, &[], &[]), Addressing::Dhcp);
    }
}
