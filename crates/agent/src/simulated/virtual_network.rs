//! The network between simulated hosts: who listens where, and what its faults let through.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use k8swin_protocol::probe::{Attempt, Listen, Outcome, Target};

use super::machine::Machine;
use super::spec::Faults;

/// What a connection within one segment takes, in microseconds.
const USUAL: u64 = 300;

/// The hosts of a lab, as they are on the network.
#[derive(Default)]
pub(super) struct SimulatedNetwork {
    endpoints: Mutex<BTreeMap<String, Endpoint>>,
}

/// A host on the network.
pub(super) struct Endpoint {
    name: String,
    addresses: Vec<Ipv4Addr>,
    /// Ports that programs of the host hold.
    held: Vec<u16>,
    /// Where its agent listens, and the token that it wants.
    listening: BTreeMap<u16, String>,
    faults: Faults,
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
        endpoints.insert(endpoint.name.clone(), Endpoint { listening, ..endpoint });
    }

    /// The agent of a host listens on those of the ports that are free, and on no others.
    pub(super) fn listen(&self, host: &str, wanted: &Listen) -> Vec<u16> {
        let mut endpoints = self.endpoints();
        let Some(endpoint) = endpoints.get_mut(host) else { return Vec::new() };
        let its_own = endpoint.addresses.contains(&wanted.address);
        let free = wanted.ports.iter().copied().filter(|port| its_own && !endpoint.held.contains(port));
        let free: Vec<u16> = free.collect();
        endpoint.listening = free.iter().map(|port| (*port, wanted.token.clone())).collect();
        free
    }

    /// The agent of a host has ended.
    pub(super) fn silence(&self, host: &str) {
        if let Some(endpoint) = self.endpoints().get_mut(host) {
            endpoint.listening.clear();
        }
    }

    /// Whether the agent of a host listens anywhere.
    pub(super) fn listens(&self, host: &str) -> bool {
        self.endpoints().get(host).is_some_and(|endpoint| !endpoint.listening.is_empty())
    }

    /// A host connects to another.
    pub(super) fn connect(&self, host: &str, target: &Target) -> Attempt {
        let endpoints = self.endpoints();
        let here = endpoints.get(host);
        let there = endpoints.values().find(|other| other.name != host && other.addresses.contains(&target.address));
        let outcome = match (here, there) {
            (Some(here), Some(there)) => outcome(here, there, target),
            _ => Outcome::Silent,
        };
        Attempt { address: target.address, port: target.port, outcome }
    }

    fn endpoints(&self) -> MutexGuard<'_, BTreeMap<String, Endpoint>> {
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
    match (there.listening.get(&target.port), &target.token) {
        (Some(token), Some(said)) if token == said && lossy => Outcome::Stalled,
        (Some(token), Some(said)) if token == said => Outcome::Answered { microseconds },
        (Some(_), Some(_)) => Outcome::Stranger,
        (None, Some(_)) if there.held.contains(&target.port) => Outcome::Stranger,
        (Some(_), None) => Outcome::Answered { microseconds },
        (None, None) if there.held.contains(&target.port) => Outcome::Answered { microseconds },
        (None, _) => Outcome::Refused,
    }
}
