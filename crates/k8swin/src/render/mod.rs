//! Rendering at the edge: reports and failures on standard output, messages and progress on standard error.

pub(crate) mod build;
pub(crate) mod drawing;
pub(crate) mod findings;
mod json;
mod page;
pub(crate) mod plain;
pub(crate) mod progress;
#[cfg(test)]
pub(crate) mod samples;
pub(crate) mod style;
mod table;

use std::io::{self, Write as _};

use camino::Utf8Path;

use crate::context::Context;
use crate::failure::{Causes, Failure};
use crate::report::Report;
pub(crate) use page::page;

/// Prints what a command came to: data on standard output, what is wrong on standard error.
pub(crate) fn result(context: &Context, command: &str, result: &Result<Report, Failure>) -> io::Result<()> {
    if let Err(failure) = result {
        error(context, failure);
    }
    match result {
        // Made for other programs as it is; JSON would be of no use to a shell.
        Ok(Report::Text(text)) => print(text),
        // Its one document was printed when the hosts were ready.
        Ok(Report::Ended) => Ok(()),
        _ if context.json() => {
            let document = match result {
                Ok(report) => json::report(command, report),
                Err(failure) => json::failure(command, failure),
            };
            print(document.as_bytes())
        }
        Ok(Report::Kubeconfig(config)) => print(config.expose()),
        Ok(Report::Written { text, .. }) => {
            message(text);
            Ok(())
        }
        Ok(report) => print(table::report(report, context.global.verbose > 0, context.stdout).as_bytes()),
        Err(failure) => match &failure.causes {
            Causes::Build(checks) => {
                print(build::checks(checks, context.global.verbose > 0, context.stdout).as_bytes())
            }
            Causes::Findings(found) => {
                print(findings::of_preflight(found, context.global.verbose > 0, context.stdout).as_bytes())
            }
            Causes::Inventory(_) | Causes::None => Ok(()),
        },
    }
}

/// Says that a lab is ready.
pub(crate) fn ready(context: &Context, inventory: &Utf8Path) -> io::Result<()> {
    if context.json() { print(json::ready(inventory).as_bytes()) } else { print(b"ready\n") }
}

/// The document of arguments that could not be parsed. What is wrong is told on standard error, too.
pub(crate) fn usage_error(text: &str) {
    let message = text.lines().next().unwrap_or(text).trim_start_matches("error: ");
    // The exit code says the same to whoever does not read this.
    let _ = print(json::failure("k8swin", &Failure::usage(message)).as_bytes());
}

/// One message for people.
pub(crate) fn message(text: &str) {
    // Whoever closed standard error does not want to read it.
    let _ = writeln!(io::stderr(), "{text}");
}

fn error(context: &Context, failure: &Failure) {
    message(&format!("{} {}", context.stderr.red("error:"), failure.message));
    if let Some(hint) = &failure.hint {
        message(&format!("{} {hint}", context.stderr.cyan("hint:")));
    }
}

fn print(bytes: &[u8]) -> io::Result<()> {
    let mut output = io::stdout().lock();
    match output.write_all(bytes).and_then(|()| output.flush()) {
        // `k8swin … | head` has read enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}
