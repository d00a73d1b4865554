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

#[cfg(test)]
mod tests {
    /// winrm-rs 1.x sends parts of a run in the clear and logs secrets; cargo's resolver would choose it for an older rustc.
    #[test]
    fn winrm_rs_is_2_or_later() {
        let lock = include_str!("../../Cargo.lock");
        let (_, package) = lock.split_once("name = \"winrm-rs\"\nversion = \"").unwrap();
        let (major, _) = package.split_once('.').unwrap();
        assert!(major.parse::<u32>().unwrap() >= 2, "{major}");
    }
}
