//! Requests that change the host: the host's lock, the order of resources, and network changes made by a process of their
//! own.

use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use k8swin_protocol::resource::{Planned, ResourceId};
use k8swin_protocol::wire::{AgentEvent, ResourceResult, Response};

use super::{Session, Watch};
use crate::change::{self, Order, Progress, Seen, State};
use crate::engine::{Engine, Watcher};
use crate::host_lock::{self, PATIENCE, POLL};
use crate::platform::{HostLock, Platform, PlatformError, Result};
use crate::resources::Resource;

/// How long the process of a change may take to begin.
const START: Duration = Duration::from_secs(20);

/// How rarely a change that takes long is looked at.
const SLOWEST_POLL: Duration = Duration::from_millis(500);

/// How the session applies network resources.
#[derive(Clone, Debug)]
pub(super) struct Detach {
    /// The run.
    pub(super) run: String,
    /// How long the confirmation may take.
    pub(super) confirm_within_seconds: u32,
}

/// How a request that changes the host begins.
pub(super) enum Begin {
    /// With the host's lock.
    Work(Box<dyn Send>),
    /// A change of the network is under way already.
    UnderWay(String),
}

/// What became of a change that was followed.
enum Followed {
    /// It is made and waits for its confirmation.
    Due(Vec<(ResourceId, ResourceResult)>),
    /// There was nothing left to change, or somebody has confirmed it.
    Kept(Vec<(ResourceId, ResourceResult)>),
}

impl<R: Resource, W: Write> Session<'_, R, W> {
    /// Takes the host's lock for `doing`, waiting for other agents; brings a change that was abandoned to its end.
    pub(super) fn lock_host(&mut self, doing: &str) -> Result<Box<dyn Send>> {
        let lock = &mut self.lock;
        let held = host_lock::wait(&mut *self.host, doing, PATIENCE, |host| lock.refresh(host))?;
        self.after_change()?;
        Ok(held)
    }

    /// As [`Self::lock_host`], or finds a change that this session can follow.
    fn begin(&mut self, doing: &str) -> Result<Begin> {
        let since = Instant::now();
        loop {
            match self.host.try_lock(doing)? {
                HostLock::Taken(held) => {
                    self.after_change()?;
                    return Ok(Begin::Work(held));
                }
                HostLock::Busy(holder) => {
                    if self.detach.is_some()
                        && let Some(change) = change::ordered(self.host)?
                    {
                        return Ok(Begin::UnderWay(change));
                    }
                    if since.elapsed() >= PATIENCE {
                        return Err(host_lock::busy(doing, &holder, PATIENCE));
                    }
                }
            }
            self.lock.refresh(self.host)?;
            thread::sleep(POLL);
        }
    }

    /// What an earlier change left, with the host's lock held. That it was taken back is told to the run that made it;
    /// another run does it again.
    fn after_change(&mut self) -> Result<()> {
        let Some((order, end)) = change::recover::<R>(self.host)? else { return Ok(()) };
        change::forget(self.host)?;
        match (end, &self.detach) {
            (State::TakenBack { why, trouble }, Some(detach)) if detach.run == order.run => {
                Err(change::taken_back(&order, &why, trouble.as_deref()))
            }
            _ => Ok(()),
        }
    }

    /// Applies resources, network resources detached if the session is to.
    pub(super) fn apply(&mut self, id: u64, cluster: &str, resources: &[Planned<R>]) -> Result<Response> {
        let mut results = Vec::new();
        let mut rest = resources;
        loop {
            let held = match self.begin("apply resources")? {
                Begin::Work(held) => held,
                Begin::UnderWay(change) => {
                    if let Followed::Due(more) = self.follow(id, &change)? {
                        return Ok(self.due(change, more));
                    }
                    continue;
                }
            };
            match self.apply_here(id, cluster, rest, &mut results)? {
                None => return Ok(Response::Applied { results }),
                Some(position) => {
                    let (_, network) = rest.split_at(position);
                    let count = network.iter().take_while(|planned| planned.resource.is_network()).count();
                    let (network, after) = network.split_at(count);
                    let followed = self.order(cluster, network, held).and_then(|change| {
                        let followed = self.follow(id, &change)?;
                        Ok((change, followed))
                    });
                    match followed {
                        Ok((change, Followed::Due(more))) => {
                            results.extend(more);
                            return Ok(self.due(change, results));
                        }
                        Ok((_, Followed::Kept(more))) => {
                            results.extend(more);
                            rest = after;
                        }
                        Err(error) => {
                            let first = network.first().map(|planned| planned.resource.id());
                            if let Some(resource) = first {
                                self.output.ended(id, resource, ResourceResult::Failed(error.into()), &mut results);
                            }
                            return Ok(Response::Applied { results });
                        }
                    }
                }
            }
        }
    }

    /// Applies in this process until the end, a failure, or a network resource that is to be applied detached: its
    /// position.
    fn apply_here(
        &mut self,
        id: u64,
        cluster: &str,
        resources: &[Planned<R>],
        results: &mut Vec<(ResourceId, ResourceResult)>,
    ) -> Result<Option<usize>> {
        let detached = self.detach.is_some();
        let mut engine = Engine::<R>::new(self.host)?;
        engine.set_cluster(cluster.to_owned())?;
        let (mut waits_for_restart, mut rest) = (false, resources);
        while let Some(planned) = rest.first() {
            let position = resources.len() - rest.len();
            // Routes in one go: a node has one to every other node.
            let routes = rest.iter().take_while(|planned| planned.resource.is_route()).count();
            let (part, after) = rest.split_at(routes.max(1));
            rest = after;
            if waits_for_restart && !planned.resource.shares_restart() {
                continue;
            }
            if routes > 1 {
                let drifted = if detached { engine.first_drifted(part).unwrap_or(None) } else { None };
                let (here, _) = part.split_at(drifted.unwrap_or(part.len()));
                let (output, lock) = (&mut self.output, &mut self.lock);
                let mut started = |resource, difference: &str| {
                    output.event(id, AgentEvent::Started { resource, difference: difference.to_owned() });
                };
                let applied = engine.apply_routes(here, &mut started, &mut |host| lock.refresh(host));
                let applied =
                    applied.unwrap_or_else(|error| vec![(planned.resource.id(), ResourceResult::Failed(error.into()))]);
                for (resource, result) in applied {
                    if !self.output.ended(id, resource, result, results) {
                        return Ok(None);
                    }
                }
                match drifted {
                    Some(first) => return Ok(Some(position + first)),
                    None => continue,
                }
            }
            if detached && planned.resource.is_network() && engine.is_drifted(planned).unwrap_or(false) {
                return Ok(Some(position));
            }
            let resource = planned.resource.id();
            let mut watch = Watch { id, resource: &resource, output: &mut self.output, lock: &mut self.lock };
            let result = watch
                .alive(engine.host())
                .and_then(|()| engine.apply(planned, &mut watch))
                .unwrap_or_else(|error| ResourceResult::Failed(error.into()));
            waits_for_restart |= matches!(result, ResourceResult::NeedsReboot { .. });
            if !self.output.ended(id, resource, result, results) {
                return Ok(None);
            }
        }
        Ok(None)
    }

    /// Orders a change, and lets go of the host's lock for the process that makes it.
    fn order(&mut self, cluster: &str, resources: &[Planned<R>], held: Box<dyn Send>) -> Result<String> {
        let Some(Detach { run, confirm_within_seconds }) = self.detach.clone() else {
            return Err(PlatformError::new("change the network", "this session does not apply it detached"));
        };
        let change = format!("{}-{}", std::process::id(), self.host.now_ms());
        let (cluster, resources) = (cluster.to_owned(), resources.to_vec());
        let order = Order { id: change.clone(), run, cluster, confirm_within_seconds, resources };
        change::write_order(self.host, &order)?;
        drop(held);
        self.host.start_change()?;
        Ok(change)
    }

    /// Tells how a change gets on until it is made.
    fn follow(&mut self, id: u64, change: &str) -> Result<Followed> {
        if let Some(detach) = &self.detach {
            let confirm_within_seconds = detach.confirm_within_seconds;
            self.output.event(id, AgentEvent::Detached { confirm_within_seconds });
        }
        let (since, mut told, mut begun) = (Instant::now(), 0, false);
        let (mut seen, mut pause) = (Seen::default(), POLL);
        loop {
            self.still_ordered(change)?;
            if let Some(progress) = &seen.news::<R>(self.host)? {
                begun = true;
                for (resource, difference) in progress.started.iter().skip(told) {
                    let (resource, difference) = (resource.clone(), difference.clone());
                    self.output.event(id, AgentEvent::Started { resource, difference });
                }
                told = progress.started.len();
                match &progress.state {
                    State::Applying | State::TakingBack => {}
                    State::Applied => return Ok(Followed::Due(self.tell(id, progress))),
                    State::Kept => {
                        // Its process is about to end.
                        let results = self.tell(id, progress);
                        drop(self.lock_host("end a change of the network")?);
                        return Ok(Followed::Kept(results));
                    }
                    State::TakenBack { why, trouble } => {
                        let Some(order) = change::order::<R>(self.host)? else { return Err(gone()) };
                        let error = change::taken_back(&order, why, trouble.as_deref());
                        let held = host_lock::wait(&mut *self.host, "end a change", PATIENCE, |_| Ok(()))?;
                        change::forget(self.host)?;
                        drop(held);
                        return Err(error);
                    }
                }
            }
            if !begun && since.elapsed() >= START {
                // One that begins later finds nothing to do.
                drop(self.lock_host("end a change of the network")?);
                let answer = format!("its process has not begun within {} s; nothing was changed", START.as_secs());
                return Err(PlatformError::new("change the network", answer)
                    .with_hint("look at the service k8swin-change of the host's service manager"));
            }
            if begun && let HostLock::Taken(_held) = self.host.try_lock("end a change of the network")? {
                // Its process is gone.
                if let Some((_, State::Kept)) = change::recover::<R>(self.host)? {
                    change::forget(self.host)?;
                    return Ok(Followed::Kept(Vec::new()));
                }
                continue;
            }
            self.lock.refresh(self.host)?;
            thread::sleep(pause);
            pause = SLOWEST_POLL.min(pause * 3 / 2);
        }
    }

    /// Nobody else has brought that change to its end.
    fn still_ordered(&mut self, change: &str) -> Result<()> {
        if change::ordered(self.host)?.as_deref() == Some(change) { Ok(()) } else { Err(gone()) }
    }

    fn tell(&mut self, id: u64, progress: &Progress<R>) -> Vec<(ResourceId, ResourceResult)> {
        let mut results = Vec::new();
        for (resource, result) in &progress.results {
            self.output.ended(id, resource.clone(), result.clone(), &mut results);
        }
        results
    }

    fn due(&self, change: String, results: Vec<(ResourceId, ResourceResult)>) -> Response {
        let confirm_within_seconds = self.detach.as_ref().map_or(0, |detach| detach.confirm_within_seconds);
        Response::ConfirmDue { results, change, confirm_within_seconds }
    }

    /// Keeps a change. One that is not there any more was confirmed before; the next check tells.
    pub(super) fn confirm(&mut self, change: &str) -> Result<Response> {
        if self.still_ordered(change).is_err() {
            return Ok(Response::Done);
        }
        if let Some(progress) = change::progress::<R>(self.host)?
            && progress.state == State::Applied
        {
            change::confirm(self.host)?;
        }
        let lock = &mut self.lock;
        let _held = host_lock::wait(&mut *self.host, "confirm a change", PATIENCE, |host| lock.refresh(host))?;
        let Some((order, end)) = change::recover::<R>(self.host)? else { return Ok(Response::Done) };
        change::forget(self.host)?;
        match end {
            State::TakenBack { why, trouble } => Err(change::taken_back(&order, &why, trouble.as_deref())),
            State::Applying | State::Applied | State::TakingBack | State::Kept => Ok(Response::Done),
        }
    }
}

fn gone() -> PlatformError {
    PlatformError::new("follow a change of the network", "another session has brought it to an end")
        .with_hint("run the same command again")
}
