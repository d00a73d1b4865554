//! The network between simulated hosts: who listens where, and what its faults let through.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ipnet::Ipv4Net;
use k8swin_protocol::probe::{Ask, Listen, Outcome, Target};

use super::link::{Counts, Pace, Peak, SimulatedLink};
use super::machine::Machine;
use super::spec::{Faults, ImageTrouble};

/// What a connection within one segment takes, in microseconds.
const USUAL: u64 = 300;

/// Where the simulated web server listens.
const HTTP: u16 = 80;

/// The hosts of a lab, as they are on the network.
#[derive(Default)]
pub(super) struct SimulatedNetwork {
    endpoints: Mutex<Endpoints>,
    /// By the port on loopback, which no two have.
    depots: Mutex<BTreeMap<u16, SimulatedDepot>>,
    /// Connections to depots.
    pulls: Arc<Peak>,
}

/// The hosts by name, and the names of those that have an address.
#[derive(Default)]
struct Endpoints {
    by_name: BTreeMap<String, Endpoint>,
    by_address: BTreeMap<Ipv4Addr, BTreeSet<String>>,
}

impl Endpoints {
    fn get(&self, host: &str) -> Option<&Endpoint> {
        self.by_name.get(host)
    }

    /// Another host that has an address, or else the host itself.
    fn at(&self, address: Ipv4Addr, host: &str) -> Option<&Endpoint> {
        let names = self.by_address.get(&address)?;
        self.get(names.iter().min_by_key(|name| *name == host)?)
    }

    fn insert(&mut self, endpoint: Endpoint) {
        for address in &endpoint.addresses {
            self.by_address.entry(*address).or_default().insert(endpoint.name.clone());
        }
        self.by_name.insert(endpoint.name.clone(), endpoint);
    }

    fn remove(&mut self, host: &str) -> Option<Endpoint> {
        let endpoint = self.by_name.remove(host)?;
        for address in &endpoint.addresses {
            if let Some(names) = self.by_address.get_mut(address) {
                names.remove(host);
            }
        }
        Some(endpoint)
    }
}

/// The ways that packets of a host take, by the length of their prefix and their destination. A host has one to each other
/// node.
pub(super) struct Ways(BTreeMap<u8, BTreeMap<Ipv4Net, Ipv4Addr>>);

impl Ways {
    /// Those of its routes by way of other hosts.
    pub(super) fn of(machine: &Machine) -> Self {
        let mut ways: BTreeMap<u8, BTreeMap<_, _>> = BTreeMap::new();
        for route in machine.present_routes() {
            ways.entry(route.destination.prefix_len()).or_default().insert(route.destination.trunc(), route.via);
        }
        Self(ways)
    }

    /// By way of which router an address is reached: that of the longest prefix.
    fn to(&self, address: Ipv4Addr) -> Option<Ipv4Addr> {
        let fitting = |(length, ways): (&u8, &BTreeMap<Ipv4Net, Ipv4Addr>)| {
            ways.get(&Ipv4Net::new(address, *length).ok()?.trunc()).copied()
        };
        self.0.iter().rev().find_map(fitting)
    }
}

/// Where a host listens for those who want to take files from it.
struct SimulatedDepot {
    /// The host.
    owner: String,
    /// How many bytes it still gives.
    life: Option<Arc<AtomicI64>>,
}

/// A host on the network.
pub(super) struct Endpoint {
    name: String,
    addresses: Vec<Ipv4Addr>,
    /// Ports that programs of the host hold.
    held: Vec<u16>,
    /// Where its agent listens, and the token that it wants.
    listening: BTreeMap<u16, String>,
    /// Whether kube-proxy leads service addresses on.
    proxies: bool,
    faults: Faults,
}

/// What an address is that is not one of a host.
pub(super) enum Place {
    /// A service's with these ports, whose backends are there.
    Service { ports: Vec<u16> },
    /// A pod's.
    Pod { node: String, image: String },
    /// That of a node's adapter for pods.
    Gateway { node: String },
}

impl Endpoint {
    /// A host as it is now.
    pub(super) fn of(machine: &Machine) -> Self {
        let taken = machine.faults.port_taken.iter().map(|taken| taken.port);
        Self {
            name: machine.spec.name.clone(),
            addresses: machine.adapters().iter().flat_map(|adapter| &adapter.addresses).map(|net| net.addr()).collect(),
            held: machine.processes().iter().flat_map(|process| process.ports()).chain(taken).collect(),
            listening: BTreeMap::new(),
            proxies: machine.healthy_processes().iter().any(|process| process.name() == "kube-proxy"),
            faults: machine.faults.clone(),
        }
    }

    fn blocks(&self, other: &Self) -> bool {
        self.faults.blocked_hosts.contains(&other.name)
    }
}

impl SimulatedNetwork {
    /// Takes note of a host. Its agent goes on listening.
    pub(super) fn place(&self, endpoint: Endpoint) {
        let mut endpoints = self.endpoints();
        let listening = endpoints.remove(&endpoint.name).map(|before| before.listening).unwrap_or_default();
        endpoints.insert(Endpoint { listening, ..endpoint });
    }

    /// The agent of a host listens on those of the ports that are free, and on no others.
    pub(super) fn listen(&self, host: &str, wanted: &Listen) -> Vec<u16> {
        let mut endpoints = self.endpoints();
        let Some(endpoint) = endpoints.by_name.get_mut(host) else { return Vec::new() };
        let its_own = endpoint.addresses.contains(&wanted.address);
        let free = wanted.ports.iter().copied().filter(|port| its_own && !endpoint.held.contains(port));
        let free: Vec<u16> = free.collect();
        endpoint.listening = free.iter().map(|port| (*port, wanted.token.clone())).collect();
        free
    }

    /// An agent of a host has ended, which listened for those who know its token. Another one may listen by now.
    pub(super) fn silence(&self, host: &str, token: &str) {
        if let Some(endpoint) = self.endpoints().by_name.get_mut(host) {
            endpoint.listening.retain(|_, wanted| wanted != token);
        }
    }

    /// Whether the agent of a host listens anywhere.
    pub(super) fn listens(&self, host: &str) -> bool {
        self.endpoints().get(host).is_some_and(|endpoint| !endpoint.listening.is_empty())
    }

    /// A host connects to an address, where its packets take these ways.
    pub(super) fn connect(&self, host: &str, target: &Target, place: Option<&Place>, ways: &Ways) -> Outcome {
        let endpoints = self.endpoints();
        let Some(here) = endpoints.get(host) else { return Outcome::Silent };
        let there = match place {
            Some(Place::Service { ports }) if here.proxies && ports.contains(&target.port) => {
                return Outcome::Answered { microseconds: USUAL };
            }
            Some(Place::Service { .. }) => return Outcome::Silent,
            Some(Place::Pod { node, .. } | Place::Gateway { node }) => endpoints.get(node),
            None => endpoints.at(target.address, host),
        };
        let Some(there) = there else { return Outcome::Silent };
        let leads_there = || ways.to(target.address).is_some_and(|via| there.addresses.contains(&via));
        let routed = place.is_none() || here.name == there.name || leads_there();
        match place {
            _ if !routed => Outcome::Silent,
            Some(Place::Pod { .. }) if there.faults.no_forwarding => Outcome::Silent,
            Some(Place::Pod { image, .. }) => match outcome(here, there, target) {
                Outcome::Silent => Outcome::Silent,
                _ if serves(there, image, target) => Outcome::Answered { microseconds: USUAL },
                _ => Outcome::Refused,
            },
            _ => outcome(here, there, target),
        }
    }

    /// The agent of a host listens for those who want to take files from it: on loopback, which stands for the address.
    pub(super) fn bind(&self, host: &str, address: Ipv4Addr) -> io::Result<TcpListener> {
        let life = {
            let endpoints = self.endpoints();
            let endpoint = endpoints.get(host).filter(|endpoint| endpoint.addresses.contains(&address));
            let endpoint = endpoint.ok_or(io::ErrorKind::AddrNotAvailable)?;
            let life = endpoint.faults.depot_dies_after_bytes;
            life.map(|bytes| Arc::new(AtomicI64::new(i64::try_from(bytes).unwrap_or(i64::MAX))))
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        self.depots
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(port, SimulatedDepot { owner: host.to_owned(), life });
        Ok(listener)
    }

    /// A host connects to the depot of another.
    pub(super) fn dial(
        &self,
        host: &str,
        counts: &Counts,
        to: SocketAddrV4,
        patience: Duration,
    ) -> io::Result<SimulatedLink> {
        let (rate, life) = {
            let endpoints = self.endpoints();
            let depots = self.depots.lock().unwrap_or_else(PoisonError::into_inner);
            let SimulatedDepot { owner, life } = depots.get(&to.port()).ok_or(io::ErrorKind::ConnectionRefused)?;
            let here = endpoints.get(host).ok_or(io::ErrorKind::NotConnected)?;
            let there = endpoints.get(owner).filter(|there| there.addresses.contains(to.ip()));
            let there = there.ok_or(io::ErrorKind::ConnectionRefused)?;
            if here.faults.no_depot || here.blocks(there) || there.blocks(here) || there.faults.unreachable {
                return Err(io::ErrorKind::TimedOut.into());
            }
            if life.as_ref().is_some_and(|life| life.load(Ordering::SeqCst) < 0) {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            (here.faults.link_bytes_per_second, life.clone())
        };
        let present = self.pulls.enter();
        counts.pulls.fetch_add(1, Ordering::Relaxed);
        let stream = TcpStream::connect_timeout(&(Ipv4Addr::LOCALHOST, to.port()).into(), patience)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(patience * 6))?;
        let pulled = Arc::clone(&counts.pulled);
        Ok(SimulatedLink { stream, rate, life, pulled, _present: present, pace: Pace::default() })
    }

    /// The most connections to depots that there were at once.
    pub(super) fn most_pulls(&self) -> usize {
        self.pulls.most()
    }

    fn endpoints(&self) -> MutexGuard<'_, Endpoints> {
        self.endpoints.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn outcome(here: &Endpoint, there: &Endpoint, target: &Target) -> Outcome {
    let dropped = here.blocks(there) || there.blocks(here) || there.faults.blocked_ports.contains(&target.port);
    if dropped || there.faults.unreachable {
        return Outcome::Silent;
    }
    let microseconds = USUAL + 1000 * (here.faults.network_delay_ms + there.faults.network_delay_ms);
    let lossy = here.faults.large_packets_lost || there.faults.large_packets_lost;
    match (there.listening.get(&target.port), &target.ask) {
        (Some(token), Ask::Token(said)) if token == said && lossy => Outcome::Stalled,
        (Some(token), Ask::Token(said)) if token == said => Outcome::Answered { microseconds },
        (Some(_), Ask::Token(_) | Ask::Http) => Outcome::Stranger,
        (None, Ask::Token(_) | Ask::Http) if there.held.contains(&target.port) => Outcome::Stranger,
        (Some(_), Ask::Connection) => Outcome::Answered { microseconds },
        (None, Ask::Connection) if there.held.contains(&target.port) => Outcome::Answered { microseconds },
        (None, _) => Outcome::Refused,
    }
}

/// Whether a pod of the image answers on the port.
fn serves(there: &Endpoint, image: &str, target: &Target) -> bool {
    let good = there.faults.images.get(image) != Some(&ImageTrouble::Silent);
    good && image.contains("iis") && target.port == HTTP
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_that_ends_does_not_silence_the_one_that_listens_in_its_place() {
        let network = SimulatedNetwork::default();
        let address = Ipv4Addr::new(10, 5, 6, 10);
        network.place(Endpoint {
            name: "lin01".to_owned(),
            addresses: vec![address],
            held: Vec::new(),
            listening: BTreeMap::new(),
            proxies: false,
            faults: Faults::default(),
        });
        let listen = |token: &str| Listen { address, ports: vec![6443], token: token.to_owned(), seconds: 1 };
        assert_eq!(network.listen("lin01", &listen("killed")), [6443]);
        assert_eq!(network.listen("lin01", &listen("again")), [6443]);
        network.silence("lin01", "killed");
        assert!(network.listens("lin01"));
        network.silence("lin01", "again");
        assert!(!network.listens("lin01"));
    }
}
