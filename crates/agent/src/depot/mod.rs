//! The depot: this host gives files to the agents of other hosts, and takes them from the depot of another.
//!
//! What it gives is programs, which anybody may read; keys never go there. What keeps strangers from it: it is bound to the
//! host's routable address, takes connections from the cluster's hosts only, and answers a token that the run made. What keeps
//! a stranger from posing as it: a key that it makes for itself when it opens, whose digest the other hosts learn over their
//! own sessions. There is no certificate, whose dates and names would say nothing more (TLS with raw public keys, RFC 7250);
//! the private key never leaves this process.

mod client;
mod message;
mod server;
mod store;
mod tls;

use std::fmt;
use std::io;
use std::sync::Arc;

use k8swin_protocol::depot::{DepotOpen, OpenDepot};
use k8swin_protocol::wire::Chunk;

pub(crate) use client::pull;
use server::Server;
use store::Shelf;

use crate::platform::{Platform, PlatformError, Result};

/// The other end of a connection, broken or not.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    /// The connection, or what is said over it.
    #[error("{0}")]
    Connection(#[from] io::Error),
    /// TLS.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// What was said.
    #[error("{0}")]
    Said(String),
}

impl Trouble {
    fn said(text: impl fmt::Display) -> Self {
        Self::Said(text.to_string())
    }
}

/// This host's depot, while a session lasts.
#[derive(Default)]
pub(crate) struct Depot {
    shelf: Shelf,
    server: Option<Server>,
}

impl Depot {
    /// Opens it, in place of an earlier one.
    pub(crate) fn open(&mut self, host: &mut (impl Platform + ?Sized), wanted: &OpenDepot) -> Result<DepotOpen> {
        self.server = None;
        let attempted = || format!("open a depot at {}", wanted.address);
        let listener = host.bind(wanted.address)?;
        let port = listener.local_addr().map_err(|error| PlatformError::new(attempted(), error.to_string()))?.port();
        let (identity, key) =
            tls::Identity::new().map_err(|trouble| PlatformError::new(attempted(), trouble.to_string()))?;
        let peers = wanted.peers.iter().map(|peer| host.seen_as(*peer)).collect();
        let server = Server::start(listener, identity, peers, wanted.token.0.clone(), Arc::clone(self.shelf.goods()))
            .map_err(|error| PlatformError::new(attempted(), error.to_string()))?;
        self.server = Some(server);
        Ok(DepotOpen { port, key })
    }

    /// Takes a piece of what is to be given away; returns how many bytes of it are there now.
    pub(crate) fn stock(&mut self, host: &mut (impl Platform + ?Sized), chunk: &Chunk) -> Result<u64> {
        self.shelf.put(host, chunk)
    }

    /// Closes it and clears what it holds.
    pub(crate) fn close(&mut self, host: &mut (impl Platform + ?Sized)) -> Result<()> {
        self.server = None;
        self.shelf = Shelf::default();
        store::clean(host)
    }
}

/// Removes what a depot of an earlier session left.
pub(crate) fn clean(host: &mut (impl Platform + ?Sized)) -> Result<()> {
    store::clean(host)
}

#[cfg(test)]
mod tests;
