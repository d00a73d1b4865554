//! How hosts find out whether they reach each other: an agent listens for a bounded time, others connect to it.
//!
//! Both ends are ours, so an answer proves the whole way: the connecting side sends a token, the listening side sends it
//! back, then each sends [`BULK`] bytes, which fill packets of the largest size. Nothing of it stays on a host.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

/// Bytes that each side sends after the token: many packets of the largest size, so that a path that loses large packets is
/// noticed.
pub const BULK: usize = 64 << 10;

/// Where to listen, and for how long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listen {
    /// The host's own routable address: nothing is opened on others.
    pub address: Ipv4Addr,
    /// The ports. None at all ends the listening. Those that something holds are left alone.
    pub ports: Vec<u16>,
    /// What the other side must say.
    pub token: String,
    /// Seconds until it ends by itself. It ends with the session in any case.
    pub seconds: u32,
}

/// What to connect to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connect {
    /// Ports of other hosts, all tried at once.
    pub targets: Vec<Target>,
    /// How long each may take, in milliseconds.
    pub timeout_ms: u32,
}

/// A port of another host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Its address.
    pub address: Ipv4Addr,
    /// The port.
    pub port: u16,
    /// What is said there.
    pub ask: Ask,
}

/// What is said over a connection, and so what counts as an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ask {
    /// Nothing: that it is taken is the answer.
    Connection,
    /// The token of the agent that listens there.
    Token(String),
    /// A request for `/`, which a web server answers.
    Http,
}

/// What became of an attempt to connect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// The address.
    pub address: Ipv4Addr,
    /// The port.
    pub port: u16,
    /// What became of it.
    pub outcome: Outcome,
}

/// How an attempt to connect ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Outcome {
    /// The other side answered: the agent with its token, a web server with HTTP, or whatever took the connection.
    Answered {
        /// From the first packet of the connection to its answer, in microseconds.
        microseconds: u64,
    },
    /// The host answered that nothing listens there; or a firewall did.
    Refused,
    /// No answer at all: packets are dropped.
    Silent,
    /// Small packets pass, large ones do not: the path takes smaller packets than the adapters believe (MTU).
    Stalled,
    /// Something else than what was asked for answered.
    Stranger,
    /// The own system could not send: no route, for example.
    Failed {
        /// What it said.
        answer: String,
    },
}
