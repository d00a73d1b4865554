//! The project's own tasks: `cargo xtask test` tests it, `cargo xtask dist` builds what is shipped, `cargo xtask e2e`
//! proves it on hosts, `cargo xtask bench` measures it.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a developer's tool that talks to the terminal only")]

mod bench;
mod cargo;
mod dist;
#[cfg(target_os = "linux")]
mod e2e;
mod test;

use std::path::Path;
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
    /// Measure k8swin beside other tools, and write docs/performance.md.
    Bench {
        /// Arguments for k8swin-bench: what to measure (`stream`, `hosts`, `ansible`), `--quick`; `--help` tells all.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Build a cluster of real hosts with k8swin and verify it.
    E2e {
        /// Where the hosts come from.
        #[arg(long)]
        target: Target,
        #[cfg(target_os = "linux")]
        #[command(flatten)]
        arguments: e2e::Arguments,
    },
}

/// Where the hosts of an end-to-end test come from.
#[derive(Clone, Copy, ValueEnum)]
enum Target {
    /// Namespaces of this machine: Debian with systemd, and Wine with stand-ins for what it lacks. Needs root.
    Sandbox,
    /// Virtual machines with Windows Server 2016.
    Hyperv,
}

fn main() -> ExitCode {
    let result = match Arguments::parse().task {
        Task::Test { arguments } => test::run(&arguments),
        Task::Dist => dist::run().map(drop),
        Task::Bench { arguments } => bench::run(&arguments),
        #[cfg(target_os = "linux")]
        Task::E2e { target: Target::Sandbox, arguments } => e2e::sandbox(&arguments),
        #[cfg(not(target_os = "linux"))]
        Task::E2e { target: Target::Sandbox } => {
            Err("the sandbox is made of Linux' namespaces: run this on Linux".into())
        }
        Task::E2e { target: Target::Hyperv, .. } => Err("the test on Hyper-V is not there yet\n\
             hint: `cargo xtask e2e --target sandbox` runs the real programs on hosts of this machine"
            .to_owned()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

/// The folder of the workspace.
fn root() -> Result<&'static Path, String> {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or_else(|| "xtask has no workspace above it".to_owned())
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
