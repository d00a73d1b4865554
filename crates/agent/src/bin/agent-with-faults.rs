//! The agent with calls that fail when a test wants them to: `agent-with-faults serve FILE` on standard input and output. It
//! hosts services as the agent does, whose calls do not fail. It is not shipped.

use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use k8swin_agent::platform::{this_host, with_faults};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let done = match (arguments.next().as_deref(), arguments.next()) {
        (Some("serve"), Some(wanted)) => {
            let host = with_faults(this_host(), Path::new(&wanted));
            k8swin_agent::serve(host, Vec::new(), io::stdin().lock(), io::stdout().lock())
                .map_err(|error| error.to_string())
        }
        #[cfg(windows)]
        (Some("service"), Some(name)) => k8swin_agent::host_service(&name).map_err(|error| error.to_string()),
        _ => Err("usage: agent-with-faults serve FILE|service NAME".to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Whether anybody reads it is the test's concern.
            let _ = writeln!(io::stderr(), "agent-with-faults: {error}");
            ExitCode::FAILURE
        }
    }
}
