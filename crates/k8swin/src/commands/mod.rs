//! The commands: each takes its arguments, asks the crate that does the work, and returns a report.

mod build;
mod init;
mod kubeconfig;
mod lab;
mod manual;
mod preflight;

use std::io;
use std::time::Duration;

use k8swin_inventory::Ignored;
use k8swin_inventory::cluster::TestImage;
use k8swin_orchestrator as orchestrator;
use k8swin_orchestrator::report::THIS_MACHINE;

use crate::arguments::{self, Command};
use crate::context::{Context, Inventory, RunSettings};
use crate::failure::Failure;
use crate::render::{self, style::count};
use crate::report::Report;

/// Runs a command.
pub(crate) async fn run(context: &Context, command: Command) -> Result<Report, Failure> {
    match command {
        Command::Init(arguments) => init::run(context, arguments),
        Command::Preflight(arguments) => preflight::run(context, arguments).await,
        Command::Plan(arguments) => plan(context, arguments).await,
        Command::Up(arguments) => up(context, arguments).await,
        Command::Status(arguments) => status(context, arguments).await,
        Command::Verify(arguments) => verify(context, arguments).await,
        Command::Reset(arguments) => reset(context, arguments).await,
        Command::Kubeconfig(arguments) => kubeconfig::run(context, arguments).await,
        Command::Build(arguments) => build::run(context, arguments).await,
        Command::Rehearse(arguments) => lab::rehearse(context, arguments).await,
        Command::Lab(arguments) => lab::keep(context, arguments).await,
        Command::Completions(arguments) => Ok(manual::completions(&arguments)),
        Command::Man(arguments) => manual::pages(&arguments),
    }
}

async fn plan(context: &Context, arguments: arguments::Plan) -> Result<Report, Failure> {
    let inventory = context.inventory(&arguments.inventory.path)?;
    let work = async |options: &_| orchestrator::plan(&inventory.cluster, options).await;
    let plan = context.run(&inventory, RunSettings::default(), work).await??;
    Ok(Report::Plan { plan, explain: arguments.explain })
}

async fn up(context: &Context, arguments: arguments::Up) -> Result<Report, Failure> {
    let inventory = context.inventory(&arguments.inventory.path)?;
    known_hosts(&inventory, &arguments.ignore.checks)?;
    let settings = RunSettings {
        ignore: arguments.ignore.checks,
        break_lock: arguments.lock.break_lock,
        patience: arguments.patience,
        ..RunSettings::default()
    };
    let work = async |options: &_| orchestrator::up(&inventory.cluster, options).await;
    Ok(Report::Run(context.run(&inventory, settings, work).await??))
}

/// Whether `--ignore HOST:CHECK` names hosts of the inventory: a slip would ignore nothing, and nobody would notice.
fn known_hosts(inventory: &Inventory, ignored: &[Ignored]) -> Result<(), Failure> {
    let unknown = ignored.iter().filter_map(|ignored| ignored.host.as_deref()).find(|host| {
        *host != THIS_MACHINE && *host != inventory.cluster.name && inventory.cluster.host(host).is_none()
    });
    match unknown {
        None => Ok(()),
        Some(host) => {
            let names: Vec<_> = inventory.cluster.hosts.iter().map(|host| host.name.as_str()).collect();
            Err(Failure::usage(format!("--ignore names the host `{host}`, which is not in the inventory"))
                .hint(format!("its hosts are {}", names.join(", "))))
        }
    }
}

async fn status(context: &Context, arguments: arguments::Inventory) -> Result<Report, Failure> {
    let inventory = context.inventory(&arguments.path)?;
    let work = async |options: &_| orchestrator::status(&inventory.cluster, options).await;
    Ok(Report::Status(context.run(&inventory, RunSettings::default(), work).await??))
}

async fn verify(context: &Context, arguments: arguments::Verify) -> Result<Report, Failure> {
    let mut inventory = context.inventory(&arguments.inventory.path)?;
    if let Some(image) = arguments.windows_image {
        inventory.cluster.windows_test_image = Some(TestImage { image, port: arguments.windows_port });
    }
    let settings = RunSettings { ready_within: Duration::from_secs(arguments.wait.into()), ..RunSettings::default() };
    let work = async |options: &_| orchestrator::verify(&inventory.cluster, options).await;
    Ok(Report::Verify(context.run(&inventory, settings, work).await??))
}

async fn reset(context: &Context, arguments: arguments::Reset) -> Result<Report, Failure> {
    let inventory = context.inventory(&arguments.inventory.path)?;
    confirm_reset(context, &inventory)?;
    let settings = RunSettings { break_lock: arguments.lock.break_lock, ..RunSettings::default() };
    let work = async |options: &_| orchestrator::reset(&inventory.cluster, options).await;
    Ok(Report::Run(context.run(&inventory, settings, work).await??))
}

/// The cluster and its data are gone afterwards: its name must be typed.
fn confirm_reset(context: &Context, inventory: &Inventory) -> Result<(), Failure> {
    if context.global.yes {
        return Ok(());
    }
    let name = &inventory.cluster.name;
    if !context.can_ask() {
        return Err(Failure::usage(format!("reset takes the cluster `{name}` apart and needs a confirmation"))
            .hint("there is nobody to ask here: say `--yes`"));
    }
    // Not part of the prompt, which is drawn again with the answer.
    let hosts = count(inventory.cluster.hosts.len(), "host");
    render::message(&format!("This takes the cluster `{name}` on {hosts} apart, with all data in it."));
    let answer: String = dialoguer::Input::new()
        .with_prompt("Type its name to go on")
        .allow_empty(true)
        .interact_text()
        .map_err(|error| unanswered(error.into()))?;
    if answer.trim() == name {
        Ok(())
    } else {
        Err(Failure::usage(format!("that is not the name of the cluster, `{name}`; nothing was changed")))
    }
}

/// A question without an answer: Ctrl-C, or a terminal that went away.
fn unanswered(error: io::Error) -> Failure {
    Failure::usage(format!("the question was not answered: {error}")).hint("say it with options, see `--help`")
}
