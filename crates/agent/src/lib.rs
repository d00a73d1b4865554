//! The host agent: facts, and check, apply and remove of resources, for real and simulated hosts alike.
//!
//! [`serve`] is the one loop. It runs on a [`Host`]: Linux or Windows, real ([`platform::this_host`]) or [`simulated`].

mod agents;
mod blobs;
mod change;
mod depot;
mod engine;
mod host_lock;
mod ledger;
mod lock;
mod network;
#[cfg(target_os = "linux")]
mod notify;
pub mod platform;
mod probe;
mod resources;
mod serve;
#[cfg(any(windows, test))]
mod service_host;
pub mod simulated;

pub use change::change;
pub use network::keep as keep_network;
#[cfg(target_os = "linux")]
pub use notify::notify_ready;
pub use platform::{Host, PlatformError};
pub use serve::{ServeError, serve};
#[cfg(windows)]
pub use service_host::{ServiceHostError, run as host_service};
