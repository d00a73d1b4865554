//! The process that makes a change: applies, waits for the confirmation, takes back.

use std::thread;
use std::time::{Duration, Instant};

use k8swin_protocol::resource::{LinuxResource, Planned, ResourceId, WindowsResource};
use k8swin_protocol::wire::ResourceResult;

use super::recovery::take_back;
use super::{NAME, Order, Progress, State};
use crate::engine::{Engine, Watcher};
use crate::host_lock::{self, PATIENCE, POLL};
use crate::platform::{Host, Platform as _, Result};
use crate::resources::{Prior, Resource};

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
    let mut at_start = engine.capture_all(&order.resources).into_iter();
    // Routes in one go: a node has one to every other node.
    for part in order.resources.chunk_by(|one, next| one.resource.is_route() && next.resource.is_route()) {
        let results = match apply_part(&mut engine, part, at_start.by_ref().take(part.len()), progress) {
            Ok(results) => results,
            Err(error) => {
                let first = part.iter().take(1).map(|planned| planned.resource.id());
                first.map(|resource| (resource, ResourceResult::Failed(error.clone().into()))).collect()
            }
        };
        let failed = results.iter().find_map(|(resource, result)| match result {
            ResourceResult::Failed(failure) => Some(format!("{resource} failed: {failure}")),
            _ => None,
        });
        progress.results.extend(results);
        super::write_progress(engine.host(), progress)?;
        if failed.is_some() {
            return Ok(failed);
        }
    }
    Ok(None)
}

/// Applies one resource, or several routes. How to take them back is noted before.
fn apply_part<R: Resource>(
    engine: &mut Engine<'_, R>,
    part: &[Planned<R>],
    at_start: impl Iterator<Item = Option<Prior>>,
    progress: &mut Progress<R>,
) -> Result<Vec<(ResourceId, ResourceResult)>> {
    let undo = engine.undo_for_drifted(part, at_start)?;
    if !undo.is_empty() {
        progress.undo.extend(undo);
        super::write_progress(engine.host(), progress)?;
    }
    match part {
        [planned] => {
            let resource = planned.resource.id();
            let mut begun = Begun { resource: &resource, started: &mut progress.started };
            let result = engine.apply(planned, &mut begun)?;
            Ok(vec![(resource, result)])
        }
        routes => {
            let mut started = |resource, difference: &str| progress.started.push((resource, difference.to_owned()));
            engine.apply_routes(routes, &mut started, &mut |_| Ok(()))
        }
    }
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
struct Begun<'a> {
    resource: &'a ResourceId,
    started: &'a mut Vec<(ResourceId, String)>,
}

impl<P: ?Sized> Watcher<P> for Begun<'_> {
    fn started(&mut self, difference: &str) {
        self.started.push((self.resource.clone(), difference.to_owned()));
    }

    fn alive(&mut self, _host: &mut P) -> Result<()> {
        Ok(())
    }
}
