//! The command line of k8swin: arguments, rendering of events and reports, exit codes. What is done is done elsewhere.

mod arguments;
mod commands;
mod context;
mod exit;
mod failure;
mod interrupt;
mod kubeconfig;
mod logging;
mod render;
mod report;
mod trace;

use std::process::ExitCode;

use clap::Parser as _;

use crate::arguments::Cli;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::report::Report;

fn main() -> ExitCode {
    let Cli { global, command } = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let arguments: Vec<String> = std::env::args_os().map(|text| text.to_string_lossy().into_owned()).collect();
            // Help and versions are no errors, and are asked for as text.
            if error.use_stderr() && arguments::want_json(&arguments) {
                render::usage_error(&error.to_string());
            }
            error.exit()
        }
    };
    let name = command.name();
    let context = Context::new(global);
    let result = run(&context, command);
    let exit = result.as_ref().map_or_else(|failure| failure.exit, Report::exit);
    match render::result(&context, name, &result) {
        Ok(()) => exit.into(),
        Err(error) => {
            render::message(&format!("error: cannot write to standard output: {error}"));
            Exit::Failed.into()
        }
    }
}

fn run(context: &Context, command: arguments::Command) -> Result<Report, Failure> {
    logging::start(context.global.verbose, context.global.log_file.as_deref(), context.stderr.is_enabled())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("cannot start: {error}")))?;
    let result = runtime.block_on(commands::run(context, command));
    // A question that nobody answered any more, or a name that never resolved, keeps nobody waiting.
    runtime.shutdown_background();
    result
}
