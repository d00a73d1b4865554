//! Programs run as Windows services by the agent's service host (facts B.4).

use std::time::Duration;

use k8swin_protocol::SecretBytes;
use k8swin_protocol::resource::{CheckOutcome, ServiceProgram, WindowsService};

use super::{Context, Prior, ServicePrior, absent, restart};
use crate::platform::{
    FileKind, InstalledService, PlatformError, Result, ServiceDefinition, ServiceImage, StartMode, WindowsPlatform,
};

type Host<'a> = &'a mut (dyn WindowsPlatform + Send);

/// How long a service is watched after its start.
const SETTLING: [Duration; 4] = [Duration::from_millis(500); 4];

/// How many lines of a log stand in an error.
const LOG_LINES: usize = 20;

pub(super) fn check(service: &WindowsService, host: Host<'_>, context: &Context) -> Result<CheckOutcome> {
    let Some(InstalledService { definition, running }) = host.service(&service.name)? else {
        return Ok(absent("absent"));
    };
    if let Some(difference) = difference(&definition, &define(service, host)?) {
        return Ok(restart(difference));
    }
    Ok(if !running {
        restart("is stopped, expected running")
    } else if context.started_with != Some(service.inputs) {
        restart("runs with other configuration")
    } else {
        CheckOutcome::InSync
    })
}

pub(super) fn capture(service: &WindowsService, host: Host<'_>) -> Result<Prior> {
    let Some(found) = host.service(&service.name)? else { return Ok(Prior::Service(None)) };
    let dependents = host.running_dependents(&service.name)?;
    let prior = ServicePrior { definition: found.definition, running: found.running, dependents };
    Ok(Prior::Service(Some(prior)))
}

pub(super) fn apply(service: &WindowsService, host: Host<'_>) -> Result<()> {
    let definition = define(service, host)?;
    let stopped = install(&service.name, &definition, host)?;
    let before = log(service, host)?.map_or(0, |log| log.expose().len());
    let started = host.start_service(&service.name);
    if started.is_err() || !settles(&service.name, host)? {
        let said = log_since(before, service, host)?;
        let answer = match (started, said) {
            (Err(error), Some(said)) => format!("{}\n{said}", error.answer),
            (Ok(()), Some(said)) => said,
            (Err(error), None) => error.answer,
            (Ok(()), None) => "it ended right after its start and wrote nothing to its log".to_owned(),
        };
        return Err(PlatformError::new(format!("start the service {}", service.name), answer)
            .with_hint(format!("its log on the host shows all that {} wrote", service.name)));
    }
    stopped.iter().rev().try_for_each(|dependent| host.start_service(dependent))
}

pub(super) fn take_back(service: &WindowsService, host: Host<'_>, prior: Option<&ServicePrior>) -> Result<()> {
    let name = &service.name;
    let Some(prior) = prior else {
        if host.service(name)?.is_some() {
            stop_with_dependents(name, host)?;
            host.delete_service(name)?;
        }
        return Ok(());
    };
    install(name, &prior.definition, host)?;
    if !prior.running {
        return Ok(());
    }
    host.start_service(name)?;
    for dependent in prior.dependents.iter().rev() {
        if host.service(dependent)?.is_some_and(|service| !service.running) {
            host.start_service(dependent)?;
        }
    }
    Ok(())
}

/// Creates or changes a service and leaves it stopped, since a definition takes effect with the next start. Returns the
/// services that were stopped for it, in the order of stopping.
fn install(name: &str, definition: &ServiceDefinition, host: Host<'_>) -> Result<Vec<String>> {
    let Some(found) = host.service(name)? else {
        host.create_service(name, definition)?;
        return Ok(Vec::new());
    };
    let stopped = stop_with_dependents(name, host)?;
    if found.definition != *definition {
        host.configure_service(name, definition)?;
    }
    Ok(stopped)
}

fn stop_with_dependents(name: &str, host: Host<'_>) -> Result<Vec<String>> {
    let dependents = host.running_dependents(name)?;
    for dependent in &dependents {
        host.stop_service(dependent)?;
    }
    if host.service(name)?.is_some_and(|service| service.running) {
        host.stop_service(name)?;
    }
    Ok(dependents)
}

fn settles(name: &str, host: Host<'_>) -> Result<bool> {
    for moment in SETTLING {
        host.sleep(moment);
        if !host.service(name)?.is_some_and(|service| service.running) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn define(service: &WindowsService, host: Host<'_>) -> Result<ServiceDefinition> {
    Ok(ServiceDefinition {
        display_name: service.display_name.clone(),
        image: match &service.run {
            ServiceProgram::Native { program, arguments } => {
                ServiceImage::Other { command_line: command_line(program.as_str(), arguments) }
            }
            run => ServiceImage::Agent { agent: host.own_executable()?.path, run: run.clone() },
        },
        depends_on: service.depends_on.clone(),
        start: StartMode::Automatic,
    })
}

/// The one text that Windows keeps of a program and its arguments, quoted so that every program splits it the same way:
/// backslashes count only before a quotation mark, where each is doubled.
fn command_line(program: &str, arguments: &[String]) -> String {
    let mut line = format!("\"{program}\"");
    for argument in arguments {
        line.push(' ');
        if !argument.is_empty() && !argument.contains([' ', '\t', '"']) {
            line.push_str(argument);
            continue;
        }
        line.push('"');
        let mut backslashes = 0;
        for character in argument.chars() {
            match character {
                '\\' => backslashes += 1,
                '"' => {
                    line.extend(std::iter::repeat_n('\\', backslashes + 1));
                    backslashes = 0;
                }
                _ => backslashes = 0,
            }
            line.push(character);
        }
        line.extend(std::iter::repeat_n('\\', backslashes));
        line.push('"');
    }
    line
}

fn difference(found: &ServiceDefinition, wanted: &ServiceDefinition) -> Option<String> {
    if found == wanted {
        return None;
    }
    Some(match (&found.image, &wanted.image) {
        (ServiceImage::Other { .. }, ServiceImage::Agent { .. }) => "is another service of that name".into(),
        (ServiceImage::Agent { agent: found, .. }, ServiceImage::Agent { agent, .. }) if found != agent => {
            format!("is hosted by {}, expected {}", found.file_name(), agent.file_name())
        }
        (found, wanted) if found != wanted => "has another command".into(),
        _ if found.depends_on != wanted.depends_on => {
            format!("depends on [{}], expected [{}]", found.depends_on.join(", "), wanted.depends_on.join(", "))
        }
        _ if found.start != wanted.start => "does not start at boot".into(),
        _ => format!("is called {}, expected {}", found.display_name, wanted.display_name),
    })
}

/// The service's log, which its host names after it.
fn log(service: &WindowsService, host: Host<'_>) -> Result<Option<SecretBytes>> {
    let ServiceProgram::Supervised(program) = &service.run else { return Ok(None) };
    let path = program.log_directory.join(&format!("{}.log", service.name));
    match host.stat(&path)? {
        Some(stat) if stat.kind == FileKind::File => host.read_file(&path).map(Some),
        _ => Ok(None),
    }
}

/// The last lines of what came into the log since it had that many bytes: an earlier start has nothing to do with this one.
fn log_since(before: usize, service: &WindowsService, host: Host<'_>) -> Result<Option<String>> {
    let Some(log) = log(service, host)? else { return Ok(None) };
    // A log that has become shorter is a new one.
    let text = String::from_utf8_lossy(log.expose().get(before..).unwrap_or(log.expose()));
    let lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let tail = lines.get(lines.len().saturating_sub(LOG_LINES)..).unwrap_or_default().join("\n");
    Ok((!tail.is_empty()).then_some(tail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_lines_are_quoted_as_windows_splits_them() {
        let line = |arguments: &[&str]| {
            let arguments: Vec<_> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
            command_line(r"C:\Program Files\Docker\dockerd.exe", &arguments)
        };
        assert_eq!(line(&["--run-service"]), r#""C:\Program Files\Docker\dockerd.exe" --run-service"#);
        let quoted = line(&["", "a b", r"c\", r"d e\", r#"f"g\"h"#]);
        assert_eq!(quoted, r#""C:\Program Files\Docker\dockerd.exe" "" "a b" c\ "d e\\" "f\"g\\\"h""#);
    }
}
