//! Labs, seen by real clients: OpenSSH, libssh2 and TLS. WinRM has tests of its own.

mod common;
mod kubernetes_api;
mod ssh;
mod twin;
