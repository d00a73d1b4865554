//! Docker's engine as far as the agent, kubelet.exe 1.5.8 and kubelet.exe 1.20.2 ask it. Its containers run no program:
//! those with an address get it on Linux, and those of a web server's image answer there.

mod api;
mod client;
mod containers;
mod http;
mod images;
mod json;
mod networks;
mod state;

pub use api::{Engine, Reply};
pub use client::{ask, docker};
pub use containers::frame;
pub use http::{Request, read_request, write_head, write_json};
pub use networks::boot;
pub use state::{Activity, Container, Image, Network, State};

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use crate::netsh::Desk;

/// The port of the engine's interface, on the loopback address.
pub const PORT: u16 = 2375;

/// The engine's version, as Server 2016 had it (facts D.1).
pub const VERSION: &str = "17.06.2-ee-16";

/// The newest version of the interface; 1.5 kubelets ask for none, 1.20 ones for at least 1.26.
pub const API_VERSION: &str = "1.30";

/// What the engine needs of the world beside its state.
pub trait World {
    /// Linux and the registry.
    fn desk(&mut self) -> &mut dyn Desk;

    /// The time in milliseconds since 1970.
    fn now_ms(&self) -> i64;

    /// Lets what a container shows to the network answer at its address.
    fn start(&mut self, container: &str, image: &str, address: Ipv4Addr);

    /// Ends that.
    fn stop(&mut self, container: &str);

    /// Keeps the state.
    ///
    /// # Errors
    /// When it cannot be written.
    fn keep(&mut self, state: &State) -> Result<(), String>;
}

/// A request that is not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refused {
    /// The code of HTTP.
    pub code: u16,
    /// Why, as Docker says it.
    pub message: String,
}

impl Refused {
    fn new(code: u16, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    fn bad(message: impl Into<String>) -> Self {
        Self::new(400, message)
    }

    fn no(kind: &str, name: &str) -> Self {
        Self::new(404, format!("No such {kind}: {name}"))
    }

    /// What Linux or the registry refused.
    fn host(message: impl Into<String>) -> Self {
        Self::new(500, format!("HNS failed with error : {}", message.into()))
    }
}

/// Labels and the like.
type Texts = BTreeMap<String, String>;
