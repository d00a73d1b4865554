//! What `netsh` does with a request, and what it keeps for the next boot.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddrV4};

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use super::request::{Request, Route};
use super::rule::{RULES, Rule, name_of};
use crate::linux::{self, Link};
use crate::{ADAPTER_NAMES, DHCP_ADAPTERS};

/// The registry key of Routing and Remote Access, below `HKEY_LOCAL_MACHINE`.
pub const REMOTE_ACCESS: &str = r"SYSTEM\CurrentControlSet\Services\RemoteAccess\Parameters";

/// The router type of a LAN router for IPv4.
const LAN_ROUTER: u32 = 2;

/// What lies on the desk of a stand-in: Linux, the registry and its own memory.
pub trait Desk {
    /// Runs Linux' `ip`.
    ///
    /// # Errors
    /// What it said.
    fn ip(&mut self, arguments: &[&str]) -> Result<String, String>;

    /// Writes a setting below `/proc/sys/net/ipv4`.
    ///
    /// # Errors
    /// Why Linux refused it.
    fn setting(&mut self, path: &str, value: &str) -> Result<(), String>;

    /// Leads what arrives at one address and TCP port to another, until the host goes down.
    ///
    /// # Errors
    /// Why Linux refused it.
    fn forward(&mut self, listen: SocketAddrV4, connect: SocketAddrV4) -> Result<(), String>;

    /// The texts of a registry key below `HKEY_LOCAL_MACHINE`, none where there is no such key.
    ///
    /// # Errors
    /// When it cannot be read.
    fn texts(&mut self, key: &str) -> Result<BTreeMap<String, String>, String>;

    /// Writes a text into the registry.
    ///
    /// # Errors
    /// When it cannot be written.
    fn put_text(&mut self, key: &str, name: &str, text: &str) -> Result<(), String>;

    /// Writes a number into the registry.
    ///
    /// # Errors
    /// When it cannot be written.
    fn put_number(&mut self, key: &str, name: &str, number: u32) -> Result<(), String>;

    /// Removes a value from the registry.
    ///
    /// # Errors
    /// When it cannot be removed.
    fn remove(&mut self, key: &str, name: &str) -> Result<(), String>;

    /// A name for what has none, in the form of a GUID.
    fn new_name(&mut self) -> String;

    /// What was kept for the next boot.
    ///
    /// # Errors
    /// When it cannot be read.
    fn persistent(&mut self) -> Result<Persistent, String>;

    /// Keeps something for the next boot.
    ///
    /// # Errors
    /// When it cannot be written.
    fn keep(&mut self, persistent: &Persistent) -> Result<(), String>;
}

/// What is kept for the next boot, by the adapters' names of Linux.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Persistent {
    /// The static addresses of adapters that were given some.
    pub addresses: BTreeMap<String, Vec<Ipv4Net>>,
    /// Routes by way of a router.
    pub routes: Vec<StoredRoute>,
    /// Adapters that forward.
    pub forwarding: BTreeSet<String>,
}

/// A route that is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredRoute {
    /// Where to.
    pub destination: Ipv4Net,
    /// By which router.
    pub via: Ipv4Addr,
    /// Through which adapter, as Linux calls it.
    pub adapter: String,
}

/// Does what is asked for. Returns what is to be printed.
///
/// # Errors
/// Why it was not done.
pub fn run(request: &Request, desk: &mut dyn Desk) -> Result<String, String> {
    match request {
        Request::SetAddress { adapter, address, gateway } => set_address(adapter, *address, *gateway, desk)?,
        Request::SetDhcp { adapter } => set_dhcp(adapter, desk)?,
        Request::AddAddress { adapter, address } => {
            let link = named(adapter, desk)?;
            if all_links(desk)?.iter().any(|link| link.addresses.iter().any(|has| has.addr() == address.addr())) {
                return Err("The object already exists.".to_owned());
            }
            desk.ip(&["address", "add", &address.to_string(), "dev", &link.name])?;
            change(desk, |kept| kept.addresses.entry(link.name.clone()).or_default().push(*address))?;
        }
        Request::DeleteAddress { adapter, address } => {
            let link = named(adapter, desk)?;
            let has = link.addresses.iter().find(|has| has.addr() == *address).ok_or("Element not found.")?;
            desk.ip(&["address", "del", &has.to_string(), "dev", &link.name])?;
            change(desk, |kept| kept.addresses.entry(link.name.clone()).or_default().retain(|kept| kept != has))?;
        }
        Request::ShowAddress { adapter } => return show_address(adapter, desk),
        Request::AddRoute(route) => add_route(route, desk)?,
        Request::DeleteRoute(route) => delete_route(route, desk)?,
        Request::SetForwarding { index, on } => {
            let link = indexed(*index, desk)?;
            desk.setting(&format!("conf/{}/forwarding", link.name), if *on { "1" } else { "0" })?;
            change(desk, |kept| {
                kept.forwarding.remove(&link.name);
                kept.forwarding.extend(on.then_some(link.name));
            })?;
        }
        Request::SetRouter { lan_only } => {
            desk.put_number(REMOTE_ACCESS, "RouterType", if *lan_only { LAN_ROUTER } else { 0 })?;
        }
        Request::SetConfigured { enabled } => {
            desk.put_number(REMOTE_ACCESS, "ConfigurationFlags", u32::from(*enabled))?;
        }
        Request::SetPortProxy { listen, connect } => desk.forward(*listen, *connect)?,
        Request::AddRule(rule) => add_rule(rule, desk)?,
        Request::DeleteRule { name } => delete_rules(name, desk)?,
    }
    Ok("Ok.\n".to_owned())
}

fn all_links(desk: &mut dyn Desk) -> Result<Vec<Link>, String> {
    linux::links(&desk.ip(&["-json", "address"])?)
}

/// The adapter that Windows would call so.
fn named(adapter: &str, desk: &mut dyn Desk) -> Result<Link, String> {
    let names = desk.texts(ADAPTER_NAMES)?;
    let linux = names.iter().find(|(_, name)| *name == adapter).map_or(adapter, |(linux, _)| linux.as_str());
    let found = all_links(desk)?.into_iter().find(|link| link.name == linux);
    found.ok_or_else(|| "The filename, directory name, or volume label syntax is incorrect.".to_owned())
}

fn indexed(index: u32, desk: &mut dyn Desk) -> Result<Link, String> {
    all_links(desk)?.into_iter().find(|link| link.index == index).ok_or_else(|| "Element not found.".to_owned())
}

/// Changes what is kept.
pub(crate) fn change(desk: &mut dyn Desk, change: impl FnOnce(&mut Persistent)) -> Result<(), String> {
    let mut kept = desk.persistent()?;
    change(&mut kept);
    desk.keep(&kept)
}

/// Takes all addresses from an adapter, and with them the routes through it, which Windows keeps: those come back.
fn replace_addresses(link: &Link, address: Option<Ipv4Net>, desk: &mut dyn Desk) -> Result<(), String> {
    for old in link.addresses.iter().filter(|old| Some(**old) != address) {
        desk.ip(&["address", "del", &old.to_string(), "dev", &link.name])?;
    }
    if let Some(address) = address
        && !link.addresses.contains(&address)
    {
        desk.ip(&["address", "add", &address.to_string(), "dev", &link.name])?;
    }
    restore_routes(&link.name, desk)
}

/// Adds those routes of an adapter again that are kept and can be there now: the router must be reached by an address.
fn restore_routes(link: &str, desk: &mut dyn Desk) -> Result<(), String> {
    let (kept, links) = (desk.persistent()?, all_links(desk)?);
    let addresses = links.iter().find(|found| found.name == link).map_or(&[][..], |found| &found.addresses);
    for route in kept.routes.iter().filter(|route| route.adapter == link) {
        if addresses.iter().any(|address| address.contains(&route.via)) {
            let (destination, via) = (route.destination.to_string(), route.via.to_string());
            desk.ip(&["route", "replace", &destination, "via", &via, "dev", link])?;
        }
    }
    Ok(())
}

fn set_address(adapter: &str, address: Ipv4Net, gateway: Option<Ipv4Addr>, desk: &mut dyn Desk) -> Result<(), String> {
    let link = named(adapter, desk)?;
    let mut others = all_links(desk)?.into_iter().filter(|other| other.index != link.index);
    if others.any(|other| other.addresses.iter().any(|has| has.addr() == address.addr())) {
        return Err("The object already exists.".to_owned());
    }
    change(desk, |kept| {
        kept.addresses.insert(link.name.clone(), vec![address]);
        // A gateway that was there goes with the old addresses.
        kept.routes.retain(|route| route.adapter != link.name || route.destination != Ipv4Net::default());
    })?;
    if asks_dhcp(&link.name, desk)? {
        desk.remove(DHCP_ADAPTERS, &link.name)?;
    }
    replace_addresses(&link, Some(address), desk)?;
    let routes = linux::routes(&desk.ip(&["-json", "-4", "route"])?)?;
    let is_gateway = |route: &&linux::LinuxRoute| route.link == link.name && route.destination == Ipv4Net::default();
    for other in routes.iter().filter(is_gateway).filter(|route| Some(route.via) != gateway) {
        desk.ip(&["route", "del", "default", "via", &other.via.to_string(), "dev", &link.name])?;
    }
    if let Some(gateway) = gateway {
        let route = Route { prefix: Ipv4Net::default(), index: link.index, next_hop: gateway };
        desk.ip(&["route", "replace", "default", "via", &gateway.to_string(), "dev", &link.name])?;
        change(desk, |kept| store(&route, &link.name, kept))?;
    }
    Ok(())
}

/// No DHCP server answers in a namespace.
fn set_dhcp(adapter: &str, desk: &mut dyn Desk) -> Result<(), String> {
    let link = named(adapter, desk)?;
    if asks_dhcp(&link.name, desk)? {
        return Err("DHCP is already enabled on this interface.".to_owned());
    }
    change(desk, |kept| {
        kept.addresses.remove(&link.name);
        kept.routes.retain(|route| route.adapter != link.name || route.destination != Ipv4Net::default());
    })?;
    desk.put_text(DHCP_ADAPTERS, &link.name, "yes")?;
    replace_addresses(&link, None, desk)
}

fn asks_dhcp(link: &str, desk: &mut dyn Desk) -> Result<bool, String> {
    Ok(desk.texts(DHCP_ADAPTERS)?.contains_key(link))
}

/// The text that kube-proxy looks through for `IP Address:` (facts B.6).
fn show_address(adapter: &str, desk: &mut dyn Desk) -> Result<String, String> {
    let link = named(adapter, desk)?;
    let dhcp = if asks_dhcp(&link.name, desk)? { "Yes" } else { "No" };
    let mut text =
        format!("\nConfiguration for interface \"{adapter}\"\n    DHCP enabled:                         {dhcp}\n");
    for address in &link.addresses {
        text += &format!("    IP Address:                           {}\n", address.addr());
        text +=
            &format!("    Subnet Prefix:                        {} (mask {})\n", address.trunc(), address.netmask());
    }
    text += "    InterfaceMetric:                      25\n\n";
    Ok(text)
}

fn store(route: &Route, link: &str, kept: &mut Persistent) {
    let stored = StoredRoute { destination: route.prefix.trunc(), via: route.next_hop, adapter: link.to_owned() };
    if !kept.routes.contains(&stored) {
        kept.routes.push(stored);
    }
}

fn active(route: &Route, link: &Link, desk: &mut dyn Desk) -> Result<bool, String> {
    let routes = linux::routes(&desk.ip(&["-json", "-4", "route"])?)?;
    let is = |found: &linux::LinuxRoute| {
        found.destination == route.prefix.trunc() && found.via == route.next_hop && found.link == link.name
    };
    Ok(routes.iter().any(is))
}

fn add_route(route: &Route, desk: &mut dyn Desk) -> Result<(), String> {
    let link = indexed(route.index, desk)?;
    if active(route, &link, desk)? {
        return Err("The object already exists.".to_owned());
    }
    let (prefix, via) = (route.prefix.trunc().to_string(), route.next_hop.to_string());
    desk.ip(&["route", "add", &prefix, "via", &via, "dev", &link.name])?;
    change(desk, |kept| store(route, &link.name, kept))
}

fn delete_route(route: &Route, desk: &mut dyn Desk) -> Result<(), String> {
    let link = indexed(route.index, desk)?;
    let mut kept = desk.persistent()?;
    let stored = StoredRoute { destination: route.prefix.trunc(), via: route.next_hop, adapter: link.name.clone() };
    let active = active(route, &link, desk)?;
    if !active && !kept.routes.contains(&stored) {
        return Err("Element not found.".to_owned());
    }
    if active {
        let (prefix, via) = (route.prefix.trunc().to_string(), route.next_hop.to_string());
        desk.ip(&["route", "del", &prefix, "via", &via, "dev", &link.name])?;
    }
    kept.routes.retain(|found| *found != stored);
    desk.keep(&kept)
}

/// Windows lets several rules have one name.
fn add_rule(rule: &Rule, desk: &mut dyn Desk) -> Result<(), String> {
    let name = desk.new_name();
    desk.put_text(RULES, &name, &rule.text())
}

fn delete_rules(name: &str, desk: &mut dyn Desk) -> Result<(), String> {
    let rules = desk.texts(RULES)?;
    let found: Vec<_> = rules.iter().filter(|(_, text)| name_of(text) == Some(name)).map(|(key, _)| key).collect();
    if found.is_empty() {
        return Err("No rules match the specified criteria.".to_owned());
    }
    for key in found {
        desk.remove(RULES, key)?;
    }
    Ok(())
}

/// What Windows does by itself at boot, and when an adapter comes: adapters get what is kept for them.
///
/// # Errors
/// What Linux refused.
pub fn boot(desk: &mut dyn Desk) -> Result<(), String> {
    let (kept, links) = (desk.persistent()?, all_links(desk)?);
    for link in &links {
        if let Some(addresses) = kept.addresses.get(&link.name) {
            for address in addresses.iter().filter(|address| !link.addresses.contains(address)) {
                desk.ip(&["address", "add", &address.to_string(), "dev", &link.name])?;
            }
        }
        if kept.forwarding.contains(&link.name) {
            desk.setting(&format!("conf/{}/forwarding", link.name), "1")?;
        }
        restore_routes(&link.name, desk)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::request::parse;
    use super::*;

    /// A desk that keeps all in memory and answers for Linux.
    #[derive(Default)]
    struct Paper {
        registry: BTreeMap<(String, String), String>,
        kept: Persistent,
        eth1: Vec<Ipv4Net>,
        routes: Vec<String>,
        forwards: bool,
        forwarded: BTreeMap<SocketAddrV4, SocketAddrV4>,
    }

    impl Desk for Paper {
        fn ip(&mut self, arguments: &[&str]) -> Result<String, String> {
            match arguments {
                ["-json", "address"] => {
                    let addresses: Vec<_> = self
                        .eth1
                        .iter()
                        .map(|net| {
                            serde_json::json!({"family": "inet", "local": net.addr(), "prefixlen": net.prefix_len()})
                        })
                        .collect();
                    let json = serde_json::json!([{"ifindex": 5, "ifname": "eth1", "addr_info": addresses}]);
                    return Ok(json.to_string());
                }
                ["-json", "-4", "route"] => {
                    let routes: Vec<_> = self.routes.iter().map(|route| route.split(' ').collect::<Vec<_>>()).collect();
                    let json = routes
                        .iter()
                        .map(|route| serde_json::json!({"dst": route[0], "gateway": route[1], "dev": route[2]}));
                    return Ok(serde_json::Value::from(json.collect::<Vec<_>>()).to_string());
                }
                ["address", "add", address, "dev", "eth1"] => self.eth1.push(address.parse().unwrap()),
                ["address", "del", address, "dev", "eth1"] => self.eth1.retain(|net| net.to_string() != *address),
                ["route", "add" | "replace", to, "via", via, "dev", link] => {
                    self.routes.push(format!("{to} {via} {link}"))
                }
                ["route", "del", to, "via", via, "dev", link] => {
                    self.routes.retain(|route| *route != format!("{to} {via} {link}"));
                }
                other => return Err(other.join(" ")),
            }
            Ok(String::new())
        }

        fn setting(&mut self, path: &str, value: &str) -> Result<(), String> {
            assert_eq!(path, "conf/eth1/forwarding");
            self.forwards = value == "1";
            Ok(())
        }

        fn forward(&mut self, listen: SocketAddrV4, connect: SocketAddrV4) -> Result<(), String> {
            self.forwarded.insert(listen, connect);
            Ok(())
        }

        fn texts(&mut self, key: &str) -> Result<BTreeMap<String, String>, String> {
            let texts = self.registry.iter().filter(|((found, _), _)| found == key);
            Ok(texts.map(|((_, name), text)| (name.clone(), text.clone())).collect())
        }

        fn put_text(&mut self, key: &str, name: &str, text: &str) -> Result<(), String> {
            self.registry.insert((key.into(), name.into()), text.into());
            Ok(())
        }

        fn put_number(&mut self, key: &str, name: &str, number: u32) -> Result<(), String> {
            self.put_text(key, name, &number.to_string())
        }

        fn remove(&mut self, key: &str, name: &str) -> Result<(), String> {
            self.registry.remove(&(key.into(), name.into())).map(drop).ok_or_else(|| name.to_owned())
        }

        fn new_name(&mut self) -> String {
            format!("{{{}}}", self.registry.len())
        }

        fn persistent(&mut self) -> Result<Persistent, String> {
            Ok(self.kept.clone())
        }

        fn keep(&mut self, persistent: &Persistent) -> Result<(), String> {
            self.kept = persistent.clone();
            Ok(())
        }
    }

    fn paper() -> Paper {
        let mut paper = Paper { eth1: vec!["10.5.6.216/24".parse().unwrap()], ..Paper::default() };
        paper.put_text(ADAPTER_NAMES, "eth1", "Ethernet 2").unwrap();
        paper
    }

    fn ask(paper: &mut Paper, arguments: &[&str]) -> Result<String, String> {
        run(&parse(arguments)?, paper)
    }

    #[test]
    fn an_address_is_set_shown_and_kept() {
        let mut paper = paper();
        let set = ["interface", "ipv4", "set", "address", "name=Ethernet 2", "source=static"];
        ask(&mut paper, &[&set[..], &["address=192.168.1.1", "mask=255.255.255.0"]].concat()).unwrap();
        assert_eq!(paper.eth1, ["192.168.1.1/24".parse().unwrap()]);
        assert_eq!(paper.kept.addresses["eth1"], paper.eth1);
        let shown = ask(&mut paper, &["interface", "ipv4", "show", "address", "name=Ethernet 2"]).unwrap();
        assert!(shown.contains("IP Address:                           192.168.1.1\n"), "{shown}");
        let add = ["interface", "ipv4", "add", "address", "name=Ethernet 2", "address=172.30.0.1"];
        ask(&mut paper, &add).unwrap();
        assert!(ask(&mut paper, &add).unwrap_err().contains("already exists"));
        ask(&mut paper, &["interface", "ipv4", "delete", "address", "name=Ethernet 2", "address=172.30.0.1"]).unwrap();
        assert_eq!(paper.eth1.len(), 1);
        // A boot.
        paper.eth1.clear();
        boot(&mut paper).unwrap();
        assert_eq!(paper.eth1, ["192.168.1.1/24".parse().unwrap()]);
        ask(&mut paper, &["interface", "ipv4", "set", "address", "name=Ethernet 2", "source=dhcp"]).unwrap();
        assert!(paper.eth1.is_empty());
        assert!(ask(&mut paper, &["interface", "ipv4", "set", "address", "name=Ethernet 2", "source=dhcp"]).is_err());
        assert!(ask(&mut paper, &["interface", "ipv4", "set", "address", "name=Ethernet 3", "source=dhcp"]).is_err());
    }

    #[test]
    fn a_route_is_there_once_and_comes_back_at_boot() {
        let mut paper = paper();
        let words = ["prefix=192.168.2.0/24", "interface=5", "nexthop=10.5.6.217", "store=persistent"];
        let add = [&["interface", "ipv4", "add", "route"][..], &words].concat();
        ask(&mut paper, &add).unwrap();
        assert!(ask(&mut paper, &add).unwrap_err().contains("already exists"));
        paper.routes.clear();
        boot(&mut paper).unwrap();
        assert_eq!(paper.routes, ["192.168.2.0/24 10.5.6.217 eth1"]);
        let delete = [&["interface", "ipv4", "delete", "route"][..], &words].concat();
        ask(&mut paper, &delete).unwrap();
        assert!(paper.routes.is_empty() && paper.kept.routes.is_empty());
        assert!(ask(&mut paper, &delete).is_err());
    }

    #[test]
    fn rules_of_a_name_go_together() {
        let mut paper = paper();
        let usual = ["dir=in", "action=allow", "enable=yes", "profile=any", "protocol=any", "name=pods"];
        for _ in 0..2 {
            ask(&mut paper, &[&["advfirewall", "firewall", "add", "rule"][..], &usual].concat()).unwrap();
        }
        assert_eq!(paper.texts(RULES).unwrap().len(), 2);
        ask(&mut paper, &["advfirewall", "firewall", "delete", "rule", "name=pods", "dir=in"]).unwrap();
        assert!(paper.texts(RULES).unwrap().is_empty());
        assert!(ask(&mut paper, &["advfirewall", "firewall", "delete", "rule", "name=pods"]).is_err());
    }

    #[test]
    fn forwarding_and_the_router_type_are_set() {
        let mut paper = paper();
        ask(&mut paper, &["interface", "ipv4", "set", "interface", "interface=5", "forwarding=enabled"]).unwrap();
        assert!(paper.forwards && paper.kept.forwarding.contains("eth1"));
        ask(&mut paper, &["interface", "ipv4", "set", "interface", "interface=5", "forwarding=disabled"]).unwrap();
        assert!(!paper.forwards && paper.kept.forwarding.is_empty());
        ask(&mut paper, &["ras", "set", "type", "ipv4rtrtype=lanonly"]).unwrap();
        assert_eq!(paper.texts(REMOTE_ACCESS).unwrap()["RouterType"], "2");
    }
    #[test]
    fn ports_are_forwarded_and_the_last_word_counts() {
        let mut paper = paper();
        for port in ["50123", "50124"] {
            let connect = format!("connectPort={port}");
            let words =
                ["interface", "portproxy", "set", "v4tov4", "listenPort=443", "connectaddress=10.5.6.216", &connect];
            ask(&mut paper, &[&words[..], &["listenaddress=172.30.0.1"]].concat()).unwrap();
        }
        let expected = ("172.30.0.1:443".parse().unwrap(), "10.5.6.216:50124".parse().unwrap());
        assert_eq!(paper.forwarded, BTreeMap::from([expected]));
    }
}
