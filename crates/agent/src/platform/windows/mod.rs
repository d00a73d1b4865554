//! A real Windows host, by the system's own interfaces. No text of a localised program is ever parsed.
//!
//! This folder is the one place of the workspace with `unsafe` code: each call of the operating system is wrapped in a
//! function that is safe to call. What is pure is also built, and tested, on other systems.

#[cfg(windows)]
mod access;
#[cfg(windows)]
mod api;
#[cfg(windows)]
mod change;
#[cfg(windows)]
mod details;
#[cfg(windows)]
mod docker;
mod docker_answer;
mod embedded_instance;
#[cfg(windows)]
mod features;
#[cfg(windows)]
mod files;
#[cfg(windows)]
mod firewall;
mod firewall_rule;
#[cfg(windows)]
mod host;
#[cfg(windows)]
pub(crate) mod job;
#[cfg(windows)]
mod netsh;
mod netsh_arguments;
#[cfg(windows)]
mod network;
#[cfg(windows)]
mod network_settings;
#[cfg(windows)]
mod remote_access;
mod router_type;
mod sddl;
#[cfg(windows)]
mod search_path;
#[cfg(windows)]
pub(crate) mod services;
mod smbios;
#[cfg(windows)]
mod switch;
#[cfg(windows)]
mod system;

#[cfg(windows)]
pub(super) use host::WindowsHost;
