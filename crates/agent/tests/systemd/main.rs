//! The agent on real hosts: Debian with systemd, booted on this machine in namespaces of its own.
//!
//! Needs root, and the Debian packages `debootstrap` and `systemd-container`; skipped, aloud, where they are missing.

#[cfg(all(test, target_os = "linux"))]
mod boot;
#[cfg(all(test, target_os = "linux"))]
mod failures;
#[cfg(all(test, target_os = "linux"))]
mod host;
#[cfg(all(test, target_os = "linux"))]
mod kinds;
#[cfg(all(test, target_os = "linux"))]
mod resources;
#[cfg(all(test, target_os = "linux"))]
mod rootfs;
#[cfg(all(test, target_os = "linux"))]
mod session;
