//! The depot: one host's agent gives files, compressed as they came, to the agents of the others.
//!
//! Only what anybody may read goes there: programs. Keys go to each host over its own session.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::Sha256;
use crate::resource::Blob;
use crate::wire::WireBytes;

/// Where a piece of a blob is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Store {
    /// In the staging folder, for files of this host.
    #[default]
    Staging,
    /// In the depot, for other hosts, compressed as it came.
    Depot,
}

/// Opens a depot. Answer: [`DepotOpen`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenDepot {
    /// The host's own routable address: nothing is opened on others.
    pub address: Ipv4Addr,
    /// Who may connect. Everybody else is refused before TLS.
    pub peers: Vec<Ipv4Addr>,
    /// What they must say.
    pub token: WireBytes,
}

/// An open depot. It closes with its session at the latest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DepotOpen {
    /// The port that the system chose.
    pub port: u16,
    /// The digest of the depot's public key (its SubjectPublicKeyInfo), which was made for it alone.
    pub key: Sha256,
}

/// What to take from a depot into the staging folder. Answer: [`Pulled`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pull {
    /// The depot's address.
    pub address: Ipv4Addr,
    /// Its port and key.
    pub depot: DepotOpen,
    /// What the depot wants to hear.
    pub token: WireBytes,
    /// What to take. What is there from an earlier attempt is not asked for again.
    pub blobs: Vec<Blob>,
}

/// What became of a pull.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pulled {
    /// Bytes that came from the depot, as they were packed.
    pub received: u64,
    /// Why not all came: the depot is not reached, is not the one that was meant, or has not what it should.
    pub trouble: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SecretBytes;
    use crate::wire::{decode, encode};

    #[test]
    fn the_token_is_not_shown_by_debug() {
        let token = WireBytes(SecretBytes::new("canary"));
        let depot = DepotOpen { port: 1, key: Sha256::of(b"key") };
        let address = Ipv4Addr::LOCALHOST;
        let pull = Pull { address, depot, token: token.clone(), blobs: Vec::new() };
        let open = OpenDepot { address, peers: Vec::new(), token };
        assert!(!format!("{pull:?} {open:?}").contains("canary"));
        assert_eq!(decode::<Pull>(encode(&pull).as_bytes()).unwrap(), pull);
        assert_eq!(decode::<OpenDepot>(encode(&open).as_bytes()).unwrap(), open);
    }
}
