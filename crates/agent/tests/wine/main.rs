//! The real agent for Windows, run by Wine through its real protocol: facts, files, and services of its own service host.
//!
//! Runs where `K8SWIN_HOST_TESTS` is set. What is missing on this machine (Wine, mingw, Rust's target) is said in one line, and
//! the test is skipped.
#![cfg(target_os = "linux")]

#[cfg(test)]
mod machine;
#[cfg(test)]
mod session;
