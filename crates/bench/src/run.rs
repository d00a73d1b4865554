//! The arguments, and which benchmarks they ask for.

use std::process::{Command, ExitCode};
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use clap::{Parser, Subcommand, ValueEnum};

use crate::page::{Results, number};
use crate::{ansible, clients, depot, hosts, over_ssh, process, sandbox, server, stream};

/// How long it is looked at what others do on the machine.
const LOOK: Duration = Duration::from_secs(3);

/// A machine of whose cores so much is busy does nothing else.
const QUIET: f64 = 0.2;

/// Measures k8swin, and writes docs/performance.md.
#[derive(Parser)]
#[command(name = "k8swin-bench", args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    part: Option<Part>,
    /// What to measure [default: everything]
    #[arg(value_enum)]
    what: Vec<What>,
    /// Less of everything: minutes instead of tens of them. docs/performance.md stays as it is.
    #[arg(long)]
    quick: bool,
    /// The program to ship, of more than 100 MB [default: rustc's own library]
    #[arg(long, value_name = "FILE")]
    file: Option<Utf8PathBuf>,
    /// Stop at so many hosts.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    most_hosts: usize,
    /// A timeline of `k8swin up --trace` that `sandbox` is to show.
    #[arg(long, value_name = "FILE")]
    timeline: Option<Utf8PathBuf>,
    /// The folder with k8swin and k8swin-agent.
    #[arg(long, value_name = "FOLDER", default_value = "target/release")]
    programs: Utf8PathBuf,
    /// The folder with performance.md.
    #[arg(long, value_name = "FOLDER", default_value = "docs")]
    docs: Utf8PathBuf,
    /// The folder for tools from PyPI.
    #[arg(long, value_name = "FOLDER", default_value = "target/bench")]
    work: Utf8PathBuf,
}

/// The benchmarks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// Shipping a program to one Windows host.
    Stream,
    /// A program for many hosts, by the depot.
    Depot,
    /// A run as hosts grow.
    Hosts,
    /// The same no-op work by Ansible.
    Ansible,
    /// Where the time goes in a first `up` of the sandbox, from its timeline (`--timeline`).
    Sandbox,
}

/// What the benchmarks run as processes of their own.
#[derive(Subcommand)]
enum Part {
    #[command(hide = true)]
    Serve { inventory: Utf8PathBuf, out: Utf8PathBuf },
    #[command(hide = true)]
    Copy { port: u16, ca: Utf8PathBuf, file: Utf8PathBuf },
    #[command(hide = true)]
    UploadFile { port: u16, ca: Utf8PathBuf, password: Utf8PathBuf, file: Utf8PathBuf },
    #[command(hide = true)]
    SendInput {
        port: u16,
        ca: Utf8PathBuf,
        password: Utf8PathBuf,
        file: Utf8PathBuf,
        #[arg(long)]
        sealed: bool,
    },
    #[command(hide = true)]
    OverSsh {
        inventory: Utf8PathBuf,
        agent: Utf8PathBuf,
        #[arg(long)]
        apply: bool,
    },
}

/// How to measure.
pub(crate) struct Settings {
    pub(crate) quick: bool,
    pub(crate) file: Option<Utf8PathBuf>,
    pub(crate) most_hosts: usize,
    pub(crate) programs: Utf8PathBuf,
    pub(crate) work: Utf8PathBuf,
}

impl Settings {
    /// k8swin, with nothing of this user's but what is in `folder`.
    pub(crate) fn k8swin(&self, folder: &Utf8Path) -> Command {
        let mut command = Command::new(self.programs.join("k8swin"));
        command.env("HOME", folder).env("XDG_CACHE_HOME", folder.join("cache")).env("NO_COLOR", "1");
        command.env_remove("SSH_AUTH_SOCK").env_remove("KUBECONFIG");
        command
    }

    /// This program, to be run as another process.
    pub(crate) fn this(&self) -> Result<Command, String> {
        std::env::current_exe().map(Command::new).map_err(|error| format!("this program is not found: {error}"))
    }
}

/// The name of a host of a benchmark. The MAC addresses of simulated hosts come from their names; those of the first thousand
/// of these differ, as preflight wants it.
pub(crate) fn host(number: usize) -> String {
    format!("server{number}")
}

/// Runs what the arguments ask for.
pub(crate) fn main(arguments: Arguments) -> ExitCode {
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<(), String> {
    let Arguments { part, what, quick, file, most_hosts, timeline, programs, docs, work } = arguments;
    match part {
        Some(Part::Serve { inventory, out }) => return server::serve(&inventory, &out),
        Some(Part::Copy { port, ca, file }) => {
            return clients::copy(port, &ca, &file).map(|seconds| println!("{seconds}"));
        }
        Some(Part::UploadFile { port, ca, password, file }) => {
            return clients::upload_file(port, &ca, &password, &file).map(|seconds| println!("{seconds}"));
        }
        Some(Part::SendInput { port, ca, password, file, sealed }) => {
            return clients::send_input(port, &ca, &password, &file, sealed).map(|seconds| println!("{seconds}"));
        }
        Some(Part::OverSsh { inventory, agent, apply }) => {
            return over_ssh::run(&inventory, &agent, apply).map(|seconds| println!("{seconds}"));
        }
        None => {}
    }
    // Programs are run in other folders, too.
    let absolute = |path: Utf8PathBuf| camino::absolute_utf8(path).map_err(|error| error.to_string());
    let settings = Settings { quick, file, most_hosts, programs: absolute(programs)?, work: absolute(work)? };
    let all = [What::Stream, What::Depot, What::Hosts, What::Ansible, What::Sandbox];
    for (benchmark, name) in all.into_iter().zip(["stream", "depot", "hosts", "ansible", "sandbox"]) {
        // A timeline is shown where one is given.
        let is_wanted = if what.is_empty() { benchmark != What::Sandbox } else { what.contains(&benchmark) };
        if !is_wanted {
            continue;
        }
        let mut results = Results::default();
        // A timeline was taken at another time.
        let others = if quick || benchmark == What::Sandbox { None } else { others() };
        match benchmark {
            What::Stream => stream::run(&settings, &mut results)?,
            What::Depot => depot::run(&settings, &mut results)?,
            What::Hosts => hosts::run(&settings, &mut results)?,
            What::Ansible => ansible::run(&settings, &mut results)?,
            What::Sandbox => {
                let timeline = timeline.as_ref().ok_or("name the timeline of a first `up` with --timeline")?;
                sandbox::run(timeline, &mut results)?;
            }
        }
        println!("{}", results.shown());
        if !quick {
            results.write(&docs, name, &about(others))?;
        }
    }
    Ok(())
}

/// How many cores others kept busy right before a benchmark began. A load average would have earlier benchmarks in it.
fn others() -> Option<f64> {
    let before = process::busy_seconds()?;
    std::thread::sleep(LOOK);
    Some((process::busy_seconds()? - before) / LOOK.as_secs_f64())
}

/// The machine and the day; `others` is how many cores were busy before.
fn about(others: Option<f64>) -> String {
    let model = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = model.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let model = model.trim_start_matches([' ', '\t', ':']).to_owned();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let day = jiff::Timestamp::now().strftime("%Y-%m-%d").to_string();
    format!("Taken on {day} on {cores} cores of {model}, Linux.{}", shared(others))
}

/// What there is to say about other work on the machine.
fn shared(others: Option<f64>) -> String {
    match others {
        Some(busy) if busy > QUIET => {
            format!(" Others kept {} of the cores busy before it began: read ratios, not seconds.", number(busy))
        }
        Some(_) => " The machine did nothing else before it began.".to_owned(),
        None => String::new(),
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

    #[test]
    fn other_work_on_the_machine_is_told_where_it_is_known() {
        assert_eq!(shared(None), "");
        assert!(shared(Some(0.01)).contains("nothing else"));
        assert!(shared(Some(1.5)).contains("kept 1.50 of the cores busy"));
    }
}
