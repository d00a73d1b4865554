//! Adapters, addresses, routes and listening ports, through the IP helper interface.

#![expect(unsafe_code, reason = "tables of iphlpapi are read in place")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::ptr::{null, null_mut};

use ipnet::Ipv4Net;
use k8swin_protocol::facts::{Adapter, Listener, RouteEntry};
use windows_registry::LOCAL_MACHINE;
use windows_sys::Win32::Foundation::{
    ERROR_BUFFER_OVERFLOW, ERROR_INSUFFICIENT_BUFFER, ERROR_NOT_FOUND, ERROR_OBJECT_ALREADY_EXISTS,
};
use windows_sys::Win32::NetworkManagement::IpHelper::{
    CreateIpForwardEntry2, DeleteIpForwardEntry2, FreeMibTable, GAA_FLAG_SKIP_ANYCAST, GAA_FLAG_SKIP_DNS_SERVER,
    GAA_FLAG_SKIP_MULTICAST, GetAdaptersAddresses, GetExtendedTcpTable, GetIfEntry2, GetIpForwardTable2,
    GetIpInterfaceEntry, IF_TYPE_SOFTWARE_LOOPBACK, IP_ADAPTER_ADDRESSES_LH, IP_ADAPTER_DHCP_ENABLED,
    InitializeIpForwardEntry, MIB_IF_ROW2, MIB_IPFORWARD_ROW2, MIB_IPFORWARD_TABLE2, MIB_IPINTERFACE_ROW,
    MIB_TCP6ROW_OWNER_PID, MIB_TCPROW_OWNER_PID, SetIpInterfaceEntry, TCP_TABLE_OWNER_PID_LISTENER,
};
use windows_sys::Win32::NetworkManagement::Ndis::{IfOperStatusUp, NET_LUID_LH};
use windows_sys::Win32::Networking::WinSock::{AF_INET, AF_INET6, MIB_IPPROTO_NETMGMT, SOCKADDR_IN};

use super::super::{PlatformError, Result, SystemRoute};
use super::{api, system};

/// The first bit of `InterfaceAndOperStatusFlags`: `HardwareInterface`.
const HARDWARE: u8 = 1;

/// The Windows kernel's own process, which holds the ports of drivers (SMB, HTTP).
const SYSTEM_PROCESS: u32 = 4;

/// An adapter and how Windows' interfaces call it until the next change.
pub(super) struct Found {
    pub(super) adapter: Adapter,
    index: u32,
    luid: NET_LUID_LH,
    dhcp: bool,
}

/// All adapters but the loopback one.
pub(super) fn found() -> Result<Vec<Found>> {
    let attempted = "list the network adapters";
    let mut buffer: Vec<u64> = vec![0; 4 << 10];
    loop {
        let mut length = u32::try_from(buffer.len() * size_of::<u64>()).unwrap_or(u32::MAX);
        // SAFETY: the buffer has the length that is said, and is aligned for the structures that come into it.
        let code = unsafe {
            GetAdaptersAddresses(
                u32::from(AF_INET),
                GAA_FLAG_SKIP_ANYCAST | GAA_FLAG_SKIP_MULTICAST | GAA_FLAG_SKIP_DNS_SERVER,
                null(),
                buffer.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        match code {
            // Adapters may have come since.
            ERROR_BUFFER_OVERFLOW => buffer = vec![0; length as usize / size_of::<u64>() + (1 << 10)],
            code => {
                api::succeeded(attempted, code)?;
                break;
            }
        }
    }
    let mut adapters = Vec::new();
    let mut next: *const IP_ADAPTER_ADDRESSES_LH = buffer.as_ptr().cast();
    while !next.is_null() {
        // SAFETY: Windows linked complete structures within the buffer, which outlives this loop.
        let entry = unsafe { &*next };
        next = entry.Next;
        if entry.IfType == IF_TYPE_SOFTWARE_LOOPBACK {
            continue;
        }
        // SAFETY: this variant is the one that GetAdaptersAddresses fills.
        let index = unsafe { entry.Anonymous1.Anonymous.IfIndex };
        // SAFETY: the name lies in the buffer and is ended by a zero.
        let name = unsafe { api::text_at(entry.FriendlyName) };
        let mac = entry.PhysicalAddress.iter().take(entry.PhysicalAddressLength as usize);
        let adapter = Adapter {
            name,
            mac: mac.map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join("-"),
            addresses: addresses(entry),
            up: entry.OperStatus == IfOperStatusUp,
            physical: physical(index)?,
        };
        // SAFETY: both variants are the same bits.
        let dhcp = unsafe { entry.Anonymous2.Flags } & IP_ADAPTER_DHCP_ENABLED != 0;
        adapters.push(Found { adapter, index, luid: entry.Luid, dhcp });
    }
    Ok(adapters)
}

fn addresses(entry: &IP_ADAPTER_ADDRESSES_LH) -> Vec<Ipv4Net> {
    let mut addresses = Vec::new();
    let mut next = entry.FirstUnicastAddress;
    while !next.is_null() {
        // SAFETY: Windows linked complete structures within the buffer that `entry` lies in.
        let unicast = unsafe { &*next };
        next = unicast.Next;
        let socket = unicast.Address.lpSockaddr.cast::<SOCKADDR_IN>();
        // SAFETY: only IPv4 was asked for, and the family, which all kinds begin with, is looked at first.
        let address = unsafe {
            match socket.as_ref() {
                Some(socket) if socket.sin_family == AF_INET => socket.sin_addr.S_un.S_addr,
                _ => continue,
            }
        };
        if let Ok(net) = Ipv4Net::new(Ipv4Addr::from(address.to_ne_bytes()), unicast.OnLinkPrefixLength) {
            addresses.push(net);
        }
    }
    addresses
}

/// Whether an adapter is hardware, of the machine or its hypervisor.
fn physical(index: u32) -> Result<bool> {
    let mut row = MIB_IF_ROW2 { InterfaceIndex: index, ..Default::default() };
    // SAFETY: the row is ours and names its interface.
    let code = unsafe { GetIfEntry2(&raw mut row) };
    api::succeeded(format!("look at the network adapter {index}"), code)?;
    Ok(row.InterfaceAndOperStatusFlags._bitfield & HARDWARE != 0)
}

/// IPv4 routes, without those that Windows makes for each address by itself: the host's own addresses, broadcast and
/// multicast.
pub(super) fn routes() -> Result<Vec<RouteEntry>> {
    let names: BTreeMap<_, _> = found()?.into_iter().map(|found| (found.index, found.adapter.name)).collect();
    let mut table: *mut MIB_IPFORWARD_TABLE2 = null_mut();
    // SAFETY: a table is written on success; it is freed below.
    let code = unsafe { GetIpForwardTable2(AF_INET, &raw mut table) };
    api::succeeded("list the routes", code)?;
    let mut routes = Vec::new();
    // SAFETY: the table has the number of rows that it says, and nothing changes it until it is freed.
    let rows = unsafe { std::slice::from_raw_parts((&raw const (*table).Table).cast(), (*table).NumEntries as usize) };
    for row in rows {
        let row: &MIB_IPFORWARD_ROW2 = row;
        // SAFETY: only IPv4 routes were asked for.
        let (prefix, via) =
            unsafe { (row.DestinationPrefix.Prefix.Ipv4.sin_addr.S_un.S_addr, row.NextHop.Ipv4.sin_addr.S_un.S_addr) };
        let (prefix, via) = (Ipv4Addr::from(prefix.to_ne_bytes()), Ipv4Addr::from(via.to_ne_bytes()));
        let via = (!via.is_unspecified()).then_some(via);
        let Ok(destination) = Ipv4Net::new(prefix, row.DestinationPrefix.PrefixLength) else { continue };
        let own = via.is_none() && (destination.prefix_len() == 32 || prefix.is_multicast());
        if let Some(adapter) = names.get(&row.InterfaceIndex).filter(|_| !own) {
            routes.push(RouteEntry { destination, via, adapter: adapter.clone() });
        }
    }
    // SAFETY: Windows allocated the table, and no row of it is used any more.
    unsafe { FreeMibTable(table.cast()) };
    Ok(routes)
}

/// Gives an adapter exactly these static addresses, now and at boot; none means that it asks DHCP. `netsh` is the one way
/// that does both: addresses of the IP helper interface are gone after a boot. Its exit code tells; its text is not read.
pub(super) fn set_addresses(adapter: &str, addresses: &[Ipv4Net]) -> Result<()> {
    let attempted = format!("set the addresses of {adapter}");
    let found = by_name(&attempted, adapter)?;
    let name = format!("name={adapter}");
    let Some((first, others)) = addresses.split_first() else {
        // netsh refuses what is so already.
        return if found.dhcp { Ok(()) } else { netsh(&attempted, &["set", "address", &name, "source=dhcp"]) };
    };
    let (address, mask) = (format!("address={}", first.addr()), format!("mask={}", first.netmask()));
    netsh(&attempted, &["set", "address", &name, "source=static", &address, &mask])?;
    for other in others {
        let (address, mask) = (format!("address={}", other.addr()), format!("mask={}", other.netmask()));
        netsh(&attempted, &["add", "address", &name, &address, &mask])?;
    }
    Ok(())
}

fn netsh(attempted: &str, arguments: &[&str]) -> Result<()> {
    let failed = |answer: String| PlatformError::new(attempted, format!("netsh: {answer}"));
    let arguments = [&["interface", "ipv4"], arguments].concat();
    let output = Command::new("netsh.exe").args(arguments).stdin(Stdio::null()).output();
    let output = output.map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    // For people: whatever language it is in.
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Err(failed(if said.is_empty() { output.status.to_string() } else { said }))
}

/// Where Windows keeps the routes that it adds at boot: one value each, `destination,mask,router,metric`. It has no
/// adapter (facts E), so `k8swin-network` adds routes by adapter again at boot; this is for the time before.
const PERSISTENT: &str = r"SYSTEM\CurrentControlSet\Services\Tcpip\Parameters\PersistentRoutes";

/// The metric that `route add` gives.
const METRIC: u32 = 1;

/// Adds a route now and at boot.
pub(super) fn add_route(route: &SystemRoute) -> Result<()> {
    let attempted = format!("add the route {route}");
    let row = route_row(&attempted, route)?;
    // SAFETY: the row was initialised by Windows and names its interface, destination and router.
    match unsafe { CreateIpForwardEntry2(&raw const row) } {
        ERROR_OBJECT_ALREADY_EXISTS => {}
        code => api::succeeded(attempted.as_str(), code)?,
    }
    LOCAL_MACHINE
        .create(PERSISTENT)
        .and_then(|key| key.set_string(persistent_name(route, METRIC), ""))
        .map_err(|error| PlatformError::new(attempted, format!("for the next boot: {}", error.message())))
}

/// Removes a route now and at boot.
pub(super) fn remove_route(route: &SystemRoute) -> Result<()> {
    let attempted = format!("remove the route {route}");
    let row = route_row(&attempted, route)?;
    // SAFETY: the row was initialised by Windows and names its interface, destination and router.
    match unsafe { DeleteIpForwardEntry2(&raw const row) } {
        ERROR_NOT_FOUND => {}
        code => api::succeeded(attempted.as_str(), code)?,
    }
    // Whoever added it may have given it another metric.
    let beginning = persistent_beginning(route);
    let Ok(stored) = LOCAL_MACHINE.open(PERSISTENT) else { return Ok(()) };
    let unreadable = |answer: String| PlatformError::new(attempted.as_str(), format!("for the next boot: {answer}"));
    let names: Vec<String> =
        stored.values().map_err(|error| unreadable(error.message()))?.map(|(name, _)| name).collect();
    for name in names.into_iter().filter(|name| name.starts_with(&beginning)) {
        LOCAL_MACHINE
            .create(PERSISTENT)
            .and_then(|key| key.remove_value(&name))
            .map_err(|error| unreadable(error.message()))?;
    }
    Ok(())
}

fn persistent_beginning(route: &SystemRoute) -> String {
    format!("{},{},{},", route.destination.network(), route.destination.netmask(), route.via)
}

fn persistent_name(route: &SystemRoute, metric: u32) -> String {
    format!("{}{metric}", persistent_beginning(route))
}

fn route_row(attempted: &str, route: &SystemRoute) -> Result<MIB_IPFORWARD_ROW2> {
    // A program that calls them under Wine is ended.
    if system::is_wine() {
        return Err(PlatformError::new(attempted, "Wine does not have CreateIpForwardEntry2"));
    }
    let found = by_name(attempted, &route.adapter)?;
    let mut row = MIB_IPFORWARD_ROW2::default();
    // SAFETY: the row is ours; all of it is written.
    unsafe { InitializeIpForwardEntry(&raw mut row) };
    row.InterfaceLuid = found.luid;
    row.DestinationPrefix.Prefix.Ipv4 = socket_address(route.destination.network());
    row.DestinationPrefix.PrefixLength = route.destination.prefix_len();
    row.NextHop.Ipv4 = socket_address(route.via);
    row.Metric = METRIC;
    row.Protocol = MIB_IPPROTO_NETMGMT;
    Ok(row)
}

fn socket_address(address: Ipv4Addr) -> SOCKADDR_IN {
    let mut socket = SOCKADDR_IN { sin_family: AF_INET, ..Default::default() };
    socket.sin_addr.S_un.S_addr = u32::from_ne_bytes(address.octets());
    socket
}

/// TCP ports on which something listens, by IPv4 or IPv6.
pub(super) fn listeners() -> Result<Vec<Listener>> {
    let processes = system::processes()?;
    let mut ports = BTreeSet::new();
    for family in [AF_INET, AF_INET6] {
        let table = tcp_table(u32::from(family))?;
        let rows = table.get(4..).unwrap_or_default();
        let (size, port, owner) = if family == AF_INET {
            let row = size_of::<MIB_TCPROW_OWNER_PID>();
            (
                row,
                std::mem::offset_of!(MIB_TCPROW_OWNER_PID, dwLocalPort),
                std::mem::offset_of!(MIB_TCPROW_OWNER_PID, dwOwningPid),
            )
        } else {
            let row = size_of::<MIB_TCP6ROW_OWNER_PID>();
            (
                row,
                std::mem::offset_of!(MIB_TCP6ROW_OWNER_PID, dwLocalPort),
                std::mem::offset_of!(MIB_TCP6ROW_OWNER_PID, dwOwningPid),
            )
        };
        let count = table.first_chunk().map_or(0, |count| u32::from_ne_bytes(*count) as usize);
        for row in rows.chunks_exact(size).take(count) {
            let field = |at: usize| row.get(at..at + 4).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok());
            let (Some([high, low, ..]), Some(owner)) = (field(port), field(owner)) else { continue };
            ports.insert((u16::from_be_bytes([high, low]), u32::from_ne_bytes(owner)));
        }
    }
    let name = |owner: u32| match processes.get(&owner) {
        _ if owner == SYSTEM_PROCESS => "System".to_owned(),
        Some(process) => process.name.clone(),
        None => String::new(),
    };
    let mut listeners: Vec<_> =
        ports.into_iter().map(|(port, owner)| Listener { port, program: name(owner) }).collect();
    listeners.dedup();
    Ok(listeners)
}

fn tcp_table(family: u32) -> Result<Vec<u8>> {
    let mut table: Vec<u8> = Vec::new();
    loop {
        let mut length = u32::try_from(table.len()).unwrap_or(u32::MAX);
        // SAFETY: the buffer has the length that is said; it is read byte by byte afterwards.
        let code = unsafe {
            GetExtendedTcpTable(table.as_mut_ptr().cast(), &raw mut length, 1, family, TCP_TABLE_OWNER_PID_LISTENER, 0)
        };
        match code {
            // More may listen by the next call.
            ERROR_INSUFFICIENT_BUFFER => table = vec![0; length as usize + (4 << 10)],
            code => {
                api::succeeded("list the listening ports", code)?;
                table.truncate(length as usize);
                return Ok(table);
            }
        }
    }
}

/// The adapter of a name.
pub(super) fn by_name(attempted: &str, name: &str) -> Result<Found> {
    let found = found()?.into_iter().find(|found| found.adapter.name == name);
    found.ok_or_else(|| PlatformError::new(attempted, format!("there is no adapter {name}")))
}

/// Adapters that forward IPv4 packets. Wine cannot tell, and has none.
pub(super) fn forwarding_adapters(found: &[Found]) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for adapter in found.iter().filter(|_| !system::is_wine()) {
        if forwarding(adapter)? {
            names.push(adapter.adapter.name.clone());
        }
    }
    Ok(names)
}

/// Whether an adapter forwards IPv4 packets. One to which IPv4 is not bound does not.
pub(super) fn forwarding(found: &Found) -> Result<bool> {
    match interface(&format!("look at forwarding of {}", found.adapter.name), found)? {
        Some(row) => Ok(row.ForwardingEnabled),
        None => Ok(false),
    }
}

/// Switches forwarding of IPv4 packets.
pub(super) fn set_forwarding(found: &Found, on: bool) -> Result<()> {
    let attempted = format!("switch forwarding of {}", found.adapter.name);
    let Some(mut row) = interface(&attempted, found)? else {
        return Err(PlatformError::new(attempted, "IPv4 is not bound to it"));
    };
    row.ForwardingEnabled = on;
    // Windows refuses an IPv4 row with the value that it handed out itself.
    row.SitePrefixLength = 0;
    // SAFETY: the row is complete, as Windows handed it out.
    let code = unsafe { SetIpInterfaceEntry(&raw mut row) };
    api::succeeded(attempted, code)
}

fn interface(attempted: &str, found: &Found) -> Result<Option<MIB_IPINTERFACE_ROW>> {
    if system::is_wine() {
        return Err(PlatformError::new(attempted, "Wine does not have GetIpInterfaceEntry"));
    }
    let mut row = MIB_IPINTERFACE_ROW { Family: AF_INET, InterfaceLuid: found.luid, ..Default::default() };
    // SAFETY: the row is ours and names its interface.
    match unsafe { GetIpInterfaceEntry(&raw mut row) } {
        ERROR_NOT_FOUND => Ok(None),
        code => api::succeeded(attempted, code).map(|()| Some(row)),
    }
}
