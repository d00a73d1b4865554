//! The arguments with which `netsh` is run: one function for each thing that it does for us.
//!
//! Each argument is one word of its own (`name=Ethernet 2`): nothing is quoted, and nothing is read back from its text.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use k8swin_protocol::resource::{FirewallMatch, FirewallRule};

/// The arguments of one run.
pub(super) type Arguments = Vec<String>;

fn words<const N: usize>(words: [&str; N]) -> Arguments {
    words.map(str::to_owned).to_vec()
}

/// One static address in the place of all that an adapter has. The mask is always given: without one, Windows takes the
/// classful one (facts A.2 #22).
pub(super) fn set_address(adapter: &str, address: Ipv4Net, gateway: Option<Ipv4Addr>) -> Arguments {
    let mut arguments = words(["interface", "ipv4", "set", "address"]);
    arguments.extend([format!("name={adapter}"), "source=static".to_owned()]);
    arguments.extend([format!("address={}", address.addr()), format!("mask={}", address.netmask())]);
    arguments.extend(gateway.map(|gateway| format!("gateway={gateway}")));
    arguments
}

/// A further static address.
pub(super) fn add_address(adapter: &str, address: Ipv4Net) -> Arguments {
    let mut arguments = words(["interface", "ipv4", "add", "address"]);
    arguments.push(format!("name={adapter}"));
    arguments.extend([format!("address={}", address.addr()), format!("mask={}", address.netmask())]);
    arguments
}

/// Addresses from DHCP in the place of static ones.
pub(super) fn set_dhcp(adapter: &str) -> Arguments {
    let mut arguments = words(["interface", "ipv4", "set", "address"]);
    arguments.extend([format!("name={adapter}"), "source=dhcp".to_owned()]);
    arguments
}

/// A route through an adapter, now and at boot. The store keeps the adapter with the route (facts E).
pub(super) fn add_route(destination: Ipv4Net, index: u32, via: Ipv4Addr) -> Arguments {
    route("add", destination, index, via)
}

/// The same route no more, now and at boot.
pub(super) fn delete_route(destination: Ipv4Net, index: u32, via: Ipv4Addr) -> Arguments {
    route("delete", destination, index, via)
}

fn route(verb: &str, destination: Ipv4Net, index: u32, via: Ipv4Addr) -> Arguments {
    let mut arguments = words(["interface", "ipv4", verb, "route"]);
    arguments.extend([format!("prefix={}", destination.trunc()), format!("interface={index}")]);
    arguments.extend([format!("nexthop={via}"), "store=persistent".to_owned()]);
    arguments
}

/// Forwarding of an adapter, now and at boot.
pub(super) fn set_forwarding(index: u32, on: bool) -> Arguments {
    let mut arguments = words(["interface", "ipv4", "set", "interface"]);
    arguments.extend([format!("interface={index}"), format!("forwarding={}", enabled(on))]);
    arguments.push("store=persistent".to_owned());
    arguments
}

/// What Routing and Remote Access is: a router between the adapters of the host and nothing else, or nothing at all.
pub(super) fn set_router_type(lan_router: bool) -> Arguments {
    let kind = if lan_router { "lanonly" } else { "none" };
    let mut arguments = words(["ras", "set", "type"]);
    arguments.extend([format!("ipv4rtrtype={kind}"), "ipv6rtrtype=none".to_owned(), "rastype=none".to_owned()]);
    arguments
}

/// Whether Routing and Remote Access counts as configured: the service does not start before.
pub(super) fn set_router_configured(configured: bool) -> Arguments {
    let mut arguments = words(["ras", "set", "conf"]);
    arguments.push(format!("confstate={}", enabled(configured)));
    arguments
}

/// An inbound rule that allows, for every profile: networks without a gateway have the public one (facts E).
pub(super) fn add_firewall_rule(rule: &FirewallRule) -> Arguments {
    let mut arguments = words(["advfirewall", "firewall", "add", "rule"]);
    arguments.push(format!("name={}", rule.name));
    arguments.extend(words(["dir=in", "action=allow", "enable=yes", "profile=any"]));
    match &rule.allow {
        FirewallMatch::TcpPort(port) => arguments.extend(["protocol=tcp".to_owned(), format!("localport={port}")]),
        FirewallMatch::Program(program) => {
            arguments.extend(["protocol=any".to_owned(), format!("program={program}")]);
        }
        FirewallMatch::IcmpEcho => arguments.push("protocol=icmpv4:8,any".to_owned()),
        FirewallMatch::Any => arguments.push("protocol=any".to_owned()),
    }
    if !rule.remote.is_empty() {
        let remote: Vec<_> = rule.remote.iter().map(|range| range.trunc().to_string()).collect();
        arguments.push(format!("remoteip={}", remote.join(",")));
    }
    arguments
}

/// No inbound rule of that name.
pub(super) fn delete_firewall_rule(name: &str) -> Arguments {
    let mut arguments = words(["advfirewall", "firewall", "delete", "rule"]);
    arguments.extend([format!("name={name}"), "dir=in".to_owned()]);
    arguments
}

fn enabled(on: bool) -> &'static str {
    if on { "enabled" } else { "disabled" }
}

#[cfg(test)]
mod tests {
    use k8swin_protocol::HostPath;

    use super::*;

    #[track_caller]
    fn is(arguments: &Arguments, expected: &[&str]) {
        assert_eq!(arguments, expected);
    }

    #[test]
    fn addresses() {
        let (adapter, address) = ("vEthernet (HNSTransparent)", "192.168.1.1/24".parse().unwrap());
        is(
            &set_address(adapter, address, None),
            &[
                "interface",
                "ipv4",
                "set",
                "address",
                "name=vEthernet (HNSTransparent)",
                "source=static",
                "address=192.168.1.1",
                "mask=255.255.255.0",
            ],
        );
        let gateway = set_address(adapter, address, Some([192, 168, 1, 254].into()));
        assert_eq!(gateway.last().map(String::as_str), Some("gateway=192.168.1.254"));
        is(
            &add_address("Ethernet 2", "10.7.0.5/20".parse().unwrap()),
            &["interface", "ipv4", "add", "address", "name=Ethernet 2", "address=10.7.0.5", "mask=255.255.240.0"],
        );
        is(&set_dhcp("Ethernet 2"), &["interface", "ipv4", "set", "address", "name=Ethernet 2", "source=dhcp"]);
    }

    #[test]
    fn routes_and_forwarding() {
        let (destination, via) = ("192.168.0.7/24".parse().unwrap(), [10, 5, 6, 215].into());
        is(
            &add_route(destination, 7, via),
            &[
                "interface",
                "ipv4",
                "add",
                "route",
                "prefix=192.168.0.0/24",
                "interface=7",
                "nexthop=10.5.6.215",
                "store=persistent",
            ],
        );
        assert_eq!(delete_route(destination, 7, via)[2], "delete");
        is(
            &set_forwarding(7, true),
            &["interface", "ipv4", "set", "interface", "interface=7", "forwarding=enabled", "store=persistent"],
        );
        is(&set_router_type(true), &["ras", "set", "type", "ipv4rtrtype=lanonly", "ipv6rtrtype=none", "rastype=none"]);
        is(&set_router_configured(false), &["ras", "set", "conf", "confstate=disabled"]);
    }

    #[test]
    fn firewall_rules() {
        let rule = |allow, remote: &[&str]| FirewallRule {
            name: "k8swin kubelet".into(),
            allow,
            remote: remote.iter().map(|range| range.parse().unwrap()).collect(),
        };
        let tail = |allow, remote: &[&str]| add_firewall_rule(&rule(allow, remote)).split_off(9).join(" ");
        is(
            &add_firewall_rule(&rule(FirewallMatch::TcpPort(10250), &["10.0.0.0/16", "10.5.6.215/32"])),
            &[
                "advfirewall",
                "firewall",
                "add",
                "rule",
                "name=k8swin kubelet",
                "dir=in",
                "action=allow",
                "enable=yes",
                "profile=any",
                "protocol=tcp",
                "localport=10250",
                "remoteip=10.0.0.0/16,10.5.6.215/32",
            ],
        );
        let program = FirewallMatch::Program(HostPath::new(r"C:\k8swin\bin\kube-proxy.exe").unwrap());
        assert_eq!(tail(program, &[]), r"protocol=any program=C:\k8swin\bin\kube-proxy.exe");
        assert_eq!(tail(FirewallMatch::IcmpEcho, &["10.0.0.0/8"]), "protocol=icmpv4:8,any remoteip=10.0.0.0/8");
        assert_eq!(tail(FirewallMatch::Any, &[]), "protocol=any");
        is(
            &delete_firewall_rule("k8swin kubelet"),
            &["advfirewall", "firewall", "delete", "rule", "name=k8swin kubelet", "dir=in"],
        );
    }
}
