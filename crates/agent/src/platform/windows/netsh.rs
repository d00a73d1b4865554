//! Runs `netsh`, the one program that writes network settings: it does so now and for the next boot alike.
//!
//! Its exit code tells whether it worked, and what it says is for people, in whatever language it is. That it did what it
//! was asked to is always looked up afterwards, by interface or registry.

use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::super::{PlatformError, Result};
use super::netsh_arguments::Arguments;
use super::system;

/// How long Windows may take until what was set shows: a new address is looked for on the link first.
const SETTLING: Duration = Duration::from_secs(5);

/// How often it is looked up.
const POLL: Duration = Duration::from_millis(100);

/// Runs `netsh` of the system's own folder, which must succeed.
pub(super) fn run(attempted: &str, arguments: &Arguments) -> Result<()> {
    let program = system::directory()?.join("netsh.exe");
    let failed = |answer: String| {
        PlatformError::new(attempted, format!("netsh: {answer}"))
            .with_hint(format!("run it on the host by hand: netsh {}", arguments.join(" ")))
    };
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output = output.map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Err(failed(if said.is_empty() { output.status.to_string() } else { said }))
}

/// Waits until the host is as it was asked to be; `difference` says how it is not.
pub(super) fn confirm(attempted: &str, difference: impl FnMut() -> Result<Option<String>>) -> Result<()> {
    match settle(difference)? {
        None => Ok(()),
        Some(difference) => {
            let answer = format!("every step succeeded, but it still differs: {difference}");
            Err(PlatformError::new(attempted, answer)
                .with_hint("something else on the host may change it back, or netsh.exe is not the one of Windows"))
        }
    }
}

/// Waits until nothing differs any more, and returns what still does when the time is up.
pub(super) fn settle(mut difference: impl FnMut() -> Result<Option<String>>) -> Result<Option<String>> {
    let deadline = Instant::now() + SETTLING;
    loop {
        let found = difference()?;
        if found.is_none() || Instant::now() >= deadline {
            return Ok(found);
        }
        thread::sleep(POLL);
    }
}
