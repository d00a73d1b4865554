//! How hosts find out whether they reach each other: an agent listens for a bounded time, others connect to it.
//!
//! Both ends are ours, so an answer proves the whole way: the connecting side sends a token, the listening side sends it
//! back, then each sends [`BULK`] bytes, which fill packets of the largest size. Nothing of it stays on a host.

use std::fmt;
use std::net::Ipv4Addr;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, IntoDeserializer as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

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
#[serde(from = "Grouped", into = "Grouped")]
pub struct Connect {
    /// Ports of other hosts, all tried at once.
    pub targets: Vec<Target>,
    /// How long each may take, in milliseconds.
    pub timeout_ms: u32,
}

/// [`Connect`] on the wire: every host is to connect to every other one, so that what they share is said once.
#[derive(Serialize, Deserialize)]
struct Grouped {
    groups: Vec<(u16, Ask, Vec<Ipv4Addr>)>,
    timeout_ms: u32,
}

impl From<Connect> for Grouped {
    fn from(connect: Connect) -> Self {
        let mut groups: Vec<(u16, Ask, Vec<Ipv4Addr>)> = Vec::new();
        for Target { address, port, ask } in connect.targets {
            match groups.last_mut() {
                Some((of_port, of_ask, addresses)) if *of_port == port && *of_ask == ask => addresses.push(address),
                _ => groups.push((port, ask, vec![address])),
            }
        }
        Self { groups, timeout_ms: connect.timeout_ms }
    }
}

impl From<Grouped> for Connect {
    fn from(Grouped { groups, timeout_ms }: Grouped) -> Self {
        let of_group = |(port, ask, addresses): (u16, Ask, Vec<Ipv4Addr>)| {
            addresses.into_iter().map(move |address| Target { address, port, ask: ask.clone() })
        };
        Self { targets: groups.into_iter().flat_map(of_group).collect(), timeout_ms }
    }
}

/// A port of another host.
#[derive(Clone, Debug, PartialEq, Eq)]
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

/// How an attempt to connect ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", remote = "Self")]
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

/// On the wire nearly all are answers, of which the time alone is told.
impl Serialize for Outcome {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Answered { microseconds } => serializer.serialize_u64(*microseconds),
            // As the derive has it, which stands beside the trait (`remote`).
            otherwise => Self::serialize(otherwise, serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Outcome {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OutcomeVisitor)
    }
}

struct OutcomeVisitor;

impl<'de> Visitor<'de> for OutcomeVisitor {
    type Value = Outcome;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("microseconds, or how the attempt ended otherwise")
    }

    fn visit_u64<E: de::Error>(self, microseconds: u64) -> Result<Outcome, E> {
        Ok(Outcome::Answered { microseconds })
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Outcome, E> {
        Outcome::deserialize(text.into_deserializer())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Outcome, A::Error> {
        Outcome::deserialize(MapAccessDeserializer::new(map))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn outcomes_come_back_and_answers_are_short() {
        let outcomes = vec![
            Outcome::Answered { microseconds: 17 },
            Outcome::Refused,
            Outcome::Silent,
            Outcome::Stalled,
            Outcome::Stranger,
            Outcome::Failed { answer: "no route".to_owned() },
        ];
        let text = serde_json::to_string(&outcomes).unwrap();
        assert!(text.starts_with("[17,"), "{text}");
        assert_eq!(serde_json::from_str::<Vec<Outcome>>(&text).unwrap(), outcomes);
    }

    proptest! {
        #[test]
        fn targets_come_back_in_their_order(
            targets in prop::collection::vec((any::<u32>(), 1_u16..4, any::<bool>()), 0..20),
            timeout_ms: u32,
        ) {
            let target = |(address, port, asks): (u32, u16, bool)| {
                let ask = if asks { Ask::Token("token".to_owned()) } else { Ask::Connection };
                Target { address: Ipv4Addr::from(address), port, ask }
            };
            let connect = Connect { targets: targets.into_iter().map(target).collect(), timeout_ms };
            let text = serde_json::to_string(&connect).unwrap();
            prop_assert_eq!(serde_json::from_str::<Connect>(&text).unwrap(), connect);
        }
    }
}
