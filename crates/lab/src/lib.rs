//! Simulated hosts: a real SSH server and a real WinRM server in front of a simulated platform.
//!
//! [`Lab::start`] makes the simulated twin of an inventory on this machine. Every listener is on 127.0.0.1. What runs on
//! the hosts is the agent's own loop on its simulated platform, so that what is rehearsed is what runs.

mod bootstrap;
mod command_line;
mod connection;
mod directory;
mod error;
mod faults;
mod host;
mod keys;
mod kubernetes_api;
mod lab;
mod machine;
mod pipe;
pub mod program;
pub mod ssh;
mod state_files;
mod tls;
mod twin;
pub mod winrm;

pub use error::LabError;
pub use host::{Counters, LabHost};
pub use lab::{Lab, LabOptions};
