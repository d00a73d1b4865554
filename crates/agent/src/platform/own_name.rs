//! What a host's own name resolves to on the host itself.

use std::net::{IpAddr, Ipv4Addr, ToSocketAddrs as _};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// How long the resolver is waited for: one whose servers do not answer takes minutes.
const PATIENCE: Duration = Duration::from_secs(3);

/// The IPv4 addresses of a name; none when it does not resolve in time.
pub(super) fn addresses(name: &str) -> Vec<Ipv4Addr> {
    let (sender, answer) = mpsc::channel();
    let name = name.to_owned();
    let asking = thread::Builder::new().name("resolver".to_owned()).spawn(move || {
        let found = (name.as_str(), 0).to_socket_addrs();
        // Nobody waits for an answer that comes too late.
        let _ =
            sender.send(found.map(|found| found.map(|address| address.ip()).collect::<Vec<_>>()).unwrap_or_default());
    });
    if asking.is_err() {
        return Vec::new();
    }
    let found = answer.recv_timeout(PATIENCE).unwrap_or_default();
    let mut addresses: Vec<_> = found
        .into_iter()
        .filter_map(|address| match address {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        })
        .collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}
