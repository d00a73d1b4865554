//! systemd services.

use std::time::Duration;

use k8swin_protocol::HostPath;
use k8swin_protocol::resource::{CheckOutcome, SystemdUnit};

use super::{Context, FilePrior, Prior, absent, file, restart};
use crate::engine::Watcher;
use crate::platform::{Activity, FileKind, LinuxPlatform, PlatformError, Result};

type Host<'a> = &'a mut (dyn LinuxPlatform + Send + 'static);

/// How long a service is watched after its start.
const SETTLING: [Duration; 4] = [Duration::from_millis(500); 4];

/// How often, and how many times, systemd is asked whether it has started a service: five minutes. It gives a service
/// 90 s to stop, and our units give etcd 120 s to start.
const POLL: Duration = Duration::from_millis(250);
const POLLS: u32 = 1200;

/// Where the unit file lies.
pub(super) fn unit_file(unit: &SystemdUnit) -> HostPath {
    #[expect(clippy::expect_used, reason = "the folder is a constant and absolute")]
    let folder = HostPath::new("/etc/systemd/system").expect("an absolute path");
    folder.join(&format!("{}.service", unit.name))
}

pub(super) fn check(unit: &SystemdUnit, host: Host<'_>, context: &Context) -> Result<CheckOutcome> {
    let path = unit_file(unit);
    if host.stat(&path)?.is_none() {
        return Ok(absent("absent"));
    }
    if is_masked(unit, host)? {
        return Ok(restart("is masked, so that it cannot be started"));
    }
    if let Some(difference) = file::text_difference(&path, &unit.unit, host)? {
        return Ok(restart(difference));
    }
    if let Some(drop_in) = host.replacing_drop_ins(&unit.name)?.first() {
        return Ok(restart(format!("{drop_in} replaces its command")));
    }
    let state = host.unit(&unit.name)?;
    if state.activity != Activity::Active {
        return Ok(restart(format!("is {}, expected {}", state.activity, Activity::Active)));
    }
    if context.started_with != Some(unit.inputs) {
        return Ok(restart("runs with other configuration"));
    }
    if !state.enabled {
        return Ok(restart("does not start at boot"));
    }
    Ok(CheckOutcome::InSync)
}

pub(super) fn capture(unit: &SystemdUnit, host: Host<'_>) -> Result<Prior> {
    refuse_masked(unit, host)?;
    let file = file::capture(&unit_file(unit), host)?;
    let state = host.unit(&unit.name)?;
    Ok(Prior::Unit { file, enabled: state.enabled, active: state.activity == Activity::Active })
}

/// systemd reads unit files again each time, also when the file is right: a killed run may have ended between the two.
pub(super) fn apply(
    unit: &SystemdUnit,
    host: Host<'_>,
    watcher: &mut dyn Watcher<dyn LinuxPlatform + Send>,
) -> Result<()> {
    refuse_masked(unit, host)?;
    file::put_text(&unit_file(unit), &unit.unit, host)?;
    host.reload_units()?;
    if let Some(drop_in) = host.replacing_drop_ins(&unit.name)?.first() {
        let answer = format!("{drop_in} replaces its command, so that another one would run");
        return Err(PlatformError::new(format!("start {}", unit.name), answer)
            .with_hint("remove that file, or the package that brings it, and run this again"));
    }
    if !host.unit(&unit.name)?.enabled {
        host.enable_unit(&unit.name)?;
    }
    let started = start(unit, host, |host| watcher.alive(host));
    if started.is_ok() && settles(unit, host)? {
        return Ok(());
    }
    // Where no journal is kept, systemctl's own words are left.
    let said = host.journal(&unit.name).unwrap_or_default();
    let answer = match (started, said.trim()) {
        (Err(error), "") => error.answer,
        (Ok(()), "") => "it ended right after its start and wrote nothing to the journal".to_owned(),
        (_, said) => said.to_owned(),
    };
    Err(PlatformError::new(format!("start {}", unit.name), answer)
        .with_hint(format!("journalctl -u {} shows all that it wrote", unit.name)))
}

/// A masked service has a link to `/dev/null` where its unit file belongs. The administrator who put it there does not want
/// the service to run, and only the administrator takes it away.
fn is_masked(unit: &SystemdUnit, host: Host<'_>) -> Result<bool> {
    Ok(match host.stat(&unit_file(unit))? {
        Some(stat) if stat.kind == FileKind::Other => host.unit(&unit.name)?.masked,
        _ => false,
    })
}

fn refuse_masked(unit: &SystemdUnit, host: Host<'_>) -> Result<()> {
    if !is_masked(unit, host)? {
        return Ok(());
    }
    let name = &unit.name;
    Err(PlatformError::new(format!("start {name}"), "the service is masked: an administrator forbade to start it")
        .with_hint(format!("systemctl unmask {name} on the host allows it again; then run this again")))
}

/// Starts a service and waits until systemd has done so. A service that tells when it is ready may take minutes.
fn start(unit: &SystemdUnit, host: Host<'_>, mut alive: impl FnMut(Host<'_>) -> Result<()>) -> Result<()> {
    host.restart_unit(&unit.name)?;
    let mut polls = 0;
    while host.unit_in_motion(&unit.name)? {
        if polls == POLLS {
            let answer = format!("systemd was not done with it after {} s", (POLL * POLLS).as_secs());
            return Err(PlatformError::new(format!("start {}", unit.name), answer));
        }
        polls += 1;
        alive(host)?;
        host.sleep(POLL);
    }
    Ok(())
}

/// Watches a started service for a while: one that falls over right after its start has not started.
fn settles(unit: &SystemdUnit, host: Host<'_>) -> Result<bool> {
    for moment in SETTLING {
        host.sleep(moment);
        if host.unit(&unit.name)?.activity != Activity::Active {
            return Ok(false);
        }
    }
    Ok(true)
}

pub(super) fn take_back(
    unit: &SystemdUnit,
    host: Host<'_>,
    prior: &FilePrior,
    enabled: bool,
    active: bool,
) -> Result<()> {
    let path = unit_file(unit);
    if host.stat(&path)?.is_none() {
        // Removed by hand: systemd cannot take back that a service it does not know starts at boot.
        file::put_text(&path, &unit.unit, host)?;
        host.reload_units()?;
    }
    if is_masked(unit, host)? {
        // What the administrator did after us stays: nothing of ours is left in its place.
        return Ok(());
    }
    let state = host.unit(&unit.name)?;
    // Stopped and disabled while systemd still knows it.
    if state.activity != Activity::Inactive && !active {
        host.stop_unit(&unit.name)?;
    }
    if state.enabled && !enabled {
        host.disable_unit(&unit.name)?;
    }
    file::restore(&path, host, prior)?;
    host.reload_units()?;
    if enabled && !host.unit(&unit.name)?.enabled {
        host.enable_unit(&unit.name)?;
    }
    // A service that ran before runs with our unit file until it is restarted.
    if active { start(unit, host, |_| Ok(())) } else { Ok(()) }
}
