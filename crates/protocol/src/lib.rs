//! What the orchestrator and the host agent agree on: facts, resources, drift, events, framing, host paths. Pure.
//!
//! Everything here is plain data. The orchestrator builds it, the agent carries it out, the lab speaks it, and none of
//! them can say more than these types allow: a Linux host cannot be handed a Windows resource.

pub mod bootstrap;
pub mod depot;
pub mod details;
pub mod digest;
pub mod facts;
pub mod layout;
pub mod owned;
pub mod path;
pub mod probe;
pub mod raw;
pub mod resource;
mod routes;
pub mod secret;
pub mod wire;

pub use digest::Sha256;
pub use facts::Facts;
pub use layout::Os;
pub use path::HostPath;
pub use resource::{HostResources, LinuxResource, Phase, ResourceId, WindowsResource};
pub use secret::SecretBytes;
