//! One SSH connection or one WinRM shell a host for the whole run, with the agent at its other end.
//!
//! [`connect`] gives a [`Session`] whose agent has said hello; what crosses it are whole lines
//! ([`k8swin_protocol::wire`]). The two ways to reach a host are behind the small trait `Remote`; putting the agent on the
//! host, its greeting, lines and the end of a session are written once above it.

mod bootstrap;
mod connect;
mod error;
mod lines;
mod remote;
mod secrets;
mod session;
mod ssh;
mod winrm;

pub use connect::{AgentBinary, OnRetry, Options, connect};
pub use error::{ConnectError, HostKey, Target, TransportError};
pub use secrets::{SecretError, Secrets};
pub use session::{AgentFate, Session};
