//! Runs cargo, as all tasks do.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder into which cargo builds.
pub(crate) fn target(root: &Path) -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from)
}

/// `cargo build`, into another folder than the usual one if it is given.
pub(crate) fn build(root: &Path, target: Option<&Path>, arguments: &[&str]) -> Result<(), String> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    // winrm-rs declares a newer rustc than it needs (.cargo/config.toml).
    command.current_dir(root).args(["build", "--locked", "--ignore-rust-version"]);
    if let Some(target) = target {
        command.arg("--target-dir").arg(target);
    }
    let status = command.args(arguments).status().map_err(|error| format!("cannot run cargo: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("cargo build {} failed", arguments.join(" "))) }
}
