//! Logs of the program itself, for whoever looks for a fault: to standard error with `-v`, and to a file.
//!
//! Only our own crates log: what other crates put into their messages is not ours to vouch for, and logs hold no secrets.

use std::fs::{File, OpenOptions};
use std::io;
use std::sync::Mutex;

use camino::Utf8Path;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::layer;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::failure::Failure;

/// Targets of our crates: `k8swin`, `k8swin_orchestrator`, …
const OURS: &str = "k8swin";

/// The target of what also goes over the terminal as progress: only the file gets it.
pub(crate) const EVENTS: &str = "k8swin::events";

/// Starts logging.
pub(crate) fn start(verbosity: u8, file: Option<&Utf8Path>, colour: bool) -> Result<(), Failure> {
    let terminal = match verbosity {
        0 => None,
        1 => Some(tracing::Level::INFO),
        2 => Some(tracing::Level::DEBUG),
        _ => Some(tracing::Level::TRACE),
    };
    let terminal =
        terminal.map(|level| layer().with_writer(io::stderr).with_ansi(colour).with_filter(for_terminal(level)));
    let file = match file {
        Some(path) => {
            let file = open(path).map_err(Failure::io("open the log file", path))?;
            Some(layer().with_writer(Mutex::new(file)).with_ansi(false).with_filter(for_file()))
        }
        None => None,
    };
    if terminal.is_none() && file.is_none() {
        return Ok(());
    }
    tracing_subscriber::registry()
        .with(terminal)
        .with(file)
        .try_init()
        .map_err(|error| Failure::failed(format!("cannot start logging: {error}")))
}

fn for_terminal(level: tracing::Level) -> Targets {
    Targets::new().with_target(OURS, level).with_target(EVENTS, LevelFilter::OFF)
}

fn for_file() -> Targets {
    Targets::new().with_target(OURS, tracing::Level::DEBUG)
}

/// Opens the file for appending; a new one is for this user only.
fn open(path: &Utf8Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    options.open(path)
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn what_is_progress_on_the_terminal_is_logged_to_the_file_only() {
        assert!(for_file().would_enable(EVENTS, &Level::INFO));
        assert!(!for_terminal(Level::TRACE).would_enable(EVENTS, &Level::INFO));
        assert!(for_terminal(Level::DEBUG).would_enable("k8swin_transport::bootstrap", &Level::DEBUG));
        assert!(!for_file().would_enable("reqwest", &Level::ERROR), "others' messages are not ours to vouch for");
    }
}
