//! What a user sees: the `k8swin` program against the lab, over real SSH and real WinRM on loopback.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a helper of a test fails as the test does: loudly"
)]

mod support;

mod build;
mod build_kubernetes;
mod counts;
mod crash;
mod depot;
mod docker;
mod failures;
mod interrupt;
mod inventories;
mod lock;
mod network;
mod one_host;
mod preflight;
mod raw_input;
mod report_page;
mod safety;
mod secrets;
mod trace;
mod verify;
