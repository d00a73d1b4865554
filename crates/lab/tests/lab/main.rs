//! Labs, seen by real clients: OpenSSH, libssh2, winrm-rs and TLS.

#![expect(clippy::panic, clippy::print_stderr, clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod common;
mod kubernetes_api;
mod ssh;
mod twin;
mod winrm;
