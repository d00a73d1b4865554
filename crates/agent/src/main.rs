//! The host agent's program: `serve` on standard input and output, `network` at boot, `service NAME` for
//! the Service Control Manager of Windows, `version`.

use std::io::{self, Write};
use std::process::ExitCode;

use k8swin_agent::platform::this_host;

/// The command line was not understood.
const EXIT_USAGE: u8 = 2;

#[cfg(windows)]
const USAGE: &str = "usage: k8swin-agent serve|network|service NAME|version";
#[cfg(not(windows))]
const USAGE: &str = "usage: k8swin-agent serve|network|version";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    match (arguments.next().as_deref(), arguments.next()) {
        (Some("serve"), None) => end(k8swin_agent::serve(this_host(), io::stdin().lock(), io::stdout().lock())),
        (Some("network"), None) => match k8swin_agent::reconcile(&mut this_host()) {
            Ok(changed) => say(&mut io::stdout(), &format!("the network is in place, {changed} changed")),
            Err(error) => end(Err(error)),
        },
        #[cfg(windows)]
        (Some("service"), Some(name)) => end(k8swin_agent::host_service(&name)),
        (Some("version"), None) => say(&mut io::stdout(), &format!("k8swin-agent {}", env!("CARGO_PKG_VERSION"))),
        _ => {
            say(&mut io::stderr(), USAGE);
            ExitCode::from(EXIT_USAGE)
        }
    }
}

fn end(result: Result<(), impl std::error::Error>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&mut io::stderr(), &format!("k8swin-agent: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Writes a line. Whether anybody reads it is not the agent's concern.
fn say(to: &mut impl Write, line: &str) -> ExitCode {
    let _ = writeln!(to, "{line}");
    ExitCode::SUCCESS
}
