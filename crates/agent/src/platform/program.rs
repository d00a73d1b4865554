//! Runs programs of the host with argument vectors, in English and with a known search path.

use std::io::{self, Write as _};
use std::process::{Command, Stdio};

use super::{PlatformError, Result};

/// Where programs are looked for: a login that is not interactive may lack the `sbin` folders.
pub(super) const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a program left.
pub(super) struct Finished {
    /// Its exit code; none when a signal ended it.
    pub(super) code: Option<i32>,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

impl Finished {
    /// What it said, for people.
    pub(super) fn said(&self) -> String {
        match (self.stderr.trim(), self.stdout.trim(), self.code) {
            ("", "", Some(code)) => format!("it said nothing and ended with code {code}"),
            ("", "", None) => "it was ended by a signal".to_owned(),
            ("", said, _) | (said, _, _) => said.to_owned(),
        }
    }
}

/// Runs a program to its end, whatever its exit code is.
pub(super) fn run(attempted: &str, program: &str, arguments: &[&str]) -> Result<Finished> {
    run_with(attempted, program, arguments, &[], &[])
}

/// Runs a program with bytes on its standard input and more variables.
pub(super) fn run_with(
    attempted: &str,
    program: &str,
    arguments: &[&str],
    input: &[u8],
    environment: &[(&str, &str)],
) -> Result<Finished> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => PlatformError::new(attempted, format!("there is no program {program}"))
            .with_hint(format!("install {program} on the host")),
        _ => PlatformError::new(attempted, format!("{program}: {error}")),
    };
    let mut child = Command::new(program)
        .args(arguments)
        .env("PATH", SEARCH_PATH)
        .env("LC_ALL", "C")
        .envs(environment.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that ends without reading says why on its standard error.
        let _ = stdin.write_all(input);
    }
    let output = child.wait_with_output().map_err(failed)?;
    Ok(Finished {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// Runs a program that must succeed; returns its output.
pub(super) fn succeed(attempted: &str, program: &str, arguments: &[&str]) -> Result<String> {
    let finished = run(attempted, program, arguments)?;
    match finished.code {
        Some(0) => Ok(finished.stdout),
        _ => Err(PlatformError::new(attempted, finished.said())),
    }
}
