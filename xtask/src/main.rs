//! The project's own tasks: `cargo xtask test` tests it, `cargo xtask dist` builds what is shipped, `cargo xtask e2e`
//! proves it on hosts.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a developer's tool that talks to the terminal only")]

mod dist;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

/// The tasks of this project.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

/// A task.
#[derive(Subcommand)]
enum Task {
    /// Run all tests; arguments go to `cargo test`.
    Test {
        /// Arguments for `cargo test`, such as `-p k8swin-agent`, and after a second `--` for the tests.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Build k8swin for this machine and the agents for Linux and Windows hosts into target/dist.
    Dist,
    /// Build a cluster of real hosts with k8swin and verify it.
    E2e {
        /// Where the hosts come from.
        #[arg(long)]
        target: Target,
    },
}

/// Where the hosts of an end-to-end test come from.
#[derive(Clone, Copy, ValueEnum)]
enum Target {
    /// Linux network namespaces on this machine, with Wine for the Windows hosts.
    Sandbox,
    /// Virtual machines with Windows Server 2016.
    Hyperv,
}

fn main() -> ExitCode {
    let result = match Arguments::parse().task {
        Task::Test { arguments } => test::run(&arguments),
        Task::Dist => dist::run(),
        Task::E2e { target } => Err(format!(
            "the {} end-to-end test is not there yet; it comes with a later release\n\
             hint: until then `cargo xtask test` runs every command against simulated hosts over real SSH and WinRM",
            target.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
        )),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }
}
