//! What is asked of Linux: the one program that changes its network, how it is called, and what its answers mean.
//!
//! A Windows program under Wine can start a Linux program, but gets neither its exit code nor its output: the program
//! `linux-side` sends both back over a loopback connection. It refuses to work unless the file `namespace` beside it names
//! the network namespace that it runs in, which whoever made the namespace writes.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

/// The file beside `linux-side` with the namespace in which it may work, as the link `/proc/self/ns/net` has it.
pub const NAMESPACE_FILE: &str = "namespace";

/// The file beside it with what is kept for the next boot.
pub const PERSISTENT_FILE: &str = "network.json";

/// What `linux-side` is asked to do by whoever boots the host.
pub const BOOT: &str = "boot";

/// What `linux-side` is asked to do, as its second argument: run `ip`.
pub const IP: &str = "ip";
/// Write a setting below `/proc/sys/net/ipv4`: its path there, and the value.
pub const SETTING: &str = "setting";
/// Take connections at an address and port, the first argument, and lead them to another, the second. It goes on doing so
/// after its answer, until the host goes down.
pub const FORWARD: &str = "forward";

/// What a program of Linux answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Its exit code; none where it was ended by a signal or never ran.
    pub code: Option<i32>,
    /// Its standard output.
    pub output: String,
    /// Its standard error, or why it did not run.
    pub error: String,
}

impl Answer {
    /// What it said, where it succeeded.
    ///
    /// # Errors
    /// What it said where it did not.
    pub fn into_result(self) -> Result<String, String> {
        match self.code {
            Some(0) => Ok(self.output),
            _ => Err(format!("Linux: {}", self.error.trim())),
        }
    }
}

/// A network adapter of Linux, as far as it concerns the stand-ins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its index, which is Wine's as well.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its hardware address, with colons.
    pub mac: String,
    /// Its IPv4 addresses.
    pub addresses: Vec<Ipv4Net>,
}

#[derive(Deserialize)]
struct JsonLink {
    ifindex: u32,
    ifname: String,
    #[serde(default)]
    address: String,
    #[serde(default)]
    addr_info: Vec<JsonAddress>,
}

#[derive(Deserialize)]
struct JsonAddress {
    family: String,
    local: String,
    prefixlen: u8,
}

/// The adapters in the answer of `ip -json address`.
///
/// # Errors
/// When it is not such an answer.
pub fn links(json: &str) -> Result<Vec<Link>, String> {
    let links: Vec<JsonLink> = serde_json::from_str(json).map_err(|error| format!("Linux' adapters: {error}"))?;
    let addresses = |found: &JsonLink| {
        let four = found.addr_info.iter().filter(|address| address.family == "inet");
        four.filter_map(|address| Ipv4Net::new(address.local.parse().ok()?, address.prefixlen).ok()).collect()
    };
    Ok(links
        .into_iter()
        .map(|link| Link { index: link.ifindex, addresses: addresses(&link), name: link.ifname, mac: link.address })
        .collect())
}

/// A route by way of a router.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinuxRoute {
    /// Where to.
    pub destination: Ipv4Net,
    /// By which router.
    pub via: Ipv4Addr,
    /// Through which adapter, as Linux calls it.
    pub link: String,
}

#[derive(Deserialize)]
struct JsonRoute {
    dst: String,
    gateway: Option<Ipv4Addr>,
    dev: Option<String>,
}

/// The routes in the answer of `ip -json -4 route`, without those on a link.
///
/// # Errors
/// When it is not such an answer.
pub fn routes(json: &str) -> Result<Vec<LinuxRoute>, String> {
    let routes: Vec<JsonRoute> = serde_json::from_str(json).map_err(|error| format!("Linux' routes: {error}"))?;
    let net = |text: &str| match text {
        "default" => Some(Ipv4Net::default()),
        text => text.parse().ok().or_else(|| text.parse::<Ipv4Addr>().ok().map(Ipv4Net::from)),
    };
    Ok(routes
        .into_iter()
        .filter_map(|route| Some(LinuxRoute { destination: net(&route.dst)?, via: route.gateway?, link: route.dev? }))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adapters_are_read_with_their_ipv4_addresses() {
        let json = r#"[{"ifindex":1,"ifname":"lo","address":"00:00:00:00:00:00","addr_info":[]},
            {"ifindex":5,"ifname":"eth1","address":"02:00:00:00:00:01","addr_info":[
                {"family":"inet","local":"192.168.1.1","prefixlen":24},
                {"family":"inet6","local":"fe80::1","prefixlen":64}]}]"#;
        let found = links(json).unwrap();
        assert_eq!(found[1].addresses, ["192.168.1.1/24".parse::<Ipv4Net>().unwrap()]);
        assert_eq!((found[1].index, found[1].mac.as_str()), (5, "02:00:00:00:00:01"));
        assert!(links("nonsense").is_err());
    }

    #[test]
    fn routes_by_way_of_a_router_are_read() {
        let json = r#"[{"dst":"default","gateway":"10.5.6.1","dev":"eth0"},{"dst":"10.5.6.0/24","dev":"eth0"},
            {"dst":"192.168.2.0/24","gateway":"10.5.6.217","dev":"eth0"}]"#;
        let found = routes(json).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].destination, Ipv4Net::default());
        assert_eq!(found[1].via, Ipv4Addr::new(10, 5, 6, 217));
    }
}
