//! The end-to-end test: builds a cluster of real hosts with the very program that a user runs, and takes it apart again.
#![cfg_attr(
    target_os = "linux",
    expect(clippy::print_stdout, clippy::print_stderr, reason = "a developer's tool that talks to the terminal only")
)]

#[cfg(target_os = "linux")]
mod damage;
mod error;
#[cfg(target_os = "linux")]
mod flags;
#[cfg(target_os = "linux")]
mod hosts;
#[cfg(target_os = "linux")]
mod interrupt;
#[cfg(target_os = "linux")]
mod k8swin;
#[cfg(target_os = "linux")]
mod logs;
#[cfg(target_os = "linux")]
mod outage;
#[cfg(target_os = "linux")]
mod parts;
#[cfg(target_os = "linux")]
mod programs;
#[cfg(target_os = "linux")]
mod run;
#[cfg(target_os = "linux")]
mod trouble;
#[cfg(target_os = "linux")]
mod twin;
#[cfg(target_os = "linux")]
mod windows;
#[cfg(target_os = "linux")]
mod winrm;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    use clap::Parser as _;
    run::main(&run::Arguments::parse())
}

#[cfg(not(target_os = "linux"))]
fn main() -> std::process::ExitCode {
    std::process::ExitCode::FAILURE
}
