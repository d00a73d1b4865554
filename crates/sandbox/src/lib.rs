//! Real hosts on one Linux machine, for tests: Debian booted by systemd-nspawn, Windows programs under Wine, each in
//! namespaces of its own, joined by a switch in a namespace of its own. Nothing of the machine's own network is touched.
//!
//! Whatever is started here ends with the thread that started it, however it ends: the kernel kills the first process of
//! each host then, and with it all others of the host. What lies in files and named namespaces is taken away when the
//! values are dropped; what a killed run left is taken away by the next one ([`Sandbox::new`]).
#![cfg(target_os = "linux")]

mod cgroup;
mod error;
mod linux;
mod machine;
mod network;
mod program;
mod rootfs;
mod sandbox;
mod windows;

pub use error::SandboxError;
pub use linux::{LinuxHost, LinuxSettings, Node, ssh_key};
pub use machine::children;
pub use network::{Adapter, Namespace, Network, listen};
pub use rootfs::{Flavour, Rootfs, debian};
pub use sandbox::{Sandbox, cache, needed};
pub use windows::{ADMINISTRATOR, CommandMark, WindowsHost, WindowsSettings, require_moved_clock, require_wine};
