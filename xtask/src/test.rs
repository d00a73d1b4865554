//! Runs all tests of the workspace: the one command of the README, which CI calls too.

use std::process::Command;

/// Runs `cargo test` for the workspace.
///
/// # Errors
/// When cargo cannot be started or a test fails.
pub(crate) fn run(arguments: &[String]) -> Result<(), String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    // winrm-rs 2 declares a newer rustc than it needs (README, Development).
    let status = Command::new(cargo)
        .args(["test", "--locked", "--ignore-rust-version"])
        .args(arguments)
        .status()
        .map_err(|error| format!("cannot start cargo: {error}"))?;
    if status.success() { Ok(()) } else { Err("tests failed".to_owned()) }
}
