//! Runs programs of this machine, with argument vectors.

use std::ffi::OsStr;
use std::process::{Command, Output, Stdio};

use crate::SandboxError;

/// Whether a program is in the PATH.
pub(crate) fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// A command without input.
pub(crate) fn command<I: AsRef<OsStr>>(program: &str, arguments: impl IntoIterator<Item = I>) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Runs a program that must succeed; returns what it wrote to standard output.
pub(crate) fn run<I: AsRef<OsStr>>(
    program: &str,
    arguments: impl IntoIterator<Item = I>,
) -> Result<String, SandboxError> {
    finish(&mut command(program, arguments))
}

/// Runs a command that must succeed; returns what it wrote to standard output.
pub(crate) fn finish(command: &mut Command) -> Result<String, SandboxError> {
    let shown = shown(command);
    let failed = |answer: String| SandboxError::Program { program: shown.clone(), answer };
    let Output { status, stdout, stderr } = command.output().map_err(|error| failed(error.to_string()))?;
    let stdout = String::from_utf8_lossy(&stdout).into_owned();
    if status.success() {
        return Ok(stdout);
    }
    let stderr = String::from_utf8_lossy(&stderr);
    let said = if stderr.trim().is_empty() { stdout.trim() } else { stderr.trim() };
    Err(failed(format!("{status}; {said}")))
}

/// Runs a command that must succeed and that leaves others running: they would hold its output open.
pub(crate) fn succeed(command: &mut Command) -> Result<(), SandboxError> {
    let shown = shown(command);
    let failed = |answer: String| SandboxError::Program { program: shown.clone(), answer };
    let ended = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    let status = ended.map_err(|error| failed(error.to_string()))?;
    if status.success() { Ok(()) } else { Err(failed(status.to_string())) }
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}
