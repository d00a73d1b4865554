//! `rehearse` and `lab`: the inventory's simulated twin, for one run or for as long as it is wanted.

use camino::Utf8Path;
use k8swin_inventory::Ignored;
use k8swin_lab::{Lab, LabOptions};
use k8swin_orchestrator::{self as orchestrator, RunError};

use crate::arguments;
use crate::context::{Context, Inventory, RunSettings};
use crate::failure::Failure;
use crate::report::Report;
use crate::{interrupt, render};

/// `up` against the twin, which is forgotten afterwards.
pub(crate) async fn rehearse(context: &Context, arguments: arguments::Rehearse) -> Result<Report, Failure> {
    let original = context.inventory(&arguments.inventory.path)?;
    let folder = tempfile::Builder::new()
        .prefix("k8swin-rehearsal-")
        .tempdir()
        .map_err(|error| Failure::failed(format!("cannot create a temporary folder: {error}")))?;
    let folder = Utf8Path::from_path(folder.path())
        .ok_or_else(|| Failure::failed("the path of the temporary folder is not UTF-8").hint("set TMPDIR"))?;
    // The temporary folder is removed also when Ctrl-C comes before the run does.
    let signal = interrupt::signal();
    tokio::pin!(signal);
    let twin = folder.join("lab");
    let starting = Lab::start(&original.text, &original.path, &twin, LabOptions::default());
    let lab = tokio::select! {
        biased;
        () = &mut signal => return Err(Failure::from(RunError::Interrupted)),
        lab = starting => lab?,
    };
    // A signal that came while keys were made is known only now; later ones end the run.
    tokio::select! {
        biased;
        () = &mut signal => {
            lab.shutdown().await?;
            return Err(Failure::from(RunError::Interrupted));
        }
        () = std::future::ready(()) => {}
    }
    let result = run_up(context, &lab.inventory(), folder, arguments.ignore.checks).await;
    let ended = lab.shutdown().await;
    let report = result?;
    ended?;
    Ok(report)
}

async fn run_up(
    context: &Context,
    path: &Utf8Path,
    folder: &Utf8Path,
    ignore: Vec<Ignored>,
) -> Result<Report, Failure> {
    let text = std::fs::read_to_string(path).map_err(Failure::io("read", path))?;
    let cluster = k8swin_inventory::parse(&text, path)?;
    let twin = Inventory { path: path.to_owned(), text, cluster };
    let settings = RunSettings { ignore, forgotten: Some(folder.to_owned()), ..RunSettings::default() };
    let work = async |options: &_| orchestrator::up(&twin.cluster, options).await;
    Ok(Report::Run(context.run(&twin, settings, work).await??))
}

/// The twin stays up until Ctrl-C or SIGTERM.
pub(crate) async fn keep(context: &Context, arguments: arguments::Lab) -> Result<Report, Failure> {
    let original = context.inventory(&arguments.inventory.path)?;
    // Before the start: whoever ends a lab early ends it cleanly, too.
    let signal = interrupt::signal();
    tokio::pin!(signal);
    let starting = Lab::start(&original.text, &original.path, &arguments.out, LabOptions::default());
    let lab = tokio::select! {
        biased;
        () = &mut signal => return Ok(Report::Ended),
        lab = starting => lab?,
    };
    let inventory = lab.inventory();
    render::ready(context, &inventory)
        .map_err(|error| Failure::failed(format!("cannot write to standard output: {error}")))?;
    if !context.global.quiet {
        render::message(&format!(
            "the simulated hosts listen; reach them with `k8swin up {inventory}`; end with Ctrl-C"
        ));
    }
    signal.await;
    lab.shutdown().await?;
    Ok(Report::Ended)
}
