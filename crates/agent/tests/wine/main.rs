//! The real agent for Windows, run by Wine through its real protocol: facts, files, and services of its own service host.
//!
//! What is missing on this machine (Wine, mingw, Rust's target) is said in one line, and the test is skipped.
#![cfg(target_os = "linux")]

#[cfg(test)]
mod machine;
#[cfg(test)]
mod session;
