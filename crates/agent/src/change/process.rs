//! The process that makes a change: applies, waits for the confirmation, takes back.

use std::thread;
use std::time::{Duration, Instant};

use k8swin_protocol::resource::{LinuxResource, WindowsResource};
use k8swin_protocol::wire::ResourceResult;

use super::recovery::take_back;
use super::{NAME, Order, Progress, State};
use crate::engine::{Engine, Watcher};
use crate::host_lock::{self, PATIENCE, POLL};
use crate::platform::{Host, Platform as _, Result};
use crate::resources::Resource;

/// Carries out the change that was ordered, and returns when it is confirmed or taken back. One that another process had
/// begun is taken back.
///
/// # Errors
/// When the host cannot be locked, or the order and the progress cannot be read and written.
pub fn change(host: &mut Host) -> Result<()> {
    match host {
        Host::Linux(platform) => carry_out::<LinuxResource>(platform.as_mut()),
        Host::Windows(platform) => carry_out::<WindowsResource>(platform.as_mut()),
    }
}

fn carry_out<R: Resource>(host: &mut R::Platform) -> Result<()> {
    let _lock = host_lock::wait(host, NAME, PATIENCE, |_| Ok(()))?;
    let Some(order) = super::order::<R>(host)? else { return host.forget_change() };
    if super::progress::<R>(host)?.is_some() {
        super::recover::<R>(host)?;
        return host.forget_change();
    }
    let mut progress = Progress { undo: Vec::new(), started: Vec::new(), results: Vec::new(), state: State::Applying };
    super::write_progress(host, &progress)?;
    let failed = apply::<R>(host, &order, &mut progress)?;
    progress.state = if let Some(why) = failed {
        take_back(host, &progress, why)?
    } else if progress.undo.is_empty() {
        State::Kept
    } else {
        progress.state = State::Applied;
        super::write_progress(host, &progress)?;
        if confirmed(host, order.confirm_within_seconds)? {
            State::Kept
        } else {
            let why = format!("nobody confirmed it over a new connection within {} s", order.confirm_within_seconds);
            // Whoever finds it from here on waits for its end.
            progress.state = State::TakingBack;
            super::write_progress(host, &progress)?;
            take_back(host, &progress, why)?
        }
    };
    super::write_progress(host, &progress)?;
    host.forget_change()
}

/// Applies all; returns why not, if one failed.
fn apply<R: Resource>(host: &mut R::Platform, order: &Order<R>, progress: &mut Progress<R>) -> Result<Option<String>> {
    let mut engine = Engine::<R>::new(host)?;
    engine.set_cluster(order.cluster.clone())?;
    // As all was before the first change: one changes what others find.
    let at_start: Vec<_> = order.resources.iter().map(|planned| planned.resource.capture(engine.host()).ok()).collect();
    for (planned, at_start) in order.resources.iter().zip(at_start) {
        let resource = planned.resource.id();
        let result = match engine.is_drifted(planned) {
            Ok(false) => engine.apply(planned, &mut Begun { resource: None, progress }),
            Ok(true) => engine.undo_for(planned, at_start).and_then(|undo| {
                progress.undo.push(undo);
                super::write_progress(engine.host(), progress)?;
                engine.apply(planned, &mut Begun { resource: Some(planned), progress })
            }),
            Err(error) => Err(error),
        };
        let result = result.unwrap_or_else(|error| ResourceResult::Failed(error.into()));
        progress.results.push((resource.clone(), result.clone()));
        super::write_progress(engine.host(), progress)?;
        if let ResourceResult::Failed(failure) = result {
            return Ok(Some(format!("{resource} failed: {failure}")));
        }
    }
    Ok(None)
}

fn confirmed<P: crate::platform::Platform + ?Sized>(host: &mut P, within_seconds: u32) -> Result<bool> {
    let (since, within) = (Instant::now(), Duration::from_secs(within_seconds.into()));
    loop {
        if super::is_confirmed(host)? {
            return Ok(true);
        }
        if since.elapsed() >= within {
            return Ok(false);
        }
        thread::sleep(POLL);
    }
}

/// Notes that work on a resource begins; whoever follows the change reads it with the next result.
struct Begun<'a, R> {
    resource: Option<&'a k8swin_protocol::resource::Planned<R>>,
    progress: &'a mut Progress<R>,
}

impl<R: Resource> Watcher<R::Platform> for Begun<'_, R> {
    fn started(&mut self, difference: &str) {
        if let Some(planned) = self.resource {
            self.progress.started.push((planned.resource.id(), difference.to_owned()));
        }
    }

    fn alive(&mut self, _host: &mut R::Platform) -> Result<()> {
        Ok(())
    }
}
