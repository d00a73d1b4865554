//! `preflight`: the findings, a page of them, or the list of all checks.

use k8swin_orchestrator as orchestrator;

use super::known_hosts;
use crate::arguments;
use crate::context::{Context, RunSettings};
use crate::failure::Failure;
use crate::render;
use crate::report::Report;

/// Looks at the hosts, or prints the catalogue.
pub(crate) async fn run(context: &Context, arguments: arguments::Preflight) -> Result<Report, Failure> {
    if arguments.list {
        return Ok(Report::Catalogue);
    }
    let inventory = context.inventory(&arguments.inventory.path)?;
    known_hosts(&inventory, &arguments.ignore.checks)?;
    let settings = RunSettings { ignore: arguments.ignore.checks, ..RunSettings::default() };
    let work = async |options: &_| orchestrator::preflight(&inventory.cluster, options).await;
    let preflight = context.run(&inventory, settings, work).await??;
    if let Some(path) = arguments.output_file {
        std::fs::write(&path, render::page(&preflight)).map_err(Failure::io("write", &path))?;
        if !context.global.quiet {
            render::message(&format!("the report is in {path}"));
        }
    }
    Ok(Report::Preflight(preflight))
}
