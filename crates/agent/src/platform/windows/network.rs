//! Adapters, addresses, routes, forwarding and listening ports, read through the IP helper interface.

#![expect(unsafe_code, reason = "tables of iphlpapi are read in place")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::ptr::{null, null_mut};
use std::sync::Arc;

use ipnet::Ipv4Net;
use k8swin_protocol::facts::{Adapter, Listener, RouteEntry};
use windows_sys::Win32::Foundation::{ERROR_BUFFER_OVERFLOW, ERROR_INSUFFICIENT_BUFFER, ERROR_NOT_FOUND};
use windows_sys::Win32::NetworkManagement::IpHelper::{
    FreeMibTable, GAA_FLAG_SKIP_ANYCAST, GAA_FLAG_SKIP_DNS_SERVER, GAA_FLAG_SKIP_MULTICAST, GetAdaptersAddresses,
    GetExtendedTcpTable, GetIfEntry2, GetIfTable2, GetIpForwardTable2, GetIpInterfaceEntry, IF_TYPE_SOFTWARE_LOOPBACK,
    IP_ADAPTER_ADDRESSES_LH, IP_ADAPTER_DHCP_ENABLED, MIB_IF_ROW2, MIB_IF_TABLE2, MIB_IPFORWARD_ROW2,
    MIB_IPFORWARD_TABLE2, MIB_IPINTERFACE_ROW, MIB_TCP6ROW_OWNER_PID, MIB_TCPROW_OWNER_PID,
    TCP_TABLE_OWNER_PID_LISTENER,
};
use windows_sys::Win32::NetworkManagement::Ndis::{IfOperStatusUp, NET_LUID_LH};
use windows_sys::Win32::Networking::WinSock::{AF_INET, AF_INET6, SOCKADDR_IN};

use super::super::{PlatformError, Result};
use super::{api, system};

/// The first two bits of `InterfaceAndOperStatusFlags`: `HardwareInterface` and `FilterInterface`.
const HARDWARE: u8 = 1;
const FILTER: u8 = 2;

/// The Windows kernel's own process, which holds the ports of drivers (SMB, HTTP).
const SYSTEM_PROCESS: u32 = 4;

/// An adapter and how Windows' interfaces call it until the next change.
pub(super) struct Found {
    pub(super) adapter: Adapter,
    /// Windows may number an adapter anew that HNS makes again (facts E): good for the next call only.
    pub(super) index: u32,
    luid: NET_LUID_LH,
    /// Whether IPv4 is bound to it: not while a switch has it (facts D.3).
    pub(super) bound: bool,
    /// Whether it asks DHCP for its addresses.
    pub(super) dhcp: bool,
    /// The largest packet in bytes.
    pub(super) mtu: u32,
}

/// All adapters but the loopback one. `GetAdaptersAddresses` has only those to which IPv4 is bound: the pod adapter is not
/// among them once a switch has taken it, and comes from the list of hardware.
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
        let adapter = Adapter {
            // SAFETY: the name lies in the buffer and is ended by a zero.
            name: unsafe { api::text_at(entry.FriendlyName) },
            mac: mac(&entry.PhysicalAddress, entry.PhysicalAddressLength),
            addresses: addresses(entry),
            up: entry.OperStatus == IfOperStatusUp,
            physical: physical(index)?,
        };
        // SAFETY: both variants are the same bits.
        let dhcp = unsafe { entry.Anonymous2.Flags } & IP_ADAPTER_DHCP_ENABLED != 0;
        adapters.push(Found { adapter, index, luid: entry.Luid, bound: true, dhcp, mtu: entry.Mtu });
    }
    let listed: BTreeSet<_> = adapters.iter().map(|found| found.index).collect();
    adapters.extend(hardware()?.into_iter().filter(|found| !listed.contains(&found.index)));
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

/// Adapters that are hardware, of the machine or its hypervisor, whether or not a protocol is bound to them.
fn hardware() -> Result<Vec<Found>> {
    let mut table: *mut MIB_IF_TABLE2 = null_mut();
    // SAFETY: a table is written on success; it is freed below.
    let code = unsafe { GetIfTable2(&raw mut table) };
    api::succeeded("list the network interfaces", code)?;
    // SAFETY: the table has the number of rows that it says, and nothing changes it until it is freed.
    let rows: &[MIB_IF_ROW2] =
        unsafe { std::slice::from_raw_parts((&raw const (*table).Table).cast(), (*table).NumEntries as usize) };
    let hardware = rows.iter().filter(|row| row.Type != IF_TYPE_SOFTWARE_LOOPBACK && is_hardware(row));
    let found = hardware.map(|row| Found {
        adapter: Adapter {
            name: api::text(&row.Alias),
            mac: mac(&row.PhysicalAddress, row.PhysicalAddressLength),
            addresses: Vec::new(),
            up: row.OperStatus == IfOperStatusUp,
            physical: true,
        },
        index: row.InterfaceIndex,
        luid: row.InterfaceLuid,
        bound: false,
        dhcp: false,
        mtu: row.Mtu,
    });
    let found = found.collect();
    // SAFETY: Windows allocated the table, and no row of it is used any more.
    unsafe { FreeMibTable(table.cast()) };
    Ok(found)
}

/// Whether an adapter is hardware, of the machine or its hypervisor.
fn physical(index: u32) -> Result<bool> {
    let mut row = MIB_IF_ROW2 { InterfaceIndex: index, ..Default::default() };
    // SAFETY: the row is ours and names its interface.
    let code = unsafe { GetIfEntry2(&raw mut row) };
    api::succeeded(format!("look at the network adapter {index}"), code)?;
    Ok(is_hardware(&row))
}

fn is_hardware(row: &MIB_IF_ROW2) -> bool {
    row.InterfaceAndOperStatusFlags._bitfield & (HARDWARE | FILTER) == HARDWARE
}

fn mac(address: &[u8], length: u32) -> String {
    let bytes = address.iter().take(length as usize).map(|byte| format!("{byte:02x}"));
    bytes.collect::<Vec<_>>().join("-")
}

/// IPv4 routes, without those that Windows makes for each address by itself: the host's own addresses, broadcast and
/// multicast.
pub(super) fn routes() -> Result<Vec<RouteEntry>> {
    let names: BTreeMap<_, Arc<str>> =
        found()?.into_iter().map(|found| (found.index, found.adapter.name.into())).collect();
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

/// Adapters that forward IPv4 packets; none on a system that cannot tell, which is Wine.
pub(super) fn forwarding_adapters(found: &[Found]) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for adapter in found.iter().filter(|_| tells_forwarding()) {
        if forwarding(adapter)? {
            names.push(adapter.adapter.name.clone());
        }
    }
    Ok(names)
}

/// Whether an adapter forwards IPv4 packets. One to which IPv4 is not bound does not.
pub(super) fn forwarding(found: &Found) -> Result<bool> {
    let attempted = format!("look at forwarding of {}", found.adapter.name);
    if !tells_forwarding() {
        return Err(PlatformError::new(attempted, "this system does not have GetIpInterfaceEntry"));
    }
    let mut row = MIB_IPINTERFACE_ROW { Family: AF_INET, InterfaceLuid: found.luid, ..Default::default() };
    // SAFETY: the row is ours and names its interface.
    match unsafe { GetIpInterfaceEntry(&raw mut row) } {
        ERROR_NOT_FOUND => Ok(false),
        code => api::succeeded(attempted, code).map(|()| row.ForwardingEnabled),
    }
}

/// Wine does not have this one call, and ends a program that makes it all the same.
fn tells_forwarding() -> bool {
    api::has(c"iphlpapi.dll", c"GetIpInterfaceEntry")
}
