//! The real agent for Windows, run by Wine through its real protocol: every kind of resource, its own service host, and what
//! happens when a call fails. What Wine lacks is there as stand-ins of ours: see the crate `k8swin-stand-ins`.
//!
//! Runs as root where `K8SWIN_HOST_TESTS` is set. What is missing on this machine (Wine, mingw, Rust's target) is said in one
//! line, and the test is skipped.
#![cfg(target_os = "linux")]

#[cfg(test)]
mod change;
#[cfg(test)]
mod docker;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod machine;
#[cfg(test)]
mod resources;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod services;
#[cfg(test)]
mod silent;
