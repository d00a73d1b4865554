//! Adapters, routes and listening ports of a real Linux host, read from the kernel.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::path::Path;

use ipnet::Ipv4Net;
use k8swin_protocol::facts::{Adapter, Listener, RouteEntry};

use super::{PlatformError, Result, files, program};

/// Flags of `/proc/net/route`.
const UP: u32 = 0x1;
const REJECT: u32 = 0x200;

/// The state of a listening socket in `/proc/net/tcp`.
const LISTEN: &str = "0A";

pub(super) fn adapters() -> Result<Vec<Adapter>> {
    let attempted = "list the network adapters";
    let text = program::succeed(attempted, "ip", &["-o", "-4", "address", "show"])?;
    let addresses = parse_addresses(&text);
    let folder = Path::new("/sys/class/net");
    let failed = |error: io::Error| PlatformError::new(attempted, files::describe(&error));
    let mut adapters = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let read = |file: &str| fs::read_to_string(entry.path().join(file)).unwrap_or_default().trim().to_owned();
        if name == "lo" || !entry.path().is_dir() {
            continue;
        }
        adapters.push(Adapter {
            mac: read("address").replace(':', "-").to_lowercase(),
            addresses: addresses.get(&name).cloned().unwrap_or_default(),
            // Adapters without a carrier of their own (`unknown`) are up.
            up: matches!(read("operstate").as_str(), "up" | "unknown"),
            physical: entry.path().join("device").exists(),
            name,
        });
    }
    adapters.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(adapters)
}

pub(super) fn routes() -> Result<Vec<RouteEntry>> {
    let table = fs::read_to_string("/proc/net/route")
        .map_err(|error| PlatformError::new("read the routes", error.to_string()))?;
    Ok(parse_routes(&table))
}

/// The TCP ports on which something listens. Programs of other users can be told by root only.
pub(super) fn listeners() -> Vec<Listener> {
    let mut sockets = BTreeMap::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        sockets.extend(parse_listeners(&fs::read_to_string(table).unwrap_or_default()));
    }
    let mut programs: BTreeMap<u16, String> = sockets.values().map(|port| (*port, String::new())).collect();
    for process in fs::read_dir("/proc").into_iter().flatten().filter_map(std::result::Result::ok) {
        if !process.file_name().to_string_lossy().bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        let descriptors = fs::read_dir(process.path().join("fd")).into_iter().flatten();
        for descriptor in descriptors.filter_map(std::result::Result::ok) {
            let Ok(target) = fs::read_link(descriptor.path()) else { continue };
            let target = target.to_string_lossy();
            let Some(socket) = target.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']')) else {
                continue;
            };
            let Some(port) = sockets.get(socket) else { continue };
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            programs.insert(*port, name.trim().to_owned());
        }
    }
    programs.into_iter().map(|(port, program)| Listener { port, program }).collect()
}

/// Lines such as `2: eth0    inet 10.5.6.215/24 brd 10.5.6.255 scope global eth0`, or `inet 10.0.0.1 peer 10.0.0.2/32` for
/// an adapter with one other end.
fn parse_addresses(text: &str) -> BTreeMap<String, Vec<Ipv4Net>> {
    let mut addresses: BTreeMap<String, Vec<Ipv4Net>> = BTreeMap::new();
    for line in text.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        if let [_, name, "inet", address, ..] = words.as_slice()
            && let Ok(address) = address.parse().or_else(|_| address.parse::<Ipv4Addr>().map(Ipv4Net::from))
        {
            // A virtual pair shows as `veth0@if5`.
            let name = name.split('@').next().unwrap_or(name);
            addresses.entry(name.to_owned()).or_default().push(address);
        }
    }
    addresses
}

/// `/proc/net/route`: addresses are hexadecimal words in the byte order of the machine, which is little-endian.
fn parse_routes(table: &str) -> Vec<RouteEntry> {
    let entry = |line: &str| {
        let words: Vec<_> = line.split_whitespace().collect();
        let word = |index: usize| u32::from_str_radix(words.get(index)?, 16).ok();
        let address = |index: usize| Some(Ipv4Addr::from(word(index)?.swap_bytes()));
        let flags = word(3)?;
        if flags & UP == 0 || flags & REJECT != 0 {
            return None;
        }
        let via = address(2)?;
        Some(RouteEntry {
            destination: Ipv4Net::with_netmask(address(1)?, address(7)?).ok()?,
            via: (!via.is_unspecified()).then_some(via),
            adapter: (*words.first()?).into(),
        })
    };
    table.lines().skip(1).filter_map(entry).collect()
}

/// Sockets that listen, by their inode, with their ports.
fn parse_listeners(table: &str) -> BTreeMap<String, u16> {
    let socket = |line: &str| {
        let words: Vec<_> = line.split_whitespace().collect();
        if *words.get(3)? != LISTEN {
            return None;
        }
        let (_, port) = words.get(1)?.rsplit_once(':')?;
        Some(((*words.get(9)?).to_owned(), u16::from_str_radix(port, 16).ok()?))
    };
    table.lines().skip(1).filter_map(socket).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_read_from_the_kernels_table() {
        let table = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
            eth0\t00000000\t0106050A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
            eth0\t0006050A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n\
            eth0\t0001A8C0\tDA06050A\t0003\t0\t0\t0\t00FFFFFF\t0\t0\t0\n\
            *\t0002A8C0\t00000000\t0201\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";
        let routes: Vec<_> = parse_routes(table)
            .iter()
            .map(|route| format!("{} {:?} {}", route.destination, route.via, route.adapter))
            .collect();
        assert_eq!(
            routes,
            ["0.0.0.0/0 Some(10.5.6.1) eth0", "10.5.6.0/24 None eth0", "192.168.1.0/24 Some(10.5.6.218) eth0",]
        );
    }

    #[test]
    fn addresses_and_listeners_are_read() {
        let text = "1: lo    inet 127.0.0.1/8 scope host lo\\ valid_lft forever\n\
                    2: eth0    inet 10.5.6.215/24 brd 10.5.6.255 scope global eth0\n\
                    5: veth1@if4    inet 10.1.0.1/16 scope global veth1\n\
                    6: tun0    inet 10.8.0.6 peer 10.8.0.5/32 scope global tun0\n";
        let addresses = parse_addresses(text);
        assert_eq!(addresses["eth0"], ["10.5.6.215/24".parse().unwrap()]);
        assert_eq!(addresses["veth1"], ["10.1.0.1/16".parse().unwrap()]);
        assert_eq!(addresses["tun0"], ["10.8.0.6/32".parse().unwrap()]);
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1234 1 0 100 0\n\
            1: 0100007F:8AE2 0100007F:0016 01 00000000:00000000 00:00000000 00000000     0        0 99 1 0 20 0\n";
        assert_eq!(parse_listeners(table), BTreeMap::from([("1234".to_owned(), 22)]));
    }
}
