//! The agent on real hosts: Debian with systemd, booted on this machine in namespaces of its own.
//!
//! Runs where `K8SWIN_HOST_TESTS` is set. Needs root, and the Debian packages `debootstrap` and `systemd-container`; skipped,
//! aloud, where they are missing.
#![cfg(target_os = "linux")]

#[cfg(test)]
mod accounts;
#[cfg(test)]
mod boot;
#[cfg(test)]
mod change;
#[cfg(test)]
mod failures;
#[cfg(test)]
mod host;
#[cfg(test)]
mod injection;
#[cfg(test)]
mod kinds;
#[cfg(test)]
mod network;
#[cfg(test)]
mod resources;
#[cfg(test)]
mod session;
