//! The host agent's program: `serve [OPENING]` on standard input and output, `network` as a service of systemd, `change` as a
//! passing one, `service NAME`
//! for the Service Control Manager of Windows, `version`.

use std::io::{self, Write};
#[cfg(target_os = "linux")]
use std::ops::ControlFlow;
use std::process::ExitCode;

use k8swin_agent::platform::this_host;
use k8swin_protocol::wire::ToAgent;

/// The command line was not understood.
const EXIT_USAGE: u8 = 2;

#[cfg(windows)]
const USAGE: &str = "usage: k8swin-agent serve [OPENING]|change|service NAME|version";
#[cfg(not(windows))]
const USAGE: &str = "usage: k8swin-agent serve [OPENING]|network|change|version";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    match (arguments.next().as_deref(), arguments.next()) {
        (Some("serve"), opening) => match opening.as_deref().map(ToAgent::read_opening).transpose() {
            Ok(opening) => end(k8swin_agent::serve(
                this_host(),
                opening.unwrap_or_default(),
                io::stdin().lock(),
                io::stdout().lock(),
            )),
            Err(error) => end(Err(error)),
        },
        #[cfg(target_os = "linux")]
        (Some("network"), None) => end(network()),
        (Some("change"), None) => end(k8swin_agent::change(&mut this_host())),
        #[cfg(windows)]
        (Some("service"), Some(name)) => end(k8swin_agent::host_service(&name)),
        (Some("version"), None) => say(&mut io::stdout(), &format!("k8swin-agent {}", env!("CARGO_PKG_VERSION"))),
        _ => {
            say(&mut io::stderr(), USAGE);
            ExitCode::from(EXIT_USAGE)
        }
    }
}

/// Keeps the network in place until it is ended; what depends on the service starts after the first look. A start
/// without success ends it, and systemd tries again.
#[cfg(target_os = "linux")]
fn network() -> Result<(), k8swin_agent::PlatformError> {
    let (mut started, mut failed) = (false, None);
    k8swin_agent::keep_network(&mut this_host(), |result| {
        match result {
            Ok(changed) => {
                say(&mut io::stdout(), &format!("the network is in place, {changed} changed"));
                if !std::mem::replace(&mut started, true) {
                    k8swin_agent::notify_ready();
                }
            }
            Err(error) if started => {
                say(&mut io::stderr(), &format!("k8swin-agent: {error}"));
            }
            Err(error) => {
                failed = Some(error);
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    });
    failed.map_or(Ok(()), Err)
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
