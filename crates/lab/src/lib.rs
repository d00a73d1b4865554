//! Simulated hosts: a real SSH server and a real WinRM server in front of a simulated platform.
//!
//! [`Lab::start`] makes the simulated twin of an inventory on this machine. Every listener is on 127.0.0.1. What runs on
//! the hosts is the agent's own loop on its simulated platform, so that what is rehearsed is what runs.
//!
//! The servers know a host only by what [`program::CommandHost`] says. The end-to-end test puts the WinRM server in front of
//! real programs under Wine that way, with [`bootstrap`], [`command_line`], [`pipe`] and [`keys`] as its tools.

pub mod bootstrap;
pub mod command_line;
mod connection;
mod directory;
mod error;
mod faults;
mod host;
pub mod keys;
mod kubernetes_api;
mod lab;
mod machine;
pub mod pipe;
pub mod program;
pub mod ssh;
mod state_files;
mod tls;
mod twin;
pub mod winrm;

pub use error::LabError;
pub use host::{Counters, LabHost};
pub use lab::{Lab, LabOptions};
