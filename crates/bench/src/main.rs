//! The benchmarks of `cargo xtask bench`: shipping a file to a Windows host and to many, runs as hosts grow, and the same no-op
//! work by Ansible. Results go into docs/performance.md as tables and plots, each with its command.
#![cfg_attr(
    target_os = "linux",
    expect(clippy::print_stdout, clippy::print_stderr, reason = "a developer's tool that talks to the terminal only")
)]

#[cfg(target_os = "linux")]
mod ansible;
#[cfg(target_os = "linux")]
mod booted;
#[cfg(target_os = "linux")]
mod clients;
#[cfg(target_os = "linux")]
mod depot;
#[cfg(target_os = "linux")]
mod hosts;
#[cfg(target_os = "linux")]
mod over_ssh;
#[cfg(target_os = "linux")]
mod page;
#[cfg(target_os = "linux")]
mod plot;
#[cfg(target_os = "linux")]
mod process;
#[cfg(target_os = "linux")]
mod python;
#[cfg(target_os = "linux")]
mod run;
#[cfg(target_os = "linux")]
mod sandbox;
#[cfg(target_os = "linux")]
mod server;
#[cfg(target_os = "linux")]
mod stream;
#[cfg(target_os = "linux")]
mod tasks;
#[cfg(target_os = "linux")]
mod timeline;
#[cfg(target_os = "linux")]
mod uploads;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    use clap::Parser as _;
    run::main(run::Arguments::parse())
}

#[cfg(not(target_os = "linux"))]
fn main() -> std::process::ExitCode {
    std::process::ExitCode::FAILURE
}
